"""Bottleneck adapters: one module, five places. Houlsby, Pfeiffer, ADPT, AdaptFormer, Adapter+, ConvPass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .block import Slot, block_row, lowest
from .board import WIDTH, Board, Spot
from .chain import Step, act, chain, down, drop, scale, up
from .facts import adapted, option, sizes, trains_class_token

__all__ = [
    "BOTTLENECKS",
    "Page",
    "around",
    "draw_bottleneck",
    "draw_convpass",
    "draw_places",
    "zoomed",
]

_DOWN, _UP = "$W_\\mathrm{down}$\n$b$", "$W_\\mathrm{up}$\n$b'$"
_A = r"$A(%s) = W_\mathrm{up}\,%s(W_\mathrm{down}\,%s + b) + b'$"


@dataclass(frozen=True)
class Kind:
    """How one of these methods differs from the others.

    reads: symbol of what goes into the bottleneck. inside, outside: dropout behind the activation, behind
    the whole. scale: whether the output is scaled. own_sum: whether it adds its input again (sequential).
    """

    says: str
    equations: tuple[str, ...]
    sites: tuple[str, ...]
    reads: str
    act: str
    inside: str = ""
    outside: str = ""
    scale: bool = False
    own_sum: bool = False


BOTTLENECKS = {
    "houlsby": Kind(
        "a bottleneck behind attention and behind the MLP, before the sum",
        (
            r"$x + y + A(y)$,   $y = \mathrm{Attn}(\mathrm{LN}\,x)$ or $\mathrm{MLP}(\mathrm{LN}\,x)$",
            _A % ("y", r"\mathrm{GELU}", "y"),
        ),
        ("after_attention", "after_mlp"),
        "y",
        "GELU",
        own_sum=True,
    ),
    "pfeiffer": Kind(
        "one bottleneck a block, behind the MLP, before the sum",
        (r"$x + y + A(y)$,   $y = \mathrm{MLP}(\mathrm{LN}\,x)$", _A % ("y", r"\mathrm{ReLU}", "y")),
        ("after_mlp",),
        "y",
        "ReLU",
        own_sum=True,
    ),
    "adpt": Kind(
        "a bottleneck beside attention and beside the MLP, on the normalized tokens",
        (
            r"$x + \mathrm{drop}(\mathrm{Attn}(\mathrm{LN}\,x)) + \mathrm{drop}(A(\mathrm{LN}\,x))$,   "
            r"the same with $\mathrm{MLP}$",
            _A % ("h", r"\mathrm{GELU}", "h") + r",   $h = \mathrm{LN}\,x$",
        ),
        ("beside_attention", "beside_mlp"),
        "h",
        "GELU",
        outside="drop",
    ),
    "adaptformer": Kind(
        "a scaled bottleneck beside the MLP, on the stream in front of the norm",
        (
            r"$x + \mathrm{MLP}(\mathrm{LN}\,x) + s \cdot (W_\mathrm{up}\,\mathrm{drop}"
            r"(\mathrm{ReLU}(W_\mathrm{down}\,x + b)) + b')$",
        ),
        ("around_mlp",),
        "x",
        "ReLU",
        inside="drop",
        scale=True,
    ),
    "adapter+": Kind(
        "a bottleneck behind the whole block, with a scale for every channel",
        (
            r"$x \leftarrow x + s \odot \mathrm{drop\_path}(W_\mathrm{up}\,\mathrm{GELU}"
            r"(W_\mathrm{down}\,x + b) + b')$,   $s \in \mathbb{R}^D$",
        ),
        ("after",),
        "x",
        "GELU",
        outside="drop_path",
        scale=True,
        own_sum=True,
    ),
}


class Page(NamedTuple):
    """The block above, a field below: board, the field's middle and top, the places of the block's parts."""

    board: Board
    y: float
    top: float
    places: dict[str, Spot]


def zoomed(
    name: str,
    dark: bool,
    says: str,
    equations: Sequence[str],
    slots: dict[str, Slot],
    panel: float,
    *,
    words: str = "",
    facts: str = "",
    enlarged: str | None = None,
    **more: Any,
) -> Page:
    """The block with modules at `slots` and, below it, a field of height `panel` for one of them.

    words: in the field's corner. enlarged: the part from which the dotted lines come; None is the first slot.
    more: for `block_row`.
    """
    depth = lowest(list(slots))
    board = Board(panel + depth + 17.4 + 2.5 * len(equations), dark)
    y = board.heading(name, says, equations, facts) - 7.2
    places = block_row(board, y, slots, **more)
    top = y - depth - 3.0
    board.frame(1.2, top - panel, 68.8, top, words)
    board.zoom(places[enlarged or next(iter(slots))], 1.8, top, 68.2)
    return Page(board, top - panel / 2, top, places)


def draw_bottleneck(name: str, dark: bool) -> Board:
    """The block with the method's bottlenecks at their sites, and one of them large."""
    kind, model = BOTTLENECKS[name], adapted(name)
    r = model.sites[0].modules_at(kind.sites[0])[0].down.out_features
    slots = {site: Slot("$A$", owns=(f"sites.*.at.{site}.*",)) for site in kind.sites}
    if name == "adpt":
        slots |= {site: Slot("drop", "plain") for site in ("after_attention", "after_mlp")}
    numbers = {"r": r, **({"s": option(name, "scale")} if name == "adaptformer" else {})}
    page = zoomed(
        name,
        dark,
        kind.says,
        kind.equations,
        slots,
        13.4 if kind.own_sum else 11.0,
        words="one module $A$; each has weights of its own",
        facts=sizes(name, **numbers),
        class_token="class_trained" if trains_class_token(name) else "class",
    )
    board, y = page.board, page.y - (1.6 if kind.own_sum else 0.4)
    steps = [down(_DOWN, "sites.*.down.*"), act(kind.act)]
    steps += [drop(kind.inside)] if kind.inside else []
    steps += [up(_UP, "sites.*.up.*")]
    steps += [drop(kind.outside)] if kind.outside else []
    if kind.scale:
        steps += [scale("$s$", *(("sites.*.scale",) if name == "adapter+" else ()))]
    steps += [Step("", shape="plus")] if kind.own_sum else []
    board.text(2.6, y, f"${kind.reads}$")
    last = len(steps) - 1 if kind.own_sum else len(steps)
    shapes = {1: r"$N \times r$", last: r"$N \times D$"} | ({} if kind.own_sum else {0: r"$N \times D$"})
    spots = chain(board, y, 3.8, 66.8, steps, shapes)
    if kind.own_sum:
        around(board, 5.4, y, spots[-1])
    return board


