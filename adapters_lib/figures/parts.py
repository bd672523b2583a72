"""Parts that figures of stored tables share: points with intervals, what the caption must say, marks, legends
that hold twenty methods.

Every point is a mean over seeds with its 95 % t-interval, and the caption says over how many. Points that
rest on rows of another version of the code (`versions.one_version`, which also warns) are hollow where others
stand beside them; where all are of another version, the caption alone says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from .. import __version__
from ..datasets.load import DATA_SETS
from ..errors import AdapterError
from ..experiments.statistics import summarise
from ..experiments.versions import one_version
from ..text import drawn

__all__ = ["caption", "mark", "names_beside", "note_beside", "outside_legend", "points", "sample"]


def points(table: pd.DataFrame, by: Sequence[str] = ("method",), value: str = "top1") -> pd.DataFrame:
    """`summarise` of rows of one version each, with the columns `outdated`, `version` and `hollow` (outdated
    while others are not).

    Raises:
        AdapterError: an empty table or a missing column.
    """
    if table.empty:
        raise AdapterError("there is no row to draw; run the grid first or widen the selection")
    if "version" not in table and "configuration" not in table:  # a table of the user's own
        table = table.assign(version=__version__)
    rows = one_version(table, by)
    versions = rows.groupby(list(by), sort=False)[["outdated", "version"]].first().reset_index()
    means = summarise(rows, by, value).merge(versions, on=list(by))
    return means.assign(hollow=means["outdated"] & (not means["outdated"].all()))


def caption(means: pd.DataFrame, data: Sequence[str], title: str = "", *, hosts: Sequence[str] = ()) -> str:
    """Lines above a figure: what, on which data and that they are synthetic, how many seeds; which version
    made the points of another one.

    hosts: in a study of exits, the method that was trained on each of the data sets.
    """
    kinds = sorted({kind for name in data if (kind := _synthetic(name))})
    studies = [f"{name}, host {host}" for name, host in zip(data, hosts, strict=True)] if hosts else data
    names = ", ".join(drawn(study) for study in sorted(set(studies)))
    lines = [title] if title else []
    if names and f"({names})" not in title:  # a title may say the data already
        lines.append(f"{' and '.join(kinds)} ({names})" if kinds else names)
    lines.append(_interval(means["n"]))
    if means["outdated"].any():
        versions = sorted(set(means.loc[means["outdated"], "version"]))
        which = "hollow: " if means["hollow"].any() else ""
        lines.append(f"{which}made by version {', '.join(map(drawn, versions))} of the code")
    return "\n".join(lines)


def sample(data: Iterable[str]) -> str:
    """What a row of these data sets counts: "clip" if all of them are sets of clips, else "image"."""
    return "clip" if all(name in DATA_SETS and DATA_SETS[name].clips for name in data) else "image"


def mark(
    ax: Axes,
    x: float,
    y: float,
    half: float,
    look: tuple[str, str],
    *,
    hollow: bool = False,
    across: bool = False,
    **more: Any,
) -> Any:
    """One mean with its interval, vertical or (across) horizontal. A single seed has
    no interval."""
    color, marker = look
    interval: Any = {"xerr" if across else "yerr": np.nan_to_num(half)}
    face = "white" if hollow else color
    kept = {"ms": 4.5, "mew": 0.9, "elinewidth": 0.7, "capsize": 1.5, **more}
    return ax.errorbar(x, y, **interval, fmt=marker, color=color, mfc=face, **kept)


def names_beside(
    ax: Axes, x: Sequence[float], y: Sequence[float], names: Sequence[str], colors: Sequence[str]
) -> None:
    """Names at the right of the axes, each at the height of its point or as near as its neighbours let
    it, with a thin line from the point. To be called last: what is drawn later may move the points.

    Moving the names least in the sense of squares, without changing their order or letting two touch, is an
    isotonic regression of y_i − i · gap (Dwyer et al. 2006, "Fast node overlap removal").
    """
    figure = ax.figure.figure  # the whole one, where the axes stand in a part of it
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # settles the limits and the size of the axes
    heights = ax.transAxes.inverted().transform(ax.transData.transform(np.column_stack([x, y])))[:, 1]
    gap = 8.6 / 72 / (ax.get_window_extent().height / figure.dpi)  # a line of 6.5 points, and air
    order = np.argsort(heights, kind="stable")
    step = gap * np.arange(len(order))
    placed = isotonic_regression(heights[order] - step).x + step
    placed += np.clip(0.5 - (placed[0] + placed[-1]) / 2, -placed[0], 1 - placed[-1]) * (np.ptp(placed) > 1)
    for index, height in zip(order, placed, strict=True):
        ax.annotate(
            names[index],
            (x[index], y[index]),
            xytext=(1.07, height),
            textcoords="axes fraction",
            color=colors[index],
            fontsize=6.5,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": colors[index],
                "lw": 0.4,
                "alpha": 0.5,
                "relpos": (0, 0.5),  # the line ends where the name begins
                "shrinkA": 1,
                "shrinkB": 2,
            },
        )


def note_beside(ax: Axes, row: float, text: str, **look: Any) -> None:
    """A short text at the right of the axes, at the height of a row, such as "n = 12"."""
    at: Any = {"xycoords": ("axes fraction", "data"), "xytext": (3, 0), "textcoords": "offset points"}
    ax.annotate(text, (1, row), va="center", **at, **look)


def outside_legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend below the axes, in as many columns as the longest label lets fit."""
    widest = 0.36 + 0.052 * max(len(label) for label in labels)  # inches
    columns = max(1, min(len(labels), int(figure.get_figwidth() / widest)))
    spacing = {"columnspacing": 0.9, "handletextpad": 0.3, "labelspacing": 0.3}
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=6.5, **spacing)


def _synthetic(name: str) -> str | None:
    """What a data set that this library draws consists of; None for photographs."""
    return DATA_SETS[name].synthetic or None if name in DATA_SETS else None


def _interval(n: pd.Series) -> str:
    """What stands behind the points; a single seed has no interval, and the figure must not seem to say
    that it is narrow."""
    least, most = int(n.min()), int(n.max())
    if most == 1:
        return "n = 1: one seed, so no interval"
    lone = " (none where n = 1)" if least == 1 else ""
    return (
        f"mean and 95 % t-interval over seeds, n = {least if least == most else f'{least} to {most}'}{lone}"
    )
