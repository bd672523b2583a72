"""Differences to one reference, seed by seed, and how to say one in a sentence."""

from __future__ import annotations

import pandas as pd

from ..errors import AdapterError
from .statistics import Interval, paired_difference
from .versions import budgets_of, versions_of

__all__ = ["paired_gains", "said"]


def paired_gains(table: pd.DataFrame, reference: str, by: str = "method") -> dict[str, Interval]:
    """name − `reference` for every other name of the column `by`, over the seeds that both ran.

    A name is left out where nothing can be compared: no seed in common, or runs of another version of the
    code or another budget than those of the reference.

    table: one data set, one row a run, with the columns `by`, `seed` and `top1` (percent).

    Raises:
        AdapterError: the reference has no row, or a name has two rows of one seed.
    """
    made = versions_of(table) + ", " + budgets_of(table)
    own = made[table[by] == reference]
    if own.empty:
        known = ", ".join(sorted(map(str, table[by].unique())))
        raise AdapterError(f"paired_gains: no row has {by} = {reference!r}; the table has {known}")
    alike = table[made.isin(own.unique()[:1])]
    seeds = alike.groupby(by, sort=False)["seed"].agg(set)
    gains = {}
    for name, ran in seeds.items():
        if name != reference and (shared := ran & seeds[reference]):
            rows = alike[alike["seed"].isin(shared)]
            gains[str(name)] = paired_difference(rows, str(name), reference, by=by)
    return gains


def said(difference: Interval | None, flip: bool = False) -> str:
    """A difference in points as a clause: "+2.4 ± 1.1 points (n = 3)", and that the seeds do not show it
    where its interval holds 0.

    None: nothing was compared. flip: second − first instead.
    """
    if difference is None:
        return "no runs to compare yet"
    mean = (-1 if flip else 1) * difference.mean + 0.0
    if difference.n < 2:
        return f"{mean:+.1f} points (one seed, so nothing is shown)"
    shown = "" if abs(mean) > difference.half else ", not shown by these seeds"
    return f"{mean:+.1f} ± {difference.half:.1f} points (n = {difference.n}){shown}"
