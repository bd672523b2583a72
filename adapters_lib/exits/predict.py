"""Prediction with exits that really exit: what leaves is taken out of the batch, and the blocks behind run on
the rest, or not at all.

The host waits for the device once an exit (to learn who stays) and once at the end, however many images there
are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import AdapterError
from ..vit.exits import exit_blocks, exit_logits
from ..vit.inputs import input_shape
from ..vit.modes import evaluating
from .costs import ExitCosts, check_exits, exit_costs
from .policies import check_policy, check_thresholds, confidence, leaves

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["Prediction", "predict"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What came out for N images, in the order in which they came in.

    logits: float32 (N, C), of the exit at which the image left. exit_index: (N,), from 0. confidence: (N,),
    the policy's, at that exit. blocks: the blocks behind which the exits stand. costs, or model and
    image_size: where the MACs are looked up when they are asked for.
    """

    logits: Tensor
    exit_index: Tensor
    confidence: Tensor
    blocks: tuple[int, ...]
    costs: ExitCosts | None = None
    model: AdaptedViT | None = None
    image_size: tuple[int, ...] | None = None

    @property
    def labels(self) -> Tensor:
        """(N,), the most likely class."""
        return self.logits.argmax(1)

    @property
    def macs(self) -> Tensor:
        """(N,), int64: MACs spent on each image, with every head that it met."""
        costs = self.costs
        if costs is None:
            assert self.model is not None
            costs = exit_costs(self.model, self.image_size)
        return torch.tensor(costs.macs, device=self.exit_index.device)[self.exit_index]

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of images that left at each exit."""
        counts = torch.bincount(self.exit_index, minlength=len(self.blocks)).double()
        return tuple((counts / max(len(self.exit_index), 1)).tolist())


@torch.no_grad()
def predict(
    model: AdaptedViT,
    images: Tensor,
    thresholds: Sequence[float] | Tensor | None = None,
    policy: str | None = None,
) -> Prediction:
    """Classify images (B, C, H, W), or clips (B, C, T, H, W), each as deep as it needs.

    Args:
        model: with `DynExits` among its methods; evaluation mode is used, whatever mode it is in.
        thresholds: one for every exit but the last, in [0, 1] (see `exits.policies`); None takes those that
            `calibrate` left in `model.extra["exits"]`, with their policy.
        policy: `max_softmax` (default), `entropy`, `margin` or `patience`.

    Raises:
        AdapterError: no early exits, no batch of images, no thresholds, thresholds of the wrong number or
            range, unknown policy, or NaN logits.

    Examples:
        >>> vit = al.create_backbone()
        >>> model = al.adapt(vit, [al.AdaptFormer(), al.DynExits(every=3)], classes=["oak", "elm"])
        >>> out = al.predict(model, torch.zeros(2, 3, 96, 96), thresholds=[0, 0, 0])
        >>> out.exit_index.tolist()  # both images are sure enough at the first exit
        [0, 0]
    """
    check_exits(model)
    one = input_shape(model)
    if not isinstance(images, Tensor) or images.ndim != 1 + len(one):
        shape = tuple(getattr(images, "shape", ())) or type(images).__name__
        batch = "images as a tensor (B, C, H, W)" if len(one) == 3 else "clips as a tensor (B, C, T, H, W)"
        raise AdapterError(
            f"predict needs a batch of {batch}, got {shape}; for a single image pass image[None]"
        )
    if model.training:
        with evaluating(model):
            return predict(model, images, thresholds, policy)
    if thresholds is None:
        if "exits" not in model.extra:
            raise AdapterError(
                "no thresholds: pass them, or call al.calibrate(model, validation_images) first"
            )
        stored = model.extra["exits"]
        thresholds, calibrated = stored["thresholds"], stored.get("policy", "max_softmax")
        policy = policy or calibrated
        if policy != calibrated:
            raise AdapterError(
                f"the stored thresholds are for {calibrated!r}, not {policy!r}; calibrate for it, or pass"
                " thresholds"
            )
    policy = policy or "max_softmax"
    check_policy(policy)
    blocks = exit_blocks(model)
    limits = check_thresholds(thresholds, blocks)
    logits, index, sure = (_one if len(images) == 1 else _batch)(model, images, blocks, limits, policy)
    return Prediction(logits.float(), index, sure, blocks, model=model, image_size=tuple(images.shape[-2:]))


Answers = tuple[Tensor, Tensor, Tensor]
"""Logits (B, C), exit indices (B,), confidences (B,)."""


def _one(
    model: AdaptedViT, image: Tensor, blocks: tuple[int, ...], limits: tuple[float, ...], policy: str
) -> Answers:
    """A single image returns as soon as it is sure; nothing needs to be sorted back."""
    x, layout = model.embed(image)
    memory, done, logits, sure, stage = None, 0, image, image, 0
    for stage, block in enumerate(blocks):
        for index in range(done, block):
            x, layout = model.run_block(index, x, layout)
        done = block
        logits = exit_logits(model, block, x, layout)
        sure, memory = confidence(policy, logits, memory, len(blocks))
        # One number is compared on the host: for a single image every further operation would be felt.
        if isnan(value := float(sure)):
            raise _not_a_number(0)
        if stage == len(limits) or leaves(value, limits[stage]):
            break
    return logits, torch.full((1,), stage, device=logits.device), sure


def _batch(
    model: AdaptedViT, images: Tensor, blocks: tuple[int, ...], limits: tuple[float, ...], policy: str
) -> Answers:
    n, device = len(images), images.device
    x, layout = model.embed(images)
    rows: Tensor | None = None  # the images still here; None: all of them
    out = torch.empty(n, model.num_classes, device=device)
    exit_index = torch.full((n,), len(limits), device=device)
    final = torch.ones(n, device=device)
    if n == 0:
        return out, exit_index, final
    memory, done = None, 0
    exiting: Tensor | slice
    for stage, block in enumerate(blocks):
        for index in range(done, block):
            x, layout = model.run_block(index, x, layout)
        done = block
        logits = exit_logits(model, block, x, layout)
        sure, memory = confidence(policy, logits, memory, len(blocks))
        if stage == len(limits):
            exiting, stay = slice(None), None
        else:
            # What is no number goes at once, and is found at the end.
            goes = leaves(sure, limits[stage]) | sure.isnan()
            # Those that stay, then those that go, each in order.
            order = goes.to(torch.uint8).argsort(stable=True)
            staying = len(goes) - int(goes.sum())  # the one wait for the device at this exit
            if staying == len(goes):
                continue
            stay, exiting = order[:staying], order[staying:]
        leaving = exiting if rows is None else rows[exiting]
        out[leaving], final[leaving] = logits[exiting].float(), sure[exiting]
        exit_index[leaving] = stage
        if stay is None or not len(stay):
            break
        rows = stay if rows is None else rows[stay]
        x = x[stay]
        memory = None if memory is None else memory[stay]
    if bool(final.isnan().any()):
        raise _not_a_number(int(final.isnan().nonzero()[0]))
    return out, exit_index, final


def _not_a_number(image: int) -> AdapterError:
    return AdapterError(
        f"image {image} has NaN logits at an exit; check the image and the model's weights (has training"
        " diverged?)"
    )
