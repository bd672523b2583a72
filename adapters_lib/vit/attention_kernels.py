"""Which attention kernel a training step runs: timm's fused one, except where that one is the slower."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

__all__ = ["unfused_if_slower"]


@contextlib.contextmanager
def unfused_if_slower(model: nn.Module, device: torch.device, mixed_precision: str) -> Iterator[None]:
    """Within, attention is computed openly if this is a CPU in bfloat16; afterwards every block is as it was.

    PyTorch's fused attention on a CPU has no bfloat16 kernel for its backward pass worth the name: an ADPT
    step of the embedded backbone on 16 images takes twice as long with it (40 against 81 images/s on one
    thread; in float32 the fused kernel is the faster, 52 against 47). Same attention, another order of
    operations: equal to rounding.
    """
    modules: list[Any] = (
        [m for m in model.modules() if hasattr(m, "fused_attn")]
        if device.type == "cpu" and mixed_precision == "bf16"
        else []
    )
    before = [m.fused_attn for m in modules]
    for module in modules:
        module.fused_attn = False
    try:
        yield
    finally:
        for module, fused in zip(modules, before, strict=True):
            module.fused_attn = fused
