"""A transformer block from left to right with its named sites, the frame into which the methods are drawn.

Every picture has the same block at the same place: the stream along the middle, the residual ways above it,
what stands beside a sub-layer below it. A site is where `vit.sites` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...vit.sites import SITES
from .board import Board, Part, Spot
from .facts import sizes

__all__ = ["Slot", "block_row", "draw_block", "lowest"]

_INLINE = {
    "enter": 5.8,
    "before": 9.7,
    "after_attention": 29.6,
    "between": 36.4,
    "after_mlp": 54.8,
    "after": 62.0,
    "leave": 65.5,
}
_BESIDE = {"beside": 4.7, "around": 8.3}
_BRANCHES, _LAYERS, _SUBLAYERS, _SUMS = (12.9, 38.8), (15.9, 41.8), (23.4, 48.6), (33.2, 58.2)
_FRAME = (12.0, 60.0)
_AROUND_BLOCK = 11.9

HEAD = ("backbone.head.*",)


@dataclass(frozen=True)
class Slot:
    """What stands at a site: its label, its kind, and the parameters that it stands for."""

    text: str
    kind: str = "trained"
    owns: tuple[str, ...] = ()


def lowest(sites: Sequence[str]) -> float:
    """How far below the stream the modules at these sites reach."""
    if "around_block" in sites:
        return _AROUND_BLOCK + 2.2
    if any(site.startswith("around") for site in sites):
        return _BESIDE["around"] + 2.2
    return _BESIDE["beside"] + 2.2 if any(site.startswith("beside") for site in sites) else 3.4


def block_row(
    board: Board,
    y: float,
    slots: Mapping[str, Slot],
    *,
    owns: Mapping[str, Sequence[str]] | None = None,
    class_token: str = "class",
    named: bool = False,
) -> dict[str, Spot]:
    """Draw the block with modules at `slots` around the height y; the place of every part by its name.

    owns: parameters that LN, Attn and MLP stand for, if something else trains inside them. class_token: how
    it is drawn, `class` or `class_trained`. named: write the sites' names beside them, and draw no head.
    """
    mine = {name: (f"backbone.blocks.*.{part}.*",) for name, part in _PARTS.items()} | dict(owns or {})
    depth = lowest(list(slots))
    board.frame(_FRAME[0], y - depth, _FRAME[1], y + 6.6, "" if named else r"block, × $L$")
    places: dict[str, Spot] = {}
    stops = [board.column(2.6, y, [class_token, "token", "token", "token"])]
    if class_token == "class_trained":
        board.parts.append(Part("class token", "trained", ("backbone.cls_token",)))
    for site, x in _INLINE.items():
        if site in slots:
            places[site] = _at(board, x, y, slots[site], "" if named else slots[site].text)
            if named:
                board.text(
                    x - (1.1 if site == "after_attention" else 0), y + 3.1, site, size=7, family="monospace"
                )
    for index, (norm, layer) in enumerate((("LN1", "Attn"), ("LN2", "MLP"))):
        places[norm] = board.box(_LAYERS[index], y, 3.6, 4, "LN", "frozen", mine[norm])
        places[layer] = board.box(_SUBLAYERS[index], y, 6.6, 4.6, layer, "frozen", mine[layer])
        places[f"plus{index}"] = board.plus(_SUMS[index], y)
        board.dot(_BRANCHES[index], y)
        height = y + 4.5
        board.arrow(
            (_BRANCHES[index], y), (_BRANCHES[index], height), (_SUMS[index], height), (_SUMS[index], y + 1)
        )
    stops += sorted(places.values())
    if not named:
        places["head"] = board.box(66.9, y, 3.8, 4, "head", "trained", HEAD)
        stops.append(places["head"])
    for one, other in pairwise(stops):
        board.arrow(one.right, other.left)
    if named:
        board.arrow(stops[-1].right, (68.8, y))
    for site, slot in slots.items():
        if site not in _INLINE:
            places[site] = _parallel(board, y, site, slot, named)
    return places


_PARTS = {"LN1": "norm1", "Attn": "attn", "LN2": "norm2", "MLP": "mlp"}


def _at(board: Board, x: float, y: float, slot: Slot, words: str) -> Spot:
    small = max(2.2, board.width_of(words) + 1.0) if words else 2.2
    return board.box(x, y, small, 2.6, words, slot.kind, slot.owns)


def _parallel(board: Board, y: float, site: str, slot: Slot, named: bool) -> Spot:
    """A module that reads the stream (around) or the norm's output (beside) and adds to the sum behind."""
    which = 1 if site.endswith("mlp") else 0
    if site == "around_block":
        start, end, below, middle = _BRANCHES[0], _SUMS[1], _AROUND_BLOCK, 36.0
    else:
        around = site.startswith("around")
        start = _BRANCHES[which] if around else _LAYERS[which] + 2.3
        below = _BESIDE["around" if around else "beside"]
        end, middle = _SUMS[which], _SUBLAYERS[which] + 1.8
    words = site if named else slot.text
    size = 7 if named else 7.5
    height = 2.2 if named else 2.6
    spot = board.box(
        middle, y - below, max(6.6, board.width_of(words, size) + 1.8), height, "", slot.kind, slot.owns
    )
    board.text(middle, y - below, words, size=size, zorder=5, family="monospace" if named else "sans-serif")
    board.dot(start, y)
    board.arrow((start, y), (start, y - below), spot.left)
    board.arrow(spot.right, (end, y - below), (end, y - 1))
    return spot


