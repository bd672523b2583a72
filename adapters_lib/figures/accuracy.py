"""Figures of the stored tables: accuracy against costs, tasks side by side, sweeps and paired differences.

Every point is a mean over seeds with its 95 % t-interval; see `parts` for what is said beside it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..errors import AdapterError, unknown
from ..experiments.compare import compare
from ..experiments.statistics import Bootstrap, Interval, paired_difference, pareto_front
from ..experiments.versions import OutdatedRows, one_version
from ..methods import parse_method
from ..text import drawn
from .parts import caption, mark, names_beside, note_beside, outside_legend, points, sample
from .styling import ACCURACIES, COLUMN, COST_AXES, cost_scale, method_style, short, style

__all__ = [
    "accuracy_against_cost",
    "accuracy_dots",
    "bottleneck_sweep",
    "differences",
    "granularity_sweep",
    "learning_curves",
    "paired_differences",
]

_SIZES = ("bottleneck", "rank")


def accuracy_against_cost(
    table: pd.DataFrame,
    costs: str | Sequence[str] = "trained",
    *,
    value: str = "top1",
    by: str = "method",
    sized_by: str | None = None,
    spread: tuple[str, str] | None = None,
    front: bool = False,
    title: str = "",
) -> Figure:
    """Mean accuracy of every method against one cost or several, a panel each, its name beside its point.

    The names stand at the right, as near to the height of their points as their neighbours let them, so the
    best method is on top; a thin line leads to each from the last panel.

    Args:
        table: one row a run, one data set, with the columns `by`, `value` (percent), `seed` and the costs.
        costs: columns named in `COST_AXES`; an axis is logarithmic if values span more than a factor of 4.
        value: the accuracy column. by: what a point stands for.
        sized_by: a column of counts; the area of a marker grows with its logarithm.
        spread: columns with the ends of the cost's own interval, drawn as a horizontal line.
        front: join the methods that no other beats in cost and accuracy, and say behind each name how often
            it is among them when the seeds are drawn anew (`pareto_front`); one cost only.

    Raises:
        AdapterError: an unknown cost, an empty table or a missing column.
    """
    columns = [costs] if isinstance(costs, str) else list(costs)
    for column in filter(None, (*columns, sized_by)):
        if column not in COST_AXES:
            raise unknown("cost axis", column, COST_AXES)
        if column not in table:
            raise AdapterError(f"the table has no column {column!r}; it has {', '.join(table.columns)}")
    means = points(table, (by,), value)
    if front:
        (cost,) = columns
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutdatedRows)  # said once already, by `points`
            shares = pareto_front(one_version(table, [by]), cost, value, by)
        means = means.merge(shares[[by, "on_front", "front_share"]], on=by)
    look = method_style(map(str, means[by]))
    size = _area(means[sized_by]) if sized_by else None
    with style():
        width = COLUMN * (1 if len(columns) == 1 else 0.2 + 0.9 * len(columns))
        height = max(2.6, 1.0 + 0.13 * len(means))
        figure, axes = plt.subplots(1, len(columns), figsize=(width, height), sharey=True, squeeze=False)
        for ax, cost in zip(axes.flat, columns, strict=True):
            for row in means.sort_values(cost, kind="stable").to_dict("records"):
                seen: Any = {"ms": size(row[sized_by])} if size else {}
                dim = 0.45 if front and not row["on_front"] else 0.85
                place, its = (row[cost], row[value], row["half"]), look[str(row[by])]
                mark(ax, *place, its, hollow=row["hollow"], alpha=dim, label=drawn(row[by]), **seen)
                if spread:
                    ax.hlines(row[value], row[spread[0]], row[spread[1]], color=its[0], lw=0.7)
            if front:
                best = means[means["on_front"]].sort_values(cost)
                ax.plot(best[cost], best[value], color="0.6", lw=1, zorder=0)
            _cost_axis(ax, means[cost], COST_AXES[cost].replace("per image", f"per {_sample_of(table)}"))
        axes[0, 0].set_ylabel(ACCURACIES.get(value, value))
        if size and sized_by:
            _size_legend(axes[0, 0], means[sized_by], size)
        names = [drawn(row[by]) + _share(row) for row in means.to_dict("records")]
        colors = [look[str(name)][0] for name in means[by]]
        data = table["data"].unique().tolist() if "data" in table else []
        figure.suptitle(caption(means, data, title), fontsize=7)
        names_beside(axes[0, -1], means[columns[-1]].to_list(), means[value].to_list(), names, colors)
    plt.close(figure)
    return figure


def _cost_axis(ax: Axes, costs: pd.Series, label: str) -> None:
    """The scale that fits these costs, and below the label what it compares with, if it does."""
    note = cost_scale(ax, costs.to_list())
    ax.set_xlabel(f"{label}\n{note}" if note else label)


def _sample_of(table: pd.DataFrame) -> str:
    return sample(table["data"]) if "data" in table else "image"


def _share(row: Mapping[Any, Any]) -> str:
    """How often a method is on the front, behind its name; nothing where nobody knows."""
    share = row.get("front_share", np.nan)
    return "" if np.isnan(share) else f" ({100 * share:.0f} %)"


def accuracy_dots(table: pd.DataFrame, *, names: Mapping[str, str] | None = None, title: str = "") -> Figure:
    """One row a method, one panel a data set; the best of the first panel on top. names: method → what to
    call it."""
    means = points(table, ("data", "method"))
    panels = means["data"].unique().tolist()
    order = (
        means[means["data"] == panels[0]]
        .sort_values("top1", ascending=False, kind="stable")["method"]
        .to_list()
    )
    order += [m for m in means["method"].unique() if m not in order]
    look = method_style(order)
    with style():
        wide = COLUMN if len(panels) < 3 else 2 * COLUMN
        figure, axes = plt.subplots(
            1, len(panels), figsize=(wide, 0.75 + 0.17 * len(order)), sharey=True, squeeze=False
        )
        for ax, data in zip(axes.flat, panels, strict=True):
            for row in means[means["data"] == data].to_dict("records"):
                mark(
                    ax,
                    row["top1"],
                    order.index(row["method"]),
                    row["half"],
                    look[row["method"]],
                    hollow=row["hollow"],
                    across=True,
                )
            ax.set(xlabel="top-1 (%)", title=drawn(data) if len(panels) > 1 else "")
            ax.set_ylim(len(order) - 0.5, -0.5)
        axes[0, 0].set_yticks(range(len(order)), [drawn((names or {}).get(m, m)) for m in order])
        figure.suptitle(caption(means, panels, title), fontsize=7)
    plt.close(figure)
    return figure


def bottleneck_sweep(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Accuracy against bottleneck or rank, and against the parameters that this costs; one line a method.

    table: methods in text form with one size each, e.g. "adpt:bottleneck=16", "lora:rank=4".

    Raises:
        AdapterError: a method without such a size.
    """
    rows = table.assign(**_sizes(table["method"]))
    means = points(rows, ("family", "size"))
    look = method_style(list(dict.fromkeys(means["family"])))
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(2 * COLUMN, 2.6), sharey=True)
        for place, (family, group) in enumerate(means.groupby("family", sort=False)):
            line = group.sort_values("size")
            aside = 1.04 ** (place - (len(look) - 1) / 2)  # so that intervals at one size stand side by side
            _line(axes[0], line["size"] * aside, line, look[str(family)], str(family))
            _line(axes[1], line["trained"], line, look[str(family)], str(family))
        axes[0].set_xscale("log", base=2)
        ticks = sorted(means["size"].unique())
        axes[0].set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
        axes[0].minorticks_off()
        axes[0].set(xlabel="bottleneck or rank", ylabel="top-1 (%)")
        _cost_axis(axes[1], means["trained"], COST_AXES["trained"])
        figure.suptitle(caption(means, table["data"].unique().tolist(), title), fontsize=7)
        outside_legend(figure, *axes[0].get_legend_handles_labels())
    plt.close(figure)
    return figure


