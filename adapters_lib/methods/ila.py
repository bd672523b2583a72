"""ILA: down-sampling inter-layer adapters (Rios et al. 2024, arXiv:2409.11051), and ILA+ and ILA++.

A module between two blocks adapts the tokens and shrinks their grid, so later blocks look elsewhere and cost
less. With input x: (B, prefix + h·w, D) and bottleneck a:

    main      u = GELU(BN(W_down x));  prefix: 1×1 map a→a
              patches: depthwise 3×3 → BN → GELU → pointwise 1×1;  W_up GELU(BN([prefix, patches]))
    residual  prefix: unchanged;  patches: depthwise 3×3 over all D channels, weights ~ N(1, 0.001²)
    output    residual + Dropout(main)

Both 3×3 convolutions have no padding in a down-sampling module, so each side of the grid shrinks by 2; a
module that does not down-sample pads by 1 and has an identity residual. The near-one residual is not divided
by 9 in the paper: a constant map c becomes about 9c while the prefix keeps its size. At the start, as in the
authors' code, all weights of the main branch are Xavier-uniform, the biases of W_down and W_up zero, those of
the three convolutions (the prefix's 1×1 map is one) uniform in ±1/√fan_in, PyTorch's own start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import AdapterError
from ..vit.layout import Layout
from ..vit.method import Method
from ..vit.sites import Adapter
from .adpt import ADPT
from .bottleneck import STARTS, check_bottleneck, start_at_zero_
from .registry import register
from .sublayers import drop_sublayers

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["ILA", "ILAPlus", "ILAPlusPlus", "InterLayerAdapter"]


class InterLayerAdapter(Adapter):
    """One module between blocks: (B, lead + h·w, D) → (B, lead + (h−2)(w−2), D) if it down-samples.

    Parameters at D = 768, a = 8: 20,248 when down-sampling, else 13,336.
    """

    def __init__(
        self,
        width: int,
        bottleneck: int,
        down: bool,
        *,
        has_prefix: bool = True,
        prefix_path: str = "own",
        kernel: int = 3,
        residual: str = "near_one",
        residual_scale: float = 1.0,
        dropout: float = 0.1,
        start: str = "published",
    ) -> None:
        super().__init__()
        self.shrink = kernel - 1 if down else 0
        padding = 0 if down else kernel // 2
        self.down = nn.Linear(width, bottleneck)
        self.norm_down = nn.BatchNorm1d(bottleneck)
        self.prefix_path = prefix_path
        self.prefix = nn.Linear(bottleneck, bottleneck) if has_prefix and prefix_path == "own" else None
        self.depthwise = nn.Conv2d(bottleneck, bottleneck, kernel, padding=padding, groups=bottleneck)
        self.norm_map = nn.BatchNorm2d(bottleneck)
        self.pointwise = nn.Conv2d(bottleneck, bottleneck, 1)
        self.norm_up = nn.BatchNorm1d(bottleneck)
        self.bottleneck_dropout: nn.Module = nn.Identity()
        self.up = nn.Linear(bottleneck, width)
        self.act = nn.GELU()
        self.dropout = nn.Dropout(dropout)
        weighs = down and residual != "avgpool"
        self.residual = nn.Conv2d(width, width, kernel, groups=width, bias=False) if weighs else None
        for module in (self.down, self.prefix, self.depthwise, self.pointwise, self.up):
            if module is not None:
                nn.init.xavier_uniform_(module.weight)
        for linear in (self.down, self.up):  # the other three biases keep PyTorch's uniform start
            nn.init.zeros_(linear.bias)
        if start == "zero":
            start_at_zero_(self.up)
        if self.residual is not None:
            if residual == "xavier":
                nn.init.xavier_uniform_(self.residual.weight)
            else:
                nn.init.normal_(self.residual.weight, mean=residual_scale, std=0.001 * residual_scale)

    def out_layout(self, layout: Layout) -> Layout:
        rows, columns = layout.grid
        return layout.with_grid(rows - self.shrink, columns - self.shrink)

    def forward(self, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        after = self.out_layout(layout)
        _check_grid(layout.grid, self.shrink)
        return self._residual(x, layout) + self.dropout(self._main(x, layout)), after

    def _main(self, x: Tensor, layout: Layout) -> Tensor:
        u = self.act(_norm_channels(self.norm_down, self.down(x)))  # (B, N, a)
        grid = layout.as_maps(u)  # (B, a, h, w); of a clip every time slice by itself
        grid = self.pointwise(self.act(self.norm_map(self.depthwise(grid))))
        patches = layout.from_maps(grid)  # (B, h'·w', a)
        if layout.lead:
            patches = torch.cat((self._in_front(u[:, : layout.lead]), patches), dim=1)
        u = self.bottleneck_dropout(self.act(_norm_channels(self.norm_up, patches)))
        return self.up(u)  # type: ignore[no-any-return]

    def _in_front(self, u: Tensor) -> Tensor:
        """The way of the tokens in front of the patches, (B, lead, a) → the same shape."""
        if self.prefix is not None:
            return self.prefix(u)  # type: ignore[no-any-return]
        if self.prefix_path == "identity":
            return u
        return F.linear(u, self.pointwise.weight[:, :, 0, 0], self.pointwise.bias)

    def _residual(self, x: Tensor, layout: Layout) -> Tensor:
        if not self.shrink:
            return x
        grid = layout.as_maps(x)
        grid = F.avg_pool2d(grid, self.shrink + 1, stride=1) if self.residual is None else self.residual(grid)
        return torch.cat((x[:, : layout.lead], layout.from_maps(grid)), dim=1)


def _norm_channels(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch norm of (B, N, a) with statistics over batch and all tokens."""
    return norm(x.flatten(0, 1)).view_as(x)  # type: ignore[no-any-return]


