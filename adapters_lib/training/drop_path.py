"""Stochastic depth for the length of a training: sub-layers of the blocks are left out, image by image.

    x ← x + b/(1 − p_i) · f(LN x),   P(b = 0) = p_i = p · i/(L − 1),   i = 0 … L − 1,   f = Attn, MLP

Huang, Sun, Liu, Sedra, Weinberger, "Deep Networks with Stochastic Depth", ECCV 2016, arXiv:1603.09382, with
rates that grow linearly with depth, as timm's `drop_path_rate` makes them. The code of Adapter+, RepAdapter
and ConvPass creates its frozen backbone with p = 0.1; here p belongs to the recipe, and the backbone is
afterwards what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.layers import DropPath
from torch import nn

from ..errors import AdapterError

__all__ = ["drop_path_places", "stochastic_depth"]

PLACES = ("drop_path1", "drop_path2", "drop_path")


def drop_path_places(block: nn.Module) -> list[str]:
    """The names under which a timm block keeps its drop paths: the plain one behind attention and behind MLP.

    Raises:
        AdapterError: a block of another kind.
    """
    places = [name for name in PLACES if isinstance(getattr(block, name, None), nn.Module)]
    if not places:
        raise AdapterError(
            f"Recipe: drop_path needs timm's blocks with a drop_path, but this backbone has "
            f"{type(block).__name__}; set drop_path=0, or take a plain ViT"
        )
    return places


@contextmanager
def stochastic_depth(model: Any, rate: float) -> Iterator[None]:
    """Within the with-block the model's last block trains with that rate, those before with less.

    A rate of 0 changes nothing. Drop paths with which the backbone was created are replaced meanwhile.
    Evaluation drops nothing.

    Raises:
        AdapterError: the blocks have no drop paths.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    blocks = model.backbone.blocks if rate else ()
    for block, share in zip(blocks, torch.linspace(0, rate, len(blocks)).tolist(), strict=True):
        for name in drop_path_places(block):
            replaced.append((block, name, getattr(block, name)))
            setattr(block, name, DropPath(share).train(block.training) if share else nn.Identity())
    try:
        yield
    finally:
        for block, name, module in replaced:
            setattr(block, name, module.train(block.training))
