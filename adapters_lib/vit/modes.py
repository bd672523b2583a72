"""Where a model computes: training and evaluation borrow the GPU, everything else happens where the model
is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

__all__ = ["borrowed", "device_name", "exact_float32"]


@contextlib.contextmanager
def borrowed(model: nn.Module, device: torch.device | None = None) -> Iterator[torch.device]:
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