def granularity_sweep(table: pd.DataFrame, *, reference: str = "linear", title: str = "") -> Figure:
    """Accuracy of `reference` along the granularity dial, and how far every other method is from it there,
    paired by seed.

    table: with a column `granularity`.

    Raises:
        AdapterError: the reference was not run at some granularity, or not with the same seeds.
    """
    means = points(table, ("method", "granularity"))
    look = method_style(list(dict.fromkeys(means["method"])))
    rows = one_version(table, ("method", "granularity"))
    lines = [
        (str(method), line.sort_values("granularity")) for method, line in means.groupby("method", sort=False)
    ]
    others = [(method, line) for method, line in lines if method != reference]
    with style():
        shape: Any = {"figsize": (2 * COLUMN, 2.6), "width_ratios": (1, 1.7)}
        figure, (left, right) = plt.subplots(1, 2, **shape)
        for method, line in lines:
            if method == reference:
                _line(left, line["granularity"], line, look[method], method)
        for place, (method, line) in enumerate(others):
            aside = 1.025 ** (place - (len(others) - 1) / 2)  # so that intervals stand side by side
            gaps = [
                paired_difference(rows[rows["granularity"] == granularity], method, reference)
                for granularity in line["granularity"]
            ]
            gained = line.assign(top1=[gap.mean for gap in gaps], half=[gap.half for gap in gaps])
            _line(right, line["granularity"] * aside, gained, look[method], method)
        for ax in (left, right):
            ax.set_xscale("log")
            ticks = sorted(means["granularity"].unique())
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.minorticks_off()
            ax.set_xlabel("granularity (towards 0: one and the same plant)")
        left.set_xlabel("granularity")
        right.axhline(0, color="0.4", lw=0.8)
        left.set_ylabel(f"top-1 of {drawn(reference)} (%)")
        right.set_ylabel(f"top-1 above {drawn(reference)} (points)")
        figure.suptitle(caption(means, table["data"].unique().tolist(), title), fontsize=7)
        outside_legend(figure, *right.get_legend_handles_labels())
    plt.close(figure)
    return figure


