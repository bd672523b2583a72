"""Methods that add nothing: full fine-tuning, the linear probe, BitFit and layer-norm tuning.

BitFit: Ben Zaken, Goldberg, Ravfogel, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based
Masked Language-models", ACL 2022, arXiv:2106.10199: every bias trains. Layer-norm tuning: the gains and
biases of the norms train, after Frankle, Schwab, Morcos, "Training BatchNorm and Only BatchNorm", ICLR 2021,
arXiv:2003.00152, and Qi et al. 2022, arXiv:2211.08682.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from timm.layers import RmsNorm
from torch import nn

from ..vit.method import Method
from ..vit.sites import Adapter
from .registry import register

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["BitFit", "FullFineTuning", "LayerNormTuning", "LinearProbe"]

_NORMS = (nn.LayerNorm, nn.RMSNorm, RmsNorm)


@register
@dataclass(frozen=True, kw_only=True)
class FullFineTuning(Method):
    """Train every weight of the backbone and the head."""

    name: ClassVar[str] = "full"
    color: ClassVar[str] = "#882255"
    marker: ClassVar[str] = "o"
    source: ClassVar[str] = "standard practice"
    mergeable: ClassVar[bool] = True

    def conflicts(self, other: Method) -> str | None:
        if other.reparameterizes:
            return (
                f"full trains every weight already, and {other.name} only re-expresses some of them; leave"
                " one of them out"
            )
        return super().conflicts(other)

    def attach(self, model: AdaptedViT) -> None:
        model.backbone.requires_grad_(True)


@register
@dataclass(frozen=True, kw_only=True)
class LinearProbe(Method):
    """Train the head only, on frozen features."""

    name: ClassVar[str] = "linear"
    color: ClassVar[str] = "#7F7F7F"
    marker: ClassVar[str] = "s"
    source: ClassVar[str] = "standard practice"
    mergeable: ClassVar[bool] = True

    def conflicts(self, other: Method) -> str | None:
        alone = "linear means that the head alone trains; every method trains the head, so leave linear out"
        return super().conflicts(other) or alone

    def attach(self, model: AdaptedViT) -> None:
        """Nothing is added: the head is trainable already."""


@register
@dataclass(frozen=True, kw_only=True)
class BitFit(Method):
    """Train every bias of the backbone, those of norms and of the patch projection included, and the head.

    102,912 biases on ViT-B/16.
    """

    name: ClassVar[str] = "bitfit"
    color: ClassVar[str] = "#44AA99"
    marker: ClassVar[str] = "^"
    source: ClassVar[str] = "Ben Zaken et al. 2022, arXiv:2106.10199"
    reparameterizes: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    def attach(self, model: AdaptedViT) -> None:
        for layer in _own_layers(model.backbone):
            if isinstance(getattr(layer, "bias", None), nn.Parameter):
                layer.bias.requires_grad_(True)  # type: ignore[union-attr, operator]


@register
@dataclass(frozen=True, kw_only=True)
class LayerNormTuning(Method):
    """Train the weights and biases of all norms, and the head. 38,400 parameters on ViT-B/16."""

    name: ClassVar[str] = "layernorm"
    color: ClassVar[str] = "#999933"
    marker: ClassVar[str] = "D"
    source: ClassVar[str] = "Frankle et al. 2021, arXiv:2003.00152; Qi et al. 2022, arXiv:2211.08682"
    reparameterizes: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    def attach(self, model: AdaptedViT) -> None:
        for layer in _own_layers(model.backbone):
            if isinstance(layer, _NORMS):
                layer.requires_grad_(True)


def _own_layers(backbone: nn.Module) -> Iterator[nn.Module]:
    """The backbone's own modules; adapters that stand in a layer's place are looked through."""
    adapters = [m for m in backbone.modules() if isinstance(m, Adapter)]
    added = {id(part) for m in adapters for name, part in m.named_modules() if name.split(".")[0] != "base"}
    return (m for m in backbone.modules() if id(m) not in added)
