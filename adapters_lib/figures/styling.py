"""Paper-style figures: functions that take tables or models and return a Matplotlib `Figure`.

One style for all of them: column width, 8-point type, a palette that color-blind readers can tell apart
(Okabe and Ito 2008), and a marker of its own for every method, so that nothing depends on color alone.
`save` writes PNG and PDF.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import lcm
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ..errors import AdapterError
from ..files import output_folder
from ..methods import METHODS
from ..text import drawn

__all__ = [
    "ACCURACIES",
    "COLUMN",
    "COST_AXES",
    "cost_breakdown",
    "cost_scale",
    "image_grid",
    "look_of",
    "method_style",
    "save",
    "style",
    "training_curves",
]

COLUMN = 3.35
"""Width of a paper's column in inches; a figure over both columns is twice that."""

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h", "p")
_BLACK = "#000000"

COST_AXES = {
    "trained": "trained parameters, head included",
    "adapter": "adapter parameters, head not included",
    "macs": "MACs per image (1 MAC = 2 FLOPs)",
    "latency_ms": "latency per image (ms)",
    "step_ms": "training step, as the run timed it (ms)",
    "memory_mib": "peak memory of a training step (MiB)",
}
"""What a cost column of a results table is called on an axis."""

ACCURACIES = {"top1": "test top-1 (%)", "top5": "test top-5 (%)", "val_top1": "validation top-1 (%)"}
"""What an accuracy column of a results table is called on an axis."""

