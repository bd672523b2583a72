"""Pre-train the embedded micro ViT on synthetic leaf species, from nothing, on one GPU or two CPU cores.

    loss = cross-entropy(species) + parameter_weight · mean((p̂ − p)²)

The generator knows the parameters p of every leaf it drew (scaled to unit variance), so a throw-away linear
layer on the class token predicts them too: far denser supervision than one label an image. Half of the leaves
are wild, of no species and any shape: they count in the second term alone, where knowing the species would
otherwise be enough to know p, and nothing need be measured.

Training starts on half-size images, goes on with half of the tokens dropped (Liu et al. 2023, "PatchDropout")
and ends on full images: a fraction of the cost of full images throughout.

Every random number of a step follows from (seed, step), so a stopped run goes on from its checkpoint as if it
had never stopped.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import PatchDropout
from torch import Tensor, nn
from torch.nn import functional as F

from ..datasets.augment import augment_batch
from ..datasets.leaves.drawing import LEAF_FIELDS, draw
from ..datasets.leaves.parameters import HELD_BACK, N_SPECIES, sample_leaves, sample_wild, species
from .recipes import ARCHITECTURE, KWARGS, PretrainConfig
from .steps import halved, run_steps, set_up, write

__all__ = ["MEAN", "STD", "pretrain"]

MEAN = STD = (0.5, 0.5, 0.5)


class _Learner(nn.Module):
    """The micro ViT and the throw-away layer that reads the generator's parameters off the class token."""

    vit: Any

    def __init__(self) -> None:
        super().__init__()
        vit: Any = timm.create_model(ARCHITECTURE, num_classes=N_SPECIES, dynamic_img_size=True, **KWARGS)
        for block in vit.blocks:
            # On a CPU the fused kernel's backward pass makes a step twice as long.
            block.attn.fused_attn = False
        self.vit = vit
        self.parameters_head = nn.Linear(KWARGS["embed_dim"], len(LEAF_FIELDS) - len(HELD_BACK))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.vit.forward_head(self.vit.forward_features(x), pre_logits=True)
        return self.vit.head(features), self.parameters_head(features)

    def drop_tokens(self, share: float) -> None:
        """Drop this share of the patch tokens at random while training."""
        self.vit.patch_drop = (
            PatchDropout(share, num_prefix_tokens=self.vit.num_prefix_tokens) if share else nn.Identity()
        )


