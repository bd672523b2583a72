"""Bidirectional sparsity: dropout in the adapters' bottlenecks, and masks on the adapters' gradients.

    forward   W_up drop_p(φ(W_down x)),   p falls in a straight line from the first block to 0 in the last
    backward  g ← m ⊙ g / (1 − s),   m ∈ {0, 1} at random, P(m = 0) = s, before the optimiser's moments

Zhang et al. 2024 (Dyn-Adapter), arXiv:2407.14302; the mask as in Child-Tuning-F, Xu et al. 2021,
arXiv:2109.05687. Both are rates of what is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..vit.sites import Adapter

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["drop_in_bottlenecks", "idle_sparsity", "mask_gradients"]


def drop_in_bottlenecks(model: AdaptedViT, most: float) -> None:
    """Put dropout into every `bottleneck_dropout`, at the rate `most` in the first block and 0 in the last.

    What stood there before, a host's own dropout, goes; dropout on an adapter's input or output stays.
    """
    last = max(model.depth - 1, 1)
    for index, adapter in list(_bottlenecks(model)):
        adapter.bottleneck_dropout = nn.Dropout(most * (1 - index / last))


def mask_gradients(parameters: list[nn.Parameter], sparsity: float, seed: int) -> None:
    """Set each element of a gradient to 0 with probability `sparsity`, else divide it by 1 − that; in place.

    The same seed gives the same masks on the same kind of device.
    """
    keep = 1 - sparsity
    generators: dict[torch.device, torch.Generator] = {}
    for parameter in parameters:
        if parameter.grad is None:
            continue
        device = parameter.grad.device
        if device not in generators:
            generators[device] = torch.Generator(device).manual_seed(seed)
        kept = torch.rand(parameter.grad.shape, generator=generators[device], device=device) < keep
        parameter.grad.mul_(kept).div_(keep)


def idle_sparsity(model: AdaptedViT) -> tuple[str, ...]:
    """Which of `forward_sparsity` and `backward_sparsity` have nothing to act on in this model.

    The first acts on bottlenecks in front of the last block, whose rate is 0; the second on adapter
    parameters.
    """
    dropped = any(index < model.depth - 1 for index, _ in _bottlenecks(model))
    acts = {"forward_sparsity": dropped, "backward_sparsity": bool(model.parameter_groups()["adapter"])}
    return tuple(option for option, able in acts.items() if not able)


def _bottlenecks(model: AdaptedViT) -> Iterator[tuple[int, Adapter]]:
    """Every adapter that has a bottleneck, with the number of its block, from 0."""
    for index, parts in enumerate(zip(model.backbone.blocks, model.sites, strict=True)):
        for module in (module for part in parts for module in part.modules()):
            if isinstance(module, Adapter) and module.bottleneck_dropout is not None:
                yield index, module
