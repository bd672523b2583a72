"""Where a model computes: training and evaluation borrow the GPU, everything else happens where the model is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from accelerate import PartialState
from torch import nn

__all__ = ["borrowed", "device_name"]


@contextlib.contextmanager
def borrowed(model: nn.Module, device: torch.device | None = None) -> Iterator[torch.device]:
    """Have `model` on `device` within a with-block, and back where it was afterwards, also after an error; gives the device.

    So that `model(images)` after `fit(model, …)` works on a machine with a GPU as on one without: a model that was on the CPU takes
    images from the CPU again, and one that its owner had moved to a GPU stays there. Moving happens in place: optimisers keep their
    parameters. A model without parameters stays as it is.

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
