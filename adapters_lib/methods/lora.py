"""LoRA: low-rank updates of linear layers (Hu et al. 2022, arXiv:2106.09685).

    W x  →  W x + (α / r) · B A x,   A: (r, in) Kaiming-uniform, B: (out, r) zero: it starts unchanged

timm fuses q, k and v into one linear layer; an update of q and v alone uses one A and one B for each of them,
an update of `qkv` one A and one B for all three.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import AdapterError, unknown
from ..vit.method import Method
from ..vit.sites import LinearAdapter, first_outputs
from .lora_shortcuts import add_in_place, folded_linear, may_fold, may_write_in_place
from .registry import register

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["LoRA", "LoRALinear"]

_QKV = ("q", "k", "v")
_TARGETS = (*_QKV, "qkv", "proj", "fc1", "fc2")


class LoRALinear(LinearAdapter):
    """A linear layer plus rank-r updates of some of its `slices` equal groups of outputs: (…, in) → (…, out).

    For the fused qkv layer there are 3 slices and `updated` names those with an update, e.g. (0, 2) for q and
    v. Parameters: len(updated) · r · (in + out / slices).
    """

    def __init__(
        self,
        base: Any,
        rank: int,
        alpha: float,
        slices: int = 1,
        updated: tuple[int, ...] = (0,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.base = base
        self.rank, self.slices, self.updated = rank, slices, updated
        self.scale = alpha / rank
        wide, narrow = base.out_features, base.in_features
        # From so many tokens on, making W + BA takes fewer products than two thin matrices for every token.
        self.tokens_to_fold = wide * narrow / (wide + narrow)
        self.lora_a = nn.Parameter(torch.empty(len(updated), rank, base.in_features))
        self.lora_b = nn.Parameter(torch.zeros(len(updated), base.out_features // slices, rank))
        self.dropout = nn.Dropout(dropout)
        self.bottleneck_dropout: nn.Module = nn.Identity()
        for a in self.lora_a:
            nn.init.kaiming_uniform_(a, a=math.sqrt(5))

    def spread_b(self) -> Tensor:
        """B of every update at its place in the full output: (out, len(updated)·r), zero elsewhere."""
        if self.slices == 1:
            return self.lora_b[0]
        rows = []
        zeros = self.lora_b.new_zeros(self.lora_b.shape[1], self.rank * len(self.updated))
        for index in range(self.slices):
            if index in self.updated:
                at = self.updated.index(index)
                right = self.rank * (len(self.updated) - at - 1)
                rows.append(F.pad(self.lora_b[at], (self.rank * at, right)))
            else:
                rows.append(zeros)
        return torch.cat(rows)

    def delta_weight(self) -> Tensor:
        """(α / r) · B A as a weight of the base layer's shape (out, in)."""
        return self.scale * (self.spread_b() @ self.lora_a.flatten(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        """W x + c + (α / r) · B A x: the equation, unless a shortcut gives the same sooner
        (`lora_shortcuts`)."""
        if not (self.training and self.drops):
            if may_fold(self, x):
                return folded_linear(self, x)
            if may_write_in_place(self):
                return add_in_place(self, x)
        out, low = self.base(x), self._low(x)
        return torch.addmm(out.flatten(0, -2), low.flatten(0, -2) * self.scale, self.spread_b().t()).view_as(
            out
        )

    def first_outputs(self, x: Tensor, count: int) -> Tensor:
        out, size = first_outputs(self.base, x, count), self.lora_b.shape[1]
        low = self._low(x).chunk(len(self.updated), -1)
        for slot, z, b in zip(self.updated, low, self.lora_b.unbind(), strict=True):
            if slot * size < count:
                delta = F.linear(z, b[: count - slot * size]) * self.scale
                out = out + F.pad(delta, (slot * size, count - slot * size - delta.shape[-1]))
        return out

    def _low(self, x: Tensor) -> Tensor:
        """A x of every update, one after another: (…, in) → (…, len(updated)·r)."""
        return self.bottleneck_dropout(F.linear(self.dropout(x), self.lora_a.flatten(0, 1)))  # type: ignore[no-any-return]

    @property
    def drops(self) -> bool:
        """Whether a dropout acts in training."""
        return self.dropout.p > 0 or not isinstance(self.bottleneck_dropout, nn.Identity)

    @torch.no_grad()
    def folded(self, base: nn.Module) -> nn.Module:
        layer: Any = copy.deepcopy(base)
        wide = torch.promote_types(layer.weight.dtype, torch.float32)
        delta = self.spread_b().to(wide) @ self.lora_a.flatten(0, 1).to(wide)
        layer.weight.copy_(layer.weight.to(wide) + self.scale * delta)
        return layer  # type: ignore[no-any-return]


@register
@dataclass(frozen=True, kw_only=True)
class LoRA(Method):
    """Low-rank updates of the attention's q and v (default), or of any of q, k, v, qkv, proj, fc1, fc2 in
    every block.

    Args:
        rank: r.
        alpha: the scale is alpha / rank.
        targets: the layers.
        dropout: on the input of A.
    """

    name: ClassVar[str] = "lora"
    color: ClassVar[str] = "#E69F00"
    marker: ClassVar[str] = "o"
    source: ClassVar[str] = "Hu et al. 2022, arXiv:2106.09685"
    reparameterizes: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    rank: int = 8
    alpha: float = 8.0
    targets: tuple[str, ...] = ("q", "v")
    dropout: float = 0.0

    def check(self) -> None:
        self.at_least("rank", 1)
        self.fraction("dropout")
        if not self.targets:
            raise AdapterError("lora: targets is empty; name at least one of " + ", ".join(_TARGETS))
        for target in self.targets:
            if target not in _TARGETS:
                raise unknown("lora target", target, _TARGETS)
        if len(set(self.targets)) < len(self.targets) or (
            "qkv" in self.targets and set(_QKV) & set(self.targets)
        ):
            raise AdapterError(
                f"lora: targets={self.targets} names a layer twice; give either qkv or some of q, k, v, each"
                " once"
            )

    def conflicts(self, other: Method) -> str | None:
        if not isinstance(other, LoRA):
            return super().conflicts(other)
        shared = sorted(self.updated_layers() & other.updated_layers())
        return (
            f"both update {', '.join(shared)}; one update of a higher rank says the same, use that"
            if shared
            else None
        )

    def updated_layers(self) -> set[str]:
        """Names of the linear layers that get an update; `qkv` stands for its three thirds."""
        return {name for target in self.targets for name in (_QKV if target == "qkv" else (target,))}

    def attach(self, model: AdaptedViT) -> None:
        if self.rank > model.width:  # every layer has a side of this width, so no update has a higher rank
            raise AdapterError(
                f"lora: rank={self.rank} for tokens of width {model.width}; a rank is at most the width"
            )
        inner = tuple(_QKV.index(t) for t in _QKV if t in self.targets)
        for block in model.backbone.blocks:
            if inner:
                self._wrap(block.attn, "qkv", slices=3, updated=inner)
            for owner, target in (
                (block.attn, "qkv"),
                (block.attn, "proj"),
                (block.mlp, "fc1"),
                (block.mlp, "fc2"),
            ):
                if target in self.targets:
                    self._wrap(owner, target)

    def _wrap(self, owner: Any, name: str, **where: Any) -> None:
        base = getattr(owner, name, None)
        if base is None:
            raise AdapterError(
                f"lora: this backbone's {type(owner).__name__} has no layer {name!r}; choose other targets"
            )
        setattr(owner, name, LoRALinear(base, self.rank, self.alpha, dropout=self.dropout, **where))
