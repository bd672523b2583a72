"""RepAdapter: a linear bottleneck in front of attention and MLP that folds away.

    x̃ = x + s · (W_up drop(W_down x + a) + b),   then qkv(x̃) or fc1(x̃)

Luo, Huang, Zhou et al., "Towards Efficient Visual Adaption via Structural Re-parameterization", 2023,
arXiv:2302.08106. It reads the normalised tokens; no non-linearity; the up-projection has `groups` groups:
group g of the bottleneck makes group g of the channels. W_down is Xavier-uniform, W_up and the biases are
zero at the start, so the model is unchanged. Folded into the layer W, c behind it:

    W' = W (I + s · W_up W_down),   c' = c + s · W (W_up a + b)
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import AdapterError
from ..vit.method import Method
from ..vit.sites import LinearAdapter, first_outputs
from .bottleneck import check_bottleneck
from .registry import register

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["RepAdapter", "RepAdapterLinear"]


class RepAdapterLinear(LinearAdapter):
    """base(x + s · B(A x)): (…, D) → (…, out). Parameters: D·r + r + D·r / groups + D."""

    def __init__(
        self, base: nn.Module, width: int, bottleneck: int, groups: int, scale: float, dropout: float
    ) -> None:
        super().__init__()
        self.base = base
        self.groups, self.scale = groups, scale
        self.down = nn.Linear(width, bottleneck)
        self.up_weight = nn.Parameter(torch.zeros(width, bottleneck // groups))
        self.up_bias = nn.Parameter(torch.zeros(width))
        self.bottleneck_dropout: nn.Module = nn.Dropout(dropout) if dropout else nn.Identity()
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(self.adapted_input(x))  # type: ignore[no-any-return]

    def first_outputs(self, x: Tensor, count: int) -> Tensor:
        return first_outputs(self.base, self.adapted_input(x), count)

    def adapted_input(self, x: Tensor) -> Tensor:
        """x + s · B(A x), what the layer reads: (…, D) → (…, D)."""
        z = self.bottleneck_dropout(self.down(x)).unflatten(-1, (self.groups, -1))  # (…, groups, r / groups)
        up = self.up_weight.unflatten(0, (self.groups, -1))  # (groups, D / groups, r / groups)
        delta = torch.einsum("...gi,goi->...go", z, up).flatten(-2) + self.up_bias
        return x + delta * self.scale

    def dense_up(self) -> Tensor:
        """W_up as one block-diagonal matrix (D, r)."""
        return torch.block_diag(*self.up_weight.chunk(self.groups))

    @torch.no_grad()
    def folded(self, base: nn.Module) -> nn.Module:
        layer: Any = copy.deepcopy(base)
        if layer.bias is None:
            raise AdapterError(
                "repadapter: a layer without bias cannot take in the adapter's bias; use the model unmerged"
            )
        wide = torch.promote_types(layer.weight.dtype, torch.float32)
        weight, up = layer.weight.to(wide), self.dense_up().to(wide)
        layer.bias.copy_(
            layer.bias.to(wide) + self.scale * weight @ (up @ self.down.bias.to(wide) + self.up_bias.to(wide))
        )
        # Last, as `weight` may be this very tensor.
        layer.weight.copy_(weight + self.scale * (weight @ up) @ self.down.weight.to(wide))
        return layer  # type: ignore[no-any-return]


@register
@dataclass(frozen=True, kw_only=True)
class RepAdapter(Method):
    """A `RepAdapterLinear` in front of qkv and of fc1 in every block.

    Args:
        bottleneck: r.
        groups: of the up-projection; must divide r and D.
        scale: s, picked per task by the authors.
        dropout: inside.
    """

    name: ClassVar[str] = "repadapter"
    color: ClassVar[str] = "#117733"
    marker: ClassVar[str] = "s"
    source: ClassVar[str] = "Luo et al. 2023, arXiv:2302.08106"
    reparameterizes: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    bottleneck: int = 8
    groups: int = 2
    scale: float = 1.0
    dropout: float = 0.1

    def check(self) -> None:
        self.at_least("bottleneck", 1)
        self.at_least("groups", 1)
        self.fraction("dropout")
        if self.bottleneck % self.groups:
            raise AdapterError(
                f"repadapter: groups={self.groups} does not divide bottleneck={self.bottleneck}; choose a"
                " divisor"
            )

    def attach(self, model: AdaptedViT) -> None:
        check_bottleneck(self.name, self.bottleneck, model.width)
        if model.width % self.groups:
            raise AdapterError(
                f"repadapter: groups={self.groups} does not divide the width {model.width}; choose a divisor"
            )
        for block in model.backbone.blocks:
            for owner, name in ((block.attn, "qkv"), (block.mlp, "fc1")):
                base = getattr(owner, name, None)
                if base is None:
                    raise AdapterError(
                        f"repadapter: this backbone's {type(owner).__name__} has no layer {name!r}; use a"
                        " plain ViT"
                    )
                setattr(
                    owner,
                    name,
                    RepAdapterLinear(
                        base, model.width, self.bottleneck, self.groups, self.scale, self.dropout
                    ),
                )