def draw_block(dark: bool) -> Board:
    """`block`: all sites of `vit.sites`, and inside the sub-layers the linear layers that can be replaced."""
    board = Board(44.4, dark)
    y = board.heading(
        "A frozen block and its sites",
        "where a method can plug in a module $m$; an empty site does nothing",
        [
            r"$x \leftarrow x + \mathrm{Attn}(\mathrm{LN}\,x)$,   "
            r"$x \leftarrow x + \mathrm{MLP}(\mathrm{LN}\,x)$"
        ],
        sizes("linear"),
    )
    y -= 7.5
    places = block_row(board, y, {site: Slot(site, "site") for site in SITES}, named=True)
    board.text(2.6, y + 4.2, "$x$")
    board.text(68.3, y + 1.6, "$x$")
    _inside(board, y - 18.0, places)
    board.text(
        35,
        3.6,
        "On the line: $x = m(x)$.   Beside: $+\\,m(\\mathrm{LN}\\,x)$.   Around: $+\\,m(x)$.   "
        "Inside: $m$ stands in a linear layer's place.",
        soft=True,
    )
    return board


def _inside(board: Board, top: float, places: Mapping[str, Spot]) -> None:
    """What Attn and MLP consist of; linear layers may be replaced by adapters that keep them."""
    y = top - 3.2
    rows = {
        "Attn": (
            3.0,
            34.4,
            [
                ("qkv", "$W_{qkv}$"),
                ("", r"$\mathrm{softmax}(QK^\top\!/\sqrt{d})\,V$"),
                ("proj", "$W_{proj}$"),
            ],
        ),
        "MLP": (36.0, 67.0, [("fc1", "$W_{fc1}$"), ("", "GELU"), ("fc2", "$W_{fc2}$")]),
    }
    for name, (left, right, steps) in rows.items():
        board.frame(left, y - 4.8, right, y + 3.4)
        board.zoom(places[name], left, y + 3.4, right)
        board.text(left + 0.8, y + 2.3, f"inside {name}", size=7, soft=True, ha="left")
        wide = [board.width_of(words) + 2.2 if not attribute else 5.4 for attribute, words in steps]
        gap = (right - left - sum(wide)) / (len(steps) + 1)
        x, before = left, (left + 0.6, y - 1.0)
        for (attribute, words), w in zip(steps, wide, strict=True):
            x += gap
            if attribute:
                board.box(x + w / 2, y - 1.0, w + 1.4, 4.0, "", "site")
                board.text(x + w / 2, y - 3.8, attribute, size=7, family="monospace")
            spot = board.box(x + w / 2, y - 1.0, w, 2.8, words, "frozen" if attribute else "plain")
            board.arrow(before, spot.left)
            before, x = spot.right, x + w
        board.arrow(before, (right - 0.4, y - 1.0))
