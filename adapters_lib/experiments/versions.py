"""Rows of several versions of the code, budgets or precisions in one table: told apart, marked, never
averaged together in silence.

A run's key holds all three, so a new release, or a longer training, makes its rows anew, and the old ones
stay in the table beside them.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from .. import __version__
from ..datasets.leaves.task import KINDS
from ..errors import AdapterError, outside_level

__all__ = [
    "OutdatedRows",
    "budgets_of",
    "one_budget",
    "one_version",
    "precisions_of",
    "refuse_mixture",
    "versions_of",
]


class OutdatedRows(UserWarning):
    """Some of the rows in use were made by another version of the code, or rows of another budget or
    precision were left out."""


def versions_of(table: pd.DataFrame) -> pd.Series:
    """The version of the code that made each row: column `version`, else what `configuration` says, else
    "unknown"."""
    known = pd.Series(index=table.index, dtype=object)
    if "version" in table:
        known = table["version"].astype(object)
    if "configuration" in table:
        configured = table["configuration"].map(
            lambda text: json.loads(text).get("version") if isinstance(text, str) else None
        )
        known = known.where(known.notna(), configured)
    return known.where(known.notna(), "unknown").astype(str)


def budgets_of(table: pd.DataFrame) -> pd.Series:
    """How long each row was trained, from its `configuration`, as "3 passes over 60 a class"; "unknown" where
    that is not known.

    Images a class are those that the data options say, or of drawn leaves their kind's; of other data only
    the passes are told apart.
    """
    if "configuration" not in table:
        return pd.Series("unknown", index=table.index)
    return table["configuration"].map(_budget)


def _budget(text: object) -> str:
    settings = json.loads(text) if isinstance(text, str) else {}
    passes = settings.get("recipe", {}).get("epochs")
    if passes is None:
        return "unknown"
    options = settings.get("data_options", {})
    kind = KINDS.get(str(settings.get("data", "")).removeprefix("leaves-"))
    images = options.get("n_per_class") or options.get("n_train") or (kind.n_train if kind else None)
    return f"{passes} passes" + (f" over {images} a class" if images else "")


def precisions_of(table: pd.DataFrame) -> pd.Series:
    """The column `precision`, "unknown" where a row has none."""
    known = table["precision"] if "precision" in table else pd.Series(index=table.index, dtype=object)
    return known.where(known.notna(), "unknown").astype(str)


def refuse_mixture(table: pd.DataFrame, by: Sequence[str], *, precisions: bool = True) -> None:
    """Raise an AdapterError if a group of `by` (none: all rows) holds several versions, budgets or, unless
    told otherwise, precisions.

    A table that knows of neither passes.
    """
    kinds = {"versions": versions_of(table), "budgets": budgets_of(table)}
    if precisions:
        kinds["precisions"] = precisions_of(table)
    for kind, column_values in kinds.items():
        if column_values.nunique() < 2:
            continue
        for key, rows in (
            column_values.groupby([table[column] for column in by], sort=False)
            if by
            else [("these rows", column_values)]
        ):
            if rows.nunique() > 1:
                group = ", ".join(map(str, key if isinstance(key, tuple) else (key,)))
                rule = "keep one of them with adapters_lib.experiments.one_version, or run the grid again"
                values = " and ".join(sorted(rows.unique()))
                raise AdapterError(f"{group}: rows of {kind} {values} would be averaged together; {rule}")


def one_budget(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The rows of one budget for each data set: of the one with which most groups of `by` have several runs.

    So a table that is being made anew at a longer budget shows the old rows until the new ones have caught
    up, and never some methods trained for one time beside others trained for another. Of equally complete
    budgets the one with most groups, then the longest.
    """
    return table[_of_one_budget(table, by)]


def _of_one_budget(table: pd.DataFrame, by: Sequence[str]) -> np.ndarray:
    """Which rows `one_budget` keeps, bool (rows,)."""
    rows = table.reset_index(drop=True).assign(_budget=budgets_of(table).to_numpy())
    if rows["_budget"].nunique() < 2 or "updates" in by:  # a learning curve is of several budgets on purpose
        return np.ones(len(rows), dtype=bool)
    keep = np.zeros(len(rows), dtype=bool)
    for _, mine in rows.groupby(rows["data"] if "data" in rows else np.zeros(len(rows)), sort=False):
        runs = {str(budget): some.groupby(list(by)).size() for budget, some in mine.groupby("_budget")}
        best = max(
            runs,
            key=lambda budget: ((runs[budget] > 1).sum(), len(runs[budget]), math.prod(_numbers(budget))),
        )
        keep[mine.index[mine["_budget"] == best]] = True
    return keep


def one_version(table: pd.DataFrame, by: Sequence[str], current: str = __version__) -> pd.DataFrame:
    """Rows that may be averaged: of one budget (see `one_budget`), and for every group of `by` of one version
    and one precision.

    Of versions the current one where it has rows, else the newest; of precisions the one with most rows, else
    float32.

    Returns:
        These rows with `version` filled in and `outdated`, True where the version is not the current one.

    Warns:
        OutdatedRows: with the groups that are outdated, and how many rows were left out, and why.

    Raises:
        AdapterError: a column of `by` is missing.
    """
    if missing := [column for column in by if column not in table]:
        raise AdapterError(f"the table has no column {missing[0]!r}; it has {', '.join(table.columns)}")
    parts = []
    mine = _of_one_budget(table, by)
    rows = table.assign(version=versions_of(table))[mine]
    if left := len(table) - len(rows):
        others, shown = (budgets_of(table[of]).unique() for of in (~mine, mine))
        parts.append(f"{left} rows of other budgets ({', '.join(others)}) left out beside {', '.join(shown)}")
    kept = _best(rows, by, _version_ranks(rows["version"], current))
    kept = kept.assign(outdated=kept["version"] != current)
    if kept["outdated"].any():
        old = kept.loc[kept["outdated"], [*by, "version"]].drop_duplicates().astype(str).agg(" ".join, axis=1)
        parts.append(f"made by another version than {current}: {', '.join(old)}")
    if left := len(rows) - len(kept):
        parts.append(f"{left} older rows left out beside newer ones")
    rows, kept = kept, _best(kept, by, _precision_ranks(kept, by))
    if left := len(rows) - len(kept):
        parts.append(f"{left} rows of another precision left out")
    if parts:
        remedy = "; run the grid again to renew them" if kept["outdated"].any() else ""
        warnings.warn("; ".join(parts) + remedy, OutdatedRows, stacklevel=outside_level())
    return kept


def _best(rows: pd.DataFrame, by: Sequence[str], ranks: pd.Series) -> pd.DataFrame:
    """Of every group those with the highest rank."""
    best = ranks.groupby([rows[column] for column in by]).transform("max") if by else ranks.max()
    return rows[ranks == best].copy()


def _version_ranks(versions: pd.Series, current: str) -> pd.Series:
    order = sorted(versions.unique(), key=lambda version: (version == current, _numbers(version)))
    return versions.map({version: place for place, version in enumerate(order)})


def _precision_ranks(rows: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """How many rows of its group share a row's precision; float32 before others of as many."""
    precisions = precisions_of(rows)
    alike = precisions.groupby([*(rows[column] for column in by), precisions]).transform("size")
    order = {
        name: place
        for place, name in enumerate(sorted(precisions.unique(), key=lambda name: (name != "no", name)))
    }
    return alike - precisions.map(order) / (len(order) + 1)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