def _check_grid(grid: tuple[int, int], shrink: int) -> None:
    if grid[0] != grid[1]:
        raise AdapterError(
            f"ILA: the patch grid is {grid[0]}×{grid[1]}, but it must be square; use square images"
        )
    if grid[0] <= shrink:
        raise AdapterError(
            f"ILA: a grid of {grid[0]}×{grid[1]} patches cannot shrink by {shrink}; use larger images or"
            " fewer down-samplings (samplings=…)"
        )


@register
@dataclass(frozen=True, kw_only=True)
class ILA(Method):
    """Down-sampling inter-layer adapters between groups of blocks.

    Trained: the modules, the head and, as in the authors' code, the class token.

    Args:
        bottleneck: a.
        samplings: how many down-sampling modules there are, if `after` does not say where.
        after: 1-based blocks behind which a down-sampling module stands; None spreads `samplings` of them
            evenly (after 4 and 8 of 12).
        kernel: side of both convolutions; the grid shrinks by kernel − 1.
        residual: start of the residual's convolution, `near_one` (the paper) or `xavier`; or `avgpool`, which
            has no weights.
        residual_scale: mean of the near-one weights; 1 in the paper, 0.1111 for a true mean of 3 × 3 patches.
        prefix_path: what the class token and the other tokens in front of the patches meet in the bottleneck:
            `own` weights (the paper), the patches' pointwise ones (`shared`), or none (`identity`).
        dropout: on the main branch.
        sublayer_dropout: on the output of every block's frozen attention and MLP in training. The authors'
            code has 0.1 for all its methods; 0 here, since with it no block in front of the first module
            could be computed once and kept.
        start: `published` (Xavier), or `zero`: the main branch adds nothing at first. The residual has its
            own start, see `residual`.
        class_token: whether the class token trains (the authors' code; frozen in the paper's figure).
    """

    name: ClassVar[str] = "ila"
    color: ClassVar[str] = "#0072B2"
    marker: ClassVar[str] = "v"
    source: ClassVar[str] = "Rios et al. 2024, arXiv:2409.11051"
    changes_tokens: ClassVar[bool] = True
    former_options: ClassVar[Mapping[str, str]] = {"near_one": "residual_scale", "lead_path": "prefix_path"}
    former_defaults: ClassVar[Mapping[str, Any]] = {"sublayer_dropout": 0.0}

    bottleneck: int = 8
    samplings: int = 2
    after: tuple[int, ...] | None = None
    kernel: int = 3
    residual: str = "near_one"
    residual_scale: float = 1.0
    prefix_path: str = "own"
    dropout: float = 0.1
    sublayer_dropout: float = 0.0
    start: str = "published"
    class_token: bool = True

    def check(self) -> None:
        self.at_least("bottleneck", 1)
        self.at_least("samplings", 0)
        self.one_of("residual", ("near_one", "xavier", "avgpool"))
        self.at_least("residual_scale", 0)
        self.one_of("prefix_path", ("own", "shared", "identity"))
        self.fraction("dropout")
        self.fraction("sublayer_dropout")
        self.one_of("start", STARTS)
        if self.kernel < 3 or self.kernel % 2 == 0:
            raise AdapterError(f"{self.name}: kernel={self.kernel}, but it must be odd and at least 3")

    def positions(self, depth: int) -> tuple[int, ...]:
        """1-based blocks behind which the grid shrinks."""
        if self.after is None:
            if self.samplings >= depth:
                raise AdapterError(
                    f"{self.name}: samplings={self.samplings}, but the grid cannot shrink that often in"
                    f" {depth} blocks"
                )
            return tuple(round(depth * k / (self.samplings + 1)) for k in range(1, self.samplings + 1))
        if wrong := [block for block in self.after if not 1 <= block <= depth]:
            known = f"blocks are numbered 1 to {depth}, name some of these"
            raise AdapterError(
                f"{self.name}: after={self.after}, but block {wrong[0]} does not exist; {known}"
            )
        if len(set(self.after)) < len(self.after):
            raise AdapterError(
                f"{self.name}: after={self.after} names a block twice, but the grid cannot shrink twice at"
                " one place; use a larger kernel"
            )
        return self.after

    def conflicts(self, other: Method) -> str | None:
        if isinstance(other, ILA) and other.name != self.name:
            return "both put a module behind the same blocks; choose one of ila, ila+, ila++"
        return super().conflicts(other)

    def attach(self, model: AdaptedViT) -> None:
        check_bottleneck(self.name, self.bottleneck, model.width)
        drop_sublayers(self.name, model, self.sublayer_dropout)
        for block in self.positions(model.depth):
            self._insert(model, block, down=True)
        if self.class_token:
            model.unfreeze_class_token()

    def _insert(self, model: AdaptedViT, block: int, down: bool) -> None:
        layout = model.layouts()[block]
        _check_grid(layout.grid, self.kernel - 1 if down else 0)
        module = InterLayerAdapter(
            model.width,
            self.bottleneck,
            down,
            has_prefix=layout.lead > 0,
            prefix_path=self.prefix_path,
            kernel=self.kernel,
            residual=self.residual,
            residual_scale=self.residual_scale,
            dropout=self.dropout,
            start=self.start,
        )
        model.sites[block - 1].add("leave", module)  # type: ignore[operator]


