"""The granularity dial: how alike the cultivars are, as leaves, and what that did to the accuracy of
stored runs."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..datasets.leaves.task import KINDS
from ..errors import AdapterError
from ..experiments.run import read_table
from ..experiments.statistics import summarise
from ..figures.samples import granularity_sheet
from ..figures.styling import COLUMN, method_style, style
from ..files import output_folder
from ..text import drawn
from .panel import FigurePanel

__all__ = ["GranularityDial", "accuracy_by_granularity", "granularity_runs"]

COMMAND = "python -m adapters_lib results run granularity"
"""What makes the table of stored runs."""

_WIDE: dict[str, Any] = {
    "style": {"description_width": "9em"},
    "layout": {"width": "30em"},
    "continuous_update": False,
}


def granularity_runs(table: str | Path | None = None) -> pd.DataFrame:
    """Stored runs on the ultra-fine leaves with a column `granularity`, from the configuration; no rows if
    there is no such table.

    table: a CSV file of `experiments`; None is `data/results/granularity.csv`.

    Raises:
        AdapterError: a row whose configuration cannot be read.
    """
    path = Path(table) if table is not None else output_folder("data/results") / "granularity.csv"
    rows = read_table(path)
    if rows.empty:
        return pd.DataFrame(columns=["method", "seed", "top1", "granularity"])
    try:
        options = [json.loads(text)["data_options"] for text in rows["configuration"]]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise AdapterError(
            f"{path}: a row's configuration cannot be read ({error}); remove that row and run: {COMMAND}"
        ) from error
    granularities = [float(o.get("granularity", KINDS["ultra"].granularity)) for o in options]
    return rows.assign(granularity=granularities)[(rows["data"] == "leaves-ultra").to_numpy()]


def accuracy_by_granularity(runs: pd.DataFrame, now: float | None = None, *, title: str = "") -> Figure:
    """Mean test accuracy against the dial, a line a method, with 95 % t-intervals over seeds. now: where the
    dial stands, a vertical line.

    runs: from `granularity_runs`.

    Raises:
        AdapterError: no run.
    """
    if runs.empty:
        raise AdapterError(f"no stored run to draw; make the table with: {COMMAND}")
    means = summarise(runs, ["method", "granularity"])
    classes = KINDS["ultra"].cultivars
    seeds = sorted(set(means["n"]))
    with style():
        figure, ax = plt.subplots(figsize=(1.5 * COLUMN, 2.4))
        names = sorted(means["method"].unique())
        for name, (color, marker) in method_style(names).items():
            line = means[means["method"] == name].sort_values("granularity")
            half = np.nan_to_num(line["half"].to_numpy(dtype=float))  # one seed has no interval
            ax.errorbar(
                line["granularity"],
                line["top1"],
                yerr=half,
                color=color,
                marker=marker,
                ms=4,
                capsize=2,
                elinewidth=0.8,
                label=drawn(name),
            )
        ax.axhline(100 / classes, color="0.4", ls="--", lw=0.8, label="guessing")
        if now is not None:
            ax.axvline(now, color="0.2", lw=0.8, ls=":", label="the dial")
        n = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        ax.set(
            xlabel="granularity (towards 0: one and the same plant)",
            ylabel=f"top-1 (%), mean of n = {n}",
            ylim=(0, 100),
        )
        ax.set_title(title or f"{classes} cultivars of synthetic leaves, stored runs")
        figure.legend(loc="outside right upper")
    plt.close(figure)
    return figure


class GranularityDial(FigurePanel):
    """A slider over how far apart the cultivars of one species are, and one for the species; below, a leaf of
    each cultivar, and the accuracy of stored runs with a line where the dial stands.

    Args:
        cultivars: leaves on the sheet. table: as in `granularity_runs`; without stored runs the sheet stands
            alone.

    Attributes:
        curve: the accuracy as PNG, empty without runs. note: what the reader should know about the runs.
    """

    def __init__(self, cultivars: int = 10, table: str | Path | None = None) -> None:
        self.cultivars = cultivars
        self.table = table
        self.curve = ipywidgets.Image(format="png", layout={"max_width": "100%"})
        self.note = ipywidgets.HTML()
        controls = {
            "granularity": ipywidgets.FloatSlider(
                value=0.12, min=0.02, max=1.0, step=0.02, description="granularity (0–1)", **_WIDE
            ),
            "species": ipywidgets.IntSlider(value=0, min=0, max=20, description="species (number)", **_WIDE),
        }
        alt = (
            f"One leaf of each of {cultivars} cultivars of a synthetic species: near 0 one and the same"
            " plant, at 1 plainly different."
        )
        super().__init__(self.sheet, controls, alt, extras=(self.note, self.curve))

    def sheet(self, granularity: float, species: int) -> Figure:
        """The leaves at this setting; the accuracies are brought up to date on the way."""
        figure = granularity_sheet([granularity], n_cultivars=self.cultivars, seed=species)
        runs = granularity_runs(self.table)
        if runs.empty:
            self.curve.value = b""
            self.curve.layout.display = "none"
            self.note.value = (
                "<small>No stored runs yet, so no accuracies are shown. This makes them:"
                f" <code>{escape(COMMAND)}</code></small>"
            )
            return figure
        self.curve.layout.display = None
        self.curve.value = self.render(accuracy_by_granularity(runs, granularity))
        self.note.value = (
            f"<small>Accuracy of {len(runs)} stored runs on 20 cultivars of species 0,"
            f" {runs['granularity'].min():g} to {runs['granularity'].max():g}; the dotted line is the"
            " dial.</small>"
        )
        return figure
