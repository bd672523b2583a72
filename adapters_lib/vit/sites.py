"""The named sites of a transformer block, and the modules that may stand there.

A pre-norm block of timm computes

    x = x + LS1(Attn(LN1 x));    x = x + LS2(MLP(LN2 x))

and a module m can be plugged in at these places:

    enter             x, layout = m(x, layout)   first of all; may change the number of tokens (prompts)
    before            x = m(x, layout)           before attention; brings its own residual
    beside_attention  x + Attn(h) + m(h)         h = LN1 x, the input that the attention reads
    around_attention  x + Attn(h) + m(x)         the same with the un-normalised stream
    after_attention   x + m(Attn(h))             on the sub-layer's output, before the residual addition
    between           x = m(x, layout)           after attention's residual, before the MLP
    beside_mlp, around_mlp, after_mlp            as for attention
    around_block      block(x) + m(x)            read at the block's input, added to its output
    after             x = m(x, layout)           after the MLP's residual
    leave             x, layout = m(x, layout)   last, between two blocks; may change the number of tokens

`enter` and `before` stand in front of the block's own call, `after` and `leave` behind it; all the others act
inside `block(x)`, so that a forward hook on the block sees the tokens as the first two hand them over, and
what the last two are given.

Besides, one `reader` may carry out the attention itself, to see what passes there (VQT).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..errors import unknown
from .host import AdaptedBackbone, AdaptedBlock, take_part
from .layout import Layout

__all__ = ["SITES", "Adapter", "AttentionReader", "BlockSites", "LinearAdapter", "first_outputs"]

SITES = (
    "enter",
    "before",
    "beside_attention",
    "around_attention",
    "after_attention",
    "between",
    "beside_mlp",
    "around_mlp",
    "after_mlp",
    "around_block",
    "after",
    "leave",
)
_OUTSIDE = ("enter", "before", "after", "leave")  # need no look inside the block


class Adapter(nn.Module):
    """Base of every module that a method adds; its own parameters are what the field calls adapter
    parameters.

    bottleneck_dropout: the slot between squeeze and stretch. An adapter with a bottleneck puts
    `nn.Identity()` or a dropout of its own there, and calls the slot in `forward`; a method that trains
    sparsely replaces what stands there. None: there is no bottleneck.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bottleneck_dropout: nn.Module | None = None

    def out_layout(self, layout: Layout) -> Layout:
        """The layout behind this module, known before any image is seen; modules at `enter` and `leave`
        override it."""
        return layout


