"""Sentences of notebooks that code writes from numbers, so that new rows change the sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from ..errors import AdapterError
from ..experiments.statistics import Interval

__all__ = ["beside_papers", "interval_said", "say"]


def say(text: str) -> None:
    """Show a sentence as Markdown, as the text of a notebook is shown."""
    from IPython.display import Markdown, display

    display(Markdown(text))  # type: ignore[no-untyped-call]


def interval_said(gain: Interval, unit: str = "points") -> str:
    """As "+3.4 ± 2.8 points (n = 3)", with "not shown" behind it where the interval holds 0; one seed has
    no interval."""
    if gain.n < 2 or math.isnan(gain.half):
        return f"{gain.mean:+.1f} {unit} (one seed, no interval)"
    verdict = "" if abs(gain.mean) > gain.half else ", not shown: the interval holds 0"
    return f"{gain.mean:+.1f} ± {gain.half:.1f} {unit} (n = {gain.n}){verdict}"


def beside_papers(
    rows: Sequence[Sequence[str]],
    columns: Sequence[str] = ("paper says", "here we see", "why they may differ"),
) -> Styler:
    """Rows of three sentences as a table: what was published, what is measured here, and why they may differ.

    Raises:
        AdapterError: a row with more or fewer sentences than columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise AdapterError(
                f"the row {row[0]!r} has {len(row)} sentences for {len(columns)} columns; give one each"
            )
    table = pd.DataFrame([list(row) for row in rows], columns=list(columns))
    left: dict[str, Any] = {"text-align": "left"}
    return table.style.hide(axis="index").set_properties(**left)
