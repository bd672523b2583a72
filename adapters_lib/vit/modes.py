"""How a model computes for a while, then as before: device, precision, evaluation mode, attention kernel.

Training and evaluation take the GPU, everything else happens where the model is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from ..errors import AdapterError, unknown
from ..options import PRECISIONS

__all__ = [
    "device_name",
    "evaluating",
    "exact_float32",
    "fast_precision",
    "in_precision",
    "on_device",
    "unfused_if_slower",
]


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


def fast_precision(device: torch.device) -> str:
    """bf16 on a GPU that computes in it, and on a CPU with instructions for it (AMX, AVX-512): a step
    takes two thirds of the time. Otherwise "no"."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    # A recent function of torch: without it we do not know.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    has_units = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return "bf16" if device.type == "cpu" and has_units else "no"


def in_precision(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """A block in which a model on `device` multiplies in that precision, one of `PRECISIONS`.

    Raises:
        AdapterError: another word, or fp16 on a CPU.
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision == "auto":
        precision = fast_precision(device)
    if precision == "no":
        return contextlib.nullcontext()
    if precision == "fp16" and device.type == "cpu":
        raise AdapterError('precision="fp16" needs a GPU, but the model is on the CPU; give "bf16" or "no"')
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)
