"""How a model computes for a while, and then as before: device, evaluation mode, kernel of attention.

Training and evaluation take the GPU, everything else happens where the model is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

__all__ = ["device_name", "evaluating", "exact_float32", "on_device", "unfused_if_slower"]


@contextlib.contextmanager
def on_device(model: nn.Module, device: torch.device | None = None) -> Iterator[torch.device]:
    """Have `model` on `device` within a with-block, and back where it was afterwards, also after an error;
    gives the device.

    So that `model(images)` after `fit(model, …)` works on a machine with a GPU as on one without: a model
    that was on the CPU takes images from the CPU again, and one that its owner had moved to a GPU stays
    there. Moving happens in place: optimisers keep their parameters. A model without parameters stays as it
    is.

    device: default accelerate's, a GPU if there is one.
    """
    device = device or PartialState().device
    first = next(model.parameters(), None)
    home = device if first is None else first.device
    model.to(device)
    try:
        yield device
    finally:
        model.to(home)


def device_name(device: torch.device) -> str:
    """What a row of a table says of the device: "cpu", or a GPU by the name that its driver gives it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Within, a GPU computes float32 as float32 and not with the shortened factors of TF32, so that its
    rows stand beside a CPU's."""
    settings: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [each.allow_tf32 for each in settings]
    for each in settings:
        each.allow_tf32 = False
    try:
        yield
    finally:
        for each, value in zip(settings, before, strict=True):
            each.allow_tf32 = value


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module is back in the mode that it had, frozen ones
    included."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


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
