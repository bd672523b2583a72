"""Nothing is computed twice: what the frozen first blocks make of an image is computed once and trained on
from memory.

The blocks before the first trainable module see frozen weights. If the images are the same in every epoch as
well, so are the features there, and epochs 2, 3, … need not pass through those blocks again. A linear probe
then trains on one vector an image.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from ..datasets.identity import identity, marks
from ..datasets.labelled import data_set_of, labels_of
from ..datasets.task import collate
from ..errors import AdapterError
from ..options import MOST_BATCH, check_workers, real_number, whole_number
from ..vit.frozen import frozen_digest
from ..vit.modes import on_device

__all__ = [
    "DEFAULT_LIMIT",
    "Features",
    "TooLarge",
    "cache_features",
    "measure_cache_speedup",
    "why_not_cacheable",
]

DEFAULT_LIMIT = 4 * 2**30  # bytes of cached features for one data set


class TooLarge(AdapterError):
    """The features of a data set do not fit into the memory allowed for them."""


class Features(Dataset):
    """What the frozen part of a model makes of a data set; give it to `fit` or `evaluate` in the data set's
    place.

    Args:
        tokens: float32 (N, ...), the first value of `model.run_frozen`.
        labels: (N,).
        layout: the second value of `model.run_frozen`, the same for all images.
        digest, first_stage: which frozen weights made them, and how many leading stages they have passed.

    Attributes:
        part, origin: those of the data set that they come from, if a `Task` marked it.
        marks: which images they come from (`datasets.identity.marks`), where that is known.
        source: `datasets.identity.identity` of them.
    """

    deterministic = True
    part: str | None = None  # "train", "val" or "test" of a `Task`, where that is known
    origin: Any = None
    marks: Tensor | None = None
    source: str | None = None

    def __init__(self, tokens: Tensor, labels: Tensor, layout: Any, digest: str, first_stage: int) -> None:
        self.tokens, self.labels, self.layout = tokens, labels, layout
        self.digest, self.first_stage = digest, first_stage

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.tokens[index], int(self.labels[index])

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        index = torch.as_tensor(indices)
        return self.tokens[index], self.labels[index]

    def identity(self) -> tuple[Any, ...]:
        """What tells these features from others: the images where they are known, as their features may
        round differently next time."""
        return (
            (self.source, self.first_stage, self.labels)
            if self.source
            else (self.tokens, self.first_stage, self.labels)
        )

    def relabelled(self, labels: Tensor, classes: Sequence[str]) -> Features:
        """The same features under other labels (N,), which are numbers of `classes`."""
        other = Features(self.tokens, labels, self.layout, self.digest, self.first_stage)
        other.part, other.marks, other.source = self.part, self.marks, self.source
        other.origin = dataclasses.replace(self.origin, classes=tuple(classes))
        return other

    def chosen(self, indices: Tensor) -> Features:
        """Those of some images: (M,) numbers of samples."""
        some = Features(
            self.tokens[indices], self.labels[indices], self.layout, self.digest, self.first_stage
        )
        some.part, some.origin = self.part, self.origin
        return some

    @property
    def nbytes(self) -> int:
        """Memory of the features in bytes."""
        return self.tokens.numel() * self.tokens.element_size()

    def check(self, model: Any) -> None:
        """Raise AdapterError unless these features come from this model's frozen part."""
        wanted = model.first_trainable_stage
        if self.first_stage != wanted or self.digest != frozen_digest(model):
            raise AdapterError(
                f"these cached features (after stage {self.first_stage}) come from other frozen weights or"
                f" another place than this model's (stage {wanted}); call cache_features(model, dataset)"
                " again"
            )


def why_not_cacheable(model: Any, dataset: Dataset) -> str | None:
    """The reason why features of this data set cannot be cached for this model; None when they can."""
    if model.first_trainable_stage == 0:
        return "the embedding is trained (a class token, for instance), so nothing in front of it is frozen"
    if not model.cacheable:
        return (
            "the frozen blocks have dropout, which makes their features random; create the backbone without"
            " drop rates"
        )
    if not getattr(dataset, "deterministic", False):
        return (
            "the images differ from epoch to epoch (augmentation), or the data set does not say"
            " `deterministic = True`"
        )
    return None