def around(board: Board, x: float, y: float, spot: Spot, height: float = 4.6) -> None:
    """A residual way: from the line at x over everything into a sum."""
    board.dot(x, y)
    board.arrow((x, y), (x, y + height), (spot.x, y + height), spot.top)


def draw_convpass(dark: bool) -> Board:
    """`convpass`: a bottleneck with a 3 × 3 convolution over the patches' map."""
    name, phi = "convpass", r"$\varphi$"
    slots = {site: Slot("$C$", owns=(f"sites.*.at.{site}.*",)) for site in ("beside_attention", "beside_mlp")}
    page = zoomed(
        name,
        dark,
        "a bottleneck that convolves the map of patches, beside attention and MLP",
        (
            r"$x + \mathrm{Attn}(\mathrm{LN}\,x) + s \cdot C(\mathrm{LN}\,x)$,   "
            r"the same with $\mathrm{MLP}$",
            r"$C(h) = W_\mathrm{up}\,\mathrm{drop}(\varphi(\mathrm{conv}_{3\times3}"
            r"(\varphi(W_\mathrm{down}\,h + b)))) + b'$,   $\varphi(u) = u \cdot \sigma(1.702\,u)$",
        ),
        slots,
        13.0,
        words="one module $C$; each has weights of its own",
    )
    board, y = page.board, page.y - 0.4
    conv = Step(r"$\mathrm{conv}_{3\times3}$", "trained", owns=("sites.*.conv.*",), width=8.5, height=3.0)
    steps = [
        down(_DOWN, "sites.*.down.*"),
        act(phi),
        conv,
        act(phi),
        drop(),
        up(_UP, "sites.*.up.*"),
        scale("$s$"),
    ]
    board.text(2.6, y, "$h$")
    spots = chain(board, y, 3.8, 66.8, steps, {1: r"$N \times r$", 7: r"$N \times D$"})
    layout = adapted(name).first_layout()
    board.grid(spots[2].x - 2.0, y + 3.6, 5, 5, 0.62, (1, 1, 3))
    board.token(spots[2].x + 3.4, y + 3.6, "class", 1.0)
    rows, columns = layout.grid
    board.text(spots[2].x, y - 2.7, f"patches: a map of {rows} × {columns}", size=7, soft=True)
    board.text(spots[2].x, y - 4.2, "class token: a map of 1 × 1", size=7, soft=True)
    board.text(WIDTH - 2.4, page.top - 1.3, _numbers(name), size=7, soft=True, ha="right")
    return board


