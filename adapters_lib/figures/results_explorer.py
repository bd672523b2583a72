"""What the results explorer shows, without a widget: stored tables, labelled rows, a Pareto figure, and
exports.

A stored table may hold several tasks, several settings of one method and rows of several versions of this
library. Nothing of that is averaged together: `read_labelled` gives every setting a label of its own, and
`select` takes one task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from .. import __version__
from ..errors import AdapterError, unknown
from ..experiments.report import latex_table
from ..experiments.run import read_table
from ..experiments.statistics import pareto_front
from ..experiments.versions import versions_of
from ..files import output_folder
from ..text import csv_cell
from .accuracy import accuracy_against_cost
from .styling import ACCURACIES, COST_AXES, style

__all__ = [
    "EXPORTS",
    "costs_of",
    "explore",
    "export",
    "read_labelled",
    "select",
    "summary",
    "tables",
    "versions_note",
]

EXPORTS = {"PNG": "png", "PDF": "pdf", "CSV": "csv", "LaTeX": "tex"}
"""Formats of `export` and their file endings."""

# What a row is called in a table without the column "method": the study of exits.
_NAMES = ("host", "setting", "point")


def tables(folder: str | Path | None = None) -> dict[str, Path]:
    """The stored tables of runs by name: CSV files with an accuracy, a cost and a seed. folder: default
    `data/results`.

    Raises:
        AdapterError: there is none.
    """
    where = Path(folder or output_folder("data/results"))
    paths = {path.stem: path for path in sorted(where.glob("*.csv")) if _holds_runs(path)}
    if not paths:
        raise AdapterError(
            f"no table of results in {where}; `make results` computes them, `make workbook` those of the"
            " notebooks"
        )
    return paths


def _holds_runs(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        columns = file.readline().strip().split(",")
    named = "method" in columns or "setting" in columns
    return (
        named
        and "seed" in columns
        and any(a in columns for a in ACCURACIES)
        and any(c in columns for c in COST_AXES)
    )


def read_labelled(path: str | Path) -> pd.DataFrame:
    """A stored table with three columns more: `task`, `label` and `other_version`.

    task: the data set with those of its options that vary in the table, e.g. "leaves-ultra, granularity 0.2".
    label: the method with those parts of its recipe that vary among its rows, e.g. "lora:rank=4, lr 0.003",
    and with the version of the library if it is not the present one, since numbers of two versions need not
    be comparable. other_version: bool.

    Raises:
        AdapterError: no such file, no rows, or a row whose configuration is not JSON.
    """
    table = read_table(path)
    if table.empty:
        raise AdapterError(f"{path} holds no rows; `make results` computes the stored tables")
    settings = _settings(table, path)
    names = (
        ["method"]
        if "method" in table
        else [c for c in _NAMES if c in table and (c == "setting" or table[c].nunique() > 1)]
    )
    label = table[names].astype(str).agg(", ".join, axis=1)
    task = table["data"].astype(str) if "data" in table else pd.Series("all", index=table.index)
    task = task + _varying(settings.filter(regex=r"^data_options\."), task)
    versioned = "version" in table or "configuration" in table
    version = versions_of(table) if versioned else pd.Series(__version__, index=table.index)
    label = label + _varying(
        settings.filter(regex=r"^(recipe\.|backbone$)"), label + "\0" + task + "\0" + version
    )
    other = version != __version__
    return table.assign(
        task=task, label=label.where(~other, label + " (version " + version + ")"), other_version=other
    )


def _settings(table: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """The configurations, flattened, all as text; a missing value is empty."""
    texts = table["configuration"] if "configuration" in table else ["{}"] * len(table)
    try:
        flat = pd.json_normalize([json.loads(text) for text in texts])
    except (TypeError, json.JSONDecodeError) as error:
        raise AdapterError(
            f"{path}: a row's configuration is not JSON ({error}); the row is damaged, remove it and run it"
            " again"
        ) from error
    flat.index = table.index
    return flat.drop(columns=["seed", "recipe.seed"], errors="ignore").map(
        lambda value: "" if _missing(value) else str(value)
    )


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _varying(settings: pd.DataFrame, groups: pd.Series) -> pd.Series:
    """For each row the settings that take several values among the rows of its group, as ", name value";
    empty otherwise."""
    text = pd.Series("", index=settings.index)
    for column in settings:
        varies = settings[column].groupby(groups).transform("nunique") > 1
        part = ", " + str(column).rpartition(".")[2].replace("_", " ") + " " + settings[column]
        text = text + part.where(varies & (settings[column] != ""), "")
    return text


def costs_of(table: pd.DataFrame) -> list[str]:
    """The cost columns of the table that hold at least one number, in the order of `COST_AXES`."""
    return [cost for cost in COST_AXES if cost in table and table[cost].notna().any()]


def select(
    table: pd.DataFrame, labels: Sequence[str], task: str, cost: str, value: str = "top1"
) -> pd.DataFrame:
    """Rows of one task and of the chosen labels that have both a cost and an accuracy.

    table: from `read_labelled`.

    Raises:
        AdapterError: nothing selected, an unknown task, label, cost or accuracy, two rows of one seed, or no
            row that has the numbers.
    """
    if not labels:
        raise AdapterError("no method is selected; choose at least one")
    checks: list[tuple[str, str, Sequence[str]]] = [
        ("task", task, table["task"].tolist()),
        ("cost axis", cost, costs_of(table)),
        ("accuracy", value, [a for a in ACCURACIES if a in table]),
        *(("method", label, table["label"].tolist()) for label in labels),
    ]
    for kind, wanted, known in checks:
        if wanted not in known:
            raise unknown(kind, wanted, known)
    rows = table[(table["task"] == task) & table["label"].isin(list(labels))].dropna(subset=[cost, value])
    if rows.empty:
        raise AdapterError(
            f"no run of the selected methods on {task!r} has both {cost} and {value}; choose another axis or"
            " other methods"
        )
    if (twice := rows.duplicated(["label", "seed"])).any():
        label, seed = rows.loc[twice, ["label", "seed"]].iloc[0]
        raise AdapterError(
            f"{label!r} has several rows of seed {seed} on {task!r}; each run may stand in the table once"
        )
    return rows


def explore(rows: pd.DataFrame, cost: str, value: str = "top1") -> Figure:
    """Means with 95 % t-intervals over seeds, n on the axis, and the Pareto front. rows: from `select`."""
    return accuracy_against_cost(rows, cost, value=value, by="label", front=True)


def summary(rows: pd.DataFrame, cost: str, value: str = "top1") -> pd.DataFrame:
    """One row a method, the cheapest first: cost, mean, 95 % half-width, n, whether it is on the front and
    how often when seeds vary."""
    front = pareto_front(rows, cost, value, "label")
    return front[["label", cost, value, "half", "n", "on_front", "front_share"]].rename(
        columns={"label": "method"}
    )


def versions_note(rows: pd.DataFrame) -> str:
    """A sentence on rows of other versions of the library; empty if there is none."""
    count = int(rows["other_version"].sum())
    if not count:
        return ""
    return (
        f"{count} of {len(rows)} rows come from another version than {__version__}; they are points of their"
        " own, named with the version"
    )


def export(
    rows: pd.DataFrame, kind: str, name: str, cost: str, value: str = "top1", folder: str | Path | None = None
) -> Path:
    """Write the figure (PNG at 300 dpi or PDF), the selected rows (CSV) or their summary (LaTeX) and return
    the file's path.

    folder: default `figures/explorer`. name: any text; what a file name cannot hold becomes a hyphen.

    Raises:
        AdapterError: an unknown kind.
    """
    if kind not in EXPORTS:
        raise unknown("export format", kind, EXPORTS)
    target = Path(folder or output_folder("figures/explorer"))
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"{re.sub(r'[^A-Za-z0-9._=]+', '-', name).strip('-')}.{EXPORTS[kind]}"
    if kind == "CSV":
        safe = {
            column: rows[column].map(lambda cell: csv_cell(cell) if isinstance(cell, str) else cell)
            for column in rows
        }
        pd.DataFrame(safe).to_csv(path, index=False)
    elif kind == "LaTeX":
        path.write_text(_latex(rows, cost, value), encoding="utf-8")
    else:
        with style():
            explore(rows, cost, value).savefig(path)
    return path


def _latex(rows: pd.DataFrame, cost: str, value: str) -> str:
    """A table for the package booktabs: mean ± half-width (n), and a mark for the front."""
    means = summary(rows, cost, value)
    intervals = means[[value, "half", "n"]].to_numpy()
    shown = pd.DataFrame(
        {
            "method": means["method"],
            COST_AXES[cost]: [f"{c:,.0f}" if c >= 100 else f"{c:.3g}" for c in means[cost]],
            ACCURACIES[value]: [f"{m:.1f} ± {h:.1f}" if n > 1 else f"{m:.1f}" for m, h, n in intervals],
            "n": means["n"].map(str),
            "Pareto front": means["on_front"].map({True: "yes", False: ""}),
        }
    )
    caption = f"{rows['task'].iloc[0]}: mean and 95 % t-interval over n seeds."
    return "% needs \\usepackage{booktabs}\n" + latex_table(shown, "lrrrl", caption)
