"""Dyn-Adapter: heads behind some blocks, thresholds, and a batch that thins out on its way."""

from __future__ import annotations

from torch import nn

from ...exits.costs import exit_costs
from ...methods.dyn import DynExits
from .board import Board, Spot
from .facts import adapted, sizes

__all__ = ["draw_dyn"]

_WIDE, _EXIT, _BASE = 17.0, 13.6, 11.6
_TAUGHT = _BASE + 11.3
_BATCH = 12
_LEAVING = (4, 4, 2, 2)
"""An example, and called so in the picture: of twelve images so many leave at each exit."""


def draw_dyn(dark: bool) -> Board:
    """Groups of blocks from left to right; above each exit its head, its test, and the images that leave."""
    method, model = DynExits(), adapted("dyn")
    off = "" if method.distil else " (off)"
    blocks, costs = method.blocks(model.depth), exit_costs(model)
    board = Board(42.6, dark)
    board.heading(
        "dyn",
        "heads behind early blocks, so that easy images leave early; a host method adapts the blocks",
        (
            r"$L = \sum_i \lambda_i(t)\,L_i \,/\, \sum_i \lambda_i(t)$,   $L_S = \mathrm{CE}(z_S, y)$,   "
            r"leave at the first exit $i$ with  $\max\,\mathrm{softmax}(z_i) > \theta_i$",
            r"$L_i = (1 - \delta)\,\mathrm{CE}(z_i, y) + "
            r"\delta\,\tau^2\,\mathrm{KL}(\mathrm{softmax}(z_S/\tau)\,\|\,"
            r"\mathrm{softmax}(z_i/\tau))$",
        ),
        sizes("dyn", L=None, S=len(blocks), T=method.every),
    )
    first, left = 1, _BATCH
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        x = 1.2 + _WIDE * number
        images = _images(board, x + 2.4, _BASE, left)
        group = _group(board, x + 8.6, first, block)
        board.arrow(images.right, group.left)
        if number:
            board.arrow((x - _WIDE + _EXIT, _BASE), images.left)
            board.dot(x - _WIDE + _EXIT, _BASE)
            board.arrow((x + _EXIT, _TAUGHT), (x + _EXIT - _WIDE + 0.3, _TAUGHT), dashed=True)
        board.line(group.right, (x + _EXIT, _BASE))
        leaving = left if last else _LEAVING[number]
        _exit(board, x + _EXIT, number, last, leaving, costs.macs[number])
        first, left = block + 1, left - leaving
    board.text(
        _WIDE * 3 + 6.2,
        _TAUGHT + 1.0,
        f"distillation: $\\tau$, $\\delta$ = {method.distil:g}{off}",
        size=7,
        soft=True,
    )
    board.text(
        1.2,
        5.4,
        f"In training the host's bottlenecks have dropout, from {method.forward_sparsity} in block 1 to 0 in "
        f"block {blocks[-1]}, and {method.backward_sparsity:.0%} of its gradient is masked.",
        size=7,
        soft=True,
        ha="left",
    )
    board.text(
        1.2,
        3.7,
        "How many of twelve images leave is an example.   $F_i$: MACs up to exit $i$, heads on the way "
        "included.",
        size=7,
        soft=True,
        ha="left",
    )
    return board


def _images(board: Board, x: float, y: float, count: int) -> Spot:
    """A batch in rows of at most three images."""
    columns = min(3, count)
    rows = -(-count // columns)
    for index in range(count):
        row, column = divmod(index, columns)
        board.token(x + 1.3 * (column - (columns - 1) / 2), y + 1.3 * (row - (rows - 1) / 2), "image", 1.0)
    return Spot(x, y, 1.3 * columns + 0.3, 1.3 * rows)


def _group(board: Board, x: float, first: int, block: int) -> Spot:
    """The blocks between two exits, with the host's adapters."""
    owns = ("backbone.blocks.*.norm?.*", "backbone.blocks.*.mlp.*", "backbone.blocks.*.base.*")
    spot = board.box(x, _BASE, 6.0, 6.0, f"blocks\n{first}–{block}", "frozen", owns)
    board.box(x, _BASE - 3.0, 4.2, 1.9, "host", "trained", ("backbone.blocks.*.lora_?",), size=7)
    return spot


def _exit(board: Board, x: float, number: int, last: bool, leaving: int, macs: int) -> None:
    """Head, logits with their loss, test and the images that leave, one above the other."""
    i, owns, form = "S", ("backbone.head.*",), "linear"
    if not last:
        key, head = list(adapted("dyn").exits.items())[number]
        i, owns = str(number + 1), (f"exits.{key}.*",)
        form = "linear" if isinstance(head.classifier, nn.Linear) else "MLP"  # type: ignore[union-attr]
    head_box = board.box(x, _BASE + 6.6, 5.8, 3.0, f"$h_{i}$  {form}", "trained", owns, size=7)
    board.arrow((x, _BASE), head_box.bottom)
    test = board.box(x, _BASE + 14.4, 5.8, 2.6, "all left" if last else f"$> \\theta_{i}$ ?", size=7)
    board.arrow(head_box.top, test.bottom)
    board.text(x - 0.8, _BASE + 9.7, f"$z_{i}$", ha="right")
    board.text(x + 0.8, _BASE + 9.7, f"$\\lambda_{i}\\,L_{i}$", size=7, soft=True, ha="left")
    board.arrow(test.top, (x, _BASE + 17.6))
    _images(board, x, _BASE + 19.4, leaving)
    board.text(x - 9.0, _BASE + 19.4, f"$F_{i}$ = {macs / 1e9:.2f}\nGMACs", size=7, soft=True, ha="left")
