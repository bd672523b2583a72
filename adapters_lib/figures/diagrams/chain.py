"""A row of operations from left to right, joined by arrows: how an adapter computes what it adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .board import Board, Spot

__all__ = ["DOWN", "UP", "Step", "act", "chain", "down", "drop", "scale", "up"]

DOWN, UP = (6.4, 3.2), (3.2, 6.4)
"""Heights of a trapezoid at its left and right: many channels to few, and back."""


@dataclass(frozen=True)
class Step:
    """One operation. shape: "box", "down", "up", "plus" or "times". under: words below it."""

    text: str
    kind: str = "plain"
    shape: str = "box"
    owns: tuple[str, ...] = ()
    under: str = ""
    width: float | None = None
    height: float = 3.2


def down(text: str, *owns: str) -> Step:
    """A trained projection from D channels to r."""
    return Step(text, "trained", "down", owns)


def up(text: str, *owns: str) -> Step:
    """A trained projection from r channels to D."""
    return Step(text, "trained", "up", owns)


def act(text: str) -> Step:
    """An activation."""
    return Step(text)


def drop(text: str = "drop") -> Step:
    """Dropout in training."""
    return Step(text)


def scale(under: str, *owns: str) -> Step:
    """A product with a scale, which stands beneath it: a fixed one, or one that trains."""
    return Step("", "trained" if owns else "plain", "times", owns, under)


def chain(
    board: Board,
    y: float,
    left: float,
    right: float,
    steps: Sequence[Step],
    shapes: Mapping[int, str] | None = None,
) -> list[Spot]:
    """Draw the steps at the height y, evenly from `left` to `right`, with an arrow into the first and out of
    the last.

    shapes: sizes to write above an arrow, by its number (0 is the arrow into the first step).
    """
    widths = [_width(board, step) for step in steps]
    gap = (right - left - sum(widths)) / (len(steps) + 1)
    spots: list[Spot] = []
    x = left
    for number, (step, width) in enumerate(zip(steps, widths, strict=True)):
        _write(board, shapes, number, x + gap / 2, y)
        spot = _place(board, x + gap + width / 2, y, width, step)
        board.arrow((x, y), spot.left)
        spots.append(spot)
        x += gap + width
    _write(board, shapes, len(steps), x + gap / 2, y)
    board.arrow((x, y), (right, y))
    return spots


def _write(board: Board, shapes: Mapping[int, str] | None, number: int, x: float, y: float) -> None:
    if shapes and number in shapes:
        board.text(x, y + 1.0, shapes[number], size=7, soft=True)


def _width(board: Board, step: Step) -> float:
    if step.shape in ("plus", "times"):
        return 2.0
    words = max(board.width_of(line) for line in step.text.split("\n"))
    return step.width or words + (2.6 if step.shape in ("down", "up") else 1.8)


def _place(board: Board, x: float, y: float, width: float, step: Step) -> Spot:
    if step.shape == "plus":
        return board.plus(x, y)
    if step.shape == "times":
        spot = board.times(x, y)
        if step.kind == "trained":
            words = max(board.width_of(step.under) + 1.2, 2.4)
            factor = board.box(x, y - 3.6, words, 2.4, step.under, "trained", step.owns)
            board.arrow(factor.top, spot.bottom)
        else:
            board.text(x, y - 3.2, step.under)
            board.arrow((x, y - 2.3), spot.bottom)
        return spot
    if step.shape == "box":
        spot = board.box(x, y, width, step.height, step.text, step.kind, step.owns)
    else:
        tall, short = DOWN if step.shape == "down" else UP
        spot = board.squeeze(x, y, width, tall, short, step.text, step.kind, step.owns)
    if step.under:
        board.text(x, y - max(spot.h, 4.8) / 2 - 1.1, step.under, size=7, soft=True)
    return spot
