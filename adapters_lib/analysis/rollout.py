"""Attention rollout: whose information reaches a token through several blocks.

    Â_l = normalise_rows(mean over heads of A_l + I),     R = Â_L ⋯ Â_2 Â_1

Abnar and Zuidema 2020, arXiv:2005.00928. The product exists only while the tokens stay the same; a model that
shrinks its grid has one rollout for every group of blocks with a constant layout, as in the ILA paper
(arXiv:2409.11051).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import AdapterError
from ..vit.layout import Layout
from ..vit.modes import evaluating
from .attention import capture_attention, query_rows, walker

__all__ = ["GroupRollout", "constant_groups", "rollout", "rollout_groups"]


@dataclass(frozen=True)
class GroupRollout:
    """Rollout of consecutive blocks that see the same tokens.

    blocks: their numbers. layout: of their tokens. matrix: (B, N, N). patches: (B, rows, columns), the row of
    what the head reads.
    """

    blocks: tuple[int, ...]
    layout: Layout
    matrix: Tensor
    patches: Tensor


def rollout(
    maps: Sequence[Tensor], fresh: Sequence[bool] | None = None, layout: Layout | None = None
) -> Tensor:
    """Maps of consecutive blocks, (B, heads, N, N) each or (B, N, N) averaged already → R, (B, N, N); its
    rows sum to 1.

    fresh: for every block, whether its prompts (which `layout` locates) were new there, so that they carry
    nothing from before.

    Raises:
        AdapterError: no map, or maps of different token counts.
    """
    if not maps:
        raise AdapterError("rollout of no block at all; give the maps of at least one")
    averaged = [m.double().mean(1) if m.ndim == 4 else m.double() for m in maps]
    if len({m.shape for m in averaged}) > 1:
        counts = [m.shape[-1] for m in averaged]
        raise AdapterError(
            f"rollout over changing token counts {counts}: there is no product of such maps; roll out each"
            " group by itself"
        )
    eye = torch.eye(averaged[0].shape[-1], dtype=torch.float64, device=averaged[0].device)
    rolled = eye.expand_as(averaged[0])
    for index, attention in enumerate(averaged):
        if layout is not None and fresh is not None and fresh[index]:
            rolled = rolled.clone()
            rolled[:, layout.prefix : layout.lead] = eye[layout.prefix : layout.lead]
        with_skip = attention + eye
        rolled = (with_skip / with_skip.sum(-1, keepdim=True)) @ rolled
    return rolled


def constant_groups(layouts: Sequence[Layout]) -> list[tuple[int, ...]]:
    """Runs of equal neighbours, as block numbers from 1: e.g. [(1, 2, 3, 4), (5, …, 8), (9, …, 12)] for
    ILA."""
    groups: list[tuple[int, ...]] = []
    for number, layout in enumerate(layouts, 1):
        if groups and layouts[groups[-1][-1] - 1] == layout:
            groups[-1] = (*groups[-1], number)
        else:
            groups.append((number,))
    return groups


@torch.no_grad()
def rollout_groups(model: nn.Module, images: Tensor) -> list[GroupRollout]:
    """Run images (B, C, H, W) through a timm ViT or an adapted model in evaluation mode; one rollout a
    constant-token group.

    Prompts that a method puts anew before every block (VPT-deep) start anew in the product as well. Modules
    between the blocks, such as a non-down-sampling ILA, mix neighbours too; rollout knows of attention only.

    Raises:
        AdapterError: no image, or images of another size than the model was built for.

    Examples:
        >>> model = al.adapt(al.create_backbone(), "ila", num_classes=20)
        >>> groups = al.rollout_groups(model, torch.zeros(1, 3, 96, 96))
        >>> [tuple(group.patches.shape) for group in groups]
        [(1, 12, 12), (1, 10, 10), (1, 8, 8)]
    """
    if len(images) == 0:
        raise AdapterError("rollout of no image; give at least one")
    walk = walker(model)
    layouts = walk.block_layouts()
    fresh = [len(sites.modules_at("enter")) > 0 for sites in walk.sites]
    with evaluating(model), capture_attention(model, reduce=lambda maps: maps.mean(1)) as seen:
        model(images)
    groups = []
    for blocks in constant_groups(layouts):
        layout = layouts[blocks[0] - 1]
        matrix = rollout([seen[b] for b in blocks], [fresh[b - 1] for b in blocks], layout)
        groups.append(GroupRollout(blocks, layout, matrix, query_rows(matrix, model, layout)))
    return groups
