"""What outputs mean, and which images must not count as unseen: carried from the data to the model and from
there into every file.

Labels are numbers, and two folders may number the same names differently, or other names alike. A model that
knows its names is therefore shown a data set through `in_model_order`, which renumbers the labels or refuses.
And a split that depends on a seed is drawn anew with another seed: `refuse_trained` finds images that the
model was trained on among those that a task calls validation or test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..datasets.identity import marks, shared, sketch
from ..datasets.labelled import View, labels_of
from ..datasets.task import Origin
from ..errors import AdapterError
from .features import Features

__all__ = [
    "Relabelled",
    "class_names",
    "in_model_order",
    "names_of_outputs",
    "note_training",
    "refuse_trained",
]

NAMED = 5


class Relabelled(Dataset):
    """Another data set whose label y is called order[y] here; images and everything else are the same."""

    def __init__(self, data: Dataset, order: Tensor, classes: Sequence[str]) -> None:
        self.data, self.order = data, order
        self.labels = order[labels_of(data)]
        self.part: str | None = getattr(data, "part", None)
        self.classes = list(classes)
        origin = getattr(data, "origin", None)
        self.origin = (
            dataclasses.replace(origin, classes=tuple(classes)) if isinstance(origin, Origin) else None
        )

    @property
    def deterministic(self) -> bool:
        return bool(getattr(self.data, "deterministic", False))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        return self.data[index][0], int(self.labels[index])

    def __getitems__(self, indices: Sequence[int]) -> Any:
        batch: Any = getattr(self.data, "__getitems__", None)
        if batch is None:
            return [self[i] for i in indices]
        items = batch(indices)
        if isinstance(items, tuple):
            return items[0], self.order[items[1]]
        return [(image, int(self.order[int(label)])) for image, label in items]


def class_names(data: Any) -> list[str] | None:
    """Names of a data set's classes in the order of its labels: those of its task, or its own `classes`;
    None if it knows none."""
    origin = getattr(data, "origin", None)
    if isinstance(origin, Origin):
        return list(origin.classes)
    if isinstance(data, View):
        return class_names(data.data)
    own = getattr(data, "classes", None)
    return (
        list(own)
        if isinstance(own, list | tuple) and own and all(isinstance(name, str) for name in own)
        else None
    )


def names_of_outputs(model: Any, data: Dataset) -> list[str] | None:
    """The model's names; if it has none yet, those of the data that it is about to train on, one for each
    output."""
    names = model.classes or class_names(data)
    return names if names is not None and len(names) == model.num_classes else None


def in_model_order(model: Any, data: Dataset, what: str) -> Dataset:
    """The data set with its labels in the order of `model.classes`; as it is where either side knows no
    names, or they agree.

    Raises:
        AdapterError: other names; the message says which.
    """
    names, own = class_names(data), getattr(model, "classes", None)
    if names is None or own is None or names == own:
        return data
    if sorted(names) != sorted(own):
        strange, lost = [n for n in names if n not in own], [n for n in own if n not in names]
        parts = [
            f"{which} {_listed(group)}"
            for which, group in (("the data have", strange), ("the model knows", lost))
            if group
        ]
        raise AdapterError(
            f"{what}: the data's classes are not those of the model: only {' and only '.join(parts)}; give"
            " the data set it was trained on, or adapt a model with classes=task.classes and train it on"
            " this one"
        )
    place = {name: index for index, name in enumerate(own)}
    order = torch.tensor([place[name] for name in names])
    if isinstance(data, Features):
        return data.relabelled(order[data.labels], own)
    return Relabelled(data, order, own)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:NAMED])) + (
        f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    )


def note_training(model: Any, data: Dataset) -> None:
    """Let the model remember what it is trained on, beside what it was trained on before: data, names, split,
    how images were prepared, and a sketch of them."""
    origin = getattr(data, "origin", None)
    known = origin if isinstance(origin, Origin) else None
    model.trained_on = {
        "data": known and known.data,
        "classes": class_names(data),
        "seed": known and known.seed,
        "options": known and known.options,
        "held_out": known and known.held_out,
        "prepared": known and known.prepared,
        "images": len(labels_of(data)),
    }
    model.trained_images = sketch(model.trained_images, marks(data))


def refuse_trained(model: Any, data: Dataset, what: str) -> None:
    """Raise an AdapterError if a validation or test part of a task holds images that the model was trained
    on.

    The parts of the very split that it was trained on do not, and are not looked through; nor are data sets
    that no task has made, as their owner may well want to see how a model does on its training images.
    """
    part, trained_on = getattr(data, "part", None), getattr(model, "trained_on", None)
    origin = getattr(data, "origin", None)
    if part not in ("val", "test") or trained_on is None or model.trained_images is None:
        return
    known = origin if isinstance(origin, Origin) else None
    if known is not None and known.seed is not None:
        own = {"data": known.data, "seed": known.seed, "options": known.options, "held_out": known.held_out}
        if all(trained_on.get(key) == value for key, value in own.items()):
            return
    own_marks = marks(data)
    if own_marks is None or not (both := shared(model.trained_images, own_marks)):
        return
    seeds = ""
    if known is not None and known.data == trained_on.get("data") and known.seed != trained_on.get("seed"):
        seeds = (
            f": it was trained on the split of seed {trained_on.get('seed')}, and this is that of seed"
            f" {known.seed}"
        )
    raise AdapterError(
        f"{what}: the model was trained on {both} of these {len(own_marks)} {part} images{seeds}; load the"
        " data with the seed and the options of the training, or give images that it has not seen"
    )
