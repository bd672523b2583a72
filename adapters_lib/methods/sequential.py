"""Sequential bottleneck adapters: Houlsby's after attention and MLP, Pfeiffer's after the MLP only.

    x + y + A(y),   y = Attn(LN x) or MLP(LN x),   A(y) = W_up act(W_down y + b) + b'

Houlsby, Giurgiu, Jastrzebski et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019,
arXiv:1902.00751: the adapter reads the sub-layer's output before the residual addition; weights from a normal
of std 0.01 cut off at two standard deviations, so that it starts near the identity. Pfeiffer, Kamath, Rücklé
et al., "AdapterFusion", EACL 2021, arXiv:2005.00247: one adapter a block is enough; ReLU and D / 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from ..vit.layout import Layout
from ..vit.method import Method
from .bottleneck import Bottleneck, check_bottleneck
from .registry import register

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["Houlsby", "Pfeiffer", "SequentialAdapter", "near_zero_"]


class SequentialAdapter(Bottleneck):
    """A bottleneck with its own residual: y + A(y), (B, N, D) → (B, N, D)."""

    def forward(self, y: Tensor, layout: Layout) -> Tensor:
        return y + super().forward(y, layout)


def near_zero_(adapter: Bottleneck, std: float = 0.01) -> Bottleneck:
    """Houlsby's initialisation: truncated normal at ± 2 std, zero biases."""
    for linear in (adapter.down, adapter.up):
        nn.init.trunc_normal_(linear.weight, std=std, a=-2 * std, b=2 * std)
        nn.init.zeros_(linear.bias)
    return adapter


@register
@dataclass(frozen=True, kw_only=True)
class Houlsby(Method):
    """Two sequential adapters with GELU in every block.

    Args:
        bottleneck: r.
        dropout: on the adapter's output.
    """

    name: ClassVar[str] = "houlsby"
    color: ClassVar[str] = "#8C6D31"
    marker: ClassVar[str] = "*"
    source: ClassVar[str] = "Houlsby et al. 2019, arXiv:1902.00751"
    looks_inside: ClassVar[bool] = True

    bottleneck: int = 64
    dropout: float = 0.0

    def check(self) -> None:
        self.at_least("bottleneck", 1)
        self.fraction("dropout")

    def attach(self, model: AdaptedViT) -> None:
        check_bottleneck(self.name, self.bottleneck, model.width)
        for sites in model.sites:
            for site in ("after_attention", "after_mlp"):
                sites.add(
                    site, near_zero_(SequentialAdapter(model.width, self.bottleneck, nn.GELU(), self.dropout))
                )


@register
@dataclass(frozen=True, kw_only=True)
class Pfeiffer(Method):
    """One sequential adapter with ReLU after the MLP of every block; weights N(0, 0.02²), as BERT's.

    Args:
        bottleneck: r; None is D / 16, the paper's.
        dropout: on the adapter's output.
    """

    name: ClassVar[str] = "pfeiffer"
    color: ClassVar[str] = "#CC6677"
    marker: ClassVar[str] = "<"
    source: ClassVar[str] = "Pfeiffer et al. 2021, arXiv:2005.00247"
    looks_inside: ClassVar[bool] = True

    bottleneck: int | None = None
    dropout: float = 0.0

    def check(self) -> None:
        if self.bottleneck is not None:
            self.at_least("bottleneck", 1)
        self.fraction("dropout")

    def attach(self, model: AdaptedViT) -> None:
        bottleneck = self.bottleneck or max(1, model.width // 16)
        check_bottleneck(self.name, bottleneck, model.width)
        for sites in model.sites:
            adapter = SequentialAdapter(model.width, bottleneck, nn.ReLU(), self.dropout)
            for linear in (adapter.down, adapter.up):
                nn.init.normal_(linear.weight, std=0.02)
                nn.init.zeros_(linear.bias)
            sites.add("after_mlp", adapter)
