"""Figures of the stored study of early exits (`data/results/exits.csv` and the curves beside it), with
intervals over seeds."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..errors import AdapterError
from ..experiments.statistics import mean_interval
from ..experiments.versions import OutdatedRows, one_budget
from ..text import drawn
from .parts import caption, mark, outside_legend, points, sample
from .styling import COLUMN, method_style, style

__all__ = ["exit_curves", "exit_settings", "exit_shares"]

_LOOK = {"top1": ("#0072B2", "o"), "random": ("#8C6D31", "x"), "fixed_depth": ("#D55E00", "^")}
_BY_GRANULARITY = (
    ("coarse_block", ("#56B4E9", "s"), "coarsest classes"),
    ("fine_block", ("#000000", "D"), "finest classes"),
)
_NAMES = {"half": "half the MACs", "best": "the best point on validation images", "full": "full depth"}
_GRID = np.linspace(0, 1, 41)  # relative cost, on which the seeds' curves are averaged


def exit_settings(table: pd.DataFrame, point: str = "half", *, title: str = "") -> Figure:
    """Every setting at one operating point: accuracy beside random and fixed-depth exits at equal cost, and
    where images leave.

    table: rows of `exit_study.run_study`. On the right the mean block after which images of the coarsest and
    of the finest classes leave; left out if the task knows no granularities. The dashed line, with its
    interval, is the host without exits.

    Raises:
        AdapterError: no row of that point, or a missing column.
    """
    rows = _at(table, point)
    means = points(rows, ("setting",))
    order = means["setting"].to_list()
    hosts = table[table["setting"] == "host"]["top1"].to_list()
    deep = "coarse_block" in rows and bool(rows["coarse_block"].notna().all())
    with style():
        size = ((2 if deep else 1.3) * COLUMN, 1.15 + 0.26 * len(order))
        figure, axes = plt.subplots(1, 1 + deep, figsize=size, sharey=True, squeeze=False)
        left = axes[0, 0]
        for aside, (column, look) in zip((-0.25, 0.0, 0.25), _LOOK.items(), strict=True):
            for place, row in enumerate(points(rows, ("setting",), column).to_dict("records")):
                spot = (row[column], place + aside, row["half"], look)
                mark(left, *spot, hollow=row["hollow"], across=True)
        if hosts:
            mean, half, _ = np.nan_to_num(mean_interval(hosts))
            left.axvline(mean, color="0.4", ls="--", lw=0.8)
            left.axvspan(mean - half, mean + half, color="0.92", zorder=0)
        left.set_yticks(range(len(order)), [drawn(name) for name in order])
        left.set_ylim(len(order) - 0.5, -0.5)
        left.set_xlabel("top-1 (%)")
        handles: list[Any] = [
            plt.Line2D([], [], color=c, marker=m, ls="none", ms=5) for c, m in _LOOK.values()
        ]
        labels = ["exits by confidence", "random exits, equal cost", "fixed depth, equal cost"]
        if hosts:
            handles.append(plt.Line2D([], [], color="0.4", ls="--", lw=0.8))
            labels.append("host without exits")
        if deep:
            for column, look, name in _BY_GRANULARITY:
                for place, each in enumerate(points(rows, ("setting",), column).to_dict("records")):
                    mark(
                        axes[0, 1],
                        each[column],
                        place,
                        each["half"],
                        look,
                        hollow=each["hollow"],
                        across=True,
                    )
                handles.append(plt.Line2D([], [], color=look[0], marker=look[1], ls="none", ms=4.5))
                labels.append(name)
            axes[0, 1].set_xlabel("mean block after which an image leaves")
        figure.suptitle(_heading(means, table, f"{title} at {_NAMES.get(point, point)}".strip()), fontsize=7)
        outside_legend(figure, handles, labels)
    plt.close(figure)
    return figure


def exit_shares(
    table: pd.DataFrame, settings: Sequence[str] = ("naive", "all"), *, title: str = ""
) -> Figure:
    """Which share of the test images leaves at each exit, at both operating points; one line a setting.

    Raises:
        AdapterError: no row of these settings, or none that tells shares.
    """
    rows = table[table["setting"].isin(settings) & table["point"].isin(["half", "best"])]
    if rows.empty or "shares" not in rows or rows["shares"].isna().any():
        raise AdapterError(
            f"the table tells no shares of the settings {', '.join(settings)}; run the study again"
        )
    shares = rows["shares"].map(json.loads)
    long = rows.assign(share=shares, exit=shares.map(lambda each: range(1, len(each) + 1))).explode(
        ["share", "exit"]
    )
    long = long.assign(share=100 * long["share"].astype(float), exit=long["exit"].astype(int))
    means = points(long, ("setting", "point", "exit"), "share")
    look = method_style([name for name in settings if name in set(rows["setting"])])
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(2 * COLUMN, 2.5), sharey=True)
        for ax, point in zip(axes, ("half", "best"), strict=True):
            for place, (name, (color, marker)) in enumerate(look.items()):
                line = means[(means["setting"] == name) & (means["point"] == point)].sort_values("exit")
                aside = 0.06 * (place - (len(look) - 1) / 2)
                ax.plot(line["exit"] + aside, line["share"], color=color, lw=0.8, alpha=0.6)
                for row in line.to_dict("records"):
                    mark(
                        ax,
                        row["exit"] + aside,
                        row["share"],
                        row["half"],
                        (color, marker),
                        hollow=row["hollow"],
                    )
                ax.plot([], [], color=color, marker=marker, ms=4.5, lw=0.8, label=drawn(name))
            last = int(means["exit"].max())
            ax.set_xticks(range(1, last + 1), [*map(str, range(1, last)), f"{last} (full depth)"])
            ax.set(xlabel="exit", title=_NAMES[point])
        axes[0].set_ylabel(f"{sample(rows['data'])}s that leave there (%)")
        axes[0].set_ylim(bottom=0)
        figure.suptitle(_heading(means, table, title), fontsize=7)
        outside_legend(figure, *axes[0].get_legend_handles_labels())
    plt.close(figure)
    return figure


def exit_curves(
    curves: pd.DataFrame,
    table: pd.DataFrame,
    settings: Sequence[str] = ("naive", "all"),
    *,
    cost: str = "relative",
    title: str = "",
) -> Figure:
    """Accuracy above the host's against expected MACs (or measured milliseconds) as fractions of the full
    depth: mean and 95 % t-interval of the difference, paired by seed.

    Args:
        curves: rows of `exits_curves.csv`. table: rows of the study, for the host's accuracy (the line at 0)
            and the data set. Where it holds no host, the accuracy itself is drawn.
        cost: "relative" (MACs) or "time" (ms / full_ms). Seeds are interpolated between their points, never
            beyond them.

    Raises:
        AdapterError: no curve of these settings, or an unknown cost.
    """
    if cost not in ("relative", "time"):
        raise AdapterError(f"cost {cost!r}: draw against 'relative' (MACs) or 'time' (milliseconds)")
    curves, table = _of_one_budget(curves, table)
    rows = curves.assign(time=curves["ms"] / curves["full_ms"]) if cost == "time" else curves
    names = [name for name in settings if name in set(rows["setting"])]
    if not names:
        raise AdapterError(f"no curve of the settings {', '.join(settings)}; run the study first")
    look = method_style(names)
    host = table[table["setting"] == "host"].set_index("seed")["top1"].to_dict()
    if host:
        rows = rows[rows["seed"].isin(host)]
        level = rows["seed"].map(host)
        rows = rows.assign(top1=rows["top1"] - level, fixed_depth=rows["fixed_depth"] - level)
    with style():
        figure, ax = plt.subplots(figsize=(1.2 * COLUMN, 2.9))
        for place, name in enumerate(names):
            color, marker = look[name]
            x, mean, half = _over_seeds(rows[rows["setting"] == name], cost, "top1")
            ax.plot(x, mean, color=color, label=f"{drawn(name)}, by confidence")
            marked = slice(2 * place, None, 8)  # intervals of two settings stand side by side
            look_at: Any = {"fmt": marker, "ms": 4, "elinewidth": 0.8, "capsize": 2}
            ax.errorbar(x[marked], mean[marked], yerr=half[marked], color=color, **look_at)
            x, mean, _ = _over_seeds(rows[rows["setting"] == name], cost, "fixed_depth")
            ax.plot(x, mean, color=color, ls=(0, (4, 2)), lw=0.9, label=f"{drawn(name)}, fixed depth")
        if host:
            ax.axhline(0, color="0.4", lw=0.8)
        what = "expected MACs" if cost == "relative" else "milliseconds"
        above = "top-1 above the host without exits (points)" if host else "top-1 (%)"
        ax.set(xlabel=f"{what} / those of the full depth", ylabel=above)
        figure.suptitle(
            _heading(points(table[table["setting"].isin(names)], ("setting", "point")), table, title),
            fontsize=7,
        )
        outside_legend(figure, *ax.get_legend_handles_labels())
    plt.close(figure)
    return figure


def _of_one_budget(curves: pd.DataFrame, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both without the runs of other budgets, see `versions.one_budget`; a curve's row knows its run by the
    first part of the key.

    Warns:
        OutdatedRows: how many rows were left out.
    """
    shown = one_budget(table, ("setting", "point"))
    if len(shown) == len(table):
        return curves, table
    warnings.warn(
        f"{len(table) - len(shown)} rows of other budgets left out, and their curves",
        OutdatedRows,
        stacklevel=3,
    )
    runs = {key.rpartition("-")[0] for key in shown["key"]}
    return curves[[key.rpartition("-")[0] in runs for key in curves["key"]]], shown


