"""Latency of a model that nobody has timed, predicted from a dozen models that were.

    t = a + b · MACs + c_m · (added modules)

a: what every call costs, however small the image (milliseconds). b: the price of arithmetic. c_m: what one
module of method m costs beyond its arithmetic, since a small matrix product is mostly waiting for memory and
for the next call. The three are fitted by non-negative least squares to *relative* errors, on this machine,
with its threads, at one batch size; they hold for nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn

from ..errors import AdapterError
from ..vit.inputs import image_size_of, probe_images
from ..vit.model import AdaptedViT
from .cost import cost
from .latency import compare_latency

__all__ = ["LatencyModel", "Measured", "calibrate_latency", "fit_latency"]


@dataclass(frozen=True)
class Measured:
    """One model of the calibration: its method ("" for the bare backbone), MACs, number of added modules,
    median milliseconds."""

    method: str
    macs: float
    modules: int
    ms: float


@dataclass(frozen=True)
class LatencyModel:
    """What the calibration found.

    fixed_ms: a. ms_per_gmac: b. module_ms: method → c. error: mean relative error when every measured point
    is predicted from the others. batch, device, threads: what it holds for. points: the measurements.
    """

    fixed_ms: float
    ms_per_gmac: float
    module_ms: dict[str, float]
    error: float
    points: tuple[Measured, ...]
    batch: int = 1
    device: str = "cpu"
    threads: int = 1

    def predict(self, method: str, macs: float, modules: int) -> float:
        """Milliseconds a call.

        Raises:
            AdapterError: the method was not in the calibration.
        """
        if modules and method not in self.module_ms:
            raise AdapterError(
                f"the calibration has no {method!r}, only {', '.join(self.module_ms)}; calibrate with a model"
                " of it too"
            )
        return self.fixed_ms + self.ms_per_gmac * macs / 1e9 + self.module_ms.get(method, 0.0) * modules

    def __str__(self) -> str:
        where = f"batch {self.batch}, {self.device}, {self.threads} thread{'s' * (self.threads != 1)}"
        return (
            f"{self.fixed_ms:.2f} ms + {self.ms_per_gmac:.1f} ms a GMAC + modules; mean error"
            f" {100 * self.error:.0f} % ({where})"
        )


def calibrate_latency(
    models: Mapping[str, nn.Module],
    methods: Mapping[str, str],
    *,
    batch: int = 1,
    warmup: int = 2,
    repeats: int = 12,
) -> LatencyModel:
    """Time all models in turn and fit the three kinds of cost.

    Args:
        models: name → adapted model. Two sizes of the bare backbone (no method) at least, and each method
            once; twice lets it be checked.
        methods: name → method, "" or missing for a bare backbone.

    Raises:
        AdapterError: fewer than two bare backbones.
    """
    images = {name: probe_images(model, image_size_of(model), batch) for name, model in models.items()}
    for model in models.values():
        model.eval()

    calls = {name: partial(model, images[name]) for name, model in models.items()}
    timed = compare_latency(calls, warmup=warmup, repeats=repeats)
    points = []
    for name, model in models.items():
        modules = sum(1 for _ in model.adapters()) if isinstance(model, AdaptedViT) else 0
        points.append(
            Measured(methods.get(name, ""), batch * cost(model).macs, modules, timed.latencies[name].median)
        )
    where = next(iter(timed.latencies.values()))
    return fit_latency(points, batch=batch, device=where.device, threads=torch.get_num_threads())


def fit_latency(
    points: list[Measured], *, batch: int = 1, device: str = "cpu", threads: int = 1
) -> LatencyModel:
    """The model of these measurements, and its error with each point left out in turn (points that others
    cannot predict are skipped).

    Raises:
        AdapterError: fewer than two points without modules, which leave a and b undetermined.
    """
    if sum(point.modules == 0 for point in points) < 2:
        raise AdapterError(
            f"{len(points)} points, fewer than 2 without modules; time the bare backbone at two image sizes"
        )
    fixed, per_gmac, modules = _solve(points)
    errors = []
    for left_out in points:
        others = [point for point in points if point is not left_out]
        known = {point.method for point in others if point.modules}
        bare = sum(point.modules == 0 for point in others)
        if bare >= 2 and (not left_out.modules or left_out.method in known):
            trial = LatencyModel(*_solve(others), 0.0, ())
            errors.append(
                abs(trial.predict(left_out.method, left_out.macs, left_out.modules) / left_out.ms - 1)
            )
    error = float(np.mean(errors)) if errors else float("nan")
    return LatencyModel(fixed, per_gmac, modules, error, tuple(points), batch, device, threads)


def _solve(points: list[Measured]) -> tuple[float, float, dict[str, float]]:
    """a, b (ms a GMAC) and c by method; each row is divided by its time, so that a slow model counts no
    more than a quick one."""
    names = sorted({point.method for point in points if point.modules})
    rows = [
        [1.0, point.macs / 1e9, *(point.modules * (point.method == name) for name in names)]
        for point in points
    ]
    times = np.array([point.ms for point in points])
    solution, _ = nnls(np.array(rows) / times[:, None], np.ones(len(points)))
    return (
        float(solution[0]),
        float(solution[1]),
        {name: float(c) for name, c in zip(names, solution[2:], strict=True)},
    )
