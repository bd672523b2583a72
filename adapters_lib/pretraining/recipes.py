"""The recipes of the two pre-trainings: numbers and schedules. Nothing heavy is imported here, so that the
command line can name every field at once."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from ..errors import AdapterError

__all__ = ["ARCHITECTURE", "KWARGS", "PretrainClipsConfig", "PretrainConfig"]

ARCHITECTURE = "vit_tiny_patch16_224"
KWARGS: dict[str, Any] = {"img_size": 96, "patch_size": 8, "embed_dim": 128, "depth": 12, "num_heads": 4}


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
    """The recipe. A schedule entry is (image side in pixels, share of patch tokens dropped, images seen).

    The learning rate rises for `warmup_images`, follows a cosine that would end at `horizon_images`, and
    falls in a straight line to zero over the last `cooldown_images`: a run can be ended early from any
    checkpoint before its cool-down by a shorter schedule.

    Raises AdapterError for an impossible schedule or precision.
    """

    schedule: tuple[tuple[int, float, int], ...] = ((48, 0.0, 128_000), (96, 0.5, 44_800), (96, 0.0, 19_200))
    images_per_species: int = 160
    wild: int = 32_000
    val_per_species: int = 20
    val_wild: int = 1000
    batch_size: int = 128
    lr: float = 2e-3
    weight_decay: float = 0.05
    warmup_images: int = 10_000
    horizon_images: int = 326_400
    cooldown_images: int = 32_000
    optimizer: str = "muon"
    label_smoothing: float = 0.1
    parameter_weight: float = 1.0
    clip: float = 1.0
    seed: int = 0
    device: str = "auto"
    precision: str = "bf16"
    checkpoint_steps: int = 250
    eval_steps: int = 250

    def __post_init__(self) -> None:
        for side, drop, images in self.schedule:
            if (
                side % KWARGS["patch_size"]
                or side > KWARGS["img_size"]
                or not 0 <= drop < 1
                or images < self.batch_size
            ):
                raise AdapterError(
                    f"schedule entry {side}:{drop}:{images}: the side must be a multiple of"
                    f" {KWARGS['patch_size']} up to {KWARGS['img_size']}, the dropped share in [0, 1), the"
                    f" images at least one batch ({self.batch_size})"
                )
        if self.precision not in ("bf16", "no"):
            raise AdapterError(f"precision {self.precision!r}: choose bf16 or no")

    def steps(self) -> list[tuple[int, float]]:
        """(image side, dropped share) of every step."""
        return [
            (side, drop) for side, drop, images in self.schedule for _ in range(images // self.batch_size)
        ]

    def learning_rate(self, step: int) -> float:
        """Learning rate of one step, as the class describes it."""
        total, warmup = len(self.steps()), max(1, self.warmup_images // self.batch_size)
        horizon = max(self.horizon_images // self.batch_size, total)
        cooldown = min(self.cooldown_images // self.batch_size, max(0, total - warmup))
        if step < warmup:
            return self.lr * (step + 1) / warmup
        start = total - cooldown
        rate = (
            self.lr * 0.5 * (1 + math.cos(math.pi * (min(step, start) - warmup) / max(1, horizon - warmup)))
        )
        return rate if step <= start else rate * (total - step) / cooldown


@dataclasses.dataclass(frozen=True)
class PretrainClipsConfig:
    """The recipe. `dropped`: clips seen with half of the tokens; `whole`: clips seen after that with all of
    them.

    The learning rate rises for `warmup` clips and falls to zero along a cosine. clips, val_clips: drawn once;
    every step sees them moved over the frame and half of them backwards (`wild_motion.roll`). Raises
    AdapterError for numbers below 1 batch.
    """

    clips: int = 8000
    val_clips: int = 1000
    dropped: int = 80_000
    whole: int = 16_000
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 3200
    optimizer: str = "adamw"
    clip: float = 1.0
    seed: int = 0
    device: str = "auto"
    checkpoint_steps: int = 100
    eval_steps: int = 250

    def __post_init__(self) -> None:
        for name in ("clips", "val_clips", "whole", "batch_size", "checkpoint_steps", "eval_steps"):
            least = self.batch_size if name == "whole" else 1
            if getattr(self, name) < least:
                raise AdapterError(
                    f"pretrain-clips: {name}={getattr(self, name)}; it must be at least {least}"
                )
        if self.dropped < 0:
            raise AdapterError(f"pretrain-clips: dropped={self.dropped}; give 0 or more clips")

    @property
    def steps(self) -> int:
        return self.dropped // self.batch_size + self.whole // self.batch_size

    def keeps(self, step: int) -> float:
        """Share of every slice's tokens that a step looks at."""
        return 0.5 if step < self.dropped // self.batch_size else 1.0

    def learning_rate(self, step: int) -> float:
        warmup = max(1, self.warmup // self.batch_size)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, self.steps - warmup)))
