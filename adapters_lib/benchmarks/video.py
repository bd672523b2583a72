"""What a training step on clips needs: memory and time, with every block's inside kept for the backward pass,
or computed once more there.

Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016, arXiv:1604.06174: a frozen
backbone keeps its activations as well, since gradients pass through them to the adapters below; recomputing
pays one more forward pass for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F

from ..backbones.clips import create_clip_backbone
from ..costs.memory import memory_use
from ..errors import AdapterError
from ..methods import format_method, parse_method
from ..methods.adapt import adapt
from ..vit.inputs import image_size_of, probe_images

__all__ = ["bench_video"]


def bench_video(
    backbone: str = "vit_small_patch16_224",
    methods: Sequence[str] = ("full", "padapter:position=a_m_p"),
    *,
    frames: int = 8,
    tubelet: int = 2,
    image_size: int | None = None,
    batch: int = 1,
    classes: int = 174,
    rounds: int = 1,
    device: str = "cpu",
) -> dict[str, Any]:
    """Memory of a training step (from shapes, AdamW's state included) and its measured time, per method,
    without and with recomputing.

    Args:
        rounds: timed steps of each, in turn, after one that is not timed; 0 measures no time.
        device: where the time is measured.

    Returns:
        {"backbone", "clip": [T, H, W], "tokens", "batch", "device", "threads", "rows"}; a row has method,
        recompute, trained (parameters), step_bytes (peak, with weights and clips), weight_bytes,
        optimizer_bytes, and step_ms (median) if it was measured.

    Raises:
        AdapterError: batch or rounds out of range, or a clip model that is not possible.
    """
    if batch < 1 or rounds < 0:
        raise AdapterError(f"batch={batch}, rounds={rounds}: at least 1 clip and 0 rounds are needed")
    rows: list[dict[str, Any]] = []
    steps: list[Callable[[], None]] = []
    facts: dict[str, Any] = {}
    for name in methods:
        for recompute in (False, True):
            vit: Any = create_clip_backbone(
                backbone, frames, tubelet, image_size=image_size, pretrained=False
            )
            vit.set_grad_checkpointing(recompute)
            model = adapt(vit, name, num_classes=classes, seed=0)
            needed = memory_use(model, batch)
            facts = {"clip": [frames, *image_size_of(model)], "tokens": model.token_counts()}
            rows.append(
                {
                    "method": format_method(parse_method(name)),
                    "recompute": recompute,
                    "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
                    "step_bytes": needed.training,
                    "weight_bytes": needed.weights,
                    "optimizer_bytes": needed.optimizer,
                }
            )
            if rounds:
                steps.append(_step(model.to(device), batch))
    if rounds:
        for row, times in zip(rows, _timed(steps, rounds, torch.device(device)), strict=True):
            row["step_ms"] = round(median(times), 2)
    shared = {"batch": batch, "device": device, "threads": torch.get_num_threads(), "rounds": rounds}
    return {"backbone": backbone, **facts, **shared, "rows": rows}


def _step(model: Any, batch: int) -> Callable[[], None]:
    """Forward, backward and AdamW update on noise."""
    model.train()
    clips = probe_images(model, image_size_of(model), batch)
    labels = torch.arange(batch, device=clips.device) % model.num_classes
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(clips), labels).backward()
        optimizer.step()

    return step


def _timed(steps: Sequence[Callable[[], None]], rounds: int, device: torch.device) -> list[list[float]]:
    """Milliseconds of every step, round after round, so that a slow minute of the machine falls on all of
    them."""
    times: list[list[float]] = [[] for _ in steps]
    for turn in range(rounds + 1):
        for step, durations in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                durations.append(1000 * (time.perf_counter() - start))
    return times
