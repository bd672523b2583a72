"""Learned tokens: VPT-shallow, VPT-deep, and VQT, whose tokens only ask."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from .board import Board, Point, Spot
from .facts import adapted, option, sizes

__all__ = ["VPT", "draw_vpt", "draw_vqt"]

_BLOCKS = ("backbone.blocks.*",)
_HEAD = ("backbone.head.*",)

VPT = {
    "vpt-shallow": (
        "learned tokens in front of the first block, carried through all of them",
        r"$[x_\mathrm{cls}, P, E] \to$ blocks",
    ),
    "vpt-deep": (
        "learned tokens in front of every block; what it makes of them is thrown away",
        r"block $i$ reads  $[x_\mathrm{cls}, P_i, E]$",
    ),
}


@dataclass(frozen=True)
class Stop:
    """A station of the sequence: a column of tokens ("col"), a block, "norm", "head" or dots.

    text: how the prompts of a column are drawn, or the block's number. prompts: the name of fresh ones.
    """

    what: str
    x: float
    text: str = ""
    prompts: str = ""


def _shallow(depth: int) -> list[Stop]:
    return [
        Stop("col", 5.2),
        Stop("col", 11.4, "prompt", "$P$"),
        Stop("block", 17.6, "1"),
        Stop("col", 23.8, "carried"),
        Stop("block", 30.0, "2"),
        Stop("col", 36.2, "carried"),
        Stop("dots", 39.8),
        Stop("block", 44.6, str(depth)),
        Stop("col", 50.8, "carried/out"),
        Stop("norm", 57.4),
        Stop("head", 66.0),
    ]


def _deep(depth: int) -> list[Stop]:
    return [
        Stop("col", 5.2),
        Stop("col", 10.4, "prompt", "$P_1$"),
        Stop("block", 15.6, "1"),
        Stop("col", 20.8, "carried/out"),
        Stop("col", 26.0, "prompt", "$P_2$"),
        Stop("block", 31.2, "2"),
        Stop("col", 36.4, "carried/out"),
        Stop("dots", 39.6),
        Stop("col", 43.0, "prompt", f"$P_{{{depth}}}$"),
        Stop("block", 48.2, str(depth)),
        Stop("col", 53.4, "carried/out"),
        Stop("norm", 58.8),
        Stop("head", 66.2),
    ]


def draw_vpt(name: str, dark: bool) -> Board:
    """The sequence of tokens in front of and behind the blocks, from the embedding to the head."""
    says, equation = VPT[name]
    model = adapted(name)
    tokens, count = model.block_layouts()[0].tokens, option(name, "prompts")
    board = Board(31.6, dark)
    y = board.heading(name, says, (equation,), sizes(name, P=count)) - 9.0
    board.text(3.9, y + 5.6, r"$x_\mathrm{cls}$", ha="right")
    board.text(3.9, y - 3.2, "$E$", ha="right")
    last: Point | None = None
    for stop in _deep(model.depth) if name == "vpt-deep" else _shallow(model.depth):
        spot = _stop(board, y, stop, tokens, count)
        if last is not None and stop.what != "dots":
            board.arrow(last, spot.left)
        elif last is not None:
            board.line(last, spot.left)
        if stop.what == "norm":
            board.text(spot.x + 4.4, y + 1.1, r"$x_\mathrm{cls}$")
        last = spot.right
    return board


def _stop(board: Board, y: float, stop: Stop, tokens: int, count: int) -> Spot:
    if stop.what == "block":
        owns = _BLOCKS if stop.text == "1" else ()
        return board.box(stop.x, y, 4.4, 13.4, f"block\n{stop.text}", "frozen", owns)
    if stop.what == "norm":
        return board.box(stop.x, y, 3.6, 4, "LN", "frozen", ("backbone.norm.*",))
    if stop.what == "head":
        return board.box(stop.x, y, 3.8, 4, "head", "trained", _HEAD)
    if stop.what == "dots":
        board.text(stop.x, y, "⋯", size=11)
        return Spot(stop.x, y, 1.8, 1)
    rows = ["class", *[stop.text] * 3, *["token"] * 4]
    for index, kind in enumerate(rows):
        if kind:
            board.token(stop.x, y + 5.6 - 1.6 * index, kind.removesuffix("/out"), out=kind.endswith("/out"))
    board.text(stop.x, y + 7.3, str(tokens if stop.text else tokens - count), size=7, soft=True)
    if stop.prompts:
        fresh = board.box(stop.x, y - 9.9, 4.2, 2.4, stop.prompts, "trained", ("sites.*.at.enter.*.prompts",))
        board.arrow(fresh.top, (stop.x, y - 6.4))
    return Spot(stop.x, y, 1.6, 12.4)


def draw_vqt(dark: bool) -> Board:
    """`vqt`: the block's own tokens above, the query prompts below; they meet in the attention only."""
    name = "vqt"
    board = Board(36.8, dark)
    y = board.heading(
        name,
        "tokens that only ask: they read every block's attention, and their answers go to the head",
        (
            r"$q = Q(\mathrm{LN}\,P)$,   $K, V$ of the block's own tokens only;   "
            r"$p = P + \mathrm{Attn}(q, K, V)$;   $p \leftarrow p + \mathrm{MLP}(\mathrm{LN}\,p)$",
            r"$\mathrm{head}([x_\mathrm{cls}, p_1, \ldots, p_L])$",
        ),
        sizes(name, T=option(name, "prompts")),
    )
    above, below = y - 7.0, y - 17.8
    board.frame(6.2, below - 4.6, 56.4, y - 0.8, "block $i$, × $L$; both rows meet the same frozen weights")
    board.column(3.2, above, ["class", "token", "token", "token"])
    board.token(3.2, below, "prompt", owns=("sites.*.reader.prompts",))
    board.text(3.2, below - 1.9, "$P$")
    ends = []
    for height, projection in ((above, "$Q, K, V$"), (below, "$Q$")):
        ends.append(_lane(board, height, projection))
    keys = (21.6, above - 2.2)
    board.arrow(keys, (21.6, above - 5.0), (28.4, above - 5.0), (28.4, below + 2.2))
    board.text(25.0, above - 4.1, "$K, V$")
    board.text(23.8, below + 1.0, "$q$")
    head = board.box(66.4, (above + below) / 2, 4.6, 7.0, "head", "trained", _HEAD)
    board.arrow(ends[0], (59.6, above), (66.4, above), head.top)
    board.arrow(ends[1], (66.4, below), head.bottom)
    board.text(61.6, above + 1.2, r"$x_\mathrm{cls}$ behind block $L$", size=7, soft=True)
    board.text(58.0, below + 1.2, "$p_i$")
    board.text(62.6, below - 1.4, r"$p_1, \ldots, p_L$", size=7, soft=True)
    return board


def _lane(board: Board, y: float, projection: str) -> Point:
    """LN, projection, Attn, sum, LN, MLP, sum from left to right; where it ends."""
    owns = "backbone.blocks.*"
    steps = [
        board.box(12.0, y, 3.6, 4, "LN", "frozen", (f"{owns}.norm1.*",)),
        board.box(19.2, y, 6.2, 4, projection, "frozen", (f"{owns}.attn.qkv.*",)),
        board.box(28.4, y, 6.0, 4.2, "Attn", "frozen", (f"{owns}.attn.proj.*",)),
        board.plus(34.6, y),
        board.box(41.0, y, 3.6, 4, "LN", "frozen", (f"{owns}.norm2.*",)),
        board.box(47.8, y, 5.6, 4.2, "MLP", "frozen", (f"{owns}.mlp.*",)),
        board.plus(54.0, y),
    ]
    board.arrow((4.0, y), steps[0].left)
    for one, other in pairwise(steps):
        board.arrow(one.right, other.left)
    for start, end in ((8.6, 34.6), (37.4, 54.0)):
        board.dot(start, y)
        board.arrow((start, y), (start, y + 3.6), (end, y + 3.6), (end, y + 1))
    return steps[-1].right