def learning_curves(table: pd.DataFrame, *, value: str = "val_top1", title: str = "") -> Figure:
    """Accuracy after training for so many updates, a line a method, its name at the end of it.

    A budget is long enough where twice as many updates move no method by much, and too short where the order
    of the methods still changes.

    table: rows of the grid `learning_curve`, with the columns method, updates, seed and `value`; every budget
    is a run of its own, as the schedule of the learning rate depends on it.

    Raises:
        AdapterError: an empty table or a missing column.
    """
    means = points(table, ("method", "updates"), value)
    groups = [(str(name), line.sort_values("updates")) for name, line in means.groupby("method", sort=False)]
    look = method_style([name for name, _ in groups])
    with style():
        figure, ax = plt.subplots(figsize=(1.25 * COLUMN, 3.1))
        for name, line in groups:
            _line(ax, line["updates"], line.assign(top1=line[value]), look[name], name)
        ax.set_xscale("log", base=2)
        ticks = sorted(means["updates"].unique())
        ax.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        ax.minorticks_off()
        ax.margins(x=0.06)
        ax.set(xlabel="updates, 4 images each", ylabel=ACCURACIES.get(value, value))
        last = [line.iloc[-1] for _, line in groups]
        ends = ([row["updates"] for row in last], [row[value] for row in last])
        data = table["data"].unique().tolist() if "data" in table else []
        figure.suptitle(caption(means, data, title), fontsize=7)
        names_beside(ax, *ends, [drawn(name) for name, _ in groups], [look[name][0] for name, _ in groups])
    plt.close(figure)
    return figure


def differences(table: pd.DataFrame, reference: str = "linear", *, title: str = "") -> Figure:
    """How far every method is above or below `reference`: t-interval over paired seeds (thick), bootstrap
    over test images (thin).

    An interval that holds 0 decides nothing. table: one data set, with the columns `hits` and `n_test`.

    Raises:
        AdapterError: as `experiments.compare`.
    """
    rows = one_version(table, ["method"])
    comparisons = [
        compare(rows, method, reference) for method in rows["method"].unique() if method != reference
    ]
    if not comparisons:
        raise AdapterError(f"nothing to compare with {reference!r}: the table holds no other method")
    comparisons.sort(key=lambda each: -each.seeds.mean)
    means = points(table)
    heading = caption(means, table["data"].unique().tolist(), title)
    heading = heading.replace("mean and", "colored: paired difference,")
    images = f"grey: bootstrap over {comparisons[0].images.images} test {sample(table['data'])}s"
    return _difference_rows(
        {each.first: each.seeds for each in comparisons},
        {each.first: each.images for each in comparisons},
        hollow=set(means.loc[means["hollow"], "method"]),
        look=method_style([each.first for each in comparisons]),
        xlabel=f"top-1 above {drawn(reference)} (percentage points)",
        title=f"{heading}\n{images}",
    )


