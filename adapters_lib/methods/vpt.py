"""VPT: learnable tokens among the patches, before the first block (shallow) or before every block (deep).

    shallow: [x_cls, P, E] → blocks
    deep:    block i reads [x_cls, P_i, E], what it makes of P_i is thrown away

Jia, Tang, Chen et al., "Visual Prompt Tuning", ECCV 2022, arXiv:2203.12119. Prompts start uniform in
±√(6 / (3·P² + D)) for patches of P × P pixels; they stand behind the class token, carry no position, and are
dropped before the head. Dropout on the prompts has a mask for every image, as in the authors' code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from ..vit.layout import Layout
from ..vit.method import Method
from ..vit.sites import Adapter
from .registry import register

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["Prompts", "VPTDeep", "VPTShallow", "prompt_bound"]


class Prompts(Adapter):
    """Puts P prompts behind the prefix and throws away those that were there: (B, N, D) → (B, N', D).

    Parameters: P·D.
    """

    def __init__(self, count: int, width: int, bound: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.empty(1, count, width).uniform_(-bound, bound))
        self.dropout = nn.Dropout(dropout)

    def out_layout(self, layout: Layout) -> Layout:
        return layout.with_prompts(self.prompts.shape[1])

    def forward(self, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        x, layout = layout.strip_prompts(x)
        prompts = self.prompts
        if self.dropout.p:  # one mask an image; without dropout all images share the one row of prompts
            prompts = self.dropout(prompts.expand(x.shape[0], -1, -1))
        return layout.insert_prompts(x, prompts)


def prompt_bound(model: AdaptedViT) -> float:
    """√(6 / (3·P_h·P_w + D)): Xavier's bound for the projection of a patch of RGB pixels."""
    height, width = model.backbone.patch_embed.patch_size
    return math.sqrt(6 / (3 * height * width + model.width))


@register
@dataclass(frozen=True, kw_only=True)
class VPTShallow(Method):
    """Prompts before the first block, carried through all of them.

    Args:
        prompts: how many.
        dropout: on the prompts, a mask for every image.
        class_token: whether the class token trains, as in the ILA paper's comparison.
    """

    name: ClassVar[str] = "vpt-shallow"
    color: ClassVar[str] = "#88CCEE"
    marker: ClassVar[str] = "v"
    source: ClassVar[str] = "Jia et al. 2022, arXiv:2203.12119"
    changes_tokens: ClassVar[bool] = True
    adds_prompts: ClassVar[bool] = True

    prompts: int = 100
    dropout: float = 0.0
    class_token: bool = False

    def check(self) -> None:
        self.at_least("prompts", 1)
        self.at_most("prompts", 4096)  # more tokens than any image here has
        self.fraction("dropout")

    def attach(self, model: AdaptedViT) -> None:
        for sites in model.sites[: self.blocks(model.depth)]:
            sites.add("enter", Prompts(self.prompts, model.width, prompt_bound(model), self.dropout))
        if self.class_token:
            model.unfreeze_class_token()

    def blocks(self, depth: int) -> int:
        """Number of leading blocks in front of which prompts are put."""
        return 1


@register
@dataclass(frozen=True, kw_only=True)
class VPTDeep(VPTShallow):
    """Fresh prompts before every block; options as for `VPTShallow`."""

    name: ClassVar[str] = "vpt-deep"
    color: ClassVar[str] = "#56B4E9"
    marker: ClassVar[str] = "P"

    def conflicts(self, other: Method) -> str | None:
        if other.name == "vpt-shallow":
            return (
                "vpt-deep throws away the prompts of vpt-shallow before they reach a block; choose one of"
                " them"
            )
        return super().conflicts(other)

    def blocks(self, depth: int) -> int:
        return depth