_RC: Any = {
    "figure.dpi": 120,
    "savefig.dpi": 300,
    "savefig.bbox": "tight",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "axes.prop_cycle": cycler(color=_COLORS),
    "figure.constrained_layout.use": True,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw inside this context for the style of the workbook; the reader's own settings come back
    afterwards."""
    with mpl.rc_context(_RC):
        yield


def look_of(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A color and a marker for every name, the same for the same list; no pair repeats within 8 × 12
    names."""
    # Both cycles end together after 24 names; from there on the markers are shifted by one.
    return {
        name: (_COLORS[i % len(_COLORS)], _MARKERS[(i + i // 24) % len(_MARKERS)])
        for i, name in enumerate(names)
    }


def method_style(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """A color and a marker for every name: a method looks the same in every figure, whoever stands beside it.

    A name is a method's if it begins with it, in capitals or not: "ILA", "ila:bottleneck=4" and "ILA, near
    one" have ILA's color, each with a marker of its own. The frozen model is black and the probe grey.
    Other names, and combinations ("ILA × PAdapter"), take colors that nobody here has.
    """
    ordered = sorted(set(names), key=lambda name: (name.lower() not in METHODS, name))
    styles: dict[str, tuple[str, str]] = {}
    for name in ordered:
        if declared := _declared(name):
            color, marker = declared
            kin = {cls.marker for cls in METHODS.values() if cls.color == color}
            taken = {m for c, m in styles.values() if c == color}
            free = [m for m in (marker, *(m for m in _MARKERS if m not in kin)) if m not in taken]
            styles[name] = (color, (free or [marker])[0])
    taken = {color for color, _ in styles.values()}
    colors = [color for color in _COLORS if color not in {*taken, _BLACK}] or list(_COLORS)
    period = lcm(len(colors), len(_MARKERS))
    for i, name in enumerate(name for name in ordered if name not in styles):
        styles[name] = (colors[i % len(colors)], _MARKERS[(i + i // period) % len(_MARKERS)])
    return styles


def _declared(name: str) -> tuple[str, str] | None:
    """The look of the method that `name` begins with; None for other names and for combinations."""
    text = name.lower()
    if text.startswith("frozen") and "×" not in text:
        return _BLACK, "o"
    if "×" in text or " + " in text:
        return None
    begins = [m for m in METHODS if text.startswith(m) and not text[len(m) :][:1].isalnum()]
    if not begins:
        return None
    method = METHODS[max(begins, key=len)]
    return (method.color, method.marker) if method.color and method.marker else None


def save(figure: Figure, name: str, folder: str | Path | None = None) -> tuple[Path, Path]:
    """Write `name`.png (300 dpi) and `name`.pdf and return their paths.

    folder: default `figures`, placed by `files.output_folder`.
    """
    target = Path(folder or output_folder("figures"))
    target.mkdir(parents=True, exist_ok=True)
    paths = (target / f"{name}.png", target / f"{name}.pdf")
    with style():
        figure.savefig(paths[0])
        figure.savefig(paths[1], metadata={"CreationDate": None, "ModDate": None})
    return paths


NEAR = 0.01
"""Where most costs lie in a heap: the difference from it up to which the axis is linear."""

_STEPS = (-0.9, -0.8, -0.6, -0.4, -0.3, -0.2, -0.1, -0.03, 0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def cost_scale(ax: Axes, values: Sequence[float]) -> str:
    """Short tick labels on the axis of costs, and a logarithmic scale if the values span more than a
    factor of 4.

    Returns what the axis has to say of itself: which value it compares with, or nothing.

    Where more than half of the values lie in a heap, within 3 % of the least of them, as the MACs of most
    adapters do, the axis shows differences from that value, logarithmic on both sides of it beyond `NEAR`.
    """
    least, most = min(values), max(values)
    if (heap := _heap(values)) is not None:
        _around(ax, heap, least, most)
        return f"compared with {short(heap)}; stretched near it"
    if least > 0 and most > 4 * least:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 60 * least else (1,)))
        ax.xaxis.set_minor_formatter(NullFormatter())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.margins(x=0.08)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: short(v)))
    return ""


def _heap(values: Sequence[float]) -> float | None:
    """The value from which more than half of these lie less than 3 % above; None if they are spread, or
    too few, or one and the same."""
    costs = np.sort(np.asarray(values, dtype=float))
    if len(costs) < 4 or costs[0] <= 0 or costs[-1] < 1.1 * costs[0]:
        return None
    near = [int(((costs >= cost) & (costs < 1.03 * cost)).sum()) for cost in costs]
    fullest = int(np.argmax(near))
    return float(costs[fullest]) if near[fullest] > len(costs) / 2 else None


def _around(ax: Axes, heap: float, least: float, most: float) -> None:
    """An axis of differences from `heap`: f(x) = sign(d) ln(1 + |d| / NEAR), d = x / heap − 1."""

    def forward(x: np.ndarray) -> np.ndarray:
        away = np.asarray(x, dtype=float) / heap - 1
        return np.sign(away) * np.log1p(np.abs(away) / NEAR)

    def inverse(y: np.ndarray) -> np.ndarray:
        return heap * (1 + np.sign(y) * NEAR * np.expm1(np.abs(np.asarray(y, dtype=float))))

    ax.set_xscale("function", functions=(forward, inverse))
    low, high = forward(np.array([least, most]))
    air = 0.08 * (high - low)
    ax.set_xlim(*inverse(np.array([low - air, high + air])))
    spots = {step: float(forward(np.array(heap * (1 + step)))) for step in _STEPS}
    inside = [step for step, spot in spots.items() if low - air / 4 <= spot <= high + air / 4]
    kept: list[float] = [0.0]
    for step in sorted(inside, key=lambda step: (step not in (min(inside), max(inside)), -abs(step))):
        if min(abs(spots[step] - spots[other]) for other in kept) > 0.2 * (high - low):
            kept.append(step)
    labels = [f"{100 * step:+.0f} %".replace("-", "−") if step else "0 %" for step in kept]
    ax.set_xticks([heap * (1 + step) for step in kept], labels)
    ax.minorticks_off()
    ax.axvline(heap, color="0.8", lw=0.8, zorder=0)


def short(value: float) -> str:
    """1_234_000 → '1.2 M'."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def training_curves(
    histories: Mapping[str, pd.DataFrame], *, chance: float | None = None, title: str = ""
) -> Figure:
    """Training loss and validation accuracy by epoch, one line a run.

    histories: name → `Run.history` (columns epoch, train_loss, val_top1). chance: accuracy of guessing in
    percent, drawn as a dashed line.
    """
    if not histories:
        raise AdapterError("training_curves needs at least one run")
    look = method_style(histories)
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(2 * COLUMN, 2.3))
        for name, history in histories.items():
            color, marker = look[name]
            every = max(len(history) // 6, 1)
            left.plot(
                history["epoch"],
                history["train_loss"],
                color=color,
                marker=marker,
                ms=4,
                markevery=every,
                label=drawn(name),
            )
            if "val_top1" in history:
                right.plot(
                    history["epoch"],
                    history["val_top1"],
                    color=color,
                    marker=marker,
                    ms=4,
                    markevery=every,
                    label=drawn(name),
                )
        if chance is not None:
            right.axhline(chance, color="0.4", ls="--", lw=0.8)
            right.annotate(
                "chance",
                (1, chance),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 2),
                textcoords="offset points",
                fontsize=7,
                color="0.4",
                ha="right",
            )
        for ax in (left, right):
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        left.set(xlabel="epoch", ylabel="training loss (nats)")
        right.set(xlabel="epoch", ylabel="validation top-1 (%)")
        figure.legend(
            *left.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(histories), 4)
        )
        figure.suptitle(title, fontsize=8)
    plt.close(figure)
    return figure


def cost_breakdown(parts: Mapping[str, Mapping[str, float]], *, title: str = "") -> Figure:
    """Shares of parameters and MACs by part, as two stacked bars; what is too narrow for its number has it
    above the bar. parts: "parameters"/"MACs" → part → count."""
    with style():
        figure, ax = plt.subplots(figsize=(2 * COLUMN, 0.5 + 0.6 * len(parts)))
        names = list(dict.fromkeys(name for counts in parts.values() for name in counts))
        for row, counts in enumerate(parts.values()):
            total, left = sum(counts.values()), 0.0
            narrow: list[tuple[float, float, str]] = []
            for index, name in enumerate(names):
                share = 100 * counts.get(name, 0) / total
                color, label = _COLORS[index % len(_COLORS)], drawn(name) if row == 0 else None
                ax.barh(
                    row, share, height=0.6, left=left, color=color, edgecolor="white", lw=0.6, label=label
                )
                if share > _NARROW:
                    inside: Any = {"ha": "center", "va": "center", "fontsize": 7, "color": "white"}
                    ax.text(left + share / 2, row, f"{share:.0f} %", **inside)
                elif share > 0:
                    narrow.append((left + share / 2, share, color))
                left += share
            _above(ax, row, narrow)
        ax.set_yticks(
            range(len(parts)), [f"{drawn(what)}\n({short(sum(c.values()))})" for what, c in parts.items()]
        )
        ax.set(xlabel="share (%)", xlim=(0, 100), ylim=(len(parts) - 0.6, -0.65), title=title)
        ax.grid(False)
        ax.legend(
            ncols=len(names),
            loc="upper center",
            bbox_to_anchor=(0.5, -0.35),
            columnspacing=1.2,
            handlelength=1.2,
        )
    plt.close(figure)
    return figure


_NARROW = 6  # percent of the bar: a number does not fit into less


def _above(ax: Axes, row: int, narrow: Sequence[tuple[float, float, str]]) -> None:
    """The numbers of narrow segments (middle, share, color) above their bar, moved apart where they would
    touch, each with a line to its segment."""
    places: list[float] = []
    for middle, *_ in narrow:
        places.append(max(middle, places[-1] + _NARROW if places else 2.5))
    for place, bound in zip(reversed(range(len(places))), range(len(places)), strict=True):
        places[place] = min(places[place], 98.5 - _NARROW * bound)
    for x, (middle, share, color) in zip(places, narrow, strict=True):
        number = f"{share:.0f} %" if share >= 1 else f"{share:.1f} %" if share >= 0.05 else "< 0.1 %"
        ax.plot([middle, x], [row - 0.3, row - 0.38], color=color, lw=0.7, clip_on=False)
        ax.text(x, row - 0.39, number, ha="center", va="bottom", fontsize=6.5, color=color)


def image_grid(
    images: Any, labels: Sequence[str], *, columns: int = 8, title: str = "", size: float = 0.85
) -> Figure:
    """A sheet of images. images: uint8 (N, 3, H, W). labels: one text an image, drawn above it. size:
    inches an image."""
    count = len(images)
    if count == 0 or count != len(labels):
        raise AdapterError(
            f"image_grid: {count} images and {len(labels)} labels; give the same number, at least one"
        )
    columns = min(columns, count)
    rows = -(-count // columns)
    with style():
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(size * columns, (size + 0.14) * rows + (0.25 if title else 0)),
            squeeze=False,
        )
        for index, ax in enumerate(axes.flat):
            ax.axis("off")
            if index < count:
                ax.imshow(np.asarray(images[index]).transpose(1, 2, 0), interpolation="nearest")
                ax.set_title(drawn(labels[index]), fontsize=6, pad=1.5)
        figure.suptitle(title, fontsize=8)
    plt.close(figure)
    return figure
