"""ADPT: a bottleneck adapter beside attention and beside the MLP.

The parallel adapter that ILA++ contains and that the ILA paper compares with (Rios et al. 2024, arXiv:2409.11051):

    x + drop(Attn(LN x)) + A(LN x),   x + drop(MLP(LN x)) + A(LN x),   A(h) = W_up GELU(W_down h + b) + b'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from .base import Method, register
from .bottleneck import Bottleneck, check_bottleneck

if TYPE_CHECKING:
    from ..engine import AdaptedViT

__all__ = ["ADPT", "ParallelAdapter"]


class ParallelAdapter(Bottleneck):
    """A bottleneck with GELU, both matrices Xavier-uniform, zero biases; not zero at the start."""

    def __init__(self, width: int, bottleneck: int, dropout: float = 0.0) -> None:
        super().__init__(width, bottleneck, nn.GELU(), dropout)
        for linear in (self.down, self.up):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)


@register
@dataclass(frozen=True, kw_only=True)
class ADPT(Method):
    """A `ParallelAdapter` beside attention and beside the MLP of every block.

    bottleneck: r, 8 in the paper. dropout: on the adapter's output. class_token: whether the class token trains too, as in the
    authors' code (then nothing of the network can be computed once and kept, see `AdaptedViT.cut`).
    """

    name: ClassVar[str] = "adpt"
    source: ClassVar[str] = "Rios et al. 2024, arXiv:2409.11051"
    looks_inside: ClassVar[bool] = True

    bottleneck: int = 8
    dropout: float = 0.0
    class_token: bool = True

    def check(self) -> None:
        self.at_least("bottleneck", 1)
        self.fraction("dropout")

    def plug(self, model: AdaptedViT) -> None:
        check_bottleneck(self.name, self.bottleneck, model.width)
        for sites in model.sites:
            sites.add("beside_attention", ParallelAdapter(model.width, self.bottleneck, self.dropout))
            sites.add("beside_mlp", ParallelAdapter(model.width, self.bottleneck, self.dropout))
        if self.class_token:
            model.unfreeze_class_token()