def _numbers(name: str) -> str:
    return sizes(name, r=option(name, "bottleneck"), s=f"{option(name, 'scale'):g}")


def draw_places(dark: bool) -> Board:
    """`bottleneck`: the same module of five methods, each at the sites where the method puts it."""
    slots = {
        "after_attention": Slot("1"),
        "after_mlp": Slot("1, 2"),
        "beside_attention": Slot("3"),
        "beside_mlp": Slot("3"),
        "around_mlp": Slot("4"),
        "after": Slot("5"),
    }
    page = zoomed(
        "Bottleneck adapters",
        dark,
        "squeeze, bend, stretch; the methods differ in the place and in the scale",
        (
            r"$A(h) = W_\mathrm{up}\,\varphi(W_\mathrm{down}\,h + b) + b'$,   $W_\mathrm{down}: D \to r$,   "
            r"$W_\mathrm{up}: r \to D$",
        ),
        slots,
        21.6,
        facts=r"$r \ll D$",
    )
    board = page.board
    steps = [down(_DOWN), act(r"$\varphi$"), up(_UP)]
    board.text(2.6, page.top - 4.6, "$h$")
    chain(
        board, page.top - 4.6, 3.8, 66.8, steps, {0: r"$N \times D$", 1: r"$N \times r$", 3: r"$N \times D$"}
    )
    columns = (3.0, 5.2, 16.0, 42.0, 51.0)
    y = page.top - 9.6
    for x, words in zip(
        columns[1:], ("method", "what it computes", r"$\varphi$", "$r$ on ViT-B/16"), strict=True
    ):
        board.text(x, y, words, size=7, soft=True, ha="left")
    for number, (name, kind) in enumerate(BOTTLENECKS.items(), 1):
        y -= 2.1
        r = adapted(name).sites[0].modules_at(kind.sites[0])[0].down.out_features
        for x, words in zip(columns, (str(number), name, _SUMS[name], kind.act, str(r)), strict=True):
            board.text(x, y, words, ha="left")
    return board


_SUMS = {
    "houlsby": r"$x + y + A(y)$,  $y$ = Attn, MLP",
    "pfeiffer": r"$x + y + A(y)$,  $y$ = MLP",
    "adpt": r"$x + y + A(\mathrm{LN}\,x)$,  $y$ = Attn, MLP",
    "adaptformer": r"$x + y + s \cdot A(x)$,  $y$ = MLP",
    "adapter+": r"$x + s \odot A(x)$",
}
