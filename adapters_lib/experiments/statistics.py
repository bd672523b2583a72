"""Means over seeds with honest intervals: with three seeds a t-interval is wide, and it is shown that wide.

Two methods are compared on what they share: the same seeds (`paired_difference`) or the same test images
(`bootstrap_difference`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import AdapterError
from .versions import refuse_mixture

__all__ = [
    "Bootstrap",
    "Interval",
    "bootstrap_difference",
    "mean_interval",
    "paired_difference",
    "pareto_front",
    "summarise",
]


class Interval(NamedTuple):
    """A mean, the half-width of its interval (NaN for one value) and the number of values."""

    mean: float
    half: float
    n: int

    def __str__(self) -> str:
        return (
            f"{self.mean:.1f} ± {self.half:.1f} (n = {self.n})" if self.n > 1 else f"{self.mean:.1f} (n = 1)"
        )


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's t-interval of the mean: half-width = t_{(1+level)/2, n−1} · s / √n, with s the sample's
    standard deviation.

    Raises:
        AdapterError: no value at all, or one that is not finite.

    Examples:
        >>> print(al.mean_interval([81.0, 83.0, 85.0]))
        83.0 ± 5.0 (n = 3)
    """
    array = np.asarray(values, dtype=float)
    if array.size == 0 or not np.isfinite(array).all():
        raise AdapterError(
            f"mean_interval needs finite values, got {list(values)}; drop failed runs before averaging"
        )
    half = math.nan
    if array.size > 1:
        half = float(stats.t.ppf((1 + level) / 2, array.size - 1) * array.std(ddof=1) / math.sqrt(array.size))
    return Interval(float(array.mean()), half, int(array.size))


def summarise(table: pd.DataFrame, by: Sequence[str], value: str = "top1") -> pd.DataFrame:
    """One row a group of `by`: the mean of `value`, its 95 % half-width and n; other numeric columns by their
    median.

    Raises:
        AdapterError: the table is empty or lacks a column, or a group mixes versions of the code, budgets or
            precisions (see `versions.one_version`).
    """
    _need(table, (*by, value))
    if table.empty:
        raise AdapterError("the table has no rows; run the experiments first or widen the selection")
    refuse_mixture(table, by)
    rows: list[dict[str, Any]] = []
    for key, group in table.groupby(list(by), sort=False):
        interval = mean_interval(group[value].to_list())
        rest: Any = group.drop(columns=[*by, value, "seed"], errors="ignore").select_dtypes("number").median()
        names: Any = key
        rows.append(
            {
                **dict(zip(by, names, strict=True)),
                value: interval.mean,
                "half": interval.half,
                "n": interval.n,
                **rest.to_dict(),
            }
        )
    return pd.DataFrame(rows)


def paired_difference(
    table: pd.DataFrame, first: str, second: str, value: str = "top1", by: str = "method", level: float = 0.95
) -> Interval:
    """Mean of `first` − `second` over the seeds that both ran, with its t-interval.

    What a seed does to both (its images, its split) cancels, so the interval is often narrower than the two
    single ones suggest. It says how the difference varies from seed to seed; an interval that holds 0 means
    that these seeds cannot tell the two apart.

    table: one row a run, with columns `by`, `seed` and `value`.

    Raises:
        AdapterError: a missing column, a method without rows, seeds that only one of them ran, two rows of
            one seed, or rows of several versions of the code or budgets.
    """
    _need(table, (by, "seed", value))
    rows = table[table[by].isin([first, second])]
    refuse_mixture(rows, [], precisions=False)
    refuse_mixture(rows, [by])
    columns = []
    for name in (first, second):
        rows = table[table[by] == name]
        if rows.empty:
            raise AdapterError(
                f"no row has {by} = {name!r}; the table has {', '.join(sorted(map(str, table[by].unique())))}"
            )
        if twice := rows["seed"][rows["seed"].duplicated()].tolist():
            raise AdapterError(
                f"{name!r} has several rows of seed {twice[0]}; select one data set and one setting first"
            )
        columns.append(rows.set_index("seed")[value])
    if alone := sorted(set(columns[0].index) ^ set(columns[1].index)):
        raise AdapterError(
            f"seed {alone[0]} was run for only one of {first!r} and {second!r}; run it for both, or leave"
            " it out"
        )
    return mean_interval((columns[0] - columns[1]).to_list(), level)


