"""Which methods go together, and why some do not.

Methods fill different sites, so most lists are sensible. Refused are those in which one method makes another
pointless or undoes it. `python -m adapters_lib methods --compositions --out data/composition.csv` writes the
table of all pairs.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path

from ..errors import AdapterError
from ..vit.method import Method
from .registry import METHODS

__all__ = ["check_together", "composition_table", "conflict", "write_table"]


def conflict(first: Method, second: Method) -> str | None:
    """Why two methods cannot be listed together; None if they can. The reasons stand with the methods, see
    `Method.conflicts`."""
    return first.conflicts(second) or second.conflicts(first)


def check_together(methods: Sequence[Method]) -> None:
    """Raise an AdapterError that says why if two methods of the list contradict each other."""
    for index, first in enumerate(methods):
        for second in methods[index + 1 :]:
            if reason := conflict(first, second):
                raise AdapterError(f"{first.name} and {second.name} do not go together: {reason}")


def composition_table() -> list[dict[str, str]]:
    """One row for every pair of methods with their defaults: first, second, composes (yes or no), why."""
    rows = []
    for first, second in combinations_with_replacement(METHODS.values(), 2):
        reason = conflict(first(), second())
        rows.append(
            {
                "first": first.name,
                "second": second.name,
                "composes": "no" if reason else "yes",
                "why": reason or "",
            }
        )
    return rows


def write_table(path: str | Path) -> None:
    """Write `composition_table` as CSV."""
    rows = composition_table()
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