def _at(table: pd.DataFrame, point: str) -> pd.DataFrame:
    rows = table[table["point"] == point] if "point" in table else table.iloc[:0]
    if rows.empty:
        raise AdapterError(f"the table has no row of the operating point {point!r}; run the study first")
    if len(studies := rows[["host", "data"]].drop_duplicates()) > 1:
        raise AdapterError(f"the table holds {len(studies)} studies (host and data set); select one of them")
    return rows


def _heading(means: pd.DataFrame, table: pd.DataFrame, title: str) -> str:
    studies = table[["data", "host"]].drop_duplicates()
    return caption(means, studies["data"].to_list(), title, hosts=studies["host"].to_list())


def _over_seeds(rows: pd.DataFrame, cost: str, value: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Costs that all seeds reach, mean and half-width there; seeds whose curve turns back in cost keep
    their best value."""
    curves = []
    for _, each in rows.groupby("seed"):
        best = each.groupby(cost)[value].max()
        curves.append((best.index.to_numpy(dtype=float), best.to_numpy(dtype=float)))
    low, high = max(x.min() for x, _ in curves), min(x.max() for x, _ in curves)
    x = low + _GRID * (high - low)
    intervals = [mean_interval(column) for column in np.stack([np.interp(x, *curve) for curve in curves], 1)]
    return x, np.array([i.mean for i in intervals]), np.nan_to_num([i.half for i in intervals])
