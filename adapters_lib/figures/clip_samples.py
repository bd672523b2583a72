"""Contact sheets of clips: frames over time, one row a class; synthetic clips are called so."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..datasets.labelled import labels_of
from ..datasets.task import Task
from ..errors import AdapterError
from ..text import drawn
from .samples import _grid, _show

__all__ = ["clip_sheet"]


def clip_sheet(task: Task, per_class: int = 1, max_classes: int = 20) -> Figure:
    """A figure of test clips: one row a class, time from left to right; `per_class` clips of a class stand
    side by side.

    Raises AdapterError when the task is not of clips, or for numbers below 1.
    """
    if len(task.test[0][0].shape) != 4:
        raise AdapterError(f"{task.name} is a task of images; use contact_sheet")
    if per_class < 1 or max_classes < 1:
        raise AdapterError(f"clip_sheet of {max_classes} classes × {per_class} clips; give at least 1 × 1")
    shown, labels = min(len(task.classes), max_classes), labels_of(task.test)
    mean, std = (torch.tensor(task.data_config[key]).view(3, 1, 1, 1) for key in ("mean", "std"))
    frames = task.test[0][0].shape[1]
    figure = plt.figure(figsize=(per_class * frames * 0.62 + 3.0, shown * 0.66 + 0.6), layout="constrained")
    plt.close(figure)  # made by pyplot, so that a notebook shows it, and closed, so that it is shown once
    for label, row in enumerate(figure.subplots(shown, per_class, squeeze=False)):
        chosen = (labels == label).nonzero().flatten()[:per_class].tolist()
        for column, axes in enumerate(row):
            if column >= len(chosen):
                axes.set_axis_off()
                continue
            clip = (
                ((task.test[chosen[column]][0] * std + mean).clamp(0, 1) * 255)
                .round()
                .to(torch.uint8)
                .transpose(0, 1)
            )
            _show(axes, _grid(clip, frames))
            edges = np.arange(1, frames) * clip.shape[-1] - 0.5
            axes.vlines(edges, -0.5, clip.shape[-2] - 0.5, color="white", linewidth=0.8)
        row[0].set_ylabel(drawn(task.classes[label]), rotation=0, ha="right", va="center", fontsize=7)
    kind = " (synthetic clips)" if task.synthetic else ""
    what = f"{frames} frames, time from left to right; {shown} of {len(task.classes)} classes"
    figure.suptitle(f"{drawn(task.name)}{kind}: {what}", fontsize=9)
    return figure
