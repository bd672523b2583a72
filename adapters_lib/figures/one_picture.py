"""One picture of one's own, answered: the likeliest names with their probabilities, and where the model
looked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from ..analysis.attention import on_image
from ..datasets.unlabelled import preparation, unlabelled
from ..errors import AdapterError
from ..exits.classify import classify
from ..text import drawn
from ..vit.inputs import input_shape
from ..vit.model import AdaptedViT
from .attention_explorer import attention_views
from .styling import style
from .wrapping import wrapped

__all__ = ["Answer", "answer_figure", "answer_picture"]


@dataclass(frozen=True)
class Answer:
    """What a model says of one picture.

    names, probabilities: the likeliest classes, the likeliest first; in [0, 1]. seen: uint8 (3, H, W), the
    picture as the model sees it, cut and resized. where: (H, W), attention rollout of the last blocks with
    equal tokens, not negative; NaN on a rim that a smaller grid has left. block: behind which the model
    answered.
    """

    names: tuple[str, ...]
    probabilities: tuple[float, ...]
    seen: Tensor
    where: Tensor
    block: int


def answer_picture(model: AdaptedViT, picture: Any, top: int = 5) -> Answer:
    """Ask a model of images about one picture, prepared as in its training.

    picture: a path or a PIL image, of any size and mode. top: names, at most as many as there are classes.

    The names are those of `classify`, with the early exits that the model was calibrated for; where it looked
    is shown of all blocks, those behind such an exit included.

    Raises:
        AdapterError: no picture, a model of clips or without names, or what `classify` refuses.
    """
    if len(input_shape(model)) == 4:
        raise AdapterError("this model takes clips, and a picture is none; use al.classify with video files")
    if isinstance(picture, list | tuple | Tensor) or (
        isinstance(picture, str | os.PathLike) and os.path.isdir(picture)
    ):
        raise AdapterError(
            f"{type(picture).__name__} {str(picture)[:60]!r}: give one picture, a path or a PIL image"
        )
    table = classify(model, picture, top)
    row = table.iloc[0]
    ranks = range(1, 1 + sum(str(column).startswith("class_") for column in table))
    ((_, batch),) = unlabelled(model, picture).batches(1)
    views = attention_views(model, batch[0].to(next(model.parameters()).dtype))
    size = (int(batch.shape[-2]), int(batch.shape[-1]))
    rolled = views.map(views.depth, view="rollout")[None].cpu()
    return Answer(
        tuple(str(row[f"class_{rank}"]) for rank in ranks),
        tuple(float(row[f"probability_{rank}"]) for rank in ranks),
        _as_seen(model, batch[0]),
        on_image(rolled, views.grid, size, rim=float("nan"))[0],
        int(row["exit"]) if "exit" in table else views.depth,
    )


def _as_seen(model: AdaptedViT, image: Tensor) -> Tensor:
    """The prepared image with its normalisation undone."""
    prepared = preparation(model)
    mean, std = (torch.tensor(prepared[key], dtype=torch.float32).view(-1, 1, 1) for key in ("mean", "std"))
    return ((image.float() * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)


def answer_figure(answer: Answer, title: str = "") -> Figure:
    """The picture, where the model looked in it (bright is much), and a bar for each of the likeliest
    names."""
    pixels = answer.seen.numpy().transpose(1, 2, 0)
    where = answer.where.numpy()
    with style():
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(8.2, 2.3), gridspec_kw={"width_ratios": [1, 1, 1.1]}
        )
        left.imshow(pixels)
        left.set_title("as the model sees it", fontsize=8)
        middle.imshow(pixels.mean(2), cmap="gray", vmin=0, vmax=255)
        middle.imshow(where, cmap="inferno", vmin=0, vmax=max(float(np.nanmax(where)), 1e-12), alpha=0.72)
        middle.set_title("where it looked (rollout)", fontsize=8)
        for ax in (left, middle):
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            ax.spines[:].set_visible(False)
        places = range(len(answer.names))
        bars = right.barh(list(places), [100 * p for p in answer.probabilities], height=0.6)
        right.bar_label(bars, [f"{100 * p:.1f} %" for p in answer.probabilities], padding=2, fontsize=7)
        right.set_yticks(list(places), [wrapped(name) for name in answer.names], fontsize=7)
        right.invert_yaxis()
        right.set(xlim=(0, 118), xticks=[0, 50, 100], xlabel="probability (%)")
        right.set_title(f"answered behind block {answer.block}", fontsize=8)
        figure.suptitle(drawn(title), fontsize=8)
    plt.close(figure)
    return figure
