"""Rows that another version of the code made: told apart, marked, never averaged together in silence.

A run's key holds the version, so a new release trains its grids again and the old rows stay in the table beside the new ones.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence

import pandas as pd

from . import __version__
from .errors import AdapterError

__all__ = ["OutdatedRows", "one_version", "refuse_mixture", "versions_of"]


class OutdatedRows(UserWarning):
    """Some of the rows in use were made by another version of the code."""


def versions_of(table: pd.DataFrame) -> pd.Series:
    """The version of the code that made each row: column `version`, else what `configuration` says, else "unknown"."""
    known = pd.Series(index=table.index, dtype=object)
    if "version" in table:
        known = table["version"].astype(object)
    if "configuration" in table:
        said = table["configuration"].map(lambda text: json.loads(text).get("version") if isinstance(text, str) else None)
        known = known.where(known.notna(), said)
    return known.where(known.notna(), "unknown").astype(str)


def refuse_mixture(table: pd.DataFrame, by: Sequence[str]) -> None:
    """Raise an AdapterError if a group of `by` (none: all rows) holds several versions; a table that knows of no versions passes."""
    if "version" not in table and "configuration" not in table:
        return
    found = versions_of(table)
    if found.nunique() < 2:
        return
    for key, rows in found.groupby([table[column] for column in by], sort=False) if by else [("these rows", found)]:
        if rows.nunique() > 1:
            group = ", ".join(map(str, key if isinstance(key, tuple) else (key,)))
            rule = "keep one version with adapters_lib.versions.one_version, or run the grid again"
            raise AdapterError(f"{group}: rows of versions {' and '.join(sorted(rows.unique()))} would be averaged together; {rule}")


def one_version(table: pd.DataFrame, by: Sequence[str], current: str = __version__) -> pd.DataFrame:
    """Rows of a single version for every group of `by`: of the current one where there are any, else of the newest.

    Returns:
        These rows with `version` filled in and `outdated`, True where the version is not the current one.

    Warns:
        OutdatedRows: with the groups that are outdated, and how many older rows were left out beside newer ones.

    Raises:
        AdapterError: a column of `by` is missing.
    """
    if missing := [column for column in by if column not in table]:
        raise AdapterError(f"the table has no column {missing[0]!r}; it has {', '.join(table.columns)}")
    rows = table.assign(version=versions_of(table))
    if (rows["version"] == current).all():
        return rows.assign(outdated=False)
    order = sorted(rows["version"].unique(), key=lambda version: (version == current, _numbers(version)))
    rank = rows["version"].map({version: place for place, version in enumerate(order)})
    best = rank.groupby([rows[column] for column in by]).transform("max") if by else rank.max()
    kept = rows[rank == best].copy()
    kept["outdated"] = kept["version"] != current
    parts = []
    if kept["outdated"].any():
        old = kept.loc[kept["outdated"], [*by, "version"]].drop_duplicates().astype(str).agg(" ".join, axis=1)
        parts.append(f"made by another version than {current}: {', '.join(old)}")
    if left := len(rows) - len(kept):
        parts.append(f"{left} older rows left out beside newer ones")
    warnings.warn("; ".join(parts) + "; run the grid again to renew them", OutdatedRows, stacklevel=2)
    return kept


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
