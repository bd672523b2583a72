"""Does the order of methods carry over from drawn leaves to photographs? Rank correlations with intervals.

    python -m adapters_lib results real [--json]

Spearman's ρ is computed of the methods' mean accuracies. Its interval is a bootstrap over seeds: each
method's seeds are drawn with replacement, on both sides, so it answers for other seeds and these methods. The
p-value is that of no order in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import AdapterError
from ..training.offline_recipes import REAL_BACKBONE, REAL_BUDGETS
from .needs import lacking
from .report import method_table, render
from .run_grids import stored
from .versions import one_version

__all__ = ["RankCorrelation", "rank_correlation", "real_report"]

FEWEST = 4
"""Methods of which an order says anything."""


class RankCorrelation(NamedTuple):
    """Spearman's ρ, the bounds of its interval, the p-value and the methods that both sides have."""

    rho: float
    low: float
    high: float
    p: float
    methods: list[str]

    def __str__(self) -> str:
        return (
            f"{self.rho:+.2f} [{self.low:+.2f}, {self.high:+.2f}] over {len(self.methods)} methods"
            f" (p = {self.p:.2g})"
        )


def rank_correlation(
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    *,
    draws: int = 4000,
    level: float = 0.95,
    seed: int = 0,
) -> RankCorrelation:
    """Spearman's ρ between the mean accuracies of the methods that both sides have.

    first, second: method → accuracies, one a seed; the seeds of the two sides need not be the same.

    Raises AdapterError: fewer than four methods in common, an accuracy that is not finite, or fewer than 100
    draws.
    """
    methods = [method for method in first if method in second]
    if len(methods) < FEWEST:
        raise AdapterError(
            f"{len(methods)} methods on both sides ({', '.join(methods) or 'none'}); an order needs at least"
            f" {FEWEST}, so run more of the grid"
        )
    if draws < 100:
        raise AdapterError(f"draws={draws}: at least 100 are needed for an interval")
    sides = [[np.asarray(side[method], dtype=float) for method in methods] for side in (first, second)]
    if not all(values.size and np.isfinite(values).all() for side in sides for values in side):
        raise AdapterError("rank_correlation: an accuracy is missing or not finite; drop runs that failed")
    means = [np.array([values.mean() for values in side]) for side in sides]
    spearman = stats.spearmanr(*means)
    random = np.random.Generator(np.random.PCG64(seed))
    drawn = [
        np.stack([random.choice(values, (draws, values.size)).mean(1) for values in side], axis=1)
        for side in sides
    ]
    ranks = [stats.rankdata(each, axis=1) for each in drawn]  # (draws, methods)
    centered = [each - each.mean(1, keepdims=True) for each in ranks]
    norms = np.sqrt((centered[0] ** 2).sum(1) * (centered[1] ** 2).sum(1))
    rhos = (centered[0] * centered[1]).sum(1)[norms > 0] / norms[norms > 0]
    low, high = np.quantile(rhos, [(1 - level) / 2, (1 + level) / 2]) if rhos.size else (np.nan, np.nan)
    return RankCorrelation(
        float(spearman.statistic), float(low), float(high), float(spearman.pvalue), methods
    )


def real_report(folder: str | Path = "data/results") -> dict[str, Any]:
    """{"rows": one dict a set and method, "correlations": one dict a pair of sets, "text"}.

    Cells are compared by balanced accuracy, as their classes differ in size. A table that is not there yet
    makes a text that says how to make it, not an error.
    """
    rows = stored("real", folder)
    if rows.empty:
        missing = list(dict.fromkeys(filter(None, (lacking(data, REAL_BACKBONE) for data in REAL_BUDGETS))))
        command = "python -m adapters_lib results run real"
        text = " ".join([f"no runs in {Path(folder) / 'real.csv'}; make them with `{command}`.", *missing])
        return {"rows": [], "correlations": [], "text": text}
    table = method_table(rows)
    leaves = stored("methods", folder)
    sides: dict[Any, pd.DataFrame] = dict(
        list(one_version(rows, ["data", "method"]).groupby("data", sort=False))
    )
    if len(leaves):
        sides["leaves-ultra"] = one_version(leaves, ["method"])
    correlations, lines = [], []
    names = list(sides)
    for place, name in enumerate(names):
        for other in names[place + 1 :]:
            about = f"{name} and {other}"
            try:
                correlation = rank_correlation(_accuracies(sides[name]), _accuracies(sides[other]))
            except AdapterError as error:
                lines.append(f"{about}: no rank correlation, {error}")
                continue
            correlations.append({"first": name, "second": other, **correlation._asdict()})
            lines.append(f"{about}: rank correlation {correlation}")
    return {
        "rows": table.to_dict("records"),
        "correlations": correlations,
        "text": "\n".join([render(table), "", *lines]),
    }


def _accuracies(rows: pd.DataFrame) -> dict[str, list[float]]:
    """Method → accuracies, balanced where the rows say that classes differ in size."""
    value = "balanced" if "balanced" in rows and rows["balanced"].notna().all() else "top1"
    return {str(method): mine[value].to_list() for method, mine in rows.groupby("method", sort=False)}
