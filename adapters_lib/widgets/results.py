"""The results explorer: a stored table, the methods and axes to look at, the Pareto figure with its numbers,
and buttons that export them.

Everything shown comes from `figures.results_explorer`; nothing is kept when the notebook is closed, and a
file is written only when a button is pressed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd
from matplotlib.figure import Figure

from ..figures.results_explorer import (
    EXPORTS,
    costs_of,
    explore,
    export,
    read_labelled,
    select,
    summary,
    tables,
    versions_note,
)
from ..figures.styling import ACCURACIES, COST_AXES
from ..text import web
from .checkboxes import Checkboxes
from .panel import FigurePanel

__all__ = ["ResultsExplorer"]

_WIDE: dict[str, Any] = {"style": {"description_width": "9em"}, "layout": {"width": "36em"}}


class ResultsExplorer(FigurePanel):
    """Table, task, methods and axes → the figure with its Pareto front and the numbers behind it; PNG, PDF,
    CSV and LaTeX at a button.

    Args:
        folder: where the tables lie, default `data/results`. out: where exports go, default
            `figures/explorer`.

    Attributes:
        numbers: the summary as HTML. notes: rows of other versions, if there are any. status: where the last
            export was written.

    Raises:
        AdapterError: there is no table in the folder.
    """

    def __init__(self, folder: str | Path | None = None, out: str | Path | None = None) -> None:
        self.paths, self.out = tables(folder), out
        self.rows = pd.DataFrame()
        self._quiet = False
        self.numbers, self.notes, self.status = (
            ipywidgets.HTML(),
            ipywidgets.HTML(),
            ipywidgets.HTML(value="nothing exported yet"),
        )
        self.buttons = {kind: self._button(kind) for kind in EXPORTS}
        row = ipywidgets.HBox([ipywidgets.Label("Export"), *self.buttons.values()])
        alt = (
            "Mean accuracy against cost with 95 % intervals; the line joins methods that no other beats in"
            " both, faint points are beaten."
        )
        super().__init__(self._draw, self._make_controls(), alt, extras=(row, self.status, self.notes))
        self.children: tuple[Any, ...] = (*self.children, self.numbers)

    def _make_controls(self) -> dict[str, Any]:
        first = "methods" if "methods" in self.paths else next(iter(self.paths))
        return {
            "table": ipywidgets.Dropdown(options=list(self.paths), value=first, description="table", **_WIDE),
            "task": ipywidgets.Dropdown(description="task", **_WIDE),
            "labels": Checkboxes("methods"),
            "cost": ipywidgets.Dropdown(description="cost", **_WIDE),
            "value": ipywidgets.Dropdown(description="accuracy", **_WIDE),
        }

    def _button(self, kind: str) -> Any:
        what = {"CSV": "the selected rows", "LaTeX": "the numbers below"}.get(kind, "the figure")
        button = ipywidgets.Button(description=kind, tooltip=f"write {what} as {kind}")
        button.on_click(partial(self.export, kind))
        return button

    def redraw(self, change: Any = None) -> None:
        """As in any `FigurePanel`; another table first refills the other controls, and another task the
        list of methods."""
        if self._quiet:
            return
        owner = change["owner"] if change else self.controls["table"]
        if owner in (self.controls["table"], self.controls["task"]):
            try:
                self._refill(owner is self.controls["table"])
            except Exception:  # the drawing below meets it again and shows it
                self.rows = pd.DataFrame()
        super().redraw()
        if self.message.value:
            # Those of the selection before would pass for this one's.
            self.numbers.value = self.notes.value = ""

    def _refill(self, other_table: bool) -> None:
        """Offer what the table holds; keep the present choice where it is still there. All of it changes
        before one redraw."""
        self._quiet = True
        try:
            if other_table:
                self.rows = read_labelled(self.paths[self.controls["table"].value])
                self._offer("task", {task: task for task in self.rows["task"].unique()})
                self._offer("cost", {cost: COST_AXES[cost] for cost in costs_of(self.rows)})
                self._offer(
                    "value",
                    {
                        a: text
                        for a, text in ACCURACIES.items()
                        if a in self.rows and self.rows[a].notna().any()
                    },
                )
            labels = tuple(
                sorted(self.rows["label"][self.rows["task"] == self.controls["task"].value].unique())
            )
            self.controls["labels"].options = labels
            self.controls["labels"].value = labels
        finally:
            self._quiet = False

    def _offer(self, name: str, options: dict[str, str]) -> None:
        control, before = self.controls[name], self.controls[name].value
        control.options = [(text, value) for value, text in options.items()]
        control.value = before if before in options else next(iter(options), None)

    def selection(self) -> pd.DataFrame:
        """The rows that are shown. Raises AdapterError as `read_labelled` and `select` do."""
        if self.rows.empty:
            self.rows = read_labelled(self.paths[self.controls["table"].value])
        return select(self.rows, *(self.controls[name].value for name in ("labels", "task", "cost", "value")))

    def _draw(self, cost: str, value: str, **_others: Any) -> Figure:
        rows = self.selection()
        self.numbers.value = _html(summary(rows, cost, value), cost, value)
        self.notes.value = f"<b>{web(versions_note(rows))}</b>" if versions_note(rows) else ""
        return explore(rows, cost, value)

    def export(self, kind: str, _button: object = None) -> None:
        """Write what is shown and say where; what goes wrong is shown in the widget."""
        try:
            rows = self.selection()
            cost, value = self.controls["cost"].value, self.controls["value"].value
            name = f"{self.controls['table'].value}-{self.controls['task'].value}-{value}-{cost}"
            path = export(rows, kind, name, cost, value, self.out)
        except Exception as error:
            self.show_error(error)
            self.status.value = "nothing written"
            return
        self.message.value = ""
        self.status.value = f"wrote <code>{web(path)}</code> ({len(rows)} runs)"


def _html(table: pd.DataFrame, cost: str, value: str) -> str:
    """The summary as a table for readers: units in the head, and no interval or share where one seed gives
    none."""
    shown = pd.DataFrame(
        {
            "method": table["method"].map(web),
            COST_AXES[cost]: [f"{c:,.0f}" if c >= 100 else f"{c:.3g}" for c in table[cost]],
            ACCURACIES[value]: [f"{mean:.1f}" for mean in table[value]],
            "± (95 %)": [f"{half:.1f}" if half == half else "unknown" for half in table["half"]],
            "n (seeds)": table["n"],
            "on the front": table["on_front"].map({True: "yes", False: "no"}),
            "… if seeds are drawn anew": [
                f"in {100 * share:.0f} %" if share == share else "unknown" for share in table["front_share"]
            ],
        }
    )
    # The names are safe, the rest is ours.
    return str(shown.to_html(index=False, border=0, justify="left", escape=False))
