"""A recipe says how to train: a frozen value that makes optimiser, schedule and loss, kept with the run.

Learning rate at update u, with w warm-up updates out of T, which begin at s (lr/w where none is given):

    u < w:   s + (lr − s) · u/w
    u ≥ w:   min_lr + ½ (lr − min_lr) (1 + cos(π (u − w)/(T − w)))     warmup_prefix=True, the default
             min_lr + ½ (lr − min_lr) (1 + cos(π u/T))                 warmup_prefix=False

With the prefix the cosine begins where the warm-up ends. Without it the cosine has run since update 0 and the
warm-up covers its beginning: it rises towards lr, and at update w the rate drops to the curve. That is what
timm's scheduler does unless told otherwise, hence what the code of ILA, RepAdapter, ConvPass and SSF does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import Mixup
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from ..errors import AdapterError, unknown
from ..options import MOST_BATCH, PRECISIONS

__all__ = ["Recipe", "Schedule", "make_criterion", "make_optimizer", "make_schedule"]

OPTIMIZERS = ("adamw", "sgd", "momentum")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train. Every field is stored with the run, and a run only resumes under the same recipe.

    Args:
        epochs: passes over the training set; the result is always the last one, never the best one.
        lr: peak learning rate.
        batch_size: images per process and step; an update sees batch_size × processes × accumulate images.
        weight_decay: for matrices only; biases, norms and everything else with one dimension have none, nor
            have the class token and position embedding.
        optimizer: "adamw", "sgd" with Nesterov momentum 0.9, or "momentum": SGD with plain momentum 0.9.
        warmup_epochs, warmup_steps: linear warm-up in epochs (fractions allowed) or in updates; give one.
        warmup_lr: learning rate of the warm-up's first update; None: lr / warm-up updates.
        warmup_prefix: the cosine begins after the warm-up; False: it is evaluated over all updates.
        min_lr: learning rate at the end of the cosine.
        clip_norm: clip the gradient's norm to this; None: no clipping.
        accumulate: steps whose gradients are added up before one update.
        mixed_precision: "no", "bf16", "fp16" (needs a GPU), or "auto": bf16 where the machine has hardware
            for it, otherwise "no".
        label_smoothing: in [0, 1).
        mixup, cutmix: α of the Beta distribution, 0 for none (timm's Mixup; the batch size must be even).
        seed: order of the images, augmentation, dropout and mixup. Initial weights are the model's affair.
        num_workers: processes that load images.
        head_lr_scale: the head learns at lr × this.
        drop_path: share of the images for which the last block's attention, or its MLP, is left out in
            training; the first block's is 0, and it grows in equal steps (`drop_path.stochastic_depth`).
            0: the backbone keeps the drop paths with which it was created.

    Raises:
        AdapterError: a value breaks its rule; the message names value, rule and remedy.

    Examples:
        >>> recipe = al.Recipe(epochs=20, lr=3e-3, seed=0)
        >>> recipe.epochs, recipe.lr
        (20, 0.003)
    """

    epochs: int = 20
    lr: float = 1e-3
    batch_size: int = 64
    weight_decay: float = 1e-4
    optimizer: str = "adamw"
    warmup_epochs: float = 0.0
    warmup_steps: int = 0
    warmup_lr: float | None = None
    warmup_prefix: bool = True
    min_lr: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1
    mixed_precision: str = "no"
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    seed: int = 0
    num_workers: int = 0
    head_lr_scale: float = 1.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        counts, amounts = ("epochs", "batch_size", "accumulate"), ("warmup_steps", "seed", "num_workers")
        self._check(counts, lambda v: _is_int(v) and v >= 1, "a whole number, at least 1")
        self._check(counts, lambda v: v <= MOST_BATCH, f"at most {MOST_BATCH:,}")
        self._check(amounts, lambda v: _is_int(v) and v >= 0, "a whole number, 0 or more")
        self._check(amounts, lambda v: v < 2**63, "below 2**63")
        self._check(("lr", "head_lr_scale"), lambda v: _is_number(v) and v > 0, "a finite number above 0")
        weights = ("weight_decay", "warmup_epochs", "min_lr", "mixup", "cutmix")
        self._check(weights, lambda v: _is_number(v) and v >= 0, "a finite number, 0 or more")
        self._check(("clip_norm",), lambda v: v is None or (_is_number(v) and v > 0), "None or above 0")
        shares = ("label_smoothing", "drop_path")
        self._check(shares, lambda v: _is_number(v) and 0 <= v < 1, "at least 0 and below 1")
        self._check(("warmup_prefix",), lambda v: isinstance(v, bool), "True or False")
        self._check(("min_lr",), lambda v: v <= self.lr, f"at most lr={self.lr}")
        within = f"None, or from 0 to lr={self.lr}"
        self._check(("warmup_lr",), lambda v: v is None or (_is_number(v) and 0 <= v <= self.lr), within)
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)
        if self.mixed_precision not in PRECISIONS:
            raise unknown("mixed_precision", self.mixed_precision, PRECISIONS)
        if self.warmup_epochs and self.warmup_steps:
            raise AdapterError(
                f"Recipe: warmup_epochs={self.warmup_epochs} and warmup_steps={self.warmup_steps} "
                "both set the warm-up; leave one of them at 0"
            )
        if self.mixes and self.batch_size % 2:
            raise AdapterError(
                f"Recipe: batch_size={self.batch_size}, but mixup and cutmix mix pairs of images; make it"
                " even"
            )

    def _check(self, names: tuple[str, ...], holds: Callable[[Any], bool], rule: str) -> None:
        for name in names:
            if not holds(getattr(self, name)):
                raise AdapterError(f"Recipe: {name}={getattr(self, name)!r}; it must be {rule}")

    @property
    def mixes(self) -> bool:
        """True when mixup or cutmix is on."""
        return self.mixup > 0 or self.cutmix > 0

    def warmup_updates(self, updates_per_epoch: int) -> int:
        """Number of optimiser updates in the warm-up.

        Raises:
            AdapterError: the warm-up would take the whole training.
        """
        updates = self.warmup_steps or round(self.warmup_epochs * updates_per_epoch)
        total = self.epochs * updates_per_epoch
        if updates >= total:
            raise AdapterError(
                f"Recipe: a warm-up of {updates} updates, but the training has only {total}; shorten it or"
                " train longer"
            )
        return updates


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def make_optimizer(model: Any, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over the trainable parameters of an `AdaptedViT`, and nothing else.

    Raises:
        AdapterError: the model has nothing to train.
    """
    backbone = model.backbone
    names_exempt = set(backbone.no_weight_decay()) if hasattr(backbone, "no_weight_decay") else set()
    exempt = {id(p) for name, p in backbone.named_parameters() if name in names_exempt}
    head = {id(p) for _, p in model.parameter_groups()["head"]}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            decay = recipe.weight_decay if parameter.ndim > 1 and id(parameter) not in exempt else 0.0
            scale = recipe.head_lr_scale if id(parameter) in head else 1.0
            groups.setdefault((decay, scale), []).append(parameter)
    if not groups:
        raise AdapterError(
            "the model has no trainable parameter; adapt it with a method (for example al.LinearProbe())"
            " before fit"
        )
    settings = [
        {"params": params, "weight_decay": decay, "lr_scale": scale}
        for (decay, scale), params in groups.items()
    ]
    # fused: ADPT's 99 tensors take 1 ms on one core, not 10
    return create_optimizer_v2(settings, opt=recipe.optimizer, lr=recipe.lr, momentum=0.9, fused=True)


class Schedule:
    """The curve above over an optimiser's groups, each times its `lr_scale`: a pure function of the update.

    Args:
        optimizer: whose learning rates are set.
        warmup, total: updates in the warm-up and in the whole training.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: Recipe, warmup: int, total: int) -> None:
        self.optimizer, self.recipe, self.warmup, self.total = optimizer, recipe, warmup, total

    def rate(self, update: int) -> float:
        """Learning rate of an update, counted from 0."""
        recipe, warmup = self.recipe, self.warmup
        if update < warmup:
            start = recipe.lr / warmup if recipe.warmup_lr is None else recipe.warmup_lr
            return start + update * ((recipe.lr - start) / warmup)
        first = warmup if recipe.warmup_prefix else 0
        angle = math.pi * (update - first) / (self.total - first)
        return recipe.min_lr + 0.5 * (recipe.lr - recipe.min_lr) * (1 + math.cos(angle))

    def step_update(self, update: int) -> None:
        """Set the rates for that update; call it before the optimiser's step."""
        rate = self.rate(update)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, updates_per_epoch: int) -> Schedule:
    """The recipe's schedule for a training of `recipe.epochs` times that many updates.

    Raises:
        AdapterError: the warm-up would take the whole training.
    """
    warmup = recipe.warmup_updates(updates_per_epoch)
    return Schedule(optimizer, recipe, warmup, recipe.epochs * updates_per_epoch)


def make_criterion(
    recipe: Recipe, num_classes: int
) -> tuple[Callable[[Tensor, Tensor], Tensor], Mixup | None]:
    """The loss (logits (B, C), labels (B,) or soft targets (B, C)) → scalar, and timm's Mixup or None.

    Mixup returns soft targets that are smoothed already, so the loss must not smooth them again.
    """
    if recipe.mixes:
        mixup = Mixup(
            mixup_alpha=recipe.mixup,
            cutmix_alpha=recipe.cutmix,
            label_smoothing=recipe.label_smoothing,
            num_classes=num_classes,
        )
        return F.cross_entropy, mixup
    return nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing), None
