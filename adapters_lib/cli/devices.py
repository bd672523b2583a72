"""On which device a command computes, and in which precision."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import Any

from ..errors import AdapterError
from ..options import PRECISIONS

__all__ = ["add_device", "computing_on", "device_of"]


def add_device(parser: argparse.ArgumentParser, precision: bool = True) -> None:
    """--device, and --precision unless the command has one of its own."""
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, … (default: a GPU if there is one)"
    )
    if precision:
        what = "of products: no (float32, default), bf16, fp16 or auto"
        parser.add_argument("--precision", default="no", choices=PRECISIONS, help=what)


def device_of(name: str | None) -> Any:
    """The torch device of that name; None is a GPU if there is one. Raises AdapterError where it cannot be
    used."""
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, ValueError, TypeError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise AdapterError(
            f"device {name!r} cannot be used here: {reason}; leave --device out, or give cpu"
        ) from error
    if device.type == "meta":
        raise AdapterError("device 'meta' computes nothing; leave --device out, or give cpu")
    return device


@contextlib.contextmanager
def computing_on(name: str | None) -> Iterator[None]:
    """Within the block training and evaluation compute on this device; None: accelerate's own choice.

    Raises AdapterError where the device cannot be used, or each of several processes has its own.
    """
    if name is None:
        yield
        return
    from accelerate import PartialState

    device, state = device_of(name), PartialState()
    if state.num_processes > 1:
        raise AdapterError(
            f"--device {name}: {state.num_processes} processes share the work, and each has its own device;"
            " leave --device out, or choose with accelerate launch"
        )
    before, state.device = state.device, device
    try:
        yield
    finally:
        state.device = before