@register
@dataclass(frozen=True, kw_only=True)
class ILAPlus(ILA):
    """ILA, and a module that does not down-sample after each of the other blocks."""

    name: ClassVar[str] = "ila+"
    color: ClassVar[str] = "#0072B2"
    marker: ClassVar[str] = "P"

    def attach(self, model: AdaptedViT) -> None:
        super().attach(model)
        others = set(range(1, model.depth + 1)) - set(self.positions(model.depth))
        for block in sorted(others):
            self._insert(model, block, down=False)


@register
@dataclass(frozen=True, kw_only=True)
class ILAPlusPlus(ILA):
    """ILA, and an ADPT of the same bottleneck and start beside attention and MLP in every block.

    Args:
        adpt_dropout: on the output of the ADPTs, 0.1 in the authors' code.
        sublayer_dropout: as for `ILA`, but 0.1 as in the authors' code: here every block trains anyhow.
    """

    name: ClassVar[str] = "ila++"
    color: ClassVar[str] = "#0072B2"
    marker: ClassVar[str] = "X"
    looks_inside: ClassVar[bool] = True

    sublayer_dropout: float = 0.1
    adpt_dropout: float = 0.1

    def check(self) -> None:
        super().check()
        self.fraction("adpt_dropout")

    def conflicts(self, other: Method) -> str | None:
        if other.name == "adpt":
            return (
                "ila++ already has an adpt beside attention and MLP; use ila with adpt to choose its options"
                " apart"
            )
        return super().conflicts(other)

    def attach(self, model: AdaptedViT) -> None:
        super().attach(model)
        ADPT(
            bottleneck=self.bottleneck,
            dropout=self.adpt_dropout,
            sublayer_dropout=self.sublayer_dropout,
            start=self.start,
            class_token=self.class_token,
        ).attach(model)
