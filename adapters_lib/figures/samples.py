"""Contact sheets: what the classes of a task look like, and what the granularity dial does; synthetic
leaves are called so on each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..datasets.labelled import labels_of
from ..datasets.leaves.drawing import draw
from ..datasets.leaves.parameters import cultivars, new_species, sample_leaves
from ..datasets.task import Task
from ..errors import AdapterError
from ..text import drawn

__all__ = ["contact_sheet", "granularity_sheet"]


def _figure(width: float, height: float) -> Figure:
    """An empty figure in inches. Made by pyplot, so that a notebook shows it, and closed, so that it is
    shown once."""
    figure = plt.figure(figsize=(width, height), layout="constrained")
    plt.close(figure)
    return figure


def _grid(images: Tensor, columns: int) -> np.ndarray:
    """uint8 (N, 3, H, W) -> one picture (rows·H, columns·W, 3); missing images are white."""
    rows = -(-len(images) // columns)
    filled = torch.full((rows * columns, *images.shape[1:]), 255, dtype=torch.uint8)
    filled[: len(images)] = images
    _, channels, height, width = filled.shape
    picture = filled.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2)  # rows, H, columns, W, 3
    return picture.reshape(rows * height, columns * width, channels).numpy()


def _show(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def contact_sheet(
    task_or_images: Task | Tensor, per_class: int = 8, max_classes: int = 20, columns: int = 12
) -> Figure:
    """A figure of images: of a Task one row a class (its test images, two classes side by side), of uint8
    images (N, 3, H, W) a plain grid.

    Args:
        per_class: images a class. max_classes: the first so many classes. columns: of a plain grid.

    Raises AdapterError for images of another dtype or shape.
    """
    if isinstance(task_or_images, Tensor):
        images = task_or_images
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
            raise AdapterError(
                f"contact_sheet: images are {images.dtype} {tuple(images.shape)}; give a Task or uint8 (N, 3,"
                " H, W)"
            )
        figure = _figure(columns * 0.8, -(-len(images) // columns) * 0.8 + 0.4)
        _show(figure.subplots(), _grid(images, columns))
        figure.suptitle("synthetic leaves")
        return figure
    task = task_or_images
    shown = min(len(task.classes), max_classes)
    labels = labels_of(task.test)
    mean, std = (torch.tensor(task.data_config[key]).view(3, 1, 1) for key in ("mean", "std"))
    figure = _figure(2 * (per_class * 0.55 + 1.2), -(-shown // 2) * 0.58 + 0.6)
    cells = figure.subplots(-(-shown // 2), 2, squeeze=False).ravel()
    for label, axes in enumerate(cells):
        if label >= shown:
            axes.set_axis_off()
        else:
            axes.set_ylabel(drawn(task.classes[label]), rotation=0, ha="right", va="center", fontsize=7)
            chosen = (labels == label).nonzero().flatten()[:per_class].tolist()
            images = torch.stack(
                [((task.test[i][0] * std + mean).clamp(0, 1) * 255).round().to(torch.uint8) for i in chosen]
            )
            _show(axes, _grid(images, per_class))
    figure.suptitle(
        f"{drawn(task.name)}{' (synthetic images)' if task.synthetic else ''}: {shown} of {len(task.classes)}"
        " classes"
    )
    return figure


def granularity_sheet(
    granularities: Sequence[float] = (0.05, 0.1, 0.2, 0.4, 0.8),
    n_cultivars: int = 10,
    seed: int = 0,
    image_size: int = 96,
) -> Figure:
    """One row a granularity, one column a cultivar of the same species: the dial from one plant to as far
    apart as species.

    The scan (position, light, noise) is the same within a column, so rows differ by the dial alone.
    """
    plant = new_species(1, seed)[0]
    figure = _figure(n_cultivars * 0.85 + 1.0, len(granularities) * 0.85 + 0.5)
    for axes, granularity in zip(
        figure.subplots(len(granularities), 1, squeeze=False).ravel(), granularities, strict=True
    ):
        sample = sample_leaves(cultivars(plant, n_cultivars, granularity, seed * 1000), 1, "test", seed)
        _show(axes, _grid(draw(sample.leaves, sample.scenes, sample.seeds, image_size), n_cultivars))
        axes.set_ylabel(f"{granularity:g}", rotation=0, ha="right", va="center")
    which = "rising granularity" if len(granularities) > 1 else f"granularity {granularities[0]:g}"
    figure.suptitle(f"synthetic leaves: {n_cultivars} cultivars of one species at {which}")
    return figure
