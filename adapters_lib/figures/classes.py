"""Paper-style figures that judge: deletion and insertion, randomised weights, features, confusions,
reliability, paired comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..analysis.attribution_checks import PerturbationCurves
from ..analysis.confusion import Confusion
from ..analysis.features import Projection
from ..analysis.reliability import Reliability
from ..errors import AdapterError
from ..experiments.statistics import Interval, mean_interval
from ..text import drawn
from .parts import mark, note_beside, outside_legend
from .styling import COLUMN, look_of, method_style, style
from .wrapping import wrapped

__all__ = [
    "class_bars",
    "confusion_matrix",
    "feature_scatter",
    "perturbation_areas",
    "reliability_diagram",
    "reliability_panel",
    "sanity_curves",
]

_FEW = 10  # classes between whose rows there is room
_MANY = 20  # classes or names that can still be told apart in a legend or on an axis


def perturbation_areas(
    curves: Mapping[str, PerturbationCurves], *, random: str = "noise", title: str = ""
) -> Figure:
    """Deletion and insertion curves, means over images; then each map's areas minus those of the random map,
    image by image, with 95 % t-intervals.

    In the third panel a row is a map, the best above: whoever beats the random map has its insertion right of
    0 and its deletion left of 0. The rows' colors and markers are those of the curves.

    curves: name → `perturbation_curves` of the same images. random: the name of the random map, which is what
    the others must beat.

    Raises:
        AdapterError: no curve, none of that name, or another number of images.
    """
    _some(curves, "perturbation_areas")
    if random not in curves:
        raise AdapterError(
            f"perturbation_areas: no map is called {random!r}; give the curves of a random map"
            " (torch.rand_like) by that name, or say which one it is"
        )
    images = len(curves[random].deletion)
    if wrong := [name for name, curve in curves.items() if len(curve.deletion) != images]:
        raise AdapterError(
            f"perturbation_areas: {wrong[0]!r} has another number of images than {random!r} ({images});"
            " areas are compared image by image, so give every map the same images"
        )
    look = look_of(list(curves))
    with style():
        figure, axes = plt.subplots(1, 3, figsize=(2 * COLUMN, 2.5))
        for ax, which, better in zip(axes, ("deletion", "insertion"), ("low", "high"), strict=False):
            for name, curve in curves.items():
                color, marker = look[name]
                mean = getattr(curve, which).double().mean(0)
                every = max(len(mean) // 5, 1)
                ax.plot(100 * curve.fractions, mean, color=color, marker=marker, ms=3.5, markevery=every)
            done = "taken away" if which == "deletion" else "put in"
            ax.set(xlabel=f"pixels {done} (%)", title=f"{which}: {better} is good")
        axes[1].sharey(axes[0])
        axes[1].tick_params(labelleft=False)
        axes[0].set_ylabel(f"probability of the class\nmean of n = {images} images")
        _areas_against(axes[2], curves, random, look)
        figure.suptitle(title, fontsize=8)
    plt.close(figure)
    return figure


def _areas_against(
    ax: Axes, curves: Mapping[str, PerturbationCurves], random: str, look: Mapping[str, tuple[str, str]]
) -> None:
    """Two marks a row: the areas under insertion (filled) and deletion (hollow) minus the random map's."""

    def gains(name: str, which: str) -> Interval:
        area = f"{which}_area"
        return mean_interval((getattr(curves[name], area) - getattr(curves[random], area)).tolist())

    def merit(name: str) -> float:
        return gains(name, "insertion").mean - gains(name, "deletion").mean

    order = sorted(curves, key=merit, reverse=True)
    for row, name in enumerate(order):
        for shift, which in ((-0.16, "insertion"), (0.16, "deletion")):
            if name != random:
                gain = gains(name, which)
                hollow = which == "deletion"
                mark(ax, gain.mean, row + shift, gain.half, look[name], hollow=hollow, across=True)
    ax.axvline(0, color=look[random][0], lw=0.9)
    ax.plot(0, order.index(random), look[random][1], color=look[random][0], ms=4.5)
    ax.yaxis.tick_right()
    ax.set_yticks(range(len(order)), [drawn(name) for name in order])
    for label, name in zip(ax.get_yticklabels(), order, strict=True):
        label.set_color(look[name][0])
    ax.set(ylim=(len(order) - 0.5, -0.5), xlabel=f"area minus that of {drawn(random)}, 95 % interval")
    ax.set_title("filled: insertion; hollow: deletion")


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
    """Projected features, two or three panels a row, a color and a marker a class. notes: name → a line
    under its title, e.g. the neighbour accuracy.

    Raises:
        AdapterError: no projection, or another number of labels than points.
    """
    _some(projections, "feature_scatter")
    target = np.asarray(labels)
    for name, projection in projections.items():
        if len(projection.points) != len(target):
            raise AdapterError(
                f"feature_scatter: {len(target)} labels for the {len(projection.points)} points of {name!r}"
            )
    present = np.unique(target)
    names = [drawn(classes[c]) if classes is not None else str(c) for c in present]
    look = list(look_of([str(c) for c in present]).values())
    columns = min(len(projections), 3 if len(projections) % 2 else 2)  # four are two by two
    rows = -(-len(projections) // columns)
    per_row = min(len(present), 3 * columns)
    legend = 0.17 * -(-len(present) // per_row) if len(present) <= _MANY else 0.0  # inches
    with style():
        side = 2 * COLUMN / max(columns, 2)
        figure, axes = plt.subplots(
            rows, columns, figsize=(side * columns, 0.85 * side * rows + legend), squeeze=False
        )
        for ax in axes.flat[len(projections) :]:
            ax.set_visible(False)
        for ax, (name, projection) in zip(axes.flat, projections.items(), strict=False):
            for label, text, (color, marker) in zip(present, names, look, strict=True):
                ax.scatter(
                    *projection.points[target == label].T,
                    s=9,
                    color=color,
                    marker=marker,
                    lw=0,
                    alpha=0.8,
                    label=text,
                )
            shares = (
                [f" ({100 * share:.0f} % of the variance)" for share in projection.explained]
                if projection.explained
                else ["", ""]
            )
            kind = {"pca": "PC", "tsne": "t-SNE "}[projection.method]
            ax.set(xticks=[], yticks=[], xlabel=f"{kind}1{shares[0]}", ylabel=f"{kind}2{shares[1]}")
            ax.set_title(drawn(f"{name}\n{notes[name]}" if notes and name in notes else name))
        if len(present) <= _MANY:
            handles = axes[0, 0].get_legend_handles_labels()
            figure.legend(*handles, loc="outside lower center", ncols=per_row, markerscale=1.4)
        figure.suptitle(title, fontsize=8)
    plt.close(figure)
    return figure


def class_bars(per_class: pd.DataFrame, mean: float, *, title: str = "") -> Figure:
    """Test accuracy of each class as a bar with its number of images; a dashed line at `mean` (percent).

    per_class: `Confusion.per_class`: columns class, top1 and n, in the order in which they are drawn.

    Raises:
        AdapterError: no class.
    """
    if per_class.empty:
        raise AdapterError("class_bars: there is no class to draw; give at least one row")
    with style():
        figure, ax = plt.subplots(figsize=(COLUMN, 0.6 + 0.2 * len(per_class)))
        ax.barh(per_class["class"].str[:18], per_class["top1"], color="#0072B2")
        for row, n in enumerate(per_class["n"]):
            note_beside(ax, row, f"n = {n}", fontsize=6.5)
        ax.axvline(mean, color="0.4", ls="--", lw=0.8)
        ax.invert_yaxis()
        ax.set(xlabel="test top-1 (%); dashed: all classes", xlim=(0, 100), title=title)
    plt.close(figure)
    return figure


def confusion_matrix(confusion: Confusion, *, title: str = "") -> Figure:
    """Confusion matrix in percent of the true class's images; a class without images is left blank.

    Up to `_FEW` classes there is room for the percentages, and for long names in two lines."""
    n = confusion.matrix.sum(1, keepdims=True)
    percent = np.divide(100 * confusion.matrix, n, out=np.full(confusion.matrix.shape, np.nan), where=n > 0)
    count = len(confusion.classes)
    side = min(2 * COLUMN, max(COLUMN, 0.2 * count + 1.2))
    with style():
        figure, ax = plt.subplots(figsize=(side, 0.85 * side))
        label = (lambda name: wrapped(name, lines=2)) if count <= _FEW else drawn
        names: Any = [label(name) for name in confusion.classes] if count <= 2 * _MANY else False
        written = np.where(confusion.matrix > 0, np.char.mod("%.0f", np.nan_to_num(percent)), "")
        numbers: Any = {"annot": written if count <= _FEW else None, "fmt": "", "annot_kws": {"fontsize": 6}}
        bar = {"label": "% of the true class", "shrink": 0.85}
        sns.heatmap(
            percent,
            ax=ax,
            cmap="cividis",
            vmin=0,
            vmax=100,
            xticklabels=names,
            yticklabels=names,
            cbar_kws=bar,
            **numbers,
        )
        ax.set_facecolor("white")
        ax.tick_params(labelsize=6, length=0)
        top1 = 100 * np.trace(confusion.matrix) / confusion.matrix.sum()
        ax.set(
            xlabel="said",
            ylabel="true",
            title=f"{title}{': ' if title else ''}top-1 {top1:.1f} %, n = {int(confusion.matrix.sum())}",
        )
    plt.close(figure)
    return figure


def reliability_diagram(models: Mapping[str, Reliability], *, title: str = "") -> Figure:
    """Accuracy against confidence, a panel a model, see `reliability_panel`.

    Raises:
        AdapterError: no model.
    """
    _some(models, "reliability_diagram")
    look = method_style(models)
    columns = min(len(models), 4)
    rows = -(-len(models) // columns)
    with style():
        side = min(2 * COLUMN / columns, 2.2)
        size = (max(COLUMN, side * columns), (side + 0.35) * rows + 0.2)
        figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
        for ax, (name, bins) in zip(axes.flat, models.items(), strict=False):
            reliability_panel(ax, bins, look[name], name)
        for ax in axes.flat[len(models) :]:
            ax.set_visible(False)
        for ax in axes[:, 0]:
            ax.set_ylabel("accuracy, 95 % interval")
        for ax in axes[-1]:
            ax.set_xlabel("confidence")
        figure.suptitle(title, fontsize=8)
    plt.close(figure)
    return figure


def reliability_panel(ax: Axes, reliability: Reliability, look: tuple[str, str], name: str = "") -> None:
    """Accuracy against mean confidence, bin by bin; on the dashed diagonal a model is as often right as it
    says, below it is too sure.

    Vertical: the 95 % binomial interval (Wilson); horizontal: the confidences in the bin. The title says the
    expected calibration error over just these bins, how many there are, and of how many images.
    """
    color, marker = look
    bins = reliability.bins
    low, high = _wilson(bins["accuracy"].to_numpy(), bins["n"].to_numpy())
    ax.plot([0, 1], [0, 1], color="0.5", ls="--", lw=0.8)
    ax.hlines(bins["accuracy"], bins["low"], bins["high"], color=color, lw=2.2, alpha=0.3)
    ax.vlines(bins["confidence"], low, high, color=color, lw=0.9)
    ax.plot(bins["confidence"], bins["accuracy"], color=color, marker=marker, ms=4, lw=0.8)
    counted = f"{len(bins)} bin{'s' * (len(bins) > 1)}"
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    ax.set_title(f"{drawn(name)}\nECE {100 * reliability.ece:.1f} %\n{counted}, n = {reliability.n}".strip())


def _wilson(share: np.ndarray, n: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return center - half, center + half


def _some(given: Mapping[str, object], name: str) -> None:
    if not given:
        raise AdapterError(f"{name}: nothing was selected to draw; give at least one entry")
