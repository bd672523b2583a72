"""Measured time, told honestly: warmed up, median and quartiles, with device, data type, batch size and
threads beside them.

Two models timed one after the other are compared across whatever the machine did in between;
`compare_latency` therefore takes the candidates in turn, round after round, and compares them within each
round.
"""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

import torch
from torch import nn

from ..errors import AdapterError
from ..vit.inputs import image_size_of, probe_images
from ..vit.modes import evaluating

__all__ = ["Comparison", "Latency", "compare_latency", "latency"]


@dataclass(frozen=True)
class Latency:
    """Milliseconds per call: ``median`` and quartiles ``q25``, ``q75`` of ``repeats`` calls after
    ``warmup``."""

    median: float
    q25: float
    q75: float
    repeats: int
    device: str
    threads: int
    dtype: str | None = None
    batch: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        where = ", ".join(
            [
                *([f"batch {self.batch}"] if self.batch else []),
                *([self.dtype] if self.dtype else []),
                self.device
                if self.device != "cpu"
                else f"cpu, {self.threads} thread{'s' * (self.threads != 1)}",
            ]
        )
        return f"{self.median:.2f} ms [{self.q25:.2f}, {self.q75:.2f}] ({where}, {self.repeats} repeats)"


@dataclass(frozen=True)
class Comparison:
    """Latencies by name, and for each the ratio to the first: (median, q25, q75) of the ratios within each
    round."""

    latencies: dict[str, Latency]
    ratios: dict[str, tuple[float, float, float]]

    def to_dict(self) -> dict[str, Any]:
        return {
            name: {**self.latencies[name].to_dict(), "ratio": list(self.ratios[name])}
            for name in self.latencies
        }

    def __str__(self) -> str:
        width = max(map(len, self.latencies))
        return "\n".join(
            f"{name:{width}}  ×{self.ratios[name][0]:.2f}  {self.latencies[name]}" for name in self.latencies
        )


def latency(
    model: nn.Module,
    batch: int = 1,
    image_size: int | Sequence[int] | None = None,
    warmup: int = 5,
    repeats: int = 30,
    dtype: torch.dtype | None = None,
) -> Latency:
    """Milliseconds of one forward pass of ``batch`` images in evaluation mode without gradients, on the
    model's device.

    ``dtype`` other than the model's own: measured on a copy of the model cast to it. Raises AdapterError for
    an impossible image size, batch, warm-up or number of repeats.

    Examples:
        >>> measured = al.latency(al.create_backbone(), warmup=1, repeats=3)
        >>> measured.q25 <= measured.median <= measured.q75  # milliseconds
        True
    """
    own = next(model.parameters()).dtype
    dtype = dtype or own
    images = probe_images(model, image_size_of(model, image_size), batch, dtype)
    measured = model if dtype == own else copy.deepcopy(model).to(dtype)
    with evaluating(measured):
        (times,) = _interleave([lambda: measured(images)], warmup, repeats, images.device)
    return _summary(times, images.device, str(dtype).removeprefix("torch."), batch)


def compare_latency(
    candidates: Mapping[str, Callable[[], object]],
    *,
    warmup: int = 3,
    repeats: int = 20,
    device: str | torch.device | None = None,
    gradients: bool = False,
    seconds: float | None = None,
) -> Comparison:
    """Time functions without arguments against each other, in turn; the first is what the others are compared
    with.

    Each round calls every candidate once and begins with another one, so that a slow second of the machine,
    or the cache left by a neighbour, falls on all of them. ``gradients``: leave them on, to time training
    steps. ``device``: the one to wait for; default the GPU once one is in use. ``seconds``: begin no further
    round after so long, once there are 3 (the rounds made are in each `Latency`). Raises AdapterError without
    candidates, or for an impossible warm-up or number of repeats.
    """
    if not candidates:
        raise AdapterError("compare_latency: no candidates; give it a dict of name to function")
    if device is None:
        device = "cuda" if torch.cuda.is_initialized() else "cpu"
    where = torch.device(device)
    times = dict(
        zip(
            candidates,
            _interleave(list(candidates.values()), warmup, repeats, where, gradients, seconds),
            strict=True,
        )
    )
    base = next(iter(times.values()))
    ratios = {
        name: _quartiles([t / b for t, b in zip(series, base, strict=True)]) for name, series in times.items()
    }
    return Comparison({name: _summary(series, where) for name, series in times.items()}, ratios)


def _interleave(
    functions: Sequence[Callable[[], object]],
    warmup: int,
    repeats: int,
    device: torch.device,
    gradients: bool = False,
    seconds: float | None = None,
) -> list[list[float]]:
    """Milliseconds, one list per function, one entry per round."""
    if warmup < 0 or repeats < 2:
        raise AdapterError(f"warmup {warmup}, repeats {repeats}: at least 0 and 2 are needed")
    times: list[list[float]] = [[] for _ in functions]
    end = math.inf if seconds is None else time.perf_counter() + seconds
    with torch.inference_mode(not gradients):
        for turn in range(-warmup, repeats):
            if turn >= 3 and time.perf_counter() > end:
                break
            for step in range(len(functions)):
                which = (turn + step) % len(functions)
                _wait(device)
                start = time.perf_counter()
                functions[which]()
                _wait(device)
                if turn >= 0:
                    times[which].append(1000 * (time.perf_counter() - start))
    return times


def _wait(device: torch.device) -> None:
    """Until the device has done all it was given: kernels on accelerators run behind Python's back."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, _, high = quantiles(values, n=4, method="inclusive")
    return median(values), low, high


def _summary(
    times: Sequence[float], device: torch.device, dtype: str | None = None, batch: int | None = None
) -> Latency:
    middle, low, high = _quartiles(times)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Latency(middle, low, high, len(times), name, torch.get_num_threads(), dtype, batch)
