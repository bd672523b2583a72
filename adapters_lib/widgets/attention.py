"""The attention explorer: choose an image, a block and a head, and see where several models look, side by
side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..analysis.attention import walker
from ..datasets.task import Task
from ..errors import AdapterError
from ..figures.attention_explorer import VIEWS, Views, attention_views, explorer_figure
from .panel import FigurePanel

__all__ = ["AttentionExplorer"]

_WIDE: dict[str, Any] = {"style": {"description_width": "12em"}, "layout": {"width": "37em"}}
_ALL_HEADS = 0  # a dropdown cannot hold None as a value


class AttentionExplorer(FigurePanel):
    """Image, block, head and view → one panel a model.

    A model sees an image once, when that image is first asked for; every other change only draws.

    Args:
        models: name → timm ViT or adapted model, all of the same depth and image size.
        task: its test images are shown. indices: which of them; None takes the first image of up to twelve
            classes.

    Raises:
        AdapterError: no model, models of different depth or image size, no image, or one that does not exist.
    """

    def __init__(
        self, models: Mapping[str, nn.Module], task: Task, indices: Sequence[int] | None = None
    ) -> None:
        self.models = dict(models)
        self.task = task
        self._views: dict[tuple[str, int], Views] = {}
        depth, heads = _common(self.models)
        chosen = _first_of_classes(task, 12) if indices is None else list(indices)
        last = len(task.test) - 1  # type: ignore[arg-type]
        if not chosen or min(chosen) < 0 or max(chosen) > last:
            raise AdapterError(f"indices={chosen}: name at least one of the test images, 0 to {last}")
        labels = [(f"{i}: {task.classes[int(task.test[i][1])]}", i) for i in chosen]
        names = list(self.models)
        controls = {
            "image": ipywidgets.Dropdown(options=labels, description="image (number: class)", **_WIDE),
            "block": ipywidgets.IntSlider(
                value=depth, min=1, max=depth, description="block", continuous_update=False, **_WIDE
            ),
            "head": ipywidgets.Dropdown(
                options=[("mean of all heads", _ALL_HEADS), *((f"head {h}", h) for h in range(1, heads + 1))],
                description="head",
                **_WIDE,
            ),
            "view": ipywidgets.Dropdown(
                options=[(text, name) for name, text in VIEWS.items()], description="what is shown", **_WIDE
            ),
            "methods": ipywidgets.SelectMultiple(
                options=names, value=names[:4], rows=min(len(names), 6), description="models", **_WIDE
            ),
        }
        alt = (
            "Left: a test image. Beside it, for every selected model: where the token that the head reads"
            " looks; bright is much, and each panel has its own scale. A model that has shrunk its token grid"
            " leaves the rim bare."
        )
        super().__init__(self.figure, controls, alt)

    def views(self, name: str, image: int) -> Views:
        """What the model saw in that test image, computed at the first call."""
        key = (name, image)
        if key not in self._views:
            self._views[key] = attention_views(self.models[name], self.task.test[image][0])
        return self._views[key]

    def figure(self, image: int, block: int, head: int, view: str, methods: Sequence[str]) -> Figure:
        """The panel's picture as a function of its controls; head 0 is the mean."""
        views = {name: self.views(name, image) for name in methods}
        return explorer_figure(_picture(self.task, image), views, block, head or None, view)


def _picture(task: Task, index: int) -> Tensor:
    """The test image as it looks, uint8 (3, H, W): its normalisation undone."""
    image = task.test[index][0]
    mean, std = (torch.tensor(task.data_config[key]).view(-1, 1, 1) for key in ("mean", "std"))
    return ((image.cpu() * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)


def _common(models: Mapping[str, nn.Module]) -> tuple[int, int]:
    """Blocks and heads that all models have."""
    if not models:
        raise AdapterError("the explorer got no model; give at least one, e.g. {'frozen': vit}")
    walks = {name: walker(model) for name, model in models.items()}
    shapes = {name: (walk.depth, walk.image_size) for name, walk in walks.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name}: {depth} blocks, {size} pixels" for name, (depth, size) in shapes.items())
        raise AdapterError(f"models side by side need the same depth and image size, but got {listed}")
    depth = next(iter(shapes.values()))[0]
    return depth, min(int(getattr(walk.backbone.blocks[0].attn, "num_heads", 1)) for walk in walks.values())


def _first_of_classes(task: Task, most: int) -> list[int]:
    """The first test image of each class, of at most so many classes."""
    first: dict[int, int] = {}
    for index, label in enumerate(task.test.labels.tolist()):  # type: ignore[attr-defined]
        first.setdefault(label, index)
    return list(first.values())[:most]
