"""Is skipped computation skipped time? Wall-clock of `predict` against `model(x)` on the same batches, in
turn, beside the MACs.

    realised saving = (1 − t_exits / t_full) / (1 − MACs_exits / MACs_full)

The exits need not be any good for this: thresholds are set such that a given share of the images leaves at
each of them.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..costs.latency import compare_latency
from ..datasets.task import collate
from ..errors import AdapterError
from ..exits.calibrate import quota_thresholds
from ..exits.costs import exit_costs
from ..exits.policies import check_policy, check_thresholds
from ..exits.predict import predict
from ..exits.simulate import confidences
from ..vit.modes import evaluating

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = [
    "HALF",
    "bench_exits",
    "drawn_thresholds",
    "spread_shares",
    "time_curve",
    "time_thresholds",
    "timing_sample",
]

HALF = (0.4, 0.3, 0.2, 0.1)
"""Shares of four exits at equal intervals under which half the depth is run on average."""


def bench_exits(
    model: AdaptedViT,
    images: Tensor,
    thresholds: Sequence[float],
    *,
    policy: str = "max_softmax",
    batch: int = 32,
    warmup: int = 2,
    repeats: int = 10,
    labels: Tensor | None = None,
) -> dict[str, Any]:
    """Time images (N, C, H, W), `batch` at once, in three ways that take turns: full depth; exits; exits of
    which none is taken.

    Returns:
        `shares` that left at each exit; `mac_saving`, `time_saving`, `realised` (their ratio, with quartiles
        over the rounds) and `overhead` of heads and bookkeeping when nothing leaves, each a fraction of the
        full depth; `ms_per_image` of the three, medians; with `labels` also `top1` of the exits and
        `full_top1` of the full depth, percent.

    Raises:
        AdapterError: as `predict`, or a batch below 1.
    """
    if batch < 1:
        raise AdapterError(f"batch={batch}: at least one image at a time is needed")
    costs = exit_costs(model, tuple(images.shape[-2:]))
    check_policy(policy)
    limits = check_thresholds(thresholds, costs.blocks)
    never = (1.0,) * len(limits)
    parts = images.split(batch)
    with evaluating(model):
        outcomes = [predict(model, part, limits, policy) for part in parts]
        exit_index = torch.cat([outcome.exit_index for outcome in outcomes])
        measured = compare_latency(
            {
                "full": lambda: [model(part) for part in parts],
                "exits": lambda: [predict(model, part, limits, policy) for part in parts],
                "never": lambda: [predict(model, part, never, policy) for part in parts],
            },
            warmup=warmup,
            repeats=repeats,
            device=images.device,
        )
    shares = (torch.bincount(exit_index, minlength=len(costs.blocks)).double() / len(exit_index)).tolist()
    macs = costs.expected(shares)
    accuracy = (
        {}
        if labels is None
        else _accuracy(model, parts, torch.cat([outcome.labels for outcome in outcomes]), labels)
    )
    mac_saving = 1 - macs / costs.full
    savings = [1 - ratio for ratio in measured.ratios["exits"]]
    return {
        "batch": batch,
        "images": len(images),
        "shares": shares,
        **accuracy,
        "macs": macs,
        "full_macs": costs.full,
        "mac_saving": mac_saving,
        "time_saving": savings[0],
        "realised": savings[0] / mac_saving if mac_saving > 0 else None,
        "realised_quartiles": sorted(saving / mac_saving for saving in savings[1:])
        if mac_saving > 0
        else None,
        "overhead": measured.ratios["never"][0] - 1,
        "overhead_quartiles": [ratio - 1 for ratio in measured.ratios["never"][1:]],
        "ms_per_image": {name: latency.median / len(images) for name, latency in measured.latencies.items()},
        "rounds": repeats,
        "device": measured.latencies["full"].device,
        "threads": measured.latencies["full"].threads,
        "machine": platform.machine(),
        "torch": torch.__version__,
    }


@torch.no_grad()
def _accuracy(
    model: AdaptedViT, parts: Sequence[Tensor], exit_index: Tensor, labels: Tensor
) -> dict[str, float]:
    with evaluating(model):
        full = torch.cat([model(part).argmax(1) for part in parts])
    return {
        name: 100 * float((given.cpu() == labels).double().mean())
        for name, given in (("top1", exit_index), ("full_top1", full))
    }


def time_curve(
    model: AdaptedViT,
    images: Tensor,
    curve: pd.DataFrame,
    *,
    policy: str = "max_softmax",
    points: int = 8,
    batch: int = 32,
    warmup: int = 1,
    repeats: int = 5,
) -> pd.DataFrame:
    """About `points` rows of a `controls.cost_curve`, evenly spread over its cost, with the measured `ms` per
    image beside the MACs.

    images: (N, C, H, W), a sample of those that the curve was drawn from. `full_ms`: milliseconds per image
    of the full depth, the same in every row; see `time_thresholds`.
    """
    wanted = np.linspace(curve["relative"].min(), curve["relative"].max(), points)
    rows = curve.iloc[sorted({int((curve["relative"] - cost).abs().argmin()) for cost in wanted})].copy()
    limits = list(rows["thresholds"])
    rows["ms"], rows["full_ms"] = time_thresholds(
        model, images, limits, policy=policy, batch=batch, warmup=warmup, repeats=repeats
    )
    return rows


def time_thresholds(
    model: AdaptedViT,
    images: Tensor,
    thresholds: Sequence[Sequence[float]],
    *,
    policy: str = "max_softmax",
    batch: int = 32,
    warmup: int = 1,
    repeats: int = 5,
) -> tuple[list[float], float]:
    """Milliseconds per image of each set of thresholds, and of the full depth, on the same images in turn.

    A set's time is the median ratio to the full depth, round by round, times the full depth's median.
    """
    parts = images.split(batch)

    def run(limits: Sequence[float]) -> Callable[[], object]:
        return lambda: [predict(model, part, limits, policy) for part in parts]

    candidates: dict[str, Callable[[], object]] = {"full": lambda: [model(part) for part in parts]}
    candidates |= {str(number): run(limits) for number, limits in enumerate(thresholds)}
    with evaluating(model):
        measured = compare_latency(candidates, warmup=warmup, repeats=repeats, device=images.device)
    full = measured.latencies["full"].median / len(images)
    return [full * measured.ratios[str(number)][0] for number in range(len(thresholds))], full


def timing_sample(data: Dataset, n: int) -> tuple[Tensor, Tensor]:
    """Images (n, C, H, W) and labels (n,) of a fixed draw: test sets are sorted by class, so the first few
    would be of one class."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:n].tolist()  # type: ignore[arg-type]
    images, labels = collate(getattr(data, "__getitems__", lambda rows: [data[i] for i in rows])(order))
    return images, torch.as_tensor(labels)


@torch.no_grad()
def drawn_thresholds(
    model: AdaptedViT, images: Tensor, shares: Sequence[float], policy: str = "max_softmax", batch: int = 32
) -> tuple[float, ...]:
    """Thresholds under which the share `shares[k]` of these very images leaves at exit k; for timing only,
    never for accuracy.

    Raises:
        AdapterError: shares of the wrong number, negative, or that do not sum to 1.
    """
    exits = len(model.exits) + 1
    if len(shares) != exits or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise AdapterError(
            f"shares {tuple(shares)} for {exits} exits: give {exits} numbers from 0 to 1 that sum to 1"
        )
    with evaluating(model):
        logits = torch.cat([torch.stack(model.forward_exits(part)) for part in images.split(batch)], dim=1)
    return quota_thresholds(confidences(logits, policy).cpu().numpy(), shares)


def spread_shares(exits: int) -> tuple[float, ...]:
    """Shares that fall from exit to exit like S, S − 1, …, 1, which is `HALF` for four exits."""
    return tuple((exits - k) / (exits * (exits + 1) / 2) for k in range(exits))
