"""Stored runs as a table for people: Markdown, LaTeX or CSV, and the block of a page that holds it.

    python -m adapters_lib results table methods --format latex
    python -m adapters_lib results table methods --readme adapters_lib/workbook/pages/results.md

One row a method (and data set, if there are several): top-1 as mean and half-width of the 95 % t-interval
over seeds, how far it is above the linear probe on the same seeds (if the probe was run; methods are sorted
by it), the number of seeds, what trains apart (adapter, unfrozen backbone, head), MACs of an image, and a
training step: relative to full fine-tuning if `bench steps` has measured all of the methods, in turn on one
machine; else in milliseconds, as timed while the runs were made.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import AdapterError, unknown
from ..methods import format_method, parse_method
from ..text import latex
from .gains import paired_gains
from .run import read_table
from .statistics import Interval, summarise
from .versions import one_version

__all__ = ["FORMATS", "latex_table", "method_table", "render", "stored_table", "update_block"]

TITLES = {
    "data": "data",
    "method": "method",
    "top1": "top-1 (%)",
    "balanced": "balanced (%)",
    "gain": "above probe",
    "n": "seeds",
    "adapter": "adapter",
    "backbone": "unfrozen",
    "head": "head",
    "macs": "MACs (M)",
    "step_ms": "step (ms)",
    "step": "step ÷ full",
}
_FORMS: dict[str, Callable[[float], str]] = {
    "balanced": lambda percent: "–" if math.isnan(percent) else f"{percent:.1f}",
    "macs": lambda macs: f"{macs / 1e6:,.1f}",
    "step_ms": lambda ms: f"{ms:.0f}" if ms >= 10 else f"{ms:.1f}",
    "step": lambda ratio: f"{ratio:.2f}",
}


def stored_table(grid: str, folder: str | Path = "data/results") -> pd.DataFrame:
    """`method_table` of the rows in `folder`/`grid`.csv, with the steps in `folder`/steps.csv.

    Raises:
        AdapterError: no such file, or rows of which no table can be made.
    """
    from .run_grids import stored  # which knows the grids, and a figure that draws a table does not need them

    path = Path(folder) / f"{grid}.csv"
    rows = stored(grid, folder)
    if rows.empty:
        known = ", ".join(sorted(file.stem for file in Path(folder).glob("*.csv"))) or "none"
        raise AdapterError(
            f"no runs in {path}; make them with `python -m adapters_lib results run {grid}`, or"
            f" choose a table: {known}"
        )
    return method_table(rows, read_table(Path(folder) / "steps.csv"))


def method_table(rows: pd.DataFrame, steps: pd.DataFrame | None = None) -> pd.DataFrame:
    """Runs → one row a method, with columns of `TITLES`, `half` and `gain_half`; top1 and half in percent,
    the gain over the linear probe and its half-width in points.

    The methods stand in the order of their gains, or, where the probe was not run, of their first runs.

    steps: rows of `benchmarks.step_table`. Runs of other machines may meet in one table, so their own
    times are shown only if `steps` lacks a method, or the backbone.

    Rows that another version of the code made are used only for methods without newer ones, and marked
    "(older code)".

    Raises:
        AdapterError: a column is missing, a run has no test accuracy, or two runs of one method and seed
            differ in their settings.
    """
    several = "data" in rows and rows["data"].nunique() > 1
    by = ["data", "method"] if several else ["method"]
    rows = one_version(rows, by)
    if twice := rows[rows.duplicated([*by, "seed"])]["method"].unique().tolist():
        raise AdapterError(
            f"{twice[0]}: several runs of one seed, with other settings; select one, as a mean over both says"
            " nothing"
        )
    if untested := rows[rows["top1"].isna()]["method"].unique().tolist():
        raise AdapterError(
            f"{untested[0]}: a run without test accuracy; this table is of tested runs, those of tuning have"
            " none"
        )
    old = (
        rows[rows["outdated"]][by].drop_duplicates().agg(tuple, axis=1).tolist()
        if rows["outdated"].any()
        else []
    )
    table = summarise(rows.drop(columns="outdated"), by)
    if "balanced" in table:  # a mean, as beside it
        table["balanced"] = rows.groupby(by, sort=False)["balanced"].mean().to_numpy()
        table = table.drop(columns="balanced") if table["balanced"].isna().all() else table
    if measured := _steps(rows, steps):
        table = table.drop(columns="step_ms").assign(step=table["method"].map(measured))
    if (gains := _gains(rows, by)) is not None:
        table = table.merge(gains, on=by)
        table = pd.concat(  # data sets as they come
            [
                group.sort_values("gain", ascending=False, kind="stable")
                for _, group in table.groupby(by[:-1] or (lambda _: 0), sort=False)
            ],
            ignore_index=True,
        )
    table["method"] = [
        f"{row['method']} (older code)" if tuple(row[c] for c in by) in old else row["method"]
        for _, row in table.iterrows()
    ]
    return table[
        [
            *by,
            "top1",
            "half",
            *(["gain_half"] if "gain_half" in table else []),
            *(column for column in TITLES if column in table and column not in ("data", "method", "top1")),
        ]
    ]


def _gains(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame | None:
    """`gain` and `gain_half` of each group: top-1 above the probe's on the same data, see `paired_gains`;
    NaN where the two cannot be compared. None without the probe."""
    if "linear" not in set(rows["method"]):
        return None
    records = []
    for _, group in rows.groupby(list(by[:-1]) or (lambda _: 0), sort=False):
        gains = paired_gains(group, "linear") if "linear" in set(group["method"]) else {}
        gains["linear"] = Interval(0.0, 0.0, 0)
        for named in group[list(by)].drop_duplicates().to_dict("records"):
            mean, half, _ = gains.get(named["method"], (math.nan, math.nan, 0))
            records.append({**named, "gain": mean, "gain_half": half})
    return pd.DataFrame(records)


def timed_as(method: str) -> str:
    """The method that was timed in its place: another start changes no arithmetic. Methods in text form,
    several joined by " + "."""
    if "start=" not in method:
        return method
    chosen = []
    for one in map(parse_method, method.split(" + ")):
        usual = {field.name: field.default for field in dataclasses.fields(one) if field.name == "start"}
        chosen.append(format_method(dataclasses.replace(one, **usual)))
    return " + ".join(chosen)


def _steps(rows: pd.DataFrame, steps: pd.DataFrame | None) -> dict[str, float]:
    """Method → its step over that of full fine-tuning; empty unless all methods were measured, on the
    backbone of the runs."""
    if steps is None or steps.empty or "configuration" not in rows:
        return {}
    backbones = {json.loads(text)["backbone"] for text in rows["configuration"]}
    steps = steps[steps["backbone"].isin(backbones)]
    ratios = dict(zip(steps["method"], steps["ratio"], strict=True))
    step_ratios = {method: ratios.get(timed_as(method)) for method in rows["method"].unique()}
    return (
        {m: r for m, r in step_ratios.items() if r is not None}
        if len(backbones) == 1 and None not in step_ratios.values()
        else {}
    )


def _cells(table: pd.DataFrame) -> list[list[str]]:
    """The titles and then one list a row, as text; MACs in millions."""
    columns = [str(column) for column in table if column not in ("half", "gain_half")]
    records: list[dict[Any, Any]] = table.to_dict("records")
    lines = [[TITLES[column] for column in columns]]
    for row in records:
        interval = Interval(row["top1"], row["half"], int(row["n"]))
        written = {
            "top1": str(interval).partition(" (n")[0],
            "gain": _gain(row) if "gain" in row else "",
            **{c: form(row[c]) for c, form in _FORMS.items() if c in row},
        }
        lines.append(
            [
                written.get(c) or (str(row[c]) if c in ("data", "method") else f"{int(row[c]):,}")
                for c in columns
            ]
        )
    return lines


def _gain(row: Mapping[Any, Any]) -> str:
    """ "+3.1 ± 0.8"; "–" for the probe itself and for a method that shares no seed with it."""
    mean, half = row["gain"], row["gain_half"]
    if math.isnan(mean) or row["method"].partition(" ")[0] == "linear":
        return "–"
    return f"{mean:+.1f}".replace("-", "−") + ("" if math.isnan(half) else f" ± {half:.1f}")


def _markdown(table: pd.DataFrame) -> str:
    titles, *rows = _cells(table)
    first = titles.index("top-1 (%)")
    rule = ["---" if place < first else "---:" for place in range(len(titles))]
    quoted = [
        [f"`{cell}`" if title == "method" else cell for title, cell in zip(titles, row, strict=True)]
        for row in rows
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in (titles, rule, *quoted))


def _latex(table: pd.DataFrame) -> str:
    titles, *rows = _cells(table)
    first = titles.index("top-1 (%)")
    return latex_table(pd.DataFrame(rows, columns=titles), "l" * first + "r" * (len(titles) - first)).strip()


def latex_table(table: pd.DataFrame, shape: str, caption: str | None = None) -> str:
    """A table of texts for the package booktabs; every sign with a meaning in TeX is written as a command.

    shape: a letter a column, l or r. caption: of the float around it; None is the bare tabular.
    """
    written = table.map(latex).rename(columns=latex)
    about = None if caption is None else latex(caption)
    return str(written.to_latex(index=False, column_format=shape, caption=about))


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, float_format="%.6g").rstrip("\n")


FORMATS: dict[str, Callable[[pd.DataFrame], str]] = {"markdown": _markdown, "latex": _latex, "csv": _csv}


def render(table: pd.DataFrame, form: str = "markdown") -> str:
    """A `method_table` as text in one of `FORMATS`: for reading (markdown, latex), or with all digits (csv).

    Raises:
        AdapterError: unknown format.
    """
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    return FORMATS[form](table)


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- results: {name} -->", f"<!-- end of results: {name} -->"


def block(text: str, name: str) -> str:
    """What stands between the two markers of `name` in a Markdown text.

    Raises:
        AdapterError: the markers are not there, each once and in order.
    """
    start, end = _markers(name)
    before, middle, rest = text.partition(start)
    inside, last, after = rest.partition(end)
    if not middle or not last or start in after or end in before + after:
        raise AdapterError(
            f"the text needs the lines {start} and {end}, each once and in this order, around the place of"
            " the table"
        )
    return inside.strip("\n")


def update_block(path: str | Path, name: str, content: str) -> bool:
    """Put `content` between the markers of `name` in a Markdown file; returns whether that changed the file.

    Raises:
        AdapterError: the markers are not there; the file is as it was.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    old = block(text, name)
    if old == content:
        return False
    start, end = _markers(name)
    before, after = text.partition(start)[0], text.partition(end)[2]
    path.write_text(f"{before}{start}\n{content}\n{end}{after}", encoding="utf-8")
    return True