def paired_differences(
    differences: Mapping[str, Interval], *, value: str = "top-1 accuracy", title: str = ""
) -> Figure:
    """Differences between two methods with their 95 % intervals, a row each; an interval across 0 decides
    nothing.

    The title says over how many seeds; where rows differ in that, it stands beside each.

    differences: text of the row, e.g. "ILA − LoRA" → `paired_difference`.
    """
    if not differences:
        raise AdapterError("paired_differences: nothing was selected to draw; give at least one entry")
    counts = {interval.n for interval in differences.values()}
    alike = f"paired over n = {counts.pop()} seeds" if len(counts) == 1 else ""
    return _difference_rows(
        differences,
        look=dict.fromkeys(differences, ("#0072B2", "o")),
        xlabel=f"difference in {value} (percentage points)",
        title="\n".join(filter(None, [title, alike])),
        counted=not alike,
    )


def _difference_rows(
    seeds: Mapping[str, Interval],
    images: Mapping[str, Bootstrap] | None = None,
    *,
    look: Mapping[str, tuple[str, str]],
    xlabel: str,
    title: str,
    counted: bool = False,
    hollow: Collection[str] = (),
) -> Figure:
    """One row a difference, the first on top; counted: n beside each."""
    with style():
        longest = max(len(drawn(name)) for name in seeds)
        width = COLUMN * min(1.0 + 0.02 * max(longest - 8, 0), 1.6)  # names must not eat the axes
        figure, ax = plt.subplots(figsize=(width, 0.9 + 0.17 * len(seeds) + 0.1 * title.count("\n")))
        for place, (name, interval) in enumerate(seeds.items()):
            aside = 0.0
            if images is not None:
                aside = 0.1
                ax.hlines(place + 0.22, images[name].low, images[name].high, color="0.45", lw=0.8)
            row = (interval.mean, place - aside, interval.half, look[name])
            mark(ax, *row, hollow=name in hollow, across=True, elinewidth=1.4, ecolor=look[name][0])
            if counted:
                note_beside(ax, place, f"n = {interval.n}", fontsize=7, color="0.4")
        ax.axvline(0, color="0.4", lw=0.8)
        ax.set_yticks(range(len(seeds)), [drawn(name) for name in seeds])
        ax.set_ylim(len(seeds) - 0.4, -0.6)
        ax.set_xlabel(xlabel)
        figure.suptitle(title, fontsize=7)
    plt.close(figure)
    return figure


def _line(ax: Axes, x: pd.Series, rows: pd.DataFrame, look: tuple[str, str], label: str) -> None:
    color, marker = look
    shown: dict[str, Any] = {
        "color": color,
        "marker": marker,
        "ms": 4,
        "elinewidth": 0.7,
        "capsize": 1.5,
        "label": drawn(label),
    }
    ax.errorbar(x, rows["top1"], yerr=np.nan_to_num(rows["half"]), **shown)
    old = rows["hollow"].to_numpy()
    ax.plot(x[old], rows["top1"][old], ls="none", marker=marker, ms=4, color=color, mfc="white", zorder=3)


def _sizes(methods: pd.Series) -> dict[str, list[Any]]:
    """Name and size of every method in text form."""
    columns: dict[str, list[Any]] = {"family": [], "size": []}
    for text in methods:
        method = parse_method(text)
        if not (size := [getattr(method, name) for name in _SIZES if hasattr(method, name)]):
            raise AdapterError(
                f"{text!r} has neither bottleneck nor rank, so it has no place in a sweep of sizes; leave"
                " it out"
            )
        columns["family"].append(method.name)
        columns["size"].append(float(size[0]))
    return columns


def _area(counts: pd.Series) -> Callable[[float], float]:
    """Diameter in points for a count, such that the area grows with the count's logarithm."""
    low, high = np.log10(counts.min()), np.log10(counts.max())
    return lambda count: float(np.sqrt(9 + 72 * (np.log10(count) - low) / max(high - low, 1e-9)))


def _size_legend(ax: Axes, counts: pd.Series, size: Callable[[float], float]) -> None:
    shown = np.geomspace(counts.min(), counts.max(), 3)
    handles = [
        Line2D([], [], marker="o", ls="none", color="0.6", ms=size(count), label=short(float(f"{count:.1g}")))
        for count in shown
    ]
    ax.legend(
        handles=handles,
        ncols=3,
        title="parameters trained",
        fontsize=6.5,
        title_fontsize=6.5,
        columnspacing=0.8,
        handletextpad=0.2,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
    )
