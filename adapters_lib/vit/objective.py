"""What a method may change about training: what is read off the model, the loss on it, and the gradients
before an update."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .layout import Layout

if TYPE_CHECKING:
    from .model import AdaptedViT

__all__ = ["Criterion", "Objective"]

Criterion = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, C), labels (B,) or soft targets (B, C)) → scalar."""


class Objective:
    """The training loop follows `model.objective` where there is one; this base class is what the loop
    does without one."""

    def outputs(
        self, model: AdaptedViT, x: Tensor, layout: Layout | None = None, first_stage: int | None = None
    ) -> Any:
        """What `loss` reads: from images (B, C, H, W), or from features with their layout (see
        `AdaptedViT.run_from`)."""
        return model(x) if layout is None else model.run_from(x, layout, first_stage)

    def loss(
        self, model: AdaptedViT, outputs: Any, y: Tensor, criterion: Criterion, progress: float
    ) -> Tensor:
        """A scalar. progress: share of the training's steps that are done, in [0, 1)."""
        return criterion(outputs, y)

    def before_update(self, model: AdaptedViT, seed: int) -> None:
        """Change gradients in place: after they were clipped, before the optimiser sees them.

        seed: another one for every update, the same one in every process and after a resumption.
        """
