"""The same exits from stored logits, in milliseconds: for threshold sweeps, sliders and the check that
`predict` does what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..datasets.labelled import check_labels, data_set_of, labels_of
from ..datasets.task import make_loader
from ..errors import AdapterError
from ..training.features import Features
from ..training.meaning import in_model_order, refuse_trained
from ..vit.exits import run_exits
from ..vit.modes import evaluating, on_device
from .costs import ExitCosts, check_exits, exit_costs
from .policies import check_policy, check_thresholds, confidence, leaves
from .predict import Prediction

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["StoredExits", "confidences", "simulate", "store_exits"]


@dataclass(frozen=True)
class StoredExits:
    """Logits of every exit on a data set, float32 (S, N, C), with labels (N,); both on the CPU.

    costs: of the model they came from. part: "train", "val", "test" of a `Task`, or None if it is not known.
    """

    logits: Tensor
    labels: Tensor
    costs: ExitCosts
    part: str | None = None

    def __post_init__(self) -> None:
        if not bool(self.logits.isfinite().all()):
            stage, image = (int(i) for i in (~self.logits.isfinite()).nonzero()[0, :2])
            raise AdapterError(
                f"image {image} has NaN or infinite logits at exit {stage + 1}; check the image and the"
                " model's weights"
            )

    @property
    def accuracies(self) -> Tensor:
        """(S,), percent: every exit on all images."""
        return 100 * (self.logits.argmax(2) == self.labels).double().mean(1)


@torch.no_grad()
def store_exits(model: AdaptedViT, dataset: Dataset, batch_size: int = 64) -> StoredExits:
    """Run every exit on every image of `dataset` (or on cached `Features` of it) once; as in `evaluate`, on a
    GPU if there is one.

    Raises:
        AdapterError: no early exits, an empty data set, labels outside the model's classes or classes of
            other names, images that the model was trained on, features of another model, or logits that are
            not finite.
    """
    check_exits(model)
    dataset = in_model_order(model, data_set_of(dataset, "store_exits"), "exits")
    if len(labels_of(dataset)) == 0:
        raise AdapterError("store_exits: the data set is empty; give it at least one image")
    check_labels("exits", labels_of(dataset), model.num_classes)
    refuse_trained(model, dataset, "exits")
    forward = model.forward_exits
    if isinstance(dataset, Features):
        dataset.check(model)
        forward = partial(run_exits, model, layout=dataset.layout, start=dataset.first_stage - 1)
    kept = []
    with on_device(model) as device, evaluating(model):
        for images, _ in make_loader(dataset, batch_size):
            kept.append(torch.stack(forward(images.to(device))).float().cpu())
    return StoredExits(
        torch.cat(kept, dim=1), labels_of(dataset), exit_costs(model), getattr(dataset, "part", None)
    )


def confidences(logits: Tensor, policy: str = "max_softmax") -> Tensor:
    """Confidence of every exit on every image: logits (S, N, C) → (S, N)."""
    check_policy(policy)
    per_exit, memory = [], None
    for stage in logits:
        sure, memory = confidence(policy, stage, memory, len(logits))
        per_exit.append(sure)
    return torch.stack(per_exit)


def simulate(
    stored: StoredExits,
    thresholds: Sequence[float] | Tensor,
    policy: str = "max_softmax",
    sure: Tensor | None = None,
) -> Prediction:
    """What `predict` would return for these images.

    sure: `confidences(stored.logits, policy)`, for callers that try many thresholds.
    """
    limits = check_thresholds(thresholds, stored.costs.blocks)
    sure = confidences(stored.logits, policy) if sure is None else sure
    images = torch.arange(sure.shape[1])
    exit_index = torch.full_like(images, len(limits))
    for stage in reversed(range(len(limits))):
        exit_index[leaves(sure[stage], limits[stage])] = stage
    return Prediction(
        stored.logits[exit_index, images],
        exit_index,
        sure[exit_index, images],
        stored.costs.blocks,
        stored.costs,
    )
