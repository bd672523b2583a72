"""AdaptFormer: a scaled bottleneck beside the MLP.

    x + MLP(LN x) + s · (W_up drop(ReLU(W_down x + b)) + b')

Chen, Ge, Tong et al., "AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition", NeurIPS
2022, arXiv:2205.13535. The adapter reads the stream in front of the norm; s = 0.1 is fixed; W_up and both
biases are zero at the start (the model starts unchanged), W_down is Kaiming-uniform with a = √5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from ..vit.layout import Layout
from ..vit.method import Method
from .bottleneck import Bottleneck, check_bottleneck
from .registry import register

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["AdaptFormer", "ScaledAdapter"]


class ScaledAdapter(Bottleneck):
    """s · (W_up drop(ReLU(W_down x + b)) + b'): (B, N, D) → (B, N, D), the delta only."""

    def __init__(self, width: int, bottleneck: int, scale: float, dropout: float) -> None:
        super().__init__(width, bottleneck, nn.ReLU(), inside=dropout)
        self.scale = scale
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for tensor in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(tensor)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return super().forward(x, layout) * self.scale


@register
@dataclass(frozen=True, kw_only=True)
class AdaptFormer(Method):
    """A `ScaledAdapter` beside the MLP of every block.

    Args:
        bottleneck: r.
        scale: s.
        dropout: inside the bottleneck.
    """

    name: ClassVar[str] = "adaptformer"
    color: ClassVar[str] = "#009E73"
    marker: ClassVar[str] = "h"
    source: ClassVar[str] = "Chen et al. 2022, arXiv:2205.13535"
    looks_inside: ClassVar[bool] = True

    bottleneck: int = 64
    scale: float = 0.1
    dropout: float = 0.1

    def check(self) -> None:
        self.at_least("bottleneck", 1)
        self.fraction("dropout")

    def attach(self, model: AdaptedViT) -> None:
        check_bottleneck(self.name, self.bottleneck, model.width)
        for sites in model.sites:
            sites.add("around_mlp", ScaledAdapter(model.width, self.bottleneck, self.scale, self.dropout))
