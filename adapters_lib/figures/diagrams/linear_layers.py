"""Methods inside linear layers, which fold away afterwards: LoRA, RepAdapter, SSF."""

from __future__ import annotations

from .board import Board, Spot
from .bottlenecks import Page, around, zoomed
from .chain import Step, chain, down, drop, scale, up
from .facts import option, sizes

__all__ = ["draw_lora", "draw_repadapter"]

_QKV = ("q", "k", "v")


def draw_lora(dark: bool) -> Board:
    """`lora`: the fused qkv layer with low-rank updates of the slices that the method updates by default."""
    targets = [target for target in _QKV if target in option("lora", "targets")]
    r, alpha = option("lora", "rank"), option("lora", "alpha")
    page = zoomed(
        "lora",
        dark,
        "low-rank updates of frozen linear layers; here the layer that makes q, k and v",
        (
            r"$W x \to W x + (\alpha / r) \cdot B A\,x$,   "
            r"$A: (r, \mathrm{in})$,   $B: (\mathrm{out}, r)$",
        ),
        {},
        26.6,
        words="inside Attn: $W$ and the updates of "
        + " and ".join(f"${t}$" for t in targets)
        + "; $B$ is 0 at first",
        facts=sizes("lora", r=r, **{r"\alpha": f"{alpha:g}"}),
        enlarged="Attn",
        owns={"Attn": ("backbone.blocks.*.attn.qkv.base.*", "backbone.blocks.*.attn.proj.*")},
    )
    _updates(page, targets)
    return page.board


def _updates(page: Page, targets: list[str]) -> None:
    """Rows of q, k and v: W's slice of each; where it is updated, A and B below it and their sum."""
    board = page.board
    rows = {"q": page.top - 4.4, "k": page.top - 14.4, "v": page.top - 18.6}
    middle = (rows["q"] + rows["v"]) / 2
    board.text(3.0, middle + 1.2, "$x$")
    board.line((2.2, middle), (6.0, middle))
    board.line((6.0, rows["q"]), (6.0, rows["v"]))
    board.dot(6.0, middle)
    for name in _QKV:
        y = rows[name]
        w = board.box(16.5, y, 9.0, 3.0, f"$W_{name}$", "frozen", ("backbone.blocks.*.attn.qkv.base.*",))
        board.arrow((6.0, y), w.left)
        if name not in targets:
            board.arrow(w.right, (62.6, y))
        else:
            total = board.plus(58.0, y)
            board.arrow(w.right, total.left)
            board.arrow(total.right, (62.6, y))
            _update(board, y - 4.0, name, total)
        board.text(64.4, y, f"${name}$")


def _update(board: Board, y: float, name: str, total: Spot) -> None:
    """A down to r, B up again, times α / r, into the sum."""
    board.dot(8.2, y + 4.0)
    a = board.squeeze(16.5, y, 7.4, 3.8, 1.9, f"$A_{name}$", "trained", ("backbone.blocks.*.lora_a",))
    b = board.squeeze(32.0, y, 7.4, 1.9, 3.8, f"$B_{name}$", "trained", ("backbone.blocks.*.lora_b",))
    times = board.times(46.0, y)
    board.arrow((8.2, y + 4.0), (8.2, y), a.left)
    board.arrow(a.right, b.left)
    board.text(24.3, y + 1.0, r"$N \times r$", size=7, soft=True)
    board.arrow(b.right, times.left)
    board.text(46.0, y - 2.9, r"$\alpha / r$")
    board.arrow((46.0, y - 2.1), times.bottom)
    board.arrow(times.right, (total.x, y), total.bottom)


def draw_repadapter(dark: bool) -> Board:
    """`repadapter`: a linear bottleneck in front of qkv and of fc1, with an up-projection in groups."""
    name = "repadapter"
    groups = option(name, "groups")
    numbers = {"r": option(name, "bottleneck"), "s": f"{option(name, 'scale'):g}"}
    page = zoomed(
        name,
        dark,
        "a linear bottleneck in front of qkv and of fc1, which folds into the layer behind it",
        (
            r"$\tilde{x} = x + s \cdot (W_\mathrm{up}\,\mathrm{drop}(W_\mathrm{down}\,x + a) + b)$,   then "
            r"$W\tilde{x} + c$,   $W$ of qkv or of fc1",
            r"folded:   $W' = W\,(I + s \cdot W_\mathrm{up} W_\mathrm{down})$,   "
            r"$c' = c + s \cdot W\,(W_\mathrm{up}\,a + b)$",
        ),
        {},
        16.4,
        words=f"inside Attn, in front of qkv; inside MLP, in front of fc1.  "
        f"$W_\\mathrm{{up}}$ has {groups} groups",
        enlarged="Attn",
        facts=sizes(name, **numbers),
        owns={
            "Attn": ("backbone.blocks.*.attn.qkv.base.*", "backbone.blocks.*.attn.proj.*"),
            "MLP": ("backbone.blocks.*.mlp.fc1.base.*", "backbone.blocks.*.mlp.fc2.*"),
        },
    )
    board, y = page.board, page.y - 1.6
    steps = [
        down("$W_\\mathrm{down}$\n$a$", "backbone.blocks.*.down.*"),
        drop(),
        up("$W_\\mathrm{up}$\n$b$", "backbone.blocks.*.up_*"),
        scale("$s$"),
        Step("", shape="plus"),
        Step("$W$\n$c$", "frozen", owns=("backbone.blocks.*.base.*",), width=6.0, height=5.0),
    ]
    board.text(2.6, y, "$x$")
    spots = chain(board, y, 3.8, 64.2, steps, {1: r"$N \times r$", 5: r"$\tilde{x}$"})
    around(board, 5.4, y, spots[4])
    _groups(board, spots[2], groups)
    board.text(66.4, y + 0.9, "to Attn", size=7)
    board.text(66.4, y - 0.9, "or GELU", size=7)
    return board


def _groups(board: Board, spot: Spot, groups: int) -> None:
    """W_up's blocks, small, below it: zero outside of them."""
    x, y, side = spot.x, spot.y - 5.2, 1.0
    for row in range(groups):
        for column in range(groups):
            kind = "trained" if row == column else "plain"
            board.box(
                x + (column - (groups - 1) / 2) * side,
                y - (row - (groups - 1) / 2) * side,
                side,
                side,
                "",
                kind,
            )
    board.text(x + groups * side / 2 + 0.8, y, "zero beside the groups", size=7, soft=True, ha="left")
