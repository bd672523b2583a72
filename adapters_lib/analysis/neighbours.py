"""Does a map over patches hold anything, or is it noise? In a pattern neighbours are alike, in noise not.

Moran's I (Moran 1950, "Notes on continuous stochastic phenomena"), over all pairs i, j that touch:

    I = (N / pairs) · Σ_{i ~ j} (x_i − x̄)(x_j − x̄) / Σ_i (x_i − x̄)²

1 is a smooth pattern, 0 no likeness, below 0 a chessboard. What chance gives is seen when the same values are
shuffled over the places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import AdapterError

__all__ = ["Neighbours", "neighbours"]


@dataclass(frozen=True)
class Neighbours:
    """value: Moran's I. low, high: between these lie 95 % of the same values' shuffles over the places."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What the number says, in words."""
        alike = (
            "more alike than"
            if self.value > self.high
            else "less alike than"
            if self.value < self.low
            else "no more alike than"
        )
        return (
            f"neighbours are {alike} in shuffled maps (Moran's I = {self.value:+.2f}, shuffled"
            f" {self.low:+.2f} to {self.high:+.2f})"
        )


def neighbours(maps: ArrayLike, shuffles: int = 1000, seed: int = 0) -> Neighbours:
    """Moran's I of one value a place, and of `shuffles` random orders of the same values.

    maps: (..., rows, columns), e.g. (slices, rows, columns): places touch along every axis, time included.

    Raises:
        AdapterError: fewer than two places that touch, values that are not finite, or all the same.
    """
    grid = np.asarray(maps, dtype=float)
    if grid.ndim == 0 or grid.size < 2:
        raise AdapterError(f"a map of shape {grid.shape} has no neighbours; give one value a place")
    if not np.isfinite(grid).all() or np.ptp(grid) == 0:
        raise AdapterError(
            "a map whose values are not finite, or all the same, has no pattern to test; check what is mapped"
        )
    drawn = np.tile(grid.ravel(), (shuffles, 1))
    np.random.default_rng(seed).permuted(drawn, axis=1, out=drawn)
    control = _moran(drawn.reshape(shuffles, *grid.shape))
    low, high = np.quantile(control, (0.025, 0.975))
    return Neighbours(float(_moran(grid[None])[0]), float(low), float(high))


def _moran(grids: np.ndarray) -> np.ndarray:
    """(K, ...) → (K,)."""
    axes = tuple(range(1, grids.ndim))
    z = grids - grids.mean(axes, keepdims=True)
    total, pairs = np.zeros(len(z)), 0
    for axis in axes:
        count = z.shape[axis]
        ahead, behind = z.take(range(1, count), axis), z.take(range(count - 1), axis)
        total += (ahead * behind).sum(axes)
        pairs += ahead[0].size
    return z[0].size / pairs * total / (z**2).sum(axes)  # type: ignore[no-any-return]