class Bootstrap(NamedTuple):
    """A mean difference in percent, the bounds of its interval, the number of images and of trained models
    (seeds)."""

    mean: float
    low: float
    high: float
    images: int
    seeds: int

    def __str__(self) -> str:
        return (
            f"{self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}] (n = {self.images} images,"
            f" {self.seeds} seed{'s' * (self.seeds != 1)})"
        )


def bootstrap_difference(
    first: Any, second: Any, *, draws: int = 4000, level: float = 0.95, seed: int = 0
) -> Bootstrap:
    """Difference of two methods' accuracies on the same test images, with the percentile interval of a
    bootstrap over these images.

    The interval answers for other test images and the models as they are trained; for other seeds ask
    `paired_difference`.

    Args:
        first, second: whether each image was classified rightly, bool (N,), or (seeds, N) with the same
            images in every row, seeds paired.
        draws: resamples of the images; the same ones for both methods and all seeds.

    Raises:
        AdapterError: unequal shapes, no image, or fewer than 100 draws.
    """
    right = [np.atleast_2d(np.asarray(hits, dtype=float)) for hits in (first, second)]
    if right[0].shape != right[1].shape or right[0].ndim != 2 or right[0].size == 0:
        raise AdapterError(
            f"hits {right[0].shape} and {right[1].shape}: give both on the same images, (N,) or (seeds, N),"
            " at least one image"
        )
    if draws < 100:
        raise AdapterError(f"draws={draws}: at least 100 are needed for an interval")
    difference = (right[0] - right[1]).mean(0)  # (N,), mean over the paired seeds
    n = len(difference)
    # An image's difference takes few distinct values, and only their counts matter to the mean: draw those.
    values, counts = np.unique(difference, return_counts=True)
    drawn = np.random.Generator(np.random.PCG64(seed)).multinomial(n, counts / n, size=draws)
    low, high = np.quantile(100 * drawn @ values / n, [(1 - level) / 2, (1 + level) / 2])
    return Bootstrap(float(100 * difference.mean()), float(low), float(high), n, len(right[0]))


def pareto_front(
    table: pd.DataFrame,
    cost: str,
    value: str = "top1",
    by: str = "method",
    *,
    draws: int = 4000,
    seed: int = 0,
) -> pd.DataFrame:
    """Which methods does no other beat in both cost and value, and how sure is that?

    Returns:
        `summarise`d rows, the cheapest first, with `on_front` (by the means) and `front_share`: how often the
        method is on the front when every mean is drawn anew from its own t-distribution, mean + t · s / √n
        with n − 1 degrees of freedom. NaN if any method has one run only, since nobody knows how that varies.
        Costs are taken as exact.

    Raises:
        AdapterError: an empty table or a missing column.
    """
    _need(table, (cost,))
    rows = summarise(table, [by], value).sort_values(cost, kind="stable", ignore_index=True)
    costs, means, n = (rows[column].to_numpy(dtype=float) for column in (cost, value, "n"))
    share: Any = math.nan
    if (n > 1).all():
        error = (table.groupby(by, sort=False)[value].std(ddof=1).loc[rows[by]].to_numpy() / np.sqrt(n))[None]
        drawn = means + error * np.random.Generator(np.random.PCG64(seed)).standard_t(
            n - 1, size=(draws, len(n))
        )
        share = _undominated(costs, drawn).mean(0)
    return rows.assign(on_front=_undominated(costs, means[None])[0], front_share=share)


def _undominated(costs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """costs (M,), values (draws, M) → bool (draws, M): no other is at least as good in both and better in
    one.

    From the cheapest on, a method must be better than all that cost less and as good as all that cost the
    same. So one pass over the methods does, and memory grows with M, not with its square. An unknown cost
    (NaN) counts as the highest.
    """
    costs = np.where(np.isnan(costs), np.inf, costs)
    order = np.argsort(costs, kind="stable")
    _, starts, group = np.unique(costs[order], return_index=True, return_inverse=True)
    sorted_values = values[:, order]
    best = np.maximum.reduceat(sorted_values, starts, axis=1)  # (draws, different costs)
    cheaper = np.maximum.accumulate(best, axis=1)
    cheaper = np.concatenate([np.full((len(values), 1), -np.inf), cheaper[:, :-1]], axis=1)
    free = np.empty(values.shape, dtype=bool)
    free[:, order] = (sorted_values > cheaper[:, group]) & (sorted_values >= best[:, group])
    return free


def _need(table: pd.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in table:
            raise AdapterError(f"the table has no column {column!r}; it has {', '.join(table.columns)}")
