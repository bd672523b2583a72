"""Is a heat map any good? Two tests that need no truth: it must depend on the weights, and its pixels must
matter to the model.

randomisation   shuffle the weights from the head downwards; a map of what the model learnt must change
                (Adebayo et al. 2018, arXiv:1810.03292)
deletion        take the highest pixels away first: the probability should fall fast, a small area is good
insertion       put the highest pixels in first: it should rise fast, a large area is good (Petsiuk et al.
                2018, arXiv:1806.07421)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from ..errors import AdapterError
from .attention import walker
from .attribution import Forward, asking, at_least_one, prepare

__all__ = [
    "PerturbationCurves",
    "perturbation_curves",
    "rank_correlation",
    "sanity_check",
    "shuffled",
    "weight_stages",
]


def weight_stages(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Parameters from the output to the input: "head" (with the final norm and early heads), "block L" …
    "block 1", "embedding"."""
    walk = walker(model)
    vit = walk.backbone
    blocks = {
        f"block {number}": [*block.parameters(), *sites.parameters()]
        for number, (block, sites) in enumerate(zip(vit.blocks, walk.sites, strict=True), 1)
    }
    tokens = (vit.cls_token, vit.reg_token, getattr(vit, "dist_token", None), vit.pos_embed)
    embedding = [p for p in tokens if p is not None] + [
        *vit.patch_embed.parameters(),
        *vit.norm_pre.parameters(),
    ]
    placed = {id(p) for part in (embedding, *blocks.values()) for p in part}
    return {
        "head": [p for p in walk.parameters() if id(p) not in placed],
        **dict(reversed(blocks.items())),
        "embedding": embedding,
    }


@contextmanager
def shuffled(parameters: Sequence[nn.Parameter], seed: int = 0) -> Iterator[None]:
    """Inside, the entries of every parameter stand in random order (their distribution stays); afterwards
    all is as before, bit for bit."""
    kept = [p.detach().clone() for p in parameters]
    generator = torch.Generator().manual_seed(seed)
    try:
        with torch.no_grad():
            for p in parameters:
                order = torch.randperm(p.numel(), generator=generator).to(p.device)
                p.copy_(p.flatten()[order].view_as(p))
        yield
    finally:
        with torch.no_grad():
            for p, old in zip(parameters, kept, strict=True):
                p.copy_(old)


def sanity_check(model: nn.Module, attribute: Callable[[], Tensor], seed: int = 0) -> pd.DataFrame:
    """Cascading randomisation: how alike are the maps while more and more of the model is shuffled, from the
    head down?

    attribute: computes the maps of fixed images, (B, H, W), with the model as it is at that time.

    Returns:
        One row a stage: `stage` (that and all above it are shuffled) and `correlation`, the mean over images
            of Spearman's ρ between the
        absolute maps of the intact and the shuffled model. A map that explains the model ends near 0; an edge
        detector stays near 1.
    """
    intact = attribute()
    rows = []
    with ExitStack() as stack:
        for number, (stage, parameters) in enumerate(weight_stages(model).items()):
            stack.enter_context(shuffled(parameters, seed + number))
            rows.append(
                {
                    "stage": stage,
                    "correlation": float(rank_correlation(intact.abs(), attribute().abs()).mean()),
                }
            )
    return pd.DataFrame(rows)


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's ρ image by image: two maps (B, ...) → (B,), float64; 0 where a map is constant, since it
    ranks nothing.

    Raises:
        AdapterError: maps of different shapes.
    """
    if first.shape != second.shape:
        raise AdapterError(
            f"maps {tuple(first.shape)} and {tuple(second.shape)} cannot be compared; bring them to the same"
            " size"
        )
    a, b = (rankdata(m.detach().flatten(1).double().cpu().numpy(), axis=1) for m in (first, second))
    a, b = (r - r.mean(1, keepdims=True) for r in (a, b))
    norm = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return torch.from_numpy(np.divide((a * b).sum(1), norm, out=np.zeros_like(norm), where=norm > 0))


@dataclass(frozen=True)
class PerturbationCurves:
    """fractions: (S + 1,), of the pixels changed so far, 0 to 1. deletion, insertion: (B, S + 1), the
    target's probability."""

    fractions: Tensor
    deletion: Tensor
    insertion: Tensor

    @property
    def deletion_area(self) -> Tensor:
        """Area under the deletion curve, (B,), in [0, 1]; smaller is better."""
        return torch.trapezoid(self.deletion, self.fractions)

    @property
    def insertion_area(self) -> Tensor:
        """Area under the insertion curve, (B,), in [0, 1]; larger is better."""
        return torch.trapezoid(self.insertion, self.fractions)


@torch.no_grad()
def perturbation_curves(
    forward: Forward,
    images: Tensor,
    target: int | Tensor,
    maps: Tensor,
    *,
    baseline: float | Tensor = 0.0,
    steps: int = 16,
    internal_batch_size: int = 64,
    seed: int = 0,
) -> PerturbationCurves:
    """Deletion and insertion curves of `maps` (B, H, W), highest values first; equal values come in random
    order.

    Compare with the curves of `torch.rand_like(maps)`: only what beats them says something. Other arguments
    as `integrated_gradients`.

    Raises:
        AdapterError: as there; maps of another size than the images (see `attention.on_image`), or with
            values that are not finite.
    """
    at_least_one(steps=steps, internal_batch_size=internal_batch_size)
    targets, grounds = prepare(forward, images, target, baseline)
    if maps.shape != (len(images), *images.shape[-2:]):
        raise AdapterError(
            f"maps {tuple(maps.shape)} for images {tuple(images.shape)}: give one value a pixel, (B, H, W)"
        )
    if not maps.isfinite().all():
        raise AdapterError(
            "a map has values that are not finite, which cannot be ranked; check the attribution"
        )
    rank = _ranks(maps.flatten(1), seed).view_as(maps)[:, None]  # (B, 1, H, W), 0 is the highest
    fractions = torch.arange(steps + 1) / steps
    # Nothing changed and everything changed: the same two ends for both curves.
    whole, erased = (_probability(forward, all_, targets, internal_batch_size) for all_ in (images, grounds))
    curves = []
    # What the highest pixels become, and what the rest is.
    for chosen, other, ends in ((grounds, images, (whole, erased)), (images, grounds, (erased, whole))):
        points = []
        for fraction in fractions[1:-1].tolist():
            mixed = torch.where(rank < round(fraction * maps[0].numel()), chosen, other)
            points.append(_probability(forward, mixed, targets, internal_batch_size))
        curves.append(torch.stack([ends[0], *points, ends[1]], 1))
    return PerturbationCurves(fractions, *curves)


def _ranks(flat: Tensor, seed: int) -> Tensor:
    """(B, pixels) → the place of every pixel in descending order."""
    shuffle = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed)).to(flat.device)
    order = shuffle[flat[:, shuffle].argsort(dim=1, descending=True, stable=True)]
    return torch.empty_like(order).scatter_(
        1, order, torch.arange(flat.shape[1], device=flat.device).expand_as(order)
    )


def _probability(forward: Forward, images: Tensor, targets: Tensor, batch: int) -> Tensor:
    with asking(forward):
        logits = torch.cat([forward(some) for some in images.split(batch)])
    return logits.float().softmax(-1).gather(1, targets[:, None])[:, 0].cpu()
