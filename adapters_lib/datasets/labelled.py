"""Data sets of (image, label): images that live in memory, views of other data sets, and the labels of any of
them.

Every data set of ours yields `(image, label)`: float32 (3, H, W), normalised, and an int. It also carries
`labels`, a LongTensor (N,), and `deterministic`, True when the same index always gives the same image (then
features of frozen blocks may be cached).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from ..errors import AdapterError
from .augment import augment_batch, check_augmentation

__all__ = ["TensorImages", "View", "check_labels", "data_set_of", "labels_of"]


def check_labels(what: str, labels: Tensor, num_classes: int | None = None) -> None:
    """Raise AdapterError naming the first label outside 0..num_classes-1 (no upper bound when None)."""
    bad = labels < 0 if num_classes is None else (labels < 0) | (labels >= num_classes)
    if bad.any():
        where = int(bad.nonzero()[0])
        rule = (
            "labels start at 0"
            if num_classes is None
            else f"labels of {num_classes} classes lie in 0..{num_classes - 1}"
        )
        raise AdapterError(
            f"{what}: sample {where} has label {int(labels[where])}; {rule} (are they 1-based?)"
        )


class TensorImages(Dataset):
    """Images in memory as bytes, fetched and augmented a batch at a time.

    Args:
        images: uint8 (N, 3, H, W).
        labels: integers (N,), from 0.
        mean, std: three numbers each, on the scale [0, 1], as in a timm data config.
        augment: None (deterministic) or a name in AUGMENTATIONS.
        size: side in pixels to resize to, batch by batch (small images stay small in memory); None keeps H
            and W.
        interpolation: "bicubic", "bilinear" or "nearest".

    Raises AdapterError for another dtype or shape, unequal lengths, negative labels or an unknown
    augmentation.
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
            raise AdapterError(
                f"TensorImages: images are {images.dtype} {tuple(images.shape)}; give uint8 (N, 3, H, W)"
            )
        labels = torch.as_tensor(labels)
        if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.is_complex():
            raise AdapterError(
                f"TensorImages: labels {labels.dtype} {tuple(labels.shape)} for {len(images)} images; give"
                " integers (N,)"
            )
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
        """A ready batch: float32 (B, 3, size, size) and int64 (B,). torch's DataLoader calls this by
        itself."""
        index = torch.as_tensor(indices, dtype=torch.long)
        x = self.images[index].float() / 255
        if self.size is not None and x.shape[-2:] != (self.size, self.size):
            smooth: dict[str, Any] = (
                {"antialias": True} if self.interpolation in ("bicubic", "bilinear") else {}
            )
            x = F.interpolate(x, size=(self.size, self.size), mode=self.interpolation, **smooth).clamp(0, 1)
        x = augment_batch(x, self.augment)
        return (x - self.mean) / self.std, self.labels[index]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        x, y = self.__getitems__([index])
        return x[0], int(y[0])


class View(Dataset):
    """Chosen samples of another data set, in the given order. Batches stay batches; `labels` and
    `deterministic` follow.

    Raises AdapterError for indices that are no whole numbers or lie outside the data set.
    """

    def __init__(self, data: Dataset, indices: Tensor | Sequence[int]) -> None:
        labels = labels_of(data)
        self.data, self.indices = data, _checked_indices(indices, len(labels))
        self.labels = labels[self.indices]
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


