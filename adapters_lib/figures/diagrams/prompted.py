"""PAdapter: where the prompt enters the bottleneck, its three forms and two modes, and its six positions."""

from __future__ import annotations

from itertools import pairwise

from ...vit.sites import SITES
from .block import Slot
from .board import Board
from .bottlenecks import around, zoomed
from .chain import Step, act, chain, down, scale, up
from .facts import adapted, option, sizes

__all__ = ["FORMS", "POSITIONS", "draw_padapter", "draw_positions"]

FORMS = {
    "x_p": ("2r", ("z", "z{+}P"), ("z", "P")),
    "p_x_p": ("3r", ("z{+}P", "z", "z{+}Q"), ("P", "z", "Q")),
    "p_2x_p": ("4r", ("z_1{+}P", "z", "z_2{+}Q"), ("P", "z", "Q")),
}
"""Form: the channels that W_u reads, and what is joined in the modes add and cat."""

POSITIONS = ("p_a_m", "a_p_m", "a_m_p", "p+a_m", "a_p+m", "p+b")


def draw_padapter(dark: bool) -> Board:
    """`padapter`: the default form large, all forms in both modes small."""
    name = "padapter"
    model = adapted(name)
    site = next(site for site in SITES if site in model.sites[0].at)
    page = zoomed(
        name,
        dark,
        "a learned prompt joins the features inside the bottleneck",
        (r"$z = W_d\,x + b$,   $y = s \cdot (W_u\,\mathrm{ReLU}([\ldots]) + b_u)$",),
        {site: Slot("$m$", owns=(f"sites.*.at.{site}.*",))},
        28.6,
        words=f"one module, form {option(name, 'form')}, mode {option(name, 'mode')}: $[z, z + P]$",
        facts=sizes(name, r=option(name, "bottleneck")),
    )
    board, y = page.board, page.top - 8.4
    joined = Step("$z$\n$z+P$", width=6.0, height=6.4)
    steps = [
        down("$W_d$\n$b$", "sites.*.down.*"),
        joined,
        act("ReLU"),
        up("$W_u$\n$b_u$", "sites.*.up.*"),
        scale("$s$", "sites.*.scale"),
        Step("", shape="plus"),
    ]
    board.text(2.6, y, "$x$")
    shapes = {1: r"$z: N \times r$", 2: r"$N \times 2r$", 5: "$y$"}
    spots = chain(board, y, 3.8, 66.8, steps, shapes)
    around(board, 5.4, y, spots[-1], 5.2)
    join = spots[1]
    board.line((join.x - 3, y), (join.x + 3, y))
    prompt = board.box(join.x, y - 6.2, 6.0, 2.6, "$P$", "trained", ("sites.*.prompts.*",))
    board.arrow(prompt.top, join.bottom)
    tokens = model.first_layout().tokens
    board.text(
        prompt.x + 3.6, prompt.y, f"${tokens} \\times r$: a row for each token", size=7, soft=True, ha="left"
    )
    _table(board, page.top - 18.4)
    return board


def _table(board: Board, y: float) -> None:
    """What stands in the brackets: forms as columns, modes as rows; the width shows the channels."""
    unit, left = 4.4, 8.4
    for row, mode in enumerate(("add", "cat")):
        board.text(2.6, y - 2.0 - 4.0 * row, mode, ha="left", family="monospace")
    for form, (channels, *modes) in FORMS.items():
        count = int(channels[0])
        board.text(left + count * unit / 2, y + 1.0, f"{form}   (${channels}$)", family="monospace", size=7.5)
        for row, parts in enumerate(modes):
            x = left
            for part in parts:
                wide = unit * (2 if part == "z" and form == "p_2x_p" else 1)
                kind = "trained" if part in ("P", "Q") else "plain"
                board.box(x + wide / 2, y - 2.0 - 4.0 * row, wide - 0.3, 2.6, f"${part}$", kind, size=7)
                x += wide
        left += count * unit + 8.0
    board.text(
        2.6,
        y - 8.9,
        "trained: the prompts $P$ and $Q$; in mode cat they do not depend on the image."
        "   $z_1$, $z_2$: halves of $z$ ($2r$ channels)",
        size=7,
        soft=True,
        ha="left",
    )


def draw_positions(dark: bool) -> Board:
    """`padapter-positions`: the block six times; where a module reads and where it adds."""
    board = Board(48.4, dark)
    y = board.heading(
        "padapter: positions",
        f"one module $m$ in every block, at one of six places; the default is "
        f"{option('padapter', 'position')}",
        (
            r"on the line:  $x \leftarrow x + y$;   beside:  $\ldots + y$;   both with  "
            r"$y = s \cdot (W_u\,\mathrm{ReLU}"
            r"([\ldots]) + b_u)$",
        ),
    )
    for number, position in enumerate(POSITIONS):
        column, row = divmod(number, 3)
        _mini(board, 1.2 + 34.4 * column, y - 7.0 - 12.2 * row, position)
    return board


def _mini(board: Board, left: float, y: float, position: str) -> None:
    """A small block with one module at the site where the library puts it for this position."""
    from ...methods.padapter import _SITE

    site = _SITE[position]
    board.frame(left, y - 5.4, left + 33.2, y + 5.8)
    board.text(left + 0.9, y + 4.5, position, size=8, ha="left", family="monospace", weight="bold")
    board.text(left + 32.4, y + 4.5, f"site {site}", size=7, soft=True, ha="right")
    line = {"before": 2.9, "between": 16.5, "after": 30.2}
    branches, sums = (4.9, 18.6), (13.5, 27.0)
    stops = []
    for index, words in enumerate(("Attn", "MLP")):
        x = left + branches[index] + 3.9
        stops.append(board.box(x, y, 5.8, 3.0, f"LN, {words}", "frozen", (), 7))
        stops.append(board.plus(left + sums[index], y))
        start, end = left + branches[index], left + sums[index]
        board.dot(start, y)
        board.arrow((start, y), (start, y + 2.9), (end, y + 2.9), (end, y + 1))
    if site in line:
        stops.append(board.box(left + line[site], y, 2.2, 2.4, "$m$", "trained"))
    else:
        first = 1 if site == "around_mlp" else 0
        start, end = left + branches[first], left + sums[0 if site == "around_attention" else 1]
        m = board.box((start + end) / 2, y - 3.5, 3.4, 2.4, "$m$", "trained")
        board.arrow((start, y), (start, m.y), m.left)
        board.arrow(m.right, (end, m.y), (end, y - 1))
    stops.sort()
    board.arrow((left + 0.8, y), stops[0].left)
    for one, other in pairwise(stops):
        board.arrow(one.right, other.left)
    board.arrow(stops[-1].right, (left + 32.6, y))
