"""One epoch of training: batches dealt to the processes, loss, gradients, updates. `training.fit` strings
epochs together.

Everything random in an epoch comes from seeds computed from (recipe.seed, epoch, process), so that an epoch
gives the same result whether or not the process that ran the epochs before it is still alive.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from ..datasets.task import collate
from ..errors import AdapterError
from ..vit.layout import Layout
from ..vit.model import AdaptedViT
from ..vit.modes import fast_precision
from ..vit.objective import Objective
from .features import Features
from .recipe import Recipe, make_criterion, make_optimizer, make_schedule

__all__ = ["Loop", "Row", "TrainingDiverged", "epoch_batches", "has_batch_norm", "make_accelerator"]

Row = dict[str, Any]


class TrainingDiverged(AdapterError):
    """The loss or a weight is no longer a finite number. `epoch` and `step` count from 1."""

    def __init__(self, what: str, epoch: int, step: int, recipe: Recipe, kept: str) -> None:
        clip = "" if recipe.clip_norm else ", set clip_norm=1.0"
        bf16 = ", use bf16 in place of fp16" if recipe.mixed_precision == "fp16" else ""
        remedy = f"lower lr={recipe.lr}, warm up longer{clip}{bf16}"
        super().__init__(f"training diverged at epoch {epoch}, step {step}: {what}; {kept}; {remedy}")
        self.epoch, self.step = epoch, step


class _Trainee(nn.Module):
    """The model behind one `forward`, which is what accelerate wraps (mixed precision, several GPUs), from
    images or features."""

    def __init__(self, model: AdaptedViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, layout: Layout | None = None, first_stage: int | None = None) -> Any:
        return (self.model.objective or Objective()).outputs(self.model, x, layout, first_stage)


class Loop:
    """What stays the same over the epochs of a run, and one epoch of it.

    Args:
        model: on the accelerator's device.
        n: number of training images.
        out: folder that keeps the checkpoints, for messages.

    Attributes:
        optimizer, updates: the torch optimiser, and how often it has stepped.
        steps: batches per epoch and process.
    """

    def __init__(
        self, model: AdaptedViT, n: int, recipe: Recipe, accelerator: Accelerator, out: object = None
    ) -> None:
        self.model, self.n, self.recipe, self.accelerator, self.out = model, n, recipe, accelerator, out
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.objective = model.objective or Objective()
        self.optimizer = make_optimizer(model, recipe)
        self.trainee, self.stepper = accelerator.prepare(_Trainee(model), self.optimizer)
        self.criterion, self.mixup = make_criterion(recipe, model.num_classes)
        self.steps = len(self._batches(0))
        if self.steps == 0:
            raise AdapterError(
                f"fit: {n} images do not fill one batch on {accelerator.num_processes} processes; give more"
                " images"
            )
        self.schedule = make_schedule(self.optimizer, recipe, math.ceil(self.steps / recipe.accumulate))
        self.updates = 0

    @property
    def lr(self) -> float:
        """Learning rate of the last update, before head_lr_scale."""
        group = self.optimizer.param_groups[0]
        return float(group["lr"] / group["lr_scale"])

    def infer(self, dataset: Dataset) -> Callable[[Tensor], Tensor]:
        """The call that gives logits on this data set's batches, in the recipe's precision.

        Not through accelerate's wrapper: that one talks to the other processes, which may have a batch less
        to evaluate.
        """
        place = (dataset.layout, dataset.first_stage) if isinstance(dataset, Features) else ()

        def logits(x: Tensor) -> Tensor:
            with self.accelerator.autocast():
                return self.model.run_from(x, *place) if place else self.model(x)

        return logits

    def _batches(self, epoch: int) -> list[list[int]]:
        order = torch.randperm(
            self.n, generator=torch.Generator().manual_seed(_seed(self.recipe.seed, epoch, 0, "order"))
        )
        multiple, least = (2 if self.recipe.mixes else 1), (2 if has_batch_norm(self.model) else 1)
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        return epoch_batches(
            order, self.recipe.batch_size, process, processes, multiple=multiple, least=least
        )

    def epoch(self, epoch: int, train: Dataset, bar: tqdm) -> Row:
        """Train for one epoch (counted from 0) and return its row of the history.

        Raises:
            TrainingDiverged: the loss or a weight is not finite.
        """
        recipe, accelerator, process = self.recipe, self.accelerator, self.accelerator.process_index
        start = time.perf_counter()
        _seed_all(_seed(recipe.seed, epoch, process, "training"))
        batches = self._batches(epoch)
        images = [len(batch) for batch in batches]
        workers = torch.Generator().manual_seed(_seed(recipe.seed, epoch, process, "workers"))
        loader = DataLoader(
            train,
            batch_sampler=batches,
            num_workers=recipe.num_workers,
            collate_fn=collate,
            generator=workers,
            pin_memory=torch.cuda.is_available(),
        )
        place = (train.layout, train.first_stage) if isinstance(train, Features) else ()
        self.model.train()
        total = 0.0
        for step, (x, y) in enumerate(loader):
            group = images[step - step % recipe.accumulate :][: recipe.accumulate]
            updates = step % recipe.accumulate == len(group) - 1
            x, y = (t.to(accelerator.device, non_blocking=True) for t in (x, y))
            if self.mixup is not None:
                # A clip's frames are mixed as if they were channels, so that all of them are cut at the same
                # place.
                mixed, y = self.mixup(x.flatten(1, -3), y)
                x = mixed.view_as(x)
            with contextlib.nullcontext() if updates else accelerator.no_sync(self.trainee):
                progress = (epoch + step / len(batches)) / recipe.epochs
                loss = self.objective.loss(self.model, self.trainee(x, *place), y, self.criterion, progress)
                value = self._checked(loss, epoch, step)
                # Weighted by images, so that accumulated steps, the short last one included, add up to the
                # mean over all of them.
                accelerator.backward(loss * (images[step] / sum(group)))
            total += value * images[step]
            if updates:
                self._update()
            bar.update()
            bar.set_postfix(epoch=epoch + 1, loss=f"{value:.3f}", refresh=False)
        if not all(bool(torch.isfinite(p).all()) for p in self.parameters):
            raise self._diverged("a weight is NaN or infinite", epoch, len(batches) - 1)
        return {
            "epoch": epoch + 1,
            "train_loss": total / sum(images),
            "val_loss": math.nan,
            "val_top1": math.nan,
            "lr": self.lr,
            "seconds": math.nan,
            "images_per_second": sum(images) * accelerator.num_processes / (time.perf_counter() - start),
        }

    def _update(self) -> None:
        self.schedule.step_update(self.updates)
        if self.recipe.clip_norm:
            self.accelerator.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        self.objective.before_update(self.model, _seed(self.recipe.seed, self.updates, 0, "gradients"))
        self.stepper.step()
        self.stepper.zero_grad()
        self.updates += 1

    def _checked(self, loss: Tensor, epoch: int, step: int) -> float:
        """The loss as a number, averaged over the processes, so that all of them see a NaN of one of them
        and stop together."""
        shared = (
            self.accelerator.reduce(loss.detach().float(), "mean")
            if self.accelerator.num_processes > 1
            else loss.detach()
        )
        value = float(shared)
        if not math.isfinite(value):
            raise self._diverged(f"the loss is {value}", epoch, step)
        return value

    def _diverged(self, what: str, epoch: int, step: int) -> TrainingDiverged:
        kept = "nothing was kept, as no out=… was given"
        if self.out is not None:
            kept = f"the state after epoch {epoch} is kept in {self.out} and is back in the model"
        return TrainingDiverged(what, epoch + 1, step + 1, self.recipe, kept)


def epoch_batches(
    order: Tensor, size: int, process: int = 0, processes: int = 1, *, multiple: int = 1, least: int = 1
) -> list[list[int]]:
    """Deal one epoch's images to the processes: P processes with batches of B see, step by step, what one
    with P·B would see.

    Args:
        order: (N,), the permutation of this epoch.
        size: images per process and step.
        multiple: the last, short batch is cut to a multiple of this (2 for mixup, which mixes pairs).
        least: and left out if it has fewer images (2 where batch norm needs more than one).

    Returns:
        This process's batches of indices; all processes have the same number, of the same lengths.
    """
    batches = []
    for block in order.split(size * processes):
        share = len(block) // processes // multiple * multiple
        if share >= least:
            batches.append(block[process * share : (process + 1) * share].tolist())
    return batches


def has_batch_norm(model: nn.Module) -> bool:
    """Whether the model has a batch norm, which needs more than one image a batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def make_accelerator(recipe: Recipe) -> Accelerator:
    """accelerate's view of the machine, in the recipe's precision.

    Raises:
        AdapterError: the device cannot compute in that precision.
    """
    precision = recipe.mixed_precision
    if precision == "auto":
        precision = fast_precision(PartialState().device)
    if precision == "fp16" and PartialState().device.type == "cpu":
        raise AdapterError(
            'Recipe: mixed_precision="fp16" needs a GPU, but this process trains on the CPU; use "bf16" or'
            ' "no"'
        )
    # accelerate keeps the first precision for the life of the process and refuses another one; notebooks
    # train in several.
    AcceleratorState._reset_state(reset_partial_state=False)
    try:
        # The plugin, because a plain number is overridden by a variable of `accelerate launch`; the loop
        # accumulates by itself.
        return Accelerator(
            mixed_precision=precision, gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1)
        )
    except ValueError as error:
        raise AdapterError(
            f'Recipe: mixed_precision={recipe.mixed_precision!r} does not work here: {error}; use "no"'
        ) from error


def _seed(seed: int, epoch: int, process: int, purpose: str) -> int:
    """An independent 63-bit seed for each purpose, epoch and process."""
    return int(
        np.random.SeedSequence([seed, epoch, process, *purpose.encode()]).generate_state(1, np.uint64)[0]
        >> np.uint64(1)
    )


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (timm's Mixup draws from NumPy's global generator)
    torch.manual_seed(seed)
