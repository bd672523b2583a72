"""Figures that look inside models: the frozen ViT beside ILA adapters of three seeds.

The adapters are trained once, briefly (about a minute in all on two cores), and kept under
`runs/paper_models/`; their folder's name holds the learning rate and the version of the code. What matters
here is where they look, not how accurate they are: for accuracies see the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import Subset

from .. import __version__
from ..analysis.attention import attention_layouts, capture_attention, mean_distance
from ..analysis.cka import attention_cka
from ..analysis.rollout import constant_groups, rollout_groups
from ..backbones.create import create_backbone
from ..datasets.load import load_data
from ..experiments.statistics import mean_interval
from ..files import output_folder
from ..methods.adapt import adapt
from ..saving.checkpoint import load_pretrained
from ..saving.header import CONFIG
from ..training.fit import fit
from ..training.offline_recipes import offline_recipe
from ..vit.modes import evaluating
from .attention import attention_distances, cka_pairs, rollout_panels

__all__ = ["attention_distance", "attention_rollout", "attention_similarity", "small_adapters"]

SEEDS = (0, 1, 2)
_IMAGES = 100  # test images for CKA and distances, five a class
_EPOCHS, _N_TRAIN = 3, 10
_ABOUT = "synthetic leaves (leaves-ultra)"
_BRIEF = f"ILA after {_EPOCHS} epochs on {_N_TRAIN} images a class"


@lru_cache(maxsize=1)
def small_adapters(method: str = "ila", seeds: Sequence[int] = SEEDS) -> tuple[nn.Module, ...]:
    """One briefly trained adapter a seed, on leaves-ultra; read from `runs/paper_models/` if it is there."""
    models = []
    for seed in seeds:
        recipe = offline_recipe(method, epochs=_EPOCHS, seed=seed)
        folder = (
            output_folder("runs")
            / "paper_models"
            / f"{method}-{seed}-{recipe.lr:g}-{recipe.head_lr_scale:g}-{__version__}"
        )
        if not (folder / CONFIG).exists():
            task = load_data("leaves-ultra", seed=seed, n_train=_N_TRAIN)
            model = adapt(create_backbone(), method, num_classes=task.num_classes, seed=seed)
            fit(model, task.train, None, recipe, progress=False)
            model.save_pretrained(folder)
        models.append(load_pretrained(folder))
    return tuple(models)


def attention_similarity() -> Figure:
    """CKA between the attention maps of every pair of blocks, the frozen ViT beside ILA: the paper's
    figure."""
    images, models = _images(_IMAGES), small_adapters()
    each = torch.stack([attention_cka(model, images) for model in models])
    halves = [mean_interval(pair).half for pair in each.flatten(1).T.tolist()]
    matrices = {
        "frozen": attention_cka(create_backbone(), images),
        f"ILA, mean of n = {len(models)} seeds": each.mean(0),
    }
    groups = {list(matrices)[1]: constant_groups(attention_layouts(models[0]))}
    title = (
        f"{_ABOUT}, {_IMAGES} test images\n{_BRIEF}; 95 % half-widths over seeds at most {max(halves):.2f}"
    )
    return cka_pairs(matrices, groups=groups, title=title)


def attention_rollout(count: int = 4) -> Figure:
    """Rollout of the frozen ViT and, group by group, of ILA (first seed), over leaves of different
    cultivars."""
    images = _images(count)
    pixels, shown = images.dataset.images[images.indices], torch.stack([images[i][0] for i in range(count)])  # type: ignore[attr-defined]
    models = {"frozen": create_backbone(), "ILA": small_adapters()[0]}
    rollouts = {name: rollout_groups(model, shown) for name, model in models.items()}
    title = f"attention rollout, {_ABOUT}, {count} test images; {_BRIEF}, seed {SEEDS[0]}"
    return rollout_panels(pixels, rollouts, title=title)


def attention_distance(count: int = 20) -> Figure:
    """Mean attention distance of every head, block by block: the frozen ViT beside ILA (heads' means over
    the seeds)."""
    images = _images(count)
    shown = torch.stack([images[i][0] for i in range(count)])
    adapted = torch.stack([_distances(model, shown) for model in small_adapters()])
    halves = [mean_interval(head).half for head in adapted.flatten(1).T.tolist()]
    rows = {
        "frozen": _distances(create_backbone(), shown),
        f"ILA, mean of n = {len(adapted)} seeds": adapted.mean(0),
    }
    title = (
        f"{_ABOUT}, {count} test images\n{_BRIEF}; 95 % half-widths over seeds at most {max(halves):.1f}"
        " pixels"
    )
    return attention_distances({name: list(values) for name, values in rows.items()}, title=title)


@torch.no_grad()
def _distances(model: nn.Module, images: Tensor) -> Tensor:
    """(blocks, heads), in pixels."""
    layouts = attention_layouts(model)
    vit: Any = getattr(model, "backbone", model)
    with evaluating(model), capture_attention(model) as seen:
        model(images)
    return torch.stack(
        [
            mean_distance(seen[block], layout, vit.patch_embed.patch_size)
            for block, layout in enumerate(layouts, 1)
        ]
    )


def _images(count: int) -> Subset[tuple[Tensor, int]]:
    """Test images spread evenly over the classes; they are the same for every seed."""
    test = load_data("leaves-ultra", n_train=1, n_val=1).test
    return Subset(test, torch.linspace(0, len(test) - 1, count).long().tolist())  # type: ignore[arg-type]
