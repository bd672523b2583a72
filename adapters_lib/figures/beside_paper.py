"""A paper's accuracies beside ours, a row a method: for the order of the methods, as numbers of other images
cannot be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .parts import caption, mark, points
from .styling import COLUMN, method_style, style

__all__ = ["beside_paper"]


def beside_paper(
    paper: pd.DataFrame, table: pd.DataFrame, names: Mapping[str, str], *, said: str, title: str = ""
) -> Figure:
    """Left the paper: a stroke for each of its data sets, a dot for their mean. Right our runs: means with
    95 % t-intervals.

    Args:
        paper: one row a method under the paper's names, one column a data set, percent.
        table: our runs, with the columns method, seed, top1.
        names: the paper's name → ours in text form, in the order of the rows. Either side may lack some.
        said: title of the left panel. title: of the right one.
    """
    ours = points(table[table["method"].isin(names.values())]).set_index("method")
    look = method_style(names.values())
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(2 * COLUMN, 0.9 + 0.2 * len(names)), sharey=True)
        for row, (name, method) in enumerate(names.items()):
            color = look[method][0]
            if name in paper.index:
                axes[0].plot(paper.loc[name], [row] * paper.shape[1], "|", color=color, ms=7)
                axes[0].plot(paper.loc[name].mean(), row, "o", color=color, ms=4.5)
            if method in ours.index:
                mean: Any = ours.loc[method]
                mark(
                    axes[1], mean["top1"], row, mean["half"], (color, "o"),
                    hollow=bool(mean["hollow"]), across=True,
                )  # fmt: skip
        axes[0].set_yticks(range(len(names)), list(names))
        axes[0].invert_yaxis()
        axes[0].set(xlabel=f"top-1 (%): {paper.shape[1]} sets and their mean", title=said)
        heading = caption(ours, sorted(table["data"].unique()))
        axes[1].set(xlabel="top-1 (%)", title=f"{title}\n{heading}" if title else heading)
    plt.close(figure)
    return figure
