"""Accuracy, loss and logits of a model on a data set, in one process or several, with every image counted
once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import PartialState
from accelerate.utils import gather
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassStatScores
from tqdm.auto import tqdm

from ..datasets.labelled import check_labels, data_set_of, labels_of
from ..datasets.task import collate
from ..errors import AdapterError
from ..options import MOST_BATCH, check_workers, whole_number
from ..vit.modes import evaluating, on_device
from .features import Features
from .meaning import in_model_order, refuse_trained

__all__ = ["collect_logits", "evaluate", "forward_on", "score"]


def evaluate(
    model: Any,
    dataset: Dataset,
    batch_size: int = 64,
    *,
    num_workers: int = 0,
    return_logits: bool = False,
    progress: bool = False,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Any]:
    """Accuracy and loss on a data set (or on cached `Features` of it).

    The model computes on accelerate's device (a GPU if there is one); its own device and the train or eval
    mode of every module are put back afterwards. Under `accelerate launch` each process takes its share of
    the images and all get the same result, so every process must make the call.

    Args:
        forward: called instead of the model; `fit` gives its mixed-precision one.
        return_logits: also return `logits`, float32 (N, C), and `labels`, (N,), both on the CPU in the order
            of the samples.

    Returns:
        `top1` and `top5` in percent (top5 over all classes when there are fewer than five), `balanced`, the
        mean over the classes present of each one's top-1 (percent; what to look at where classes differ in
        size), `loss` (cross-entropy in nats, mean over images) and `n`, the number of images.

    Labels are the model's: where model and data name their classes alike but in another order, the data's are
    renumbered.

    Raises:
        AdapterError: the data set is empty, a label is not one of the model's classes, the data's classes
            have other names than the model's, or a validation or test part holds images that the model was
            trained on (it was split by another seed).

    Examples:
        >>> vit = al.create_backbone()
        >>> task = al.load_data("leaves-ultra", backbone=vit, cultivars=2, n_train=1, n_val=1, n_test=4)
        >>> model = al.adapt(vit, "linear", classes=task.classes)
        >>> result = al.evaluate(model, task.test)
        >>> result["n"], 0 <= result["top1"] <= 100
        (8, True)
    """
    dataset = in_model_order(model, data_set_of(dataset, "evaluate"), "evaluate")
    _check(model, dataset)
    refuse_trained(model, dataset, "evaluate")
    options: dict[str, Any] = {
        "num_workers": num_workers,
        "return_logits": return_logits,
        "progress": progress,
    }
    return score(model, dataset, batch_size, forward=forward, **options)


def score(
    model: Any,
    dataset: Dataset,
    batch_size: int = 64,
    *,
    num_workers: int = 0,
    return_logits: bool = False,
    progress: bool = False,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Any]:
    """`evaluate` without a look at the names of classes and at what the model was trained on: for who has
    done that already."""
    dataset = data_set_of(dataset, "evaluate")
    n = _check(model, dataset)
    whole_number("evaluate: batch_size", batch_size, 1, MOST_BATCH)
    check_workers(num_workers, "evaluate: num_workers")
    state = PartialState()
    forward = forward or forward_on(model, dataset)
    classes = model.num_classes
    top1, top5 = (
        MulticlassAccuracy(classes, top_k=min(k, classes), average="micro", validate_args=False).to(
            state.device
        )
        for k in (1, 5)
    )
    by_class = MulticlassStatScores(classes, average=None, validate_args=False).to(state.device)
    mean_loss = MeanMetric(nan_strategy="disable").to(state.device)
    kept: list[Tensor] = []

    mine = range(state.process_index, n, state.num_processes)
    batches = [list(mine[start : start + batch_size]) for start in range(0, len(mine), batch_size)]
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
    )
    with on_device(model, state.device), evaluating(model), torch.inference_mode():
        for images, labels in tqdm(
            loader, desc="evaluate", leave=False, disable=not (progress and state.is_main_process)
        ):
            labels = labels.to(state.device, non_blocking=True)
            logits = forward(images.to(state.device, non_blocking=True)).float()
            top1.update(logits, labels)
            top5.update(logits, labels)
            by_class.update(logits, labels)
            mean_loss.update(F.cross_entropy(logits, labels, reduction="none"))
            if return_logits:
                kept.append(logits)
        # torchmetrics adds up the processes' counts by itself in compute().
        # Whole images again, so 24 % is 24.0.
        hits = [round(metric.compute().item() * n) for metric in (top1, top5)]
        result: dict[str, Any] = {
            "top1": 100 * hits[0] / n,
            "top5": 100 * hits[1] / n,
            "balanced": _balanced(by_class.compute()),
            "loss": mean_loss.compute().item(),
            "n": n,
        }
        if return_logits:
            local = torch.cat(kept) if kept else torch.empty(0, classes, device=state.device)
            result["logits"] = _in_order(local, n, state).clone()
    if return_logits:
        result["labels"] = labels_of(dataset)
    return result


def _balanced(counts: Tensor) -> float:
    """Mean recall in percent over the classes that have samples, from rows (true positives, …, support)."""
    right, support = counts[:, 0].double(), counts[:, 4].double()
    return float(100 * (right / support)[support > 0].mean())


def collect_logits(
    model: Any, dataset: Dataset, batch_size: int = 64, **options: Any
) -> tuple[Tensor, Tensor]:
    """Logits, float32 (N, C), and labels, (N,), on the CPU, in the order of the data set. Options as in
    `evaluate`."""
    result = evaluate(model, dataset, batch_size, return_logits=True, **options)
    return result["logits"], result["labels"]


def forward_on(model: Any, dataset: Dataset) -> Callable[[Tensor], Tensor]:
    """The call that turns this data set's batches into logits: `model`, or `model.run_from` for cached
    features."""
    if isinstance(dataset, Features):
        dataset.check(model)
        return lambda tokens: model.run_from(tokens, dataset.layout, dataset.first_stage)
    return model


def _check(model: Any, dataset: Dataset) -> int:
    labels = labels_of(dataset)
    if len(labels) == 0:
        raise AdapterError("evaluate: the data set is empty; give it at least one image")
    check_labels("evaluate", labels, model.num_classes)
    return len(labels)


def _in_order(local: Tensor, n: int, state: PartialState) -> Tensor:
    """Gather rows that were dealt to the processes like cards (row i to process i mod P) and put them back
    in order."""
    if state.num_processes > 1:
        most = -(-n // state.num_processes)
        padded = F.pad(local, (0, 0, 0, most - len(local)))
        local = (
            gather(padded)
            .reshape(state.num_processes, most, -1)
            .transpose(0, 1)
            .reshape(-1, local.shape[1])[:n]
        )
    return local.cpu()
