"""Which learning rates have to be tried until one is bracketed: a smaller and a larger one did no better.

    ladder: …, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, …

Start between two neighbours, go on at the open end of the best, and where the best two lie within one
standard error of an accuracy, let a second seed decide between them. Rates are compared on the seeds that
both have seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Bracket", "bracket", "neighbours", "on_ladder"]

Tried = Mapping[float, Mapping[int, float]]
"""Rate → seed → accuracy on validation images, in percent."""


class Bracket(NamedTuple):
    """rate: the choice, None while runs are missing. missing: (rate, seed) of the runs that come next."""

    rate: float | None
    missing: list[tuple[float, int]]


def bracket(tried: Tried, start: float, images: int, seeds: tuple[int, int]) -> Bracket:
    """What was found, or what has to run next.

    Args:
        tried: what was measured so far, on the first of `seeds` and, where it was close, on the second.
        start: where to begin.
        images: validation images, which give the standard error √(p (1 − p) / images) of an accuracy p.
    """
    first, second = seeds
    measured = {rate: values[first] for rate, values in tried.items() if first in values}
    if not measured:
        return Bracket(None, [(rate, first) for rate in (start, *neighbours(start))])
    ranked = sorted(measured, key=lambda rate: (-measured[rate], rate))
    best = ranked[0]
    if missing := [(rate, first) for rate in neighbours(best) if rate not in measured]:
        return Bracket(None, missing)
    share = measured[best] / 100
    if measured[best] - measured[ranked[1]] > 100 * math.sqrt(share * (1 - share) / images):
        return Bracket(best, [])
    if missing := [(rate, second) for rate in ranked[:2] if second not in tried[rate]]:
        return Bracket(None, missing)
    best = min(ranked[:2], key=lambda rate: (-(tried[rate][first] + tried[rate][second]), rate))
    missing = [(rate, first) for rate in neighbours(best) if rate not in measured]
    return Bracket(None if missing else best, missing)


def neighbours(rate: float) -> tuple[float, float]:
    """The rates of the ladder just below and just above."""
    step = _step(rate)
    return _rate(step - 1), _rate(step + 1)


def on_ladder(rate: float) -> float:
    """The nearest rate of the ladder."""
    return _rate(_step(rate))


def _step(rate: float) -> int:
    return round(2 * math.log10(rate))


def _rate(step: int) -> float:
    return float(f"{(1, 3)[step % 2]}e{step // 2}")
