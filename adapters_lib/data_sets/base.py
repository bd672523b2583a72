"""What a task is, images that live in memory, class-balanced subsets, and the loader that feeds them to a loop.

Every data set of ours yields `(image, label)`: float32 (3, H, W), normalised, and an int. It also carries `labels`, a LongTensor (N,),
and `deterministic`, True when the same index always gives the same image (then features of frozen blocks may be cached). A `Task` marks
its data sets with `part`: "train", "val" or "test".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, default_collate

from adapters_lib.data_sets.augment import augment_batch, check_augmentation
from adapters_lib.errors import AdapterError

__all__ = ["DataWarning", "Origin", "Task", "TensorImages", "View", "check_labels", "collate", "labels_of", "make_loader", "subset"]


class DataWarning(UserWarning):
    """Some of the data is not what it should be; the task was loaded without it. The message says what and why."""


@dataclass(frozen=True)
class Origin:
    """Which task a data set is a part of: what its labels mean, and how the task was divided into parts.

    data: the task's name. classes: names, in the order of the labels. seed, options: as `load_data` got them; None if it was not asked.
    held_out: a digest of the validation and test parts: names of files, or labels.
    """

    data: str
    classes: tuple[str, ...]
    seed: int | None
    options: dict[str, Any] | None
    held_out: str


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
            raise AdapterError(f"{self.name}: {len(self.classes)} class(es); a classification task needs at least 2")
        for part, data in self.parts().items():
            check_labels(f"{self.name} {part}", labels_of(data), len(self.classes))
            data.part = part  # type: ignore[attr-defined]  # so that test images are not taken for something else
        origin = Origin(self.name, tuple(self.classes), self.loaded.get("seed"), self.loaded.get("options"), self._held_out())
        for data in self.parts().values():
            data.origin = origin  # type: ignore[attr-defined]

    def _held_out(self) -> str:
        from adapters_lib.data_sets.identity import labels_digest, names_of

        told = [names_of(data) or labels_digest(data) for data in (self.val, self.test)]
        return hashlib.sha256(json.dumps(told).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def parts(self) -> dict[str, Dataset]:
        """The three data sets by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def describe(self) -> dict[str, Any]:
        """Numbers and facts as plain JSON values (sizes are in images, `image_size` in pixels)."""
        sizes = {part: len(labels_of(data)) for part, data in self.parts().items()}
        info = {key: [[str(path), why] for path, why in value] if key == "skipped" else value for key, value in self.info.items()}
        size = self.data_config["input_size"][-1]
        return {"name": self.name, "classes": len(self.classes), **sizes, "image_size": size, "synthetic": self.synthetic, "info": info}


def check_labels(what: str, labels: Tensor, num_classes: int | None = None) -> None:
    """Raise AdapterError naming the first label outside 0..num_classes-1 (no upper bound when None)."""
    bad = labels < 0 if num_classes is None else (labels < 0) | (labels >= num_classes)
    if bad.any():
        where = int(bad.nonzero()[0])
        rule = "labels start at 0" if num_classes is None else f"labels of {num_classes} classes lie in 0..{num_classes - 1}"
        raise AdapterError(f"{what}: sample {where} has label {int(labels[where])}; {rule} (are they 1-based?)")


class TensorImages(Dataset):
    """Images in memory as bytes, fetched and augmented a batch at a time.

    Args:
        images: uint8 (N, 3, H, W).
        labels: integers (N,), from 0.
        mean, std: three numbers each, on the scale [0, 1], as in a timm data config.
        augment: None (deterministic) or a name in AUGMENTATIONS.
        size: side in pixels to resize to, batch by batch (small images stay small in memory); None keeps H and W.
        interpolation: "bicubic", "bilinear" or "nearest".

    Raises AdapterError for another dtype or shape, unequal lengths, negative labels or an unknown augmentation.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        mean: Sequence[float],
        std: Sequence[float],
        augment: str | None = None,
        size: int | None = None,
        interpolation: str = "bicubic",
    ) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise AdapterError(f"TensorImages: images are {images.dtype} {tuple(images.shape)}; give uint8 (N, 3, H, W)")
        labels = torch.as_tensor(labels)
        if labels.shape != images.shape[:1] or labels.is_floating_point():
            raise AdapterError(f"TensorImages: labels {labels.dtype} {tuple(labels.shape)} for {len(images)} images; give integers (N,)")
        check_labels("TensorImages", labels)
        check_augmentation(augment)
        self.images, self.labels = images, labels.long()
        self.mean, self.std = (torch.tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in (mean, std))
        self.augment, self.size, self.interpolation = augment, size, interpolation

    @property
    def deterministic(self) -> bool:
        return self.augment is None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """A ready batch: float32 (B, 3, size, size) and int64 (B,). torch's DataLoader calls this by itself."""
        index = torch.as_tensor(indices, dtype=torch.long)
        x = self.images[index].float() / 255
        if self.size is not None and x.shape[-2:] != (self.size, self.size):
            smooth: dict[str, Any] = {"antialias": True} if self.interpolation in ("bicubic", "bilinear") else {}
            x = F.interpolate(x, size=(self.size, self.size), mode=self.interpolation, **smooth).clamp(0, 1)
        x = augment_batch(x, self.augment)
        return (x - self.mean) / self.std, self.labels[index]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        x, y = self.__getitems__([index])
        return x[0], int(y[0])


class View(Dataset):
    """Chosen samples of another data set, in the given order. Batches stay batches; `labels` and `deterministic` follow."""

    def __init__(self, data: Dataset, indices: Tensor) -> None:
        self.data, self.indices = data, indices
        self.labels = labels_of(data)[indices]
        self.part, self.origin = getattr(data, "part", None), getattr(data, "origin", None)

    @property
    def deterministic(self) -> bool:
        return bool(getattr(self.data, "deterministic", False))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.data[int(self.indices[index])]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        chosen = self.indices[torch.as_tensor(indices, dtype=torch.long)].tolist()
        batch = getattr(self.data, "__getitems__", None)
        return batch(chosen) if batch is not None else [self.data[i] for i in chosen]


def labels_of(data: Dataset) -> Tensor:
    """Labels (N,) of a data set without reading an image: its `labels`, or torchvision's `targets`. AdapterError if it has neither."""
    for name in ("labels", "targets"):
        if (labels := getattr(data, name, None)) is not None:
            return torch.as_tensor(labels, dtype=torch.long)
    raise AdapterError(f"{type(data).__name__} has neither `labels` nor `targets`; add a LongTensor `labels` of shape (N,)")


def subset(data: Dataset, n_per_class: int, seed: int = 0) -> View:
    """Return exactly `n_per_class` samples of every class present, drawn without replacement by `seed`, in the original order.

    Raises AdapterError when `n_per_class` < 1 or a class has fewer samples (it says which).
    """
    if n_per_class < 1:
        raise AdapterError(f"subset: n_per_class={n_per_class}; ask for at least 1 image a class")
    labels, generator, chosen = labels_of(data), torch.Generator().manual_seed(seed), []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        if len(members) < n_per_class:
            raise AdapterError(f"subset: class {label} has {len(members)} images, {n_per_class} were asked for; lower n_per_class")
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
    """A DataLoader of `(images (B, 3, H, W), labels (B,))` for our data sets and for any torch data set of pairs.

    `generator` fixes the order (and the workers' seeds). Raises AdapterError for an empty data set or batch_size < 1.
    """
    if batch_size < 1:
        raise AdapterError(f"batch_size={batch_size}; give at least 1")
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
