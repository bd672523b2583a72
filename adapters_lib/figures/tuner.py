"""What a bottleneck, a rank or a position costs, and what a small run makes of it: the functions behind the
tuner widget.

Everything here works without a widget: `price` counts, `small_run` trains, `tuner_figure` draws. Accuracies
are of *validation* images, since a reader turns knobs until something looks good; test images are for the
end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..backbones.create import create_backbone, meta_backbone
from ..backbones.images import EMBEDDED
from ..costs.cost import cost
from ..costs.latency_model import LatencyModel, calibrate_latency
from ..datasets.load import load_data
from ..errors import unknown
from ..methods import parse_method
from ..methods.adapt import adapt
from ..training.fit import Run, fit
from ..training.offline_recipes import offline_recipe
from .parts import names_beside
from .styling import COLUMN, COST_AXES, method_style, short, style

__all__ = [
    "KINDS",
    "Choice",
    "Kind",
    "Point",
    "Price",
    "cost_curves",
    "default_calibration",
    "price",
    "small_run",
    "tuner_figure",
]

CLASSES = 20
_DATA = "leaves-ultra"


@dataclass(frozen=True)
class Kind:
    """A method with its knobs: text form with {size} and {place}, what the size is called, and the places
    by name."""

    text: str
    size_label: str
    places: dict[str, str]


_CHANNELS = "bottleneck (channels)"
KINDS: dict[str, Kind] = {
    "PAdapter": Kind(
        "padapter:bottleneck={size},position={place}",
        _CHANNELS,
        {
            "before the block (p_a_m)": "p_a_m",
            "between attention and MLP (a_p_m)": "a_p_m",
            "after the block (a_m_p)": "a_m_p",
            "beside attention (p+a_m)": "p+a_m",
            "beside the MLP (a_p+m)": "a_p+m",
            "beside the block (p+b)": "p+b",
        },
    ),
    "LoRA": Kind(
        "lora:rank={size},targets={place}",
        "rank",
        {
            "query and value": "q/v",
            "the attention's four": "q/k/v/proj",
            "all linear layers": "q/k/v/proj/fc1/fc2",
        },
    ),
    "AdaptFormer": Kind("adaptformer:bottleneck={size}", _CHANNELS, {"beside the MLP": ""}),
    "ADPT": Kind("adpt:bottleneck={size}", _CHANNELS, {"beside attention and MLP": ""}),
    "ILA": Kind(
        "ila:bottleneck={size},after={place}",
        _CHANNELS,
        {
            "after blocks 4 and 8": "4/8",
            "after blocks 2 and 4": "2/4",
            "after blocks 8 and 10": "8/10",
            "after block 6": "6",
        },
    ),
}
"""Methods that the tuner offers, by name."""


@dataclass(frozen=True)
class Choice:
    """One setting of the knobs. kind: a key of `KINDS`. size: channels or rank. place: a key of the kind's
    places. image_size: pixels."""

    kind: str = "PAdapter"
    size: int = 8
    place: str | None = None
    image_size: int = 96

    @property
    def text(self) -> str:
        """The method in text form. Raises AdapterError for a method or place that there is not."""
        if self.kind not in KINDS:
            raise unknown("method of the tuner", self.kind, KINDS)
        kind = KINDS[self.kind]
        place = next(iter(kind.places)) if self.place is None else self.place
        if place not in kind.places:
            raise unknown(f"place of {self.kind}", place, kind.places)
        return kind.text.format(size=self.size, place=kind.places[place])


@dataclass(frozen=True)
class Price:
    """Counts of a choice: adapter, head and unfrozen backbone parameters, share of the backbone (percent),
    MACs, modules, tokens."""

    adapter: int
    head: int
    backbone: int
    share: float
    macs: int
    modules: int
    tokens: tuple[int, ...]

    @property
    def trained(self) -> int:
        return self.adapter + self.head + self.backbone


@dataclass(frozen=True)
class Point:
    """A finished small run: choice, costs by axis (`figures.COST_AXES`), validation top-1 (percent),
    epochs done, and of how many."""

    choice: Choice
    costs: dict[str, float]
    val_top1: float
    epochs: int
    planned: int
    history: Any = field(repr=False, compare=False, default=None)


@lru_cache(maxsize=256)
def price(choice: Choice) -> Price:
    """Count a choice from shapes, without weights. Raises AdapterError when the choice cannot be built."""
    model = adapt(meta_backbone(EMBEDDED, image_size=choice.image_size), choice.text, num_classes=CLASSES)
    counted = cost(model)
    roles = counted.trainable
    modules = sum(1 for _ in model.adapters())
    share = 100 * roles["adapter"] / counted.frozen
    return Price(
        roles["adapter"],
        roles["head"],
        roles["backbone"],
        share,
        counted.macs,
        modules,
        tuple(counted.tokens),
    )


def default_calibration(repeats: int = 12, sizes: Sequence[int] = (48, 96, 128)) -> LatencyModel:
    """Time the bare embedded backbone at `sizes` (pixels), and every kind of method small and large, one
    image at a time: seconds."""
    models, methods = {}, {}
    for size in sizes:
        models[f"bare {size}"] = adapt(create_backbone(image_size=size), num_classes=CLASSES)
    for kind in KINDS:
        for choice in (Choice(kind, 8, None, 96), Choice(kind, 32, None, 128)):
            name = f"{kind} {choice.size} {choice.image_size}"
            models[name] = adapt(
                create_backbone(image_size=choice.image_size), choice.text, num_classes=CLASSES
            )
            methods[name] = parse_method(choice.text).name
    return calibrate_latency(models, methods, repeats=repeats)


def small_run(
    choice: Choice,
    *,
    epochs: int = 6,
    n_per_class: int = 10,
    seed: int = 0,
    on_epoch: Callable[[dict[str, Any]], object] | None = None,
    stop: Callable[[dict[str, Any]], bool] | None = None,
) -> Run:
    """Train a choice on `n_per_class` images of each of 20 cultivars, validated after every epoch; seconds to
    a minute on a CPU.

    on_epoch, stop: as in `fit`: called with each epoch's row; training ends when `stop` returns True.
    """
    backbone = create_backbone(image_size=choice.image_size)
    task = load_data(_DATA, backbone=backbone, seed=seed, n_per_class=n_per_class, augment=None)
    model = adapt(backbone, choice.text, num_classes=task.num_classes, seed=seed)
    recipe = offline_recipe(choice.text, epochs=epochs, warmup_epochs=min(1, epochs - 1), seed=seed)
    return fit(model, task.train, task.val, recipe, progress=False, on_epoch=on_epoch, stop=stop)


def tuner_figure(
    points: Sequence[Point],
    axis: str = "trained",
    *,
    now: tuple[str, float] | None = None,
    rows: Sequence[dict[str, Any]] = (),
    title: str = "",
) -> Figure:
    """Left: validation accuracy of small runs against one cost, each with its name beside it. Right: loss and
    accuracy, one above the other, of the run that is going on, or of the last one.

    Args:
        points: finished runs; one that was stopped early is hollow. axis: a key of `figures.COST_AXES` that
            all points have.
        now: (name, cost) of the present choice, drawn as a dashed line. rows: the history of one run, as
            `on_epoch` gives it.

    Raises:
        AdapterError: an unknown axis.
    """
    if axis not in COST_AXES:
        raise unknown("cost axis", axis, COST_AXES)
    with style():
        figure = plt.figure(figsize=(2 * COLUMN, 2.7))
        left, loss, accuracy = figure.subplot_mosaic(
            "ab\nac",
            width_ratios=(1.25, 1),  # the names of the points stand between the two
        ).values()
        _live(loss, accuracy, rows)
        figure.suptitle(title, fontsize=8)
        _finished(left, points, axis, now)
    plt.close(figure)
    return figure


def _finished(ax: Axes, points: Sequence[Point], axis: str, now: tuple[str, float] | None) -> None:
    """Accuracy against cost, a point a run, names at the right."""
    look = method_style(KINDS)
    costs = [point.costs[axis] for point in points]
    for point, cost_ in zip(points, costs, strict=True):
        color, marker = look[point.choice.kind]
        fill = color if point.epochs >= point.planned else "none"
        ax.plot(cost_, point.val_top1, marker, color=color, ms=6, mfc=fill, label=point.choice.kind)
    if now is not None:
        ax.axvline(now[1], color="0.4", ls="--", lw=0.8)
        ax.annotate(
            f"{now[0]} ", (now[1], 1), xycoords=("data", "axes fraction"), rotation=90, ha="right", va="top",
            fontsize=6,
        )  # fmt: skip
    guess = 100 / CLASSES
    ax.axhline(guess, color="0.6", lw=0.8, ls=":")
    ax.annotate(
        "guessing", (0, guess), xycoords=("axes fraction", "data"), xytext=(2, 1),
        textcoords="offset points", fontsize=6, color="0.4",
    )  # fmt: skip
    top = max([4 * guess, *(1.15 * point.val_top1 for point in points)])
    ax.set(xlabel=COST_AXES[axis], ylabel="validation top-1 (%), one seed", ylim=(0, min(top, 100)))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(lambda value, _: short(value))
    ax.set_xlim(0, 1.1 * max([*costs, *([now[1]] if now else [])], default=1))
    if points:
        names = [_note(point) for point in points]
        heights, colors = [p.val_top1 for p in points], [look[p.choice.kind][0] for p in points]
        names_beside(ax, costs, heights, names, colors)


def _note(point: Point) -> str:
    text = f"{point.choice.kind} {point.choice.size}, {point.choice.image_size} px"
    full = point.epochs >= point.planned
    return text if full else f"{text}, {point.epochs} of {point.planned} epochs"


def _live(loss: Axes, accuracy: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Training loss above, validation accuracy below, by epoch."""
    epochs = [row["epoch"] for row in rows]
    loss.plot(epochs, [row["train_loss"] for row in rows], "o-", color="#0072B2", ms=4)
    accuracy.plot(epochs, [row["val_top1"] for row in rows], "s-", color="#D55E00", ms=4)
    loss.set(ylabel="training\nloss (nats)", ylim=(0, max([3.5, *(1.1 * row["train_loss"] for row in rows)])))
    accuracy.set(ylabel="validation\ntop-1 (%)", xlabel="epoch", xlim=(0.5, max(6, len(rows)) + 0.5))
    accuracy.set_ylim(0, min(100, max([400 / CLASSES, *(1.15 * row["val_top1"] for row in rows)])))
    accuracy.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss.sharex(accuracy)
    loss.tick_params(labelbottom=False)
    if not rows:
        loss.text(0.5, 0.5, "no run yet", transform=loss.transAxes, ha="center", va="center", color="0.4")


