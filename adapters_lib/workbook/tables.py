"""Stored tables as a notebook needs them: one call that reads, says what it read, and trains a small
substitute where there is nothing to read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import AdapterError
from ..experiments.run import grid, read_table, run_grid
from ..experiments.run_grids import stored
from ..experiments.versions import budgets_of, versions_of
from ..figures.paper import command_for, load
from ..files import output_folder
from ..training.offline_recipes import BUDGET, Budget, offline_recipe
from .quick import pick

__all__ = ["budget_note", "comparable", "method_runs", "rates_tried"]

RATES = ("rates", "tuning")
"""Names of the stored tables of tuning runs, the one that is filled today first."""

FIRST: dict[str, Any] = {"epochs": 3, "warmup_epochs": 0.3}
"""Of the runs that a notebook does itself: the length of the first tables, to be done while one reads."""


def comparable(
    name: str, folder: str | Path | None = None, say: Callable[[str], object] = print
) -> pd.DataFrame | None:
    """The rows of a stored table that can be compared: one version of the code, and the seeds that every
    setting ran. None if there is no table; `say` gets what was read or which command makes it.

    folder: default `data/results`, placed by `files.output_folder`.
    """
    folder = Path(folder) if folder is not None else output_folder("data/results")
    try:
        rows, notes = load(name, folder)
    except AdapterError:
        say(f"{name}: not there yet; `{command_for(name)}` makes it")
        return None
    version = versions_of(rows).mode()[0]
    kept = rows[versions_of(rows) == version]
    if "key" in rows and "method" in rows:
        options = kept["configuration"].map(lambda text: str(json.loads(text)["data_options"]))
        seeds = kept["seed"].groupby(kept["method"] + options + kept["data"]).agg(set)
        kept = kept[kept["seed"].isin(set.intersection(*seeds))]
    lines = [
        f"{name}: {len(kept)} of {len(rows)} rows (version {version}; seeds that all settings ran)",
        *notes,
    ]
    say("\n  ".join(lines).replace(str(folder), "data/results"))
    return kept


def method_runs(methods: Sequence[str], folder: str | Path | None = None, jobs: int = 1) -> pd.DataFrame:
    """The rows of these methods in the stored table `methods`; where one of them is missing, all are trained
    now, three seeds at three passes (one seed and one pass in the small setting), and kept in that table.

    methods: text forms. jobs: runs side by side; -1: one a core.
    """
    folder = Path(folder) if folder is not None else output_folder("data/results")
    table = stored("methods", folder)
    if not set(methods) <= set(table.get("method", ())):
        recipes = [offline_recipe(name, **pick(FIRST, {"epochs": 1, "warmup_epochs": 0})) for name in methods]
        small = {"augment": None, **pick({}, {"n_train": 2, "n_val": 2, "n_test": 4})}
        seeds = pick((0, 1, 2), (0,))
        runs = [
            run
            for name, recipe in zip(methods, recipes, strict=True)
            for run in grid([name], "leaves-ultra", seeds=seeds, recipe=recipe, data_options=small)
        ]
        table = run_grid(runs, folder / "methods.csv", jobs=jobs)
    return table[table["method"].isin(methods)]


def rates_tried(
    methods: Sequence[str], data: str = "leaves-ultra", folder: str | Path | None = None
) -> pd.DataFrame:
    """Validation accuracy (%) by learning rate, from the stored tables of tuning runs (`rates.csv`, which
    the command `tune` fills, and `tuning.csv`, the wider search of before): rows (method, head), with head
    "same rate" as the adapter or the rate of its own; columns the adapter's rates. Empty if there is no such
    run.

    Rows are of one budget: the present one if every method has runs there, else that with most runs. Several
    seeds of a rate are averaged. A run with one rate for both that is the head's own stands in both rows.
    """
    folder = Path(folder) if folder is not None else output_folder("data/results")
    tables = [table for name in RATES if len(table := read_table(folder / f"{name}.csv"))]
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    if len(rows):
        rows = rows.drop_duplicates("key")
        rows = rows[(rows["data"] == data) & rows["method"].isin(methods)]
    if rows.empty:
        return pd.DataFrame()
    budgets = budgets_of(rows)
    present = set(methods) == set(rows.loc[budgets == str(BUDGET), "method"])
    rows = rows[budgets == (str(BUDGET) if present else budgets.mode()[0])]
    alone = rows["head_lr"] == rows["lr"]
    rows = rows.assign(head=rows["head_lr"].map("{:g}".format).mask(alone, "same rate"))
    by_rate = rows.pivot_table(index=["method", "head"], columns="lr", values="val_top1")
    for method, head in by_rate.index:  # the same run belongs to both where the two rates meet
        if head != "same rate" and (method, "same rate") in by_rate.index and float(head) in by_rate:
            by_rate.loc[(method, head), float(head)] = by_rate.loc[(method, "same rate"), float(head)]
    return by_rate.reindex(list(methods), level="method")


def budget_note(table: pd.DataFrame, asked: Budget = BUDGET) -> str:
    """How many rows of a stored table are used, how long they were trained and by which version of the code;
    and that this is not `asked`, the budget of the present grids, where it is another: one or two sentences.

    Raises:
        AdapterError: an empty table.
    """
    if table.empty:
        raise AdapterError("a table without rows was trained for no time at all; make the rows first")
    budgets = sorted(set(budgets_of(table)))
    versions = ", ".join(sorted(set(versions_of(table))))
    count = table["seed"].nunique()
    runs = f"{len(table)} runs ({count} seed{'s' * (count > 1)})"
    text = f"{runs} of {' and '.join(budgets)}, made by version {versions} of the code."
    if budgets == [str(asked)]:
        return text
    return f"{text} The grids ask for {asked} now: read these rows as those of another budget."