class LinearAdapter(Adapter):
    """An adapter that stands in a layer's place and keeps that layer as `base` (not counted as adapter).

    Such adapters nest: the later method wraps the earlier one, and `base` is then an adapter too.
    """

    base: nn.Module

    def folded(self, base: nn.Module) -> nn.Module:
        """A plain layer that computes what this adapter computes around the plain layer `base`; `base` stays
        as it is.

        Raises:
            AdapterError: no plain layer of the same kind can do it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it folds into a plain layer")

    def first_outputs(self, x: Tensor, count: int) -> Tensor:
        """`self(x)[..., :count]`; adapters that can leave the other outputs uncomputed override it."""
        return self(x)[..., :count]  # type: ignore[no-any-return]

    @property
    def in_features(self) -> int:
        return int(self.base.in_features)  # type: ignore[arg-type]

    @property
    def out_features(self) -> int:
        return int(self.base.out_features)  # type: ignore[arg-type]


def first_outputs(layer: nn.Module, x: Tensor, count: int) -> Tensor:
    """The first `count` outputs of a linear layer, adapters in its place included: (…, in) → (…, count)."""
    if isinstance(layer, LinearAdapter):
        return layer.first_outputs(x, count)
    if type(layer) is nn.Linear:
        return F.linear(x, layer.weight[:count], None if layer.bias is None else layer.bias[:count])
    return layer(x)[..., :count]  # type: ignore[no-any-return]


class AttentionReader(Adapter):
    """An adapter that carries out a block's attention and looks at what passes."""

    def read(self, block: Any, h: Tensor) -> Tensor:
        """Return `block.attn(h)` for the normalised tokens h: (B, N, D)."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it reads the attention")


class BlockSites(nn.Module):
    """The modules plugged into one block, by site. Empty, it runs the timm block untouched.

    backbone, block: the timm modules that take part from the first module on, see `host`.
    """

    def __init__(self, backbone: nn.Module, block: nn.Module) -> None:
        super().__init__()
        self._host = (backbone, block)  # a tuple, so that their parameters are not counted twice
        self.at = nn.ModuleDict()
        self.reader: AttentionReader | None = None
        self._inside = False

    def add(self, site: str, module: nn.Module) -> None:
        """Append `module` to a site; several modules at one site act in the order in which they came.

        Raises:
            AdapterError: the site does not exist.
        """
        if site not in SITES:
            raise unknown("site", site, SITES)
        if site not in self.at:
            self.at[site] = nn.ModuleList()
        self.at[site].append(module)  # type: ignore[operator]
        self._inside = any(name not in _OUTSIDE for name in self.at)
        self._take_part()

    def add_reader(self, reader: AttentionReader) -> None:
        """Let `reader` carry out the block's attention."""
        self.reader = reader
        self._take_part()

    def _take_part(self) -> None:
        backbone, block = self._host
        take_part(backbone, AdaptedBackbone)
        if self.looks_inside:
            take_part(block, AdaptedBlock)

    @property
    def looks_inside(self) -> bool:
        """Whether a module stands inside the block, so that the block's sub-layers must be called one by
        one."""
        return self._inside or self.reader is not None

    def modules_at(self, site: str) -> Any:
        return self.at[site] if site in self.at else ()  # noqa: SIM401 - ModuleDict.get came late

    def out_layout(self, layout: Layout) -> Layout:
        for site in ("enter", "leave"):
            for module in self.modules_at(site):
                layout = module.out_layout(layout)
        return layout

    def forward(
        self, block: nn.Module, x: Tensor, layout: Layout, recompute: bool = False
    ) -> tuple[Tensor, Layout]:
        """Run `block` on x (B, N, D) with its adapters; return (B, N', D) and the layout of N' tokens.

        recompute: keep only the block's input for the backward pass and compute its inside once more there.
        Modules outside the block run once, so that batch norms at `enter` and `leave` see every batch once.
        """
        if not self.at and self.reader is None:  # the plain path is timm's own
            return (checkpoint(block, x, use_reentrant=False) if recompute else block(x)), layout
        for module in self.modules_at("enter"):
            x, layout = module(x, layout)
        for module in self.modules_at("before"):
            x = module(x, layout)
        more: dict[str, Any] = {"sites": self, "layout": layout} if self.looks_inside else {}
        x = checkpoint(block, x, use_reentrant=False, **more) if recompute else block(x, **more)
        for module in self.modules_at("after"):
            x = module(x, layout)
        for module in self.modules_at("leave"):
            x, layout = module(x, layout)
        return x, layout

    def inside(self, block: Any, x: Tensor, layout: Layout) -> Tensor:
        """timm's pre-norm `Block.forward`, with the inner sites."""
        start = x
        h = block.norm1(x)
        attended = block.attn(h) if self.reader is None else self.reader.read(block, h)
        x = x + self._sublayer("attention", block.drop_path1(block.ls1(attended)), h, x, layout)
        for module in self.modules_at("between"):
            x = module(x, layout)
        h = block.norm2(x)
        x = x + self._sublayer("mlp", block.drop_path2(block.ls2(block.mlp(h))), h, x, layout)
        for module in self.modules_at("around_block"):
            x = x + module(start, layout)
        return x

    def _sublayer(self, which: str, out: Tensor, h: Tensor, stream: Tensor, layout: Layout) -> Tensor:
        """What a sub-layer and its adapters add to the stream."""
        for module in self.modules_at(f"after_{which}"):
            out = module(out, layout)
        for module in self.modules_at(f"beside_{which}"):
            out = out + module(h, layout)
        for module in self.modules_at(f"around_{which}"):
            out = out + module(stream, layout)
        return out
