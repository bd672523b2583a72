"""SSF: scale and shift the output of every layer.

    y ← γ ⊙ y + β,   γ ~ N(1, 0.02²), β ~ N(0, 0.02²) at the start

Lian, Zhou, Feng, Wang, "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning", NeurIPS 2022,
arXiv:2210.08823. One pair behind every linear layer, every norm and the patch embedding; 205,824 parameters on ViT-B/16. All of it
folds into the layers: W' = γ W, b' = γ b + β.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import AdapterError
from ..sites import LinearAdapter, first_outputs
from .base import Method, register

if TYPE_CHECKING:
    from ..engine import AdaptedViT

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
            kind = type(base).__name__
            raise AdapterError(f"ssf: a {kind} without weight and bias cannot take in a scale and a shift; use the model unmerged")
        wide = torch.promote_types(layer.weight.dtype, torch.float32)
        scale, shift = self.scale.to(wide), self.shift.to(wide)
        column = scale.view(-1, *[1] * (layer.weight.dim() - 1))  # (features, 1, …): outputs come first in every weight
        layer.weight.copy_(layer.weight.to(wide) * column)
        layer.bias.copy_(layer.bias.to(wide) * scale + shift)
        return layer  # type: ignore[no-any-return]


@register
@dataclass(frozen=True, kw_only=True)
class SSF(Method):
    """A `ScaleShift` behind every linear layer and norm of the backbone and behind the patch embedding. std: of the start."""

    name: ClassVar[str] = "ssf"
    source: ClassVar[str] = "Lian et al. 2022, arXiv:2210.08823"
    mergeable: ClassVar[bool] = True

    std: float = 0.02

    def check(self) -> None:
        self.at_least("std", 0)

    def plug(self, model: AdaptedViT) -> None:
        for owner, name, layer, features in list(_layers(model)):
            setattr(owner, name, ScaleShift(layer, features, self.std))


def _layers(model: AdaptedViT) -> Iterator[tuple[nn.Module, str, nn.Module, int]]:
    """(owner, attribute, layer, its outputs) of all that is scaled; of adapters in a layer's place, the outermost."""
    vit = model.backbone
    outside = {id(part) for head in model.head_modules() for part in head.modules()}
    outside |= {id(part) for m in vit.modules() if isinstance(m, LinearAdapter) for part in m.modules() if part is not m}
    for owner in vit.modules():
        for name, layer in owner.named_children():
            if id(layer) in outside:
                continue
            if isinstance(layer, nn.Linear | LinearAdapter):
                yield owner, name, layer, int(layer.out_features)
            elif isinstance(layer, nn.LayerNorm) or (owner is vit.patch_embed and name == "norm"):
                yield owner, name, layer, int(getattr(layer, "normalized_shape", (model.width,))[-1])
