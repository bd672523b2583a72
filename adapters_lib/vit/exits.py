"""The walk past the exits: from the stream behind one block to the logits of every exit after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .layout import Layout

if TYPE_CHECKING:
    from .model import AdaptedViT

__all__ = ["exit_blocks", "exit_logits", "run_exits", "with_all_exits"]


def exit_blocks(model: AdaptedViT) -> tuple[int, ...]:
    """The blocks (from 1) behind which logits can be read; the last is the depth."""
    return (*(int(block) for block in model.exits), model.depth)


def exit_logits(model: AdaptedViT, block: int, x: Tensor, layout: Layout) -> Tensor:
    """Logits (B, classes) of the exit behind `block` (from 1), read from the stream x there, (B, N, D)."""
    if block < model.depth:
        return model.exits[str(block)](x, layout)  # type: ignore[no-any-return]
    x, _ = model.normalise(x, layout)
    return model.backbone.forward_head(x)


def run_exits(model: AdaptedViT, x: Tensor, layout: Layout, start: int = 0) -> list[Tensor]:
    """Run the blocks after block `start` and read every exit on the way, one behind `start` itself included.

    x: (B, N, D), the stream behind block `start`; 0 is the embedding. Returns logits (B, classes), in the
    order of depth.
    """
    logits = []
    for block in exit_blocks(model):
        if block >= start:
            for index in range(start, block):
                x, layout = model.run_block(index, x, layout)
            start = block
            logits.append(exit_logits(model, block, x, layout))
    return logits


def with_all_exits(model: AdaptedViT, logits: Tensor) -> Tensor:
    """`logits` as they are; in a process group their backward pass also gives the early heads gradients:
    zeros.

    DistributedDataParallel waits for a gradient of every trainable parameter, and a loss on the full depth's
    logits reaches no early head. In a single process these parameters keep no gradient at all, so that no
    optimiser touches them.
    """
    grouped = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not (grouped and torch.is_grad_enabled()):
        return logits
    return logits + 0 * sum(p.sum() for p in model.exits.parameters() if p.requires_grad)
