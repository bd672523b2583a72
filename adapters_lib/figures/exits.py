"""Figures of early exits: who leaves where, how sure the exits are and whether they are right to be, and what
it is worth.

All but the gallery work on stored logits (`exits.StoredExits`), so a threshold slider redraws them
in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..analysis.reliability import reliability
from ..errors import AdapterError
from ..exits.costs import ExitCosts
from ..exits.simulate import StoredExits, simulate
from ..methods.dyn import SCHEDULES, exit_weights
from ..text import drawn
from .classes import reliability_diagram
from .styling import COLUMN, look_of, method_style, style

__all__ = [
    "exit_curve",
    "exits_by_granularity",
    "loss_weights",
    "reliability_diagrams",
]


def exits_by_granularity(
    stored: StoredExits,
    thresholds: Sequence[float],
    granularity: Sequence[float],
    *,
    policy: str = "max_softmax",
    title: str = "",
) -> Figure:
    """Share of images that leave at each exit, by the granularity of their class, coarse on top.

    granularity: one number a class, 1 = as far apart as species (`task.info["granularity"]` of the leaf
    tasks).
    """
    index = simulate(stored, thresholds, policy).exit_index
    of_image = np.asarray(granularity)[stored.labels.numpy()]
    levels = sorted(set(of_image.tolist()), reverse=True)
    with style():
        figure, ax = plt.subplots(figsize=(COLUMN, 0.28 * len(levels) + 0.9))
        _stacked(
            ax,
            [_shares(index[torch.from_numpy(of_image == level)], stored.costs) for level in levels],
            stored.costs,
        )
        ax.set_yticks(range(len(levels)), [f"{level:.2f}" for level in levels])
        ax.set(title=title, ylabel="granularity")
    plt.close(figure)
    return figure


def reliability_diagrams(stored: StoredExits, *, bins: int | None = None, title: str = "") -> Figure:
    """`reliability_diagram` of every exit: accuracy against confidence (max softmax), a panel an exit.

    bins: as for `analysis.reliability`.
    """
    by_exit = {
        name: reliability(logits, stored.labels, bins)
        for name, logits in zip(_exit_names(stored.costs), stored.logits, strict=True)
    }
    return reliability_diagram(by_exit, title=title)


def exit_curve(
    curves: Mapping[str, pd.DataFrame],
    *,
    cost: str = "relative",
    full_depth: float | None = None,
    controls: bool = True,
    title: str = "",
) -> Figure:
    """Accuracy against cost, one line a model, with random and fixed-depth exits at equal cost as thin lines
    of the same color.

    Args:
        curves: name → what `exits.controls.cost_curve` returned, or any table with `top1` and the cost
            column.
        cost: `relative` (to the full depth's MACs), `macs`, or a measured column such as `ms`.
        full_depth: top-1 of the model without early exits, a dashed line.
    """
    if not curves:
        raise AdapterError("exit_curve needs at least one curve; see exits.controls.cost_curve")
    labels = {
        "relative": "expected MACs / MACs of the full depth",
        "macs": "expected MACs per image",
        "ms": "milliseconds per image",
    }
    look = method_style(curves)
    with style():
        figure, ax = plt.subplots(figsize=(1.2 * COLUMN, 2.6))
        for name, table in curves.items():
            color, marker = look[name]
            every = max(len(table) // 8, 1)
            ax.plot(
                table[cost],
                table["top1"],
                color=color,
                marker=marker,
                ms=4,
                markevery=every,
                label=drawn(name),
            )
            for control, dashes in (("random", (0, (1, 1.5))), ("fixed_depth", (0, (4, 2)))):
                if controls and control in table:
                    label = f"{drawn(name)}, {control.replace('_', ' ')}" if len(curves) < 3 else None
                    ax.plot(table[cost], table[control], color=color, ls=dashes, lw=0.9, label=label)
        if full_depth is not None:
            ax.axhline(full_depth, color="0.4", ls="--", lw=0.8, label="full depth")
        ax.set(xlabel=labels.get(cost, cost), ylabel="top-1 accuracy (%)", title=title)
        ax.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    plt.close(figure)
    return figure


def loss_weights(blocks: Sequence[int] = (3, 6, 9, 12), *, low: float = 0.1, title: str = "") -> Figure:
    """The share of every exit in the loss, λ_i / Σ λ, over the training, for the four schedules."""
    progress = np.linspace(0, 1, 50)
    with style():
        figure, axes = plt.subplots(1, len(SCHEDULES), figsize=(2 * COLUMN, 1.9), sharey=True)
        look = look_of([f"exit {block}" for block in blocks])
        for ax, schedule in zip(axes, SCHEDULES, strict=True):
            weights = np.array([exit_weights(schedule, tuple(blocks), t, low) for t in progress])
            for share, (name, (color, marker)) in zip(
                (weights / weights.sum(1, keepdims=True)).T, look.items(), strict=True
            ):
                ax.plot(progress, share, color=color, marker=marker, markevery=12, ms=3.5, label=name)
            ax.set(title=schedule, xlabel="training done", xlim=(0, 1), ylim=(0, 1))
        axes[0].set_ylabel("share of the loss")
        figure.suptitle(title, fontsize=8)
        figure.legend(*axes[0].get_legend_handles_labels(), ncols=len(blocks), loc="outside lower center")
    plt.close(figure)
    return figure


def _shares(index: Tensor, costs: ExitCosts) -> list[float]:
    counts = torch.bincount(index, minlength=len(costs.blocks)).double()
    return (100 * counts / max(len(index), 1)).tolist()  # type: ignore[no-any-return]


def _stacked(ax: Axes, rows: Sequence[Sequence[float]], costs: ExitCosts) -> None:
    left = np.zeros(len(rows))
    for share, name, color in zip(
        np.array(rows).T, _exit_names(costs), _shades(len(costs.blocks)), strict=True
    ):
        ax.barh(range(len(rows)), share, left=left, color=color, edgecolor="white", lw=0.4, label=name)
        left += share
    ax.invert_yaxis()
    ax.grid(False)
    ax.set(xlabel="images (%)", xlim=(0, 100))
    ax.figure.legend(*ax.get_legend_handles_labels(), ncols=len(costs.blocks), loc="outside lower center")  # type: ignore[union-attr]


def _exit_names(costs: ExitCosts) -> list[str]:
    return [f"block {block}" for block in costs.blocks]


def _shades(count: int) -> list[Any]:
    """Light for early, dark for late: an order that survives a black-and-white print."""
    return [mpl.colormaps["cividis"](value) for value in np.linspace(0.95, 0.1, count)]