def cache_features(
    model: Any,
    dataset: Dataset,
    batch_size: int | None = None,
    *,
    num_workers: int = 0,
    limit: int = DEFAULT_LIMIT,
    progress: bool = False,
) -> Features:
    """Run the frozen part of the model once over the data set; the features stay in main memory as float32.

    The model computes on accelerate's device and is then back where it was. With several processes each one
    computes and keeps all of the features.

    Args:
        batch_size: images at a time; None: 128, or 16 on a CPU, where small batches stay in its caches (a
            quarter faster than 32).
        limit: bytes allowed.

    Raises:
        TooLarge: they would need more than `limit`.
        AdapterError: model or data set do not allow it (see `why_not_cacheable`).
    """
    dataset = data_set_of(dataset, "cache_features")
    check_workers(num_workers, "cache_features: num_workers")
    if batch_size is not None:
        whole_number("cache_features: batch_size", batch_size, 1, MOST_BATCH)
    real_number("cache_features: limit", limit, 0)
    if reason := why_not_cacheable(model, dataset):
        raise AdapterError(f"cannot cache features: {reason}; use cache_features=False")
    labels, state = labels_of(dataset), PartialState()
    n = len(labels)
    if n == 0:
        raise AdapterError("cannot cache the features of an empty data set; give it at least one image")
    batch_size = batch_size or (16 if state.device.type == "cpu" else 128)
    loader = DataLoader(
        dataset, batch_size, num_workers=num_workers, collate_fn=collate, pin_memory=torch.cuda.is_available()
    )
    bar = tqdm(
        total=n,
        desc="frozen features",
        unit="img",
        leave=False,
        disable=not (progress and state.is_main_process),
    )
    store, layout, done = torch.empty(0), None, 0
    # no_grad, not inference_mode: what the model may remember of this pass has to be usable in training.
    with on_device(model, state.device), torch.no_grad(), bar:
        for images, _ in loader:
            tokens, batch_layout = model.run_frozen(images.to(state.device, non_blocking=True))
            if done == 0:
                needed = 4 * n * tokens[0].numel()
                if needed > limit:
                    raise TooLarge(
                        f"the features of {n} images need {needed / 2**30:.2f} GiB, the limit is"
                        f" {limit / 2**30:.2f} GiB; use cache_features=False, fewer or smaller images, or"
                        " raise the limit"
                    )
                store, layout = torch.empty((n, *tokens.shape[1:])), batch_layout
            elif batch_layout != layout:
                raise AdapterError(
                    f"images of several sizes ({layout}, then {batch_layout}); resize them or use"
                    " cache_features=False"
                )
            store[done : done + len(tokens)] = tokens.float()
            done += len(tokens)
            bar.update(len(tokens))
    features = Features(store, labels, layout, frozen_digest(model), model.first_trainable_stage)
    features.part, features.origin = getattr(dataset, "part", None), getattr(dataset, "origin", None)
    features.marks, features.source = marks(dataset), identity(dataset)
    return features


def measure_cache_speedup(fit: Callable[[bool], Any]) -> dict[str, float]:
    """Time `fit(False)` and `fit(True)`, two trainings alike but for the value of `cache_features`; each
    returns its `Run`.

    Returns:
        `uncached_s`, `cached_s`: wall clock in seconds, everything included; `speedup`: their ratio. As the
            one pass over the images
        is as dear as an epoch's, E epochs can hardly give more than E. `epochs_speedup`: ratio of the time
        inside epochs alone, that is without the pass; what a second training on the same `Features` gains.
    """
    wall, inside = [], []
    for cached in (False, True):
        start = time.perf_counter()
        run = fit(cached)
        wall.append(time.perf_counter() - start)
        inside.append(float(run.history["seconds"].sum()))
    return {
        "uncached_s": wall[0],
        "cached_s": wall[1],
        "speedup": wall[0] / wall[1],
        "epochs_speedup": inside[0] / inside[1],
    }
