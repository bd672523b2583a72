"""Measure what every method costs in training and inference, against full fine-tuning, the bare timm model,
and peft's LoRA.

All candidates take turns in one process (`al.compare_latency`), so a slow minute of the machine falls on
all of them alike, and what is reported are medians and quartiles of the ratios within each round.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from ..backbones.create import create_backbone
from ..costs.cost import cost
from ..costs.latency import Comparison, compare_latency
from ..costs.memory import memory_use
from ..errors import AdapterError
from ..methods import METHODS, parse_method
from ..methods.adapt import adapt
from ..methods.dyn import ALONE
from ..methods.merge import merge
from ..vit.objective import Objective
from .targets import BARE, FLOOR, PEFT, targets

__all__ = [
    "adapted_copy",
    "bench_device",
    "bench_inference",
    "bench_methods",
    "bench_training",
    "merged_copy",
]


def bench_methods(
    backbone: str = "micro_vit",
    methods: Sequence[str] | None = None,
    *,
    train_batch: int = 8,
    batches: Sequence[int] = (1, 16),
    classes: int = 100,
    repeats: int = 15,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Training steps relative to full fine-tuning, and forward passes relative to the bare timm model at each
    batch size.

    minutes: about how long all of it may take; then fewer rounds than `repeats` are made, at least 3.

    Returns: {"backbone", "threads", "training": rows, "inference": {batch: rows}, "targets"}; a row is a
    method's name with its median ratio, the quartiles of the ratio, milliseconds, rounds, and, for training,
    peak bytes and their ratio; for inference the ratio of MACs. targets: see `benchmarks.targets`.
    """
    start = time.monotonic()

    def left(share: float) -> float | None:
        """Seconds that a part of the bench may take: a share of what is left."""
        return None if minutes is None else max(share * (60 * minutes - (time.monotonic() - start)), 0.0)

    every = [ALONE if name == "dyn" else name for name in METHODS]
    names = [name for name in (methods or every) if parse_method(name).name != "full"]
    training = bench_training(backbone, names, train_batch, classes, repeats, seconds=left(0.5))
    inference = {}
    for index, batch in enumerate(batches):
        share = math.sqrt(batch) / sum(math.sqrt(later) for later in batches[index:])
        inference[str(batch)] = bench_inference(
            backbone, names, batch, classes, repeats, seconds=left(share * 0.9)
        )
    return {
        "backbone": backbone,
        "device": bench_device().type,
        "threads": torch.get_num_threads(),
        "minutes": round((time.monotonic() - start) / 60, 2),
        "training": training,
        "inference": inference,
        "targets": targets(training, inference),
    }


def bench_training(
    backbone: str,
    methods: Sequence[str],
    batch: int,
    classes: int,
    repeats: int,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Forward, backward and AdamW update on random images; the first row, `full`, divides the others; the
    last is `targets.FLOOR`."""
    bare = create_backbone(backbone, pretrained=False, num_classes=classes).to(bench_device())
    models: dict[str, Any] = {name: adapted_copy(bare, name) for name in ("full", *methods)}
    peaks = {name: memory_use(model, batch).training for name, model in models.items()}
    if _has_peft():
        models[PEFT] = _peft_lora(bare)
    models[FLOOR] = _floor(bare)
    size = _side(bare)
    images, labels = (
        torch.randn(batch, 3, size, size, device=bench_device()),
        torch.arange(batch, device=bench_device()) % classes,
    )
    steps = {name: _step(model, images, labels) for name, model in models.items()}
    measured = compare_latency(steps, warmup=1, repeats=repeats, gradients=True, seconds=seconds)
    rows = _rows(measured)
    for name, peak in peaks.items():
        rows[name] |= {"peak_bytes": peak, "peak_ratio": round(peak / peaks["full"], 4)}
    return rows


def bench_inference(
    backbone: str,
    methods: Sequence[str],
    batch: int,
    classes: int,
    repeats: int,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Forward passes in evaluation mode; mergeable methods also merged. The first row, the bare timm
    model, divides the others."""
    bare = create_backbone(backbone, pretrained=False, num_classes=classes).to(bench_device())
    models: dict[str, nn.Module] = {BARE: bare}
    for name in methods:
        models[name] = adapted_copy(bare, name)
        if (merged := merged_copy(bare, name)) is not None:
            models[f"{name}, merged"] = merged
    if _has_peft():
        models[PEFT] = _peft_lora(bare)
    images = torch.randn(batch, 3, _side(bare), _side(bare), device=bench_device())
    calls = {name: partial(model.eval(), images) for name, model in models.items()}
    measured = compare_latency(calls, warmup=1, repeats=repeats, seconds=seconds)
    rows = _rows(measured)
    base = cost(bare).macs
    for name, model in models.items():
        if name != PEFT:
            rows[name]["macs_ratio"] = round(cost(model).macs / base, 4)
    return rows


def adapted_copy(bare: nn.Module, method: str) -> Any:
    """The method on a copy of the same weights: drawing new ones for every candidate would take longer
    than measuring it."""
    return adapt(copy.deepcopy(bare), method, num_classes=int(bare.num_classes), seed=0).to(bench_device())  # type: ignore[arg-type]


def merged_copy(bare: nn.Module, method: str) -> Any:
    """`adapted_copy`, merged; None for a method that does not merge, or not into this backbone (SSF in front
    of a pooling)."""
    if not parse_method(method).mergeable:
        return None
    try:
        return merge(adapted_copy(bare, method))
    except AdapterError:
        return None


def _peft_lora(bare: nn.Module) -> nn.Module:
    """What a user of peft would write: LoRA of the same rank on the fused qkv layer, and the head trained."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=8, lora_alpha=8, target_modules=["qkv"], modules_to_save=["head"])
    return get_peft_model(copy.deepcopy(bare), config).to(bench_device())  # type: ignore[arg-type, no-any-return]


def _floor(bare: nn.Module) -> nn.Module:
    model: Any = copy.deepcopy(bare).requires_grad_(False)
    model.pos_embed.requires_grad_(True)
    return model  # type: ignore[no-any-return]


def _has_peft() -> bool:
    return find_spec("peft") is not None


def bench_device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _side(vit: Any) -> int:
    return int(vit.patch_embed.img_size[0])


def _step(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], object]:
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    # Early heads train with a loss of their own.
    objective: Any = getattr(model, "objective", None) or Objective()
    criterion = nn.functional.cross_entropy

    def step() -> None:
        loss = objective.loss(model, objective.outputs(model, images), labels, criterion, 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _rows(measured: Comparison) -> dict[str, dict[str, Any]]:
    rows = {}
    for name, (middle, low, high) in measured.ratios.items():
        rows[name] = {
            "ratio": round(middle, 4),
            "ratio_q25": round(low, 4),
            "ratio_q75": round(high, 4),
            "ms": round(measured.latencies[name].median, 3),
            "rounds": measured.latencies[name].repeats,
        }
    return rows
