"""ILA, ILA+ and ILA++: twelve blocks with modules between them, and one module with both its branches."""

from __future__ import annotations

from ...methods.ila import InterLayerAdapter
from .board import Board, Part, Point, Spot
from .chain import DOWN, UP
from .facts import adapted, layouts, option, sizes, trains_class_token

__all__ = ["draw_ila", "draw_stack"]

_MODULE = "sites.*.at.leave.*"
_FIRST, _STEP = 9.0, 4.6


def _stack(board: Board, y: float, name: str) -> dict[int, Spot]:
    """Twelve blocks in a row with what the method puts behind and beside them, read from the model.

    Returns the modules that shrink the grid, by the number (from 1) of the block in front of them.
    """
    model, before = adapted(name), layouts(name)
    trained = trains_class_token(name)
    board.column(2.6, y, ["class_trained" if trained else "class", "token", "token", "token"])
    if trained:
        board.parts.append(Part("class token", "trained", ("backbone.cls_token",)))
    shrinking: dict[int, Spot] = {}
    last: Point = (3.2, y)
    for number, sites in enumerate(model.sites, 1):
        x = _FIRST + _STEP * (number - 1) + 0.2
        block = board.box(x - 1.6, y, 2.2, 5.0, "", "frozen", ("backbone.blocks.*",) if number == 1 else ())
        board.text(x - 1.6, y - 0.4, str(number), zorder=5)
        board.arrow(last, block.left)
        last = block.right
        beside = [site for site in sites.at if site.startswith("beside")]
        for place, site in enumerate(sorted(beside)):
            owns = (f"sites.*.at.{site}.*",) if number == 1 else ()
            tab = board.box(x - 1.6, y - 4.6 - 2.6 * place, 2.2, 1.9, "$A$", "trained", owns, size=7)
            board.line(tab.top, (tab.x, tab.y + 1.6))
        for module in sites.modules_at("leave"):
            assert isinstance(module, InterLayerAdapter)
            spot = _module(board, x + 0.75, y, module.shrink > 0)
            board.arrow(last, spot.left)
            last = spot.right
            if module.shrink:
                shrinking[number] = spot
    head = board.box(67.0, y, 3.8, 4, "head", "trained", ("backbone.head.*",))
    board.arrow(last, head.left)
    _counts(board, y + 4.2, [layout.tokens for layout in before], [layout.grid for layout in before])
    return shrinking


def _module(board: Board, x: float, y: float, shrinks: bool) -> Spot:
    if shrinks:
        return board.squeeze(x, y, 1.1, 5.4, 3.2, "", "trained", ())
    return board.box(x, y, 0.9, 4.2, "", "trained")


def _counts(board: Board, y: float, tokens: list[int], grids: list[tuple[int, int]]) -> None:
    """Brackets over the blocks that see the same number of tokens."""
    start = 0
    for index in range(1, len(tokens) + 1):
        if index < len(tokens) and tokens[index] == tokens[start]:
            continue
        left, right = (_FIRST + _STEP * k - 1.4 for k in (start, index - 1))
        left, right = left - 1.3, right + 1.3
        board.line((left, y - 0.7), (left, y), (right, y), (right, y - 0.7))
        rows, columns = grids[start]
        board.text(
            (left + right) / 2 + 1.8, y + 1.7, f"{tokens[start]} tokens:\n1 + {rows} × {columns}", size=7
        )
        board.grid((left + right) / 2 - 3.8, y + 2.1, rows, columns, 0.24)
        start = index


_EQUATIONS = (
    r"main:  $u = \mathrm{GELU}(\mathrm{BN}(W_\mathrm{down}\,x))$,   prefix: $1\times1$ map,   "
    r"patches: depthwise $3\times3$ → BN → GELU → pointwise $1\times1$",
    r"residual:  prefix: unchanged,   patches: depthwise $3\times3$ over all $D$ channels, "
    r"weights $\sim N(1, 0.001^2)$",
    r"output:  residual + Dropout(main),   main ends in  "
    r"$W_\mathrm{up}\,\mathrm{GELU}(\mathrm{BN}([\mathrm{prefix}, \mathrm{patches}]))$",
)


def draw_ila(dark: bool) -> Board:
    """`ila`: the stack above, one down-sampling module with its branches below."""
    board = Board(57.4, dark)
    y = board.heading(
        "ila", "modules between groups of blocks adapt the tokens and shrink their grid", _EQUATIONS
    )
    y -= 10.0
    shrinking = _stack(board, y, "ila")
    first = min(shrinking)
    top = y - 7.2
    board.frame(1.2, top - 26.0, 68.8, top, f"the module behind block {first}")
    board.text(68.0, top - 1.1, sizes("ila", a=option("ila", "bottleneck")), size=7, soft=True, ha="right")
    board.zoom(shrinking[first], 1.8, top, 68.2)
    _branches(board, top, first)
    return board


def _branches(board: Board, top: float, first: int) -> None:
    """Residual branch in the upper half, main branch in the lower half of the field."""
    before, after = layouts("ila")[first - 1], layouts("ila")[first]
    kernel = option("ila", "kernel")
    rows, smaller = before.grid[0], after.grid[0]
    cell = 0.4
    middle = top - 11.0
    source = board.grid(4.8, middle - 0.6, rows, rows, cell, (2, 3, kernel))
    board.token(4.8, middle + 3.6, "class")
    target = board.grid(65.4, middle - 0.6, smaller, smaller, cell, (2, 3, 1))
    board.token(65.4, middle + 3.6, "class")
    board.text(source.x, middle - 4.6, f"{rows} × {rows}", size=7)
    board.text(target.x, middle - 4.6, f"{smaller} × {smaller}", size=7)
    board.text(source.x - 1.6, middle + 3.6, "$x$", size=8)
    _residual(board, top, middle, kernel)
    _main(board, top - 18.6, middle, rows, smaller)