def cost_curves(
    latency: LatencyModel,
    sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    image_size: int = 96,
    *,
    title: str = "",
) -> Figure:
    """Adapter parameters, MACs and predicted latency against bottleneck or rank, a line a method, each at
    its first place."""
    look = method_style(KINDS)
    panels: tuple[tuple[str, Callable[[Choice, Price], float]], ...] = (
        ("adapter parameters (k)", lambda choice, counted: counted.adapter / 1e3),
        ("MMACs per image", lambda choice, counted: counted.macs / 1e6),
        (
            "latency per image (ms)",
            lambda choice, counted: latency.predict(
                parse_method(choice.text).name, counted.macs, counted.modules
            ),
        ),
    )
    with style():
        figure, axes = plt.subplots(1, 3, figsize=(2 * COLUMN, 2.4))
        for kind in KINDS:
            color, marker = look[kind]
            choices = [Choice(kind, size, None, image_size) for size in sizes]
            for ax, (_, value) in zip(axes, panels, strict=True):
                ax.plot(
                    sizes,
                    [value(choice, price(choice)) for choice in choices],
                    color=color,
                    marker=marker,
                    ms=3.5,
                    label=kind,
                )
        for ax, (label, _) in zip(axes, panels, strict=True):
            ax.set_xscale("log", base=2)
            ax.set_xticks(sizes, [str(size) for size in sizes])
            ax.set(xlabel="bottleneck or rank", ylabel=label, ylim=0)
        figure.legend(*axes[0].get_legend_handles_labels(), ncols=len(KINDS), loc="outside lower center")
        figure.suptitle(title, fontsize=8)
    plt.close(figure)
    return figure