class _Pool:
    """Drawn images (uint8, in memory), labels and the generator's parameters scaled to unit variance."""

    def __init__(self, per_species: int, wild: int, split: str, seed: int, device: torch.device) -> None:
        named = sample_leaves(species(), per_species, split, seed, vary_held_back=False)
        samples = [named, sample_wild(wild, split, seed)]
        threads = torch.get_num_threads()
        # A few leaves at a time fit one core's cache; sharing them out among cores costs more than it gains.
        torch.set_num_threads(1)
        self.images = torch.cat(
            [draw(s.leaves, s.scenes, s.seeds, KWARGS["img_size"], device) for s in samples]
        )
        torch.set_num_threads(threads)
        self.labels = torch.cat([torch.from_numpy(s.labels) for s in samples])
        free = [i for i, f in enumerate(LEAF_FIELDS) if f.upstream]
        self.targets = torch.cat(
            [((torch.from_numpy(s.leaves[:, free]) - 0.5) * math.sqrt(12)).float() for s in samples]
        )

    def batch(
        self, index: Tensor, side: int, device: torch.device, augment: str | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = self.images[index].to(device).float().div_(255)
        if side != x.shape[-1]:
            x = F.interpolate(x, size=(side, side), mode="area")
        x = augment_batch(x, augment).sub_(MEAN[0]).div_(STD[0])
        return x, self.labels[index].to(device), self.targets[index].to(device)


@torch.no_grad()
def _accuracy(
    model: _Learner, pool: _Pool, device: torch.device, limit: int | None = None
) -> tuple[float, float]:
    """On full images with all tokens: top-1 on the species, explained share of the wild leaves' variance.
    `limit`: about so many images."""
    model.eval()
    step = max(1, len(pool.labels) // limit) if limit else 1
    right, named, squares, wild = 0, 0, 0.0, 0
    for index in torch.arange(0, len(pool.labels), step).split(100):
        x, y, p = pool.batch(index, KWARGS["img_size"], device, None)
        logits, guess = model(x)
        right, named = right + int((logits.argmax(1) == y).sum()), named + int((y >= 0).sum())
        squares += float((guess - p).square().mean(1)[y < 0].sum())
        wild += int((y < 0).sum())
    model.train()
    return right / named, 1 - squares / wild


def pretrain(config: PretrainConfig, out: str | Path, command: str | None = None) -> dict[str, Any]:
    """Pre-train and write `out`/micro_vit.safetensors (float16, timm's keys) and `out`/micro_vit.json (how to
    build it, accuracy, recipe).

    Goes on from `out`/checkpoint.safetensors when there is one of the same recipe. Progress goes line by line
    to `out`/curve.jsonl and to stderr.

    Returns: the content of the JSON file. Raises AdapterError when the checkpoint belongs to another recipe,
    or on a non-finite loss (the last checkpoint stays).
    """
    folder, device, model, optimizer = set_up(config, out, _Learner)
    train = _Pool(config.images_per_species, config.wild, "upstream", config.seed, device)
    val = _Pool(config.val_per_species, config.val_wild, "upstream-val", config.seed, device)
    schedule = config.steps()

    def loss_of(step: int) -> Tensor:
        side, drop = schedule[step]
        model.drop_tokens(drop)
        x, y, p = train.batch(
            torch.randint(len(train.labels), (config.batch_size,)), side, device, "flip-shift"
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            logits, guess = model(x)
            # 0 where y is -100.
            errors = F.cross_entropy(
                logits.float(), y, label_smoothing=config.label_smoothing, reduction="sum"
            )
            return errors / (y >= 0).sum().clamp_min(1) + config.parameter_weight * F.mse_loss(
                guess.float(), p
            )

    def measure(step: int, last: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        side, drop = schedule[step]
        top1, explained = _accuracy(model, val, device, None if last else 1000)
        seen = {"images": (step + 1) * config.batch_size, "image_size": side, "dropped": drop}
        return seen, {"val_top1": round(top1, 4), "val_wild_r2": round(explained, 4)}

    curve = run_steps(config, folder, model, optimizer, len(schedule), loss_of, measure)
    return _export(folder, config, model, val, device, curve, command)


def _export(
    folder: Path,
    config: PretrainConfig,
    model: _Learner,
    val: _Pool,
    device: torch.device,
    curve: list[dict[str, Any]],
    command: str | None,
) -> dict[str, Any]:
    """Write weights and description; the accuracy is that of the float16 weights as written."""
    weights = halved(model.vit)
    top1, explained = _accuracy(model, val, device)
    about = {
        "architecture": ARCHITECTURE,
        "kwargs": KWARGS,
        "mean": list(MEAN),
        "std": list(STD),
        "classes": N_SPECIES,
        "parameters": sum(p.numel() for p in model.vit.parameters()),
        "trained_on": (
            f"synthetic leaves of {N_SPECIES} species and {config.wild} of none"
            " (adapters_lib.datasets.leaves.parameters)"
        ),
        "held_back": list(HELD_BACK),
        "upstream_top1": round(top1, 4),
        "upstream_val_images": config.val_per_species * N_SPECIES,
        "upstream_wild_r2": round(explained, 4),
        "device": device.type,
        "torch": torch.__version__,
        "command": command,
        "config": dataclasses.asdict(config),
        "curve": curve,
    }
    write(folder, "micro_vit", weights, about)
    return about
