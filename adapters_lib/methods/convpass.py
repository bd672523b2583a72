"""ConvPass: convolutional bypasses beside attention and MLP.

    x + Attn(LN x) + s · C(LN x),   x + MLP(LN x) + s · C(LN x)
    C(h) = W_up drop(φ(conv3×3(φ(W_down h + b)))) + b',   φ(u) = u · σ(1.702 u)

Jie, Deng, "Convolutional Bypasses Are Better Vision Transformer Adapters", 2022, arXiv:2207.07039. The 3×3
convolution is dense over the r bottleneck channels and padded; patches are convolved as their map, every
other token (class, registers, prompts) as a 1×1 map of its own by the same weights. Start: the convolution is
the identity, W_up and the biases are zero, so the model is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..vit.layout import Layout
from ..vit.method import Method
from .bottleneck import Bottleneck, check_bottleneck
from .registry import register

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["ConvBypass", "ConvPass"]


class QuickGELU(nn.Module):
    """u · σ(1.702 u), a cheap GELU (Hendrycks, Gimpel 2016)."""

    def forward(self, u: Tensor) -> Tensor:
        return u * torch.sigmoid(1.702 * u)


class ConvBypass(Bottleneck):
    """(B, lead + h·w, D) → the same shape, the delta only. Parameters: 2·D·r + r + D + 9·r² + r, 13,648 at
    D = 768, r = 8."""

    def __init__(
        self, width: int, bottleneck: int, scale: float, dropout: float, xavier: bool = False
    ) -> None:
        super().__init__(width, bottleneck, QuickGELU(), inside=dropout)
        self.scale = scale
        self.conv = nn.Conv2d(bottleneck, bottleneck, 3, padding=1)
        nn.init.xavier_uniform_(self.down.weight)
        if xavier:
            nn.init.xavier_uniform_(self.conv.weight)
        else:
            nn.init.dirac_(self.conv.weight)
        for tensor in (self.down.bias, self.conv.bias, self.up.weight, self.up.bias):
            if tensor is not None:
                nn.init.zeros_(tensor)

    def forward(self, h: Tensor, layout: Layout) -> Tensor:
        u = self.act(self.down(h))  # (B, N, r)
        # (B, h·w, r); of a clip every time slice by itself.
        patches = layout.from_maps(self.conv(layout.as_maps(u)))
        # Of a padded 3×3 convolution a 1×1 map meets the centre tap only.
        prefix = F.linear(u[:, : layout.lead], self.conv.weight[:, :, 1, 1], self.conv.bias)
        u = torch.cat((prefix, patches), dim=1)
        return self.stretch(self.act(u)) * self.scale


@register
@dataclass(frozen=True, kw_only=True)
class ConvPass(Method):
    """A `ConvBypass` beside attention and beside the MLP of every block.

    Args:
        bottleneck: r.
        scale: s, which the authors pick per task from 0.01 to 100.
        dropout: inside the bottleneck.
        xavier: random instead of identity convolutions.
        class_token: whether the class token trains, as in the ILA paper's comparison.
    """

    name: ClassVar[str] = "convpass"
    color: ClassVar[str] = "#DDCC77"
    marker: ClassVar[str] = "D"
    source: ClassVar[str] = "Jie & Deng 2022, arXiv:2207.07039"
    looks_inside: ClassVar[bool] = True

    bottleneck: int = 8
    scale: float = 1.0
    dropout: float = 0.1
    xavier: bool = False
    class_token: bool = False

    def check(self) -> None:
        self.at_least("bottleneck", 1)
        self.fraction("dropout")

    def attach(self, model: AdaptedViT) -> None:
        check_bottleneck(self.name, self.bottleneck, model.width)
        for sites in model.sites:
            for site in ("beside_attention", "beside_mlp"):
                sites.add(
                    site, ConvBypass(model.width, self.bottleneck, self.scale, self.dropout, self.xavier)
                )
        if self.class_token:
            model.unfreeze_class_token()
