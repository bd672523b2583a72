"""Paper-style figures that judge: deletion and insertion, randomised weights, features, confusions,
reliability, paired comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ..analysis.attribution_checks import PerturbationCurves
from ..analysis.confusion import Confusion
from ..analysis.features import Projection
from ..analysis.reliability import Reliability
from ..errors import AdapterError
from ..experiments.statistics import mean_interval
from ..text import drawn
from .parts import outside_legend
from .styling import (
    COLUMN,
    look_of,
    style,
)

__all__ = [
    "confusion_matrix",
    "feature_scatter",
    "perturbation_areas",
    "reliability_diagram",
    "sanity_curves",
]

_MANY = 20  # classes or names that can still be told apart in a legend or on an axis


def perturbation_areas(curves: Mapping[str, PerturbationCurves], *, title: str = "") -> Figure:
    """Deletion and insertion curves, the mean over images with the 95 % interval as a band, and the areas
    under them in the legend.

    curves: name → `perturbation_curves` of the same images; include a random map, which is what the others
    must beat.

    Raises:
        AdapterError: no curve.
    """
    _some(curves, "perturbation_areas")
    look = look_of(list(curves))
    images = len(next(iter(curves.values())).deletion)
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(2 * COLUMN, 2.8), sharey=True)
        for ax, which, better in zip(axes, ("deletion", "insertion"), ("smaller", "larger"), strict=True):
            for name, found in curves.items():
                color, marker = look[name]
                values, x = getattr(found, which).double(), 100 * found.fractions
                intervals = [mean_interval(column) for column in values.T.tolist()]
                mean, half = (np.array([getattr(i, part) for i in intervals]) for part in ("mean", "half"))
                areas = [float(area.mean()) for area in (found.deletion_area, found.insertion_area)]
                label = f"{drawn(name)}: deletion {areas[0]:.3f}, insertion {areas[1]:.3f}"
                ax.plot(x, mean, color=color, marker=marker, ms=3.5, markevery=4, label=label)
                ax.fill_between(
                    x, mean - np.nan_to_num(half), mean + np.nan_to_num(half), color=color, alpha=0.15, lw=0
                )
            ax.set(
                xlabel=f"pixels {'taken away' if which == 'deletion' else 'put in'} (%)",
                title=f"{which}: {better} area is better",
            )
        axes[0].set_ylabel(f"probability of the class\nn = {images} images")
        outside_legend(figure, *axes[0].get_legend_handles_labels())
        figure.suptitle(title, fontsize=8)
    plt.close(figure)
    return figure


def sanity_curves(tables: Mapping[str, pd.DataFrame], *, title: str = "") -> Figure:
    """Rank correlation with the intact model's maps while weights are shuffled from the head down. tables:
    name → `sanity_check`."""
    _some(tables, "sanity_curves")
    look = look_of(list(tables))
    with style():
        figure, ax = plt.subplots(figsize=(COLUMN, 2.8))
        for name, table in tables.items():
            color, marker = look[name]
            ax.plot(table["stage"], table["correlation"], color=color, marker=marker, ms=4, label=drawn(name))
        ax.axhline(0, color="0.4", lw=0.8)
        ax.tick_params(axis="x", rotation=60)
        ax.set(xlabel="weights shuffled down to", ylabel="rank correlation\nwith the intact map", title=title)
        outside_legend(figure, *ax.get_legend_handles_labels())
    plt.close(figure)
    return figure


def feature_scatter(
    projections: Mapping[str, Projection],
    labels: Tensor | Sequence[int],
    classes: Sequence[str] | None = None,
    *,
    notes: Mapping[str, str] | None = None,
    title: str = "",
) -> Figure:
    """Projected features side by side, a color and a marker a class. notes: name → a line under its title,
    e.g. the neighbour accuracy.

    Raises:
        AdapterError: no projection, or another number of labels than points.
    """
    _some(projections, "feature_scatter")
    target = np.asarray(labels)
    for name, found in projections.items():
        if len(found.points) != len(target):
            raise AdapterError(
                f"feature_scatter: {len(target)} labels for the {len(found.points)} points of {name!r}"
            )
    present = np.unique(target)
    names = [drawn(classes[c]) if classes is not None else str(c) for c in present]
    look = list(look_of([str(c) for c in present]).values())
    per_row = min(len(present), 3 * len(projections))
    legend = 0.17 * -(-len(present) // per_row) if len(present) <= _MANY else 0.0  # inches
    with style():
        figure, axes = plt.subplots(
            1, len(projections), figsize=(2.6 * len(projections), 2.4 + legend), squeeze=False
        )
        for ax, (name, found) in zip(axes.flat, projections.items(), strict=True):
            for label, text, (color, marker) in zip(present, names, look, strict=True):
                ax.scatter(
                    *found.points[target == label].T,
                    s=9,
                    color=color,
                    marker=marker,
                    lw=0,
                    alpha=0.8,
                    label=text,
                )
            shares = (
                [f" ({100 * share:.0f} % of the variance)" for share in found.explained]
                if found.explained
                else ["", ""]
            )
            kind = {"pca": "PC", "tsne": "t-SNE "}[found.method]
            ax.set(xticks=[], yticks=[], xlabel=f"{kind}1{shares[0]}", ylabel=f"{kind}2{shares[1]}")
            ax.set_title(drawn(f"{name}\n{notes[name]}" if notes and name in notes else name))
        if len(present) <= _MANY:
            handles = axes[0, 0].get_legend_handles_labels()
            figure.legend(*handles, loc="outside lower center", ncols=per_row, markerscale=1.4)
        figure.suptitle(title, fontsize=8)
    plt.close(figure)
    return figure


def confusion_matrix(found: Confusion, *, title: str = "") -> Figure:
    """Confusion matrix in percent of the true class's images; a class without images is left blank."""
    n = found.matrix.sum(1, keepdims=True)
    percent = np.divide(100 * found.matrix, n, out=np.full(found.matrix.shape, np.nan), where=n > 0)
    count = len(found.classes)
    side = min(2 * COLUMN, max(COLUMN, 0.2 * count + 1.2))
    with style():
        figure, ax = plt.subplots(figsize=(side, 0.85 * side))
        shown = ax.imshow(percent, cmap="cividis", vmin=0, vmax=100)
        if count <= 10:
            for i, j in np.argwhere(found.matrix > 0):
                ax.text(
                    j,
                    i,
                    f"{percent[i, j]:.0f}",
                    ha="center",
                    va="center",
                    fontsize=6,
                    color="black" if percent[i, j] > 55 else "white",
                )
        if count <= 2 * _MANY:
            names = [drawn(name) for name in found.classes]
            ax.set_xticks(range(count), names, rotation=90, fontsize=6)
            ax.set_yticks(range(count), names, fontsize=6)
        ax.grid(False)
        top1 = 100 * np.trace(found.matrix) / found.matrix.sum()
        ax.set(
            xlabel="said",
            ylabel="true",
            title=f"{title}{': ' if title else ''}top-1 {top1:.1f} %, n = {int(found.matrix.sum())}",
        )
        figure.colorbar(shown, label="% of the true class", shrink=0.85)
    plt.close(figure)
    return figure