def _residual(board: Board, top: float, middle: float, kernel: int) -> None:
    high, low = top - 4.0, top - 8.0
    board.line((7.9, middle), (9.4, middle))
    board.dot(9.4, middle)
    board.text(12.6, (high + low) / 2, "residual", size=7, soft=True, ha="left")
    conv = board.box(
        32.0,
        low,
        19.0,
        3.0,
        f"depthwise ${kernel}\\times{kernel}$, $D$ channels",
        "trained",
        (f"{_MODULE}.residual.*",),
    )
    board.arrow((9.4, middle), (9.4, low), conv.left)
    board.line((9.4, low), (9.4, high), (58.2, high))
    board.text(32.0, high + 1.0, "prefix (class token): unchanged", size=7, soft=True)
    board.dot(9.4, low)
    board.arrow(conv.right, (58.2, low))
    board.line((58.2, high), (58.2, low))
    total = board.plus(58.2, middle)
    board.arrow((58.2, low), total.top)
    board.arrow(total.right, (62.6, middle))
    board.text(50.0, low + 1.0, "patches", size=7, soft=True)


def _main(board: Board, y: float, middle: float, rows: int, smaller: int) -> None:
    """y: height of the main branch's middle."""
    high, low = y + 2.7, y - 2.5
    board.text(10.4, y + 4.6, "main", size=7, soft=True, ha="left")
    down = board.squeeze(13.4, y, 4.8, *DOWN, "$W_\\mathrm{down}$", "trained", (f"{_MODULE}.down.*",))
    board.arrow((9.4, middle), (9.4, y), down.left)
    bend = board.box(19.6, y, 4.6, 4.4, "BN\nGELU", "trained", (f"{_MODULE}.norm_down.*",), size=7)
    board.arrow(down.right, bend.left)
    board.line(bend.right, (23.8, y))
    board.text(22.9, y + 1.0, "$u$", size=7)
    own = board.box(35.6, high, 8.0, 2.4, r"$1\times1$, own", "trained", (f"{_MODULE}.prefix.*",), size=7)
    wide = board.box(
        28.2, low, 6.6, 4.0, "depthwise\n" + r"$3\times3$", "trained", (f"{_MODULE}.depthwise.*",), size=7
    )
    norm = board.box(34.6, low, 4.2, 4.0, "BN\nGELU", "trained", (f"{_MODULE}.norm_map.*",), size=7)
    point = board.box(
        41.0, low, 6.6, 4.0, "pointwise\n" + r"$1\times1$", "trained", (f"{_MODULE}.pointwise.*",), size=7
    )
    board.arrow((23.8, y), (23.8, high), own.left)
    board.arrow((23.8, y), (23.8, low), wide.left)
    board.arrow(wide.right, norm.left)
    board.arrow(norm.right, point.left)
    board.line(own.right, (45.6, high), (45.6, low), point.right)
    board.text(27.6, high + 1.0, "prefix", size=7, soft=True)
    board.text(31.4, low - 3.0, f"patches: {rows} × {rows} → {smaller} × {smaller}", size=7, soft=True)
    last = board.box(49.2, y, 4.2, 4.4, "BN\nGELU", "trained", (f"{_MODULE}.norm_up.*",), size=7)
    board.arrow((45.6, y), last.left)
    up = board.squeeze(54.4, y, 4.4, *UP, "$W_\\mathrm{up}$", "trained", (f"{_MODULE}.up.*",))
    board.arrow(last.right, up.left)
    drop = board.box(61.4, y, 7.2, 2.6, "Dropout", size=7)
    board.arrow(up.right, drop.left)
    board.arrow((61.4, y + 1.3), (61.4, middle - 5.6 + 0.9), (58.2, middle - 5.6 + 0.9), (58.2, middle - 1))


def draw_stack(name: str, dark: bool) -> Board:
    """`ila+`, `ila++`: the stack, and what its signs are."""
    says = {
        "ila+": "ila, and a module that keeps the grid behind each of the other blocks",
        "ila++": "ila, and an adapter $A$ beside attention and beside the MLP of every block",
    }[name]
    board = Board(34.4 if name == "ila++" else 30.0, dark)
    equation = (
        r"down-sampling: residual + Dropout(main), both without padding;   "
        r"others: $x$ + Dropout(main), padded"
        if name == "ila+"
        else r"$x + \mathrm{drop}(\mathrm{Attn}(\mathrm{LN}\,x)) + \mathrm{drop}(A(\mathrm{LN}\,x))$,   "
        r"the same with "
        r"$\mathrm{MLP}$;   between: residual + Dropout(main)"
    )
    y = board.heading(name, says, (equation,)) - 10.0
    _stack(board, y, name)
    bottom = 5.4
    if name == "ila++":
        board.text(5.8, y - 4.6, "attention", size=7, soft=True, ha="right")
        board.text(5.8, y - 7.2, "MLP", size=7, soft=True, ha="right")
    _module(board, 2.2, bottom, True)
    board.text(3.6, bottom, "down-sampling module", size=7, ha="left")
    board.parts.append(Part("modules", "trained", (f"{_MODULE}.*",)))
    if name == "ila+":
        _module(board, 22.0, bottom, False)
        board.text(23.2, bottom, "module that keeps the grid", size=7, ha="left")
    under = y - (10.0 if name == "ila++" else 4.8)
    board.text(68.8, under, sizes(name, a=option(name, "bottleneck")), size=7, soft=True, ha="right")
    return board
