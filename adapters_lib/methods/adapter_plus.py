"""Adapter+: a bottleneck behind the whole block, with one learnable scale a channel.

    x ← x + s ⊙ drop_path(W_up GELU(W_down x + b) + b'),   s ∈ R^D, ones at the start

Steitz, Roth, "Adapters Strike Back", CVPR 2024, arXiv:2406.06820. No norm of its own; Houlsby's
initialisation (std 0.01), so the model starts near the frozen one, not exactly at it; the whole adapter is
dropped for a sample with probability 0.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from ..vit.layout import Layout
from ..vit.method import Method
from .bottleneck import Bottleneck, check_bottleneck
from .registry import register
from .sequential import near_zero_

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["AdapterPlus", "ChannelScaledAdapter"]


class ChannelScaledAdapter(Bottleneck):
    """x + s ⊙ drop_path(A(x)): (B, N, D) → (B, N, D). Parameters: 2·D·r + r + 2·D."""

    def __init__(self, width: int, bottleneck: int, drop_path: float) -> None:
        super().__init__(width, bottleneck, nn.GELU())
        self.scale = nn.Parameter(torch.ones(width))
        self.drop_path = DropPath(drop_path)
        near_zero_(self)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return x + self.drop_path(super().forward(x, layout)) * self.scale


@register
@dataclass(frozen=True, kw_only=True)
class AdapterPlus(Method):
    """A `ChannelScaledAdapter` after every block.

    Args:
        bottleneck: r; 8 in the authors' configuration, 1 to 32 in the paper's tables.
        drop_path: probability of leaving it out.
    """

    name: ClassVar[str] = "adapter+"
    color: ClassVar[str] = "#AA4499"
    marker: ClassVar[str] = "p"
    source: ClassVar[str] = "Steitz & Roth 2024, arXiv:2406.06820"

    bottleneck: int = 8
    drop_path: float = 0.1

    def check(self) -> None:
        self.at_least("bottleneck", 1)
        self.fraction("drop_path")

    def attach(self, model: AdaptedViT) -> None:
        check_bottleneck(self.name, self.bottleneck, model.width)
        for sites in model.sites:
            sites.add("after", ChannelScaledAdapter(model.width, self.bottleneck, self.drop_path))
