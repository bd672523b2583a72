"""ADPT: a bottleneck adapter beside attention and beside the MLP.

The parallel adapter that ILA++ contains and that the ILA paper compares with (Rios et al. 2024,
arXiv:2409.11051):

    x + drop(Attn(LN x)) + drop(A(LN x)),   x + drop(MLP(LN x)) + drop(A(LN x))
    A(h) = W_up GELU(W_down h + b) + b'

Both dropouts are 0.1 in the authors' code, that of the frozen sub-layers included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from ..vit.method import Method
from .bottleneck import STARTS, Bottleneck, check_bottleneck, start_at_zero_
from .registry import register
from .sublayers import drop_sublayers

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["ADPT", "ParallelAdapter"]


class ParallelAdapter(Bottleneck):
    """A bottleneck with GELU, both matrices Xavier-uniform, zero biases; with start="zero" W_up is 0."""

    def __init__(self, width: int, bottleneck: int, dropout: float = 0.0, start: str = "published") -> None:
        super().__init__(width, bottleneck, nn.GELU(), dropout)
        for linear in (self.down, self.up):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        if start == "zero":
            start_at_zero_(self.up)


@register
@dataclass(frozen=True, kw_only=True)
class ADPT(Method):
    """A `ParallelAdapter` beside attention and beside the MLP of every block.

    Args:
        bottleneck: r, 8 in the paper.
        dropout: on the adapter's output, 0.1 in the authors' code.
        sublayer_dropout: on the output of the frozen attention and MLP in training, 0.1 in the authors' code.
        start: `published` (Xavier, so the adapted model differs from the host from the start), or `zero`.
        class_token: whether the class token trains too, as in the authors' code (then nothing of the network
            can be computed once and kept, see `AdaptedViT.first_trainable_stage`).
    """

    name: ClassVar[str] = "adpt"
    color: ClassVar[str] = "#D55E00"
    marker: ClassVar[str] = ">"
    source: ClassVar[str] = "Rios et al. 2024, arXiv:2409.11051"
    looks_inside: ClassVar[bool] = True
    former_defaults: ClassVar[Mapping[str, Any]] = {"sublayer_dropout": 0.0}

    bottleneck: int = 8
    dropout: float = 0.1
    sublayer_dropout: float = 0.1
    start: str = "published"
    class_token: bool = True

    def check(self) -> None:
        self.at_least("bottleneck", 1)
        self.fraction("dropout")
        self.fraction("sublayer_dropout")
        self.one_of("start", STARTS)

    def attach(self, model: AdaptedViT) -> None:
        check_bottleneck(self.name, self.bottleneck, model.width)
        drop_sublayers(self.name, model, self.sublayer_dropout)
        for sites in model.sites:
            for site in ("beside_attention", "beside_mlp"):
                sites.add(site, ParallelAdapter(model.width, self.bottleneck, self.dropout, self.start))
        if self.class_token:
            model.unfreeze_class_token()
