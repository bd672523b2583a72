"""SSF: scale and shift the output of every layer.

    y ← γ ⊙ y + β,   γ ~ N(1, 0.02²), β ~ N(0, 0.02²) at the start

Lian, Zhou, Feng, Wang, "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning", NeurIPS
2022, arXiv:2210.08823. One pair behind every linear layer, every norm and the patch embedding; 205,824
parameters on ViT-B/16. It folds into the layers: W' = γ W, b' = γ b + β.

One pair may not fold. Where the backbone's last norm stands behind the pooling (timm's `fc_norm`, on
average-pooled models), the authors scale the tokens in front of the pooling. No layer could take that in:
before it lies the residual stream, behind it a norm, which is not linear. With `before_pooling=False` the
output of that norm is scaled instead, which folds.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import AdapterError
from ..vit.method import Method
from ..vit.sites import LinearAdapter, first_outputs
from .registry import register

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["SSF", "ScaleShift"]


class ScaleShift(LinearAdapter):
    """γ ⊙ base(x) + β over the last dimension: (…, in) → (…, features). Parameters: 2 · features.

    base: a linear layer, a norm, or nn.Identity behind a patch projection that has no norm.
    """

    def __init__(self, base: nn.Module, features: int, std: float = 0.02) -> None:
        super().__init__()
        self.base = base
        self.scale = nn.Parameter(torch.empty(features).normal_(1, std))
        self.shift = nn.Parameter(torch.empty(features).normal_(0, std))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, self.base(x), self.scale)

    def first_outputs(self, x: Tensor, count: int) -> Tensor:
        return torch.addcmul(self.shift[:count], first_outputs(self.base, x, count), self.scale[:count])

    @torch.no_grad()
    def folded(self, base: nn.Module) -> nn.Module:
        layer: Any = copy.deepcopy(base)
        if getattr(layer, "weight", None) is None or getattr(layer, "bias", None) is None:
            if isinstance(base, nn.Identity):
                raise AdapterError(
                    "ssf: no layer stands in front of the pooling that could take in the scale and the shift "
                    "of the tokens there; use the model unmerged, or train ssf:before_pooling=false"
                )
            raise AdapterError(
                f"ssf: a {type(base).__name__} without weight and bias cannot take in a scale and a shift;"
                " use the model unmerged"
            )
        wide = torch.promote_types(layer.weight.dtype, torch.float32)
        scale, shift = self.scale.to(wide), self.shift.to(wide)
        # Outputs come first in every weight: (features, 1, …).
        column = scale.view(-1, *[1] * (layer.weight.dim() - 1))
        layer.weight.copy_(layer.weight.to(wide) * column)
        layer.bias.copy_(layer.bias.to(wide) * scale + shift)
        return layer  # type: ignore[no-any-return]


@register
@dataclass(frozen=True, kw_only=True)
class SSF(Method):
    """A `ScaleShift` behind every linear layer and norm of the backbone and behind the patch embedding.

    Args:
        std: of the start.
        before_pooling: on a backbone whose last norm stands behind the pooling, scale the tokens in front of
            the pooling, as the authors do; such a model does not merge. False: scale what the norm gives. Of
            no effect on other backbones.
    """

    name: ClassVar[str] = "ssf"
    color: ClassVar[str] = "#661100"
    marker: ClassVar[str] = "^"
    source: ClassVar[str] = "Lian et al. 2022, arXiv:2210.08823"
    reparameterizes: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    former_defaults: ClassVar[Mapping[str, Any]] = {"before_pooling": False}

    std: float = 0.02
    before_pooling: bool = True

    def check(self) -> None:
        self.at_least("std", 0)

    def attach(self, model: AdaptedViT) -> None:
        for owner, name, layer, features in list(_layers(model, self.before_pooling)):
            setattr(owner, name, ScaleShift(layer, features, self.std))


def _layers(model: AdaptedViT, before_pooling: bool) -> Iterator[tuple[nn.Module, str, nn.Module, int]]:
    """(owner, attribute, layer, its outputs) of all that is scaled; of nested adapters the outermost."""
    vit = model.backbone
    outside = {id(part) for head in model.head_modules() for part in head.modules()}
    stacks = (m for m in vit.modules() if isinstance(m, LinearAdapter))
    outside |= {id(part) for m in stacks for part in m.modules() if part is not m}
    if before_pooling and isinstance(vit.norm, nn.Identity) and isinstance(vit.fc_norm, nn.LayerNorm):
        outside.add(id(vit.fc_norm))
        yield vit, "norm", vit.norm, model.width
    for owner in vit.modules():
        for name, layer in owner.named_children():
            if id(layer) in outside:
                continue
            if isinstance(layer, nn.Linear | LinearAdapter):
                yield owner, name, layer, int(layer.out_features)
            elif isinstance(layer, nn.LayerNorm) or (owner is vit.patch_embed and name == "norm"):
                yield owner, name, layer, int(getattr(layer, "normalized_shape", (model.width,))[-1])