def reliability_diagram(models: Mapping[str, Reliability], *, title: str = "") -> Figure:
    """Accuracy against confidence, bin by bin, with each bin's 95 % binomial interval (Wilson); below, how
    many images a bin holds.

    Raises:
        AdapterError: no model.
    """
    _some(models, "reliability_diagram")
    look = look_of(list(models))
    with style():
        figure, (top, below) = plt.subplots(2, 1, figsize=(COLUMN, 3.6), sharex=True, height_ratios=(3, 1))
        top.plot([0, 1], [0, 1], color="0.5", ls="--", lw=0.8)
        for name, found in models.items():
            color, marker = look[name]
            bins = found.bins
            low, high = _wilson(bins["accuracy"].to_numpy(), bins["n"].to_numpy())
            label = f"{drawn(name)}: ECE {100 * found.ece:.1f} %, n = {found.n}"
            top.plot(bins["confidence"], bins["accuracy"], color=color, marker=marker, ms=4, label=label)
            top.vlines(bins["confidence"], low, high, color=color, lw=0.8)
            below.plot(
                (bins["low"] + bins["high"]) / 2, 100 * bins["n"] / found.n, color=color, marker=marker, ms=3
            )
        top.set(ylabel="accuracy", ylim=(-0.02, 1.02), title=title)
        outside_legend(figure, *top.get_legend_handles_labels())
        below.set(xlabel="confidence (highest probability)", ylabel="images (%)", xlim=(0, 1))
        below.yaxis.set_major_locator(MaxNLocator(3))
    plt.close(figure)
    return figure


def _wilson(share: np.ndarray, n: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return centre - half, centre + half


def _some(given: Mapping[str, object], name: str) -> None:
    if not given:
        raise AdapterError(f"{name}: nothing was selected to draw; give at least one entry")
