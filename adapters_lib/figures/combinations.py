"""Figures of methods that are put together: which pairs compose, what exits cost on the way, and what is
saved in MACs and on the clock."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..exits import ExitCosts
from .parts import names_beside
from .styling import COLUMN, method_style, style

__all__ = ["cost_and_accuracy", "exit_cost_lines", "pair_matrix", "saved_shares"]


def pair_matrix(pairs: pd.DataFrame) -> Figure:
    """Which methods compose: a square for each pair, with a cross where they do not.

    pairs: `methods.composition_table` as a frame: columns first, second and composes ("yes" or "no").
    """
    names = list(dict.fromkeys(pairs["first"]))
    works = pd.DataFrame(True, index=names, columns=names)
    for first, second, answer in pairs[["first", "second", "composes"]].itertuples(index=False):
        works.loc[first, second] = works.loc[second, first] = answer == "yes"
    upper = pairs[pairs["first"] != pairs["second"]]
    with style():
        figure, ax = plt.subplots(figsize=(1.3 * COLUMN, 1.2 * COLUMN))
        ax.imshow(works.astype(float), cmap="cividis", vmin=-0.3, vmax=1.15)
        for i, j in np.argwhere(~works.to_numpy()):
            ax.text(j, i, "×", ha="center", va="center", color="white", fontsize=7)
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        ax.set_yticks(range(len(names)), names, fontsize=6)
        ax.grid(False)
        ax.set_title(f"{(upper['composes'] == 'yes').sum()} of {len(upper)} pairs compose; × does not")
    plt.close(figure)
    return figure


def exit_cost_lines(costs: Mapping[str, ExitCosts]) -> Figure:
    """MACs spent up to each exit, with the heads on the way; a line a model, dashed if PAdapter is in it."""
    look = method_style(costs)
    with style():
        figure, ax = plt.subplots(figsize=(COLUMN, 2.2))
        for name, exit_costs in costs.items():
            color, marker = look[name]
            spent = [0, *(macs / 1e6 for macs in exit_costs.macs)]
            line = "--" if "PAdapter" in name else "-"
            ax.plot((0, *exit_costs.blocks), spent, color=color, marker=marker, ms=4, ls=line, label=name)
        ax.set(xlabel="exit behind block", ylabel="MMACs spent up to there", xlim=0, ylim=0)
        ax.set_xticks((0, *next(iter(costs.values())).blocks))
        ax.set_title("exit heads on the way included")
        ax.legend()
    plt.close(figure)
    return figure


def cost_and_accuracy(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Accuracy against MACs of models at full depth (filled) and with exits (hollow, joined to it).

    table: columns model, point ("full depth" or "exits"), top1 (%) and MMACs.
    """
    look = method_style(table["model"].unique())
    full = table["point"] == "full depth"
    with style():
        figure, ax = plt.subplots(figsize=(1.6 * COLUMN, 2.8))
        for name, group in table.groupby("model", sort=False):
            color, marker = look[str(name)]
            ax.plot(group["MMACs"], group["top1"], "-", color=color, lw=0.8)
            deep = full[group.index]
            for part, fill in ((group[deep], color), (group[~deep], "none")):
                ax.plot(part["MMACs"], part["top1"], marker, color=color, ms=6, mfc=fill)
        ax.set(xlabel="MMACs per image", ylabel="test top-1 (%)", title=title)
        named = table[full]
        names = named["model"].tolist()
        colors = [look[name][0] for name in names]
        names_beside(ax, named["MMACs"].tolist(), named["top1"].tolist(), names, colors)
    plt.close(figure)
    return figure


def saved_shares(saved: pd.DataFrame) -> Figure:
    """What each model saves against the bare one (%): MACs (hollow) and times (filled), one row a model.

    saved: index: models; columns: "MACs" and one for each clock, three at most.
    """
    look, signs = method_style(saved.index), dict(zip(map(str, saved), "Dos", strict=False))
    with style():
        figure, ax = plt.subplots(figsize=(1.6 * COLUMN, 0.9 + 0.26 * len(saved)))
        for row, (name, values) in enumerate(saved.iterrows()):
            color = look[str(name)][0]
            ax.hlines(row, values.min(), values.max(), color=color, lw=0.8)
            for column, sign in signs.items():
                ax.plot(values[column], row, sign, color=color, mfc=_fill(column, color), ms=5)
        for column, sign in signs.items():
            ax.plot([], [], sign, color="0.3", mfc=_fill(column, "0.3"), ms=5, label=column)
        ax.axvline(0, color="0.4", lw=0.8)
        ax.set_yticks(range(len(saved)), saved.index)
        ax.set(xlabel="saved, compared with the bare model (%)", ylim=(len(saved) - 0.5, -0.5))
        figure.legend(loc="outside upper center", ncols=3)
    plt.close(figure)
    return figure


def _fill(column: str, color: str) -> str:
    return "white" if column == "MACs" else color