def data_set_of(data: Any, what: str = "data set") -> Dataset:
    """`data` as the library's functions take it: what torch's `Subset` and `random_split` give becomes a
    `View`.

    Raises AdapterError for a DataLoader, a Task and whatever else has no samples by number, and says what to
    pass instead.
    """
    if isinstance(data, Subset | View):
        parent, indices = (
            (data.dataset, data.indices) if isinstance(data, Subset) else (data.data, data.indices)
        )
        parent = data_set_of(parent, what)
        if hasattr(parent, "chosen"):  # cached features: some of them are features again
            return parent.chosen(_checked_indices(indices, len(labels_of(parent))))  # type: ignore[no-any-return]
        return View(parent, indices) if isinstance(data, Subset) else data
    if isinstance(data, DataLoader):
        raise AdapterError(
            f"{what}: a DataLoader; pass its data set (loader.dataset), and the batch size as an option or in"
            " the recipe"
        )
    if callable(getattr(data, "parts", None)):  # a `Task`
        raise AdapterError(f"{what}: a whole Task; pass one of its parts: task.train, task.val or task.test")
    if isinstance(data, Tensor | Mapping | str) or not (
        hasattr(data, "__getitem__") and hasattr(data, "__len__")
    ):
        remedy = (
            "pass a torch Dataset of (image, label) with `labels`, such as TensorImages(images, labels, mean,"
            " std)"
        )
        raise AdapterError(f"{what}: a {type(data).__name__}; {remedy}")
    return data  # type: ignore[no-any-return]


def labels_of(data: Dataset) -> Tensor:
    """Labels (N,), int64, of a data set without reading an image.

    They are its `labels`, or torchvision's `targets`, or the second tensor of a TensorDataset; those of a
    `Subset` (as `random_split` makes) and of a `ConcatDataset` come from the sets that they are made of.

    Raises AdapterError when there are none, when they are no whole numbers (N,), or when `data` is a
    DataLoader.
    """
    if isinstance(data, Subset):
        labels = labels_of(data.dataset)
        return labels[_checked_indices(data.indices, len(labels))]
    if isinstance(data, ConcatDataset):
        return torch.cat([labels_of(part) for part in data.datasets])
    if isinstance(data, TensorDataset) and len(data.tensors) == 2:
        return _whole_labels(data, data.tensors[1])
    data_set_of(data)
    for name in ("labels", "targets"):
        if (stored := getattr(data, name, None)) is not None:
            return _whole_labels(data, stored)
    raise AdapterError(
        f"{type(data).__name__} has neither `labels` nor `targets`; add a LongTensor `labels` of shape (N,)"
    )


def _whole_labels(data: Any, labels: Any) -> Tensor:
    """Labels as int64 (N,), one a sample; nothing is rounded."""
    name = type(data).__name__
    try:
        numbers = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise AdapterError(
            f"{name}: labels {str(labels)[:60]!r} are no whole numbers; give a LongTensor (N,)"
        ) from error
    if numbers.ndim != 1:
        raise AdapterError(
            f"{name}: labels of shape {tuple(numbers.shape)}; give one whole number a sample, (N,)"
        )
    if numbers.is_complex() or (
        numbers.is_floating_point()
        and not bool((numbers == numbers.round()).all() & numbers.isfinite().all())
    ):
        odd = (
            int((numbers != numbers.round()).nonzero()[0])
            if numbers.is_floating_point() and bool((numbers != numbers.round()).any())
            else 0
        )
        raise AdapterError(
            f"{name}: sample {odd} has label {numbers[odd].item()}; labels are whole numbers from 0"
        )
    if len(numbers) != len(data):
        raise AdapterError(f"{name}: {len(numbers)} labels for {len(data)} samples; give one a sample")
    return numbers.long()


def _checked_indices(indices: Any, count: int) -> Tensor:
    """Indices (M,), int64, of `count` samples; from the end where negative, as torch counts."""
    try:
        numbers = torch.as_tensor(indices)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AdapterError(
            f"indices {str(indices)[:60]} are no whole numbers; give a list of them"
        ) from error
    if numbers.numel() == 0:
        return numbers.long().flatten()
    if (
        numbers.ndim != 1
        or numbers.is_floating_point()
        or numbers.is_complex()
        or numbers.dtype == torch.bool
    ):
        raise AdapterError(f"indices {numbers.dtype} {tuple(numbers.shape)}; give whole numbers (M,)")
    if not -count <= int(numbers.min()) <= int(numbers.max()) < count:
        raise AdapterError(
            f"index {int(numbers.max())} or {int(numbers.min())} lies outside a data set of {count} samples"
        )
    return numbers.long() % count
