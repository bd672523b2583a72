"""What a task is, class-balanced subsets, and the loader that feeds a data set to a loop.

A `Task` marks its data sets (see `labelled`) with `part`, "train", "val" or "test", and with `origin`, the
task that they are of.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from ..errors import AdapterError
from ..options import MOST_BATCH, check_seed, check_workers, whole_number
from .identity import labels_digest, names_of
from .labelled import TensorImages, View, check_labels, data_set_of, labels_of

__all__ = [
    "PREPARED",
    "DataWarning",
    "Origin",
    "Task",
    "collate",
    "make_loader",
    "subset",
]


class DataWarning(UserWarning):
    """Some of the data is not what it should be; the task was loaded without it. The message says what and
    why."""


@dataclass(frozen=True)
class Origin:
    """Which task a data set is a part of: what its labels mean, and how the task was divided into parts.

    data: the task's name. classes: names, in the order of the labels. seed, options: as `load_data` got them;
    None if it was not asked. held_out: a digest of the validation and test parts: names of files, or labels.
    synthetic: whether a program drew the images.
    prepared: how a test image is made of a picture, as JSON values: those of `PREPARED` that are known.
    """

    data: str
    classes: tuple[str, ...]
    seed: int | None
    options: dict[str, Any] | None
    held_out: str
    synthetic: bool = False
    prepared: dict[str, Any] = field(default_factory=dict)


PREPARED = ("interpolation", "mean", "std", "crop_pct", "crop_mode", "stride", "sampling")
"""What `Origin.prepared` tells: timm's words for an image, and which frames of a video make a clip."""


@dataclass
class Task:
    """A classification task: three data sets and what is known about them.

    Args:
        name: as given to `load_data`.
        classes: one name a class, in the order of the labels.
        train, val, test: data sets of `(image, label)` with `labels` and `deterministic`.
        data_config: input_size (3, H, W), mean, std, interpolation, crop_pct, crop_mode, as used.
        synthetic: True for images that a program drew; figures say so.
        info: facts worth reporting: source, split rule, `skipped` [(path, reason)], counts.
        loaded: the seed and the options that `load_data` made it with: {"seed": …, "options": {…}}.

    Each of its data sets says by `part` which one it is, and by `origin` of what.

    Raises AdapterError when a label lies outside 0..len(classes)-1 or there are fewer than two classes.
    """

    name: str
    classes: list[str]
    train: Dataset
    val: Dataset
    test: Dataset
    data_config: dict[str, Any]
    synthetic: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    loaded: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise AdapterError(
                f"{self.name}: {len(self.classes)} class(es); a classification task needs at least 2"
            )
        self.train, self.val, self.test = (data_set_of(data, part) for part, data in self.parts().items())
        for part, data in self.parts().items():
            check_labels(f"{self.name} {part}", labels_of(data), len(self.classes))
            data.part = part  # type: ignore[attr-defined]  # so that test images are not taken for something else
        origin = Origin(
            self.name,
            tuple(self.classes),
            self.loaded.get("seed"),
            self.loaded.get("options"),
            self._held_out(),
            self.synthetic,
            self._prepared(),
        )
        for data in self.parts().values():
            data.origin = origin  # type: ignore[attr-defined]

    def _held_out(self) -> str:
        held_out = [names_of(data) or labels_digest(data) for data in (self.val, self.test)]
        return hashlib.sha256(json.dumps(held_out).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def _prepared(self) -> dict[str, Any]:
        images: Any = self.train
        while isinstance(images, View):
            images = images.data
        settings = {**self.info, **self.data_config}
        if isinstance(images, TensorImages):  # they are resized as a whole, nothing is cut off
            settings |= {"crop_pct": 1.0, "crop_mode": "squash", "interpolation": images.interpolation}
        return {
            key: list(settings[key]) if key in ("mean", "std") else settings[key]
            for key in PREPARED
            if key in settings
        }

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def parts(self) -> dict[str, Dataset]:
        """The three data sets by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def describe(self) -> dict[str, Any]:
        """Numbers and facts as plain JSON values (sizes are in images, `image_size` in pixels)."""
        sizes = {part: len(labels_of(data)) for part, data in self.parts().items()}
        info = {
            key: [[str(path), why] for path, why in value] if key == "skipped" else value
            for key, value in self.info.items()
        }
        size = self.data_config["input_size"][-1]
        return {
            "name": self.name,
            "classes": len(self.classes),
            **sizes,
            "image_size": size,
            "synthetic": self.synthetic,
            "info": info,
        }


def subset(data: Dataset, n_per_class: int, seed: int = 0) -> View:
    """Return exactly `n_per_class` samples of every class present, drawn without replacement by `seed`, in
    the original order.

    Raises AdapterError when `n_per_class` < 1 or a class has fewer samples (it says which).
    """
    if whole_number("subset: n_per_class", n_per_class, least=-(2**31)) < 1:
        raise AdapterError(f"subset: n_per_class={n_per_class}; ask for at least 1 image a class")
    check_seed(seed, "subset: seed")
    data = data_set_of(data, "subset")
    labels, generator, chosen = labels_of(data), torch.Generator().manual_seed(seed), []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        if len(members) < n_per_class:
            raise AdapterError(
                f"subset: class {label} has {len(members)} images, {n_per_class} were asked for; lower"
                " n_per_class"
            )
        chosen.append(members[torch.randperm(len(members), generator=generator)[:n_per_class]])
    return View(data, torch.cat(chosen).sort().values)


def collate(batch: Any) -> Any:
    """Pass a ready batch (a tuple from `__getitems__`) through; stack a list of samples as torch does."""
    return batch if isinstance(batch, tuple) else default_collate(batch)


def make_loader(
    data: Dataset,
    batch_size: int,
    shuffle: bool = False,
    generator: torch.Generator | None = None,
    num_workers: int = 0,
    drop_last: bool = False,
) -> DataLoader:
    """A DataLoader of `(images (B, 3, H, W), labels (B,))` for our data sets and for any torch data set of
    pairs.

    `generator` fixes the order (and the workers' seeds). Raises AdapterError for an empty data set, something
    that is none, batch_size < 1, or more workers than there are cores.
    """
    data = data_set_of(data)
    whole_number("batch_size", batch_size, 1, MOST_BATCH)
    check_workers(num_workers)
    if len(data) == 0:  # type: ignore[arg-type]
        raise AdapterError(f"{type(data).__name__} is empty; there is nothing to load")
    return DataLoader(
        data,
        batch_size,
        shuffle,
        generator=generator,
        num_workers=num_workers,
        drop_last=drop_last,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
    )
