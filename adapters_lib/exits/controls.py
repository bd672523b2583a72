"""What leaving by confidence must beat: leaving at random, and a network of fixed depth, each at the same
expected cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .calibrate import OperatingPoint, measure, operating_points
from .simulate import StoredExits, confidences

__all__ = ["cost_curve", "evaluate_point", "fixed_depth_accuracy", "random_exit_accuracy"]


def random_exit_accuracy(stored: StoredExits, shares: Sequence[float]) -> float:
    """Expected top-1 (percent) when every image leaves at exit k with probability `shares[k]`, whatever it
    shows: Σ_k share_k · acc_k.

    At the shares of an operating point it costs exactly what that point costs.
    """
    return float(
        sum(share * accuracy for share, accuracy in zip(shares, stored.accuracies.tolist(), strict=True))
    )


def fixed_depth_accuracy(stored: StoredExits, macs: float) -> float:
    """Top-1 (percent) of leaving at one depth for all images, at an expected cost of `macs`.

    Between two exits: a mixture of both, in the proportion that meets the cost. Beyond the ends: the nearest
    exit. The one head that is used is paid for, the others are not there.
    """
    return float(np.interp(macs, stored.costs.alone, stored.accuracies.tolist()))


def evaluate_point(stored: StoredExits, point: OperatingPoint) -> dict[str, Any]:
    """An operating point on other images than it was chosen on, beside its controls; accuracies in percent.

    `top1`, `macs`, `relative`, `shares`; `mean_block`, after which an image leaves; `full_depth` (the last
    exit for all), `random` and `fixed_depth` at equal cost; `exits`, top-1 of every exit on all images.
    """
    measured = measure(stored, point.thresholds, point.policy)
    return {
        **measured.to_dict(),
        "mean_block": float(np.dot(measured.shares, stored.costs.blocks)),
        "full_depth": float(stored.accuracies[-1]),
        "random": random_exit_accuracy(stored, measured.shares),
        "fixed_depth": fixed_depth_accuracy(stored, measured.macs),
        "exits": stored.accuracies.tolist(),
        "images": len(stored.labels),
    }


def cost_curve(
    calibration: StoredExits, evaluation: StoredExits, policy: str = "max_softmax"
) -> pd.DataFrame:
    """Accuracy against cost on `evaluation`, with thresholds chosen on `calibration`: one row an operating
    point.

    Columns: macs (per image), relative (to the full depth), top1, random, fixed_depth (percent), mean_block,
    val_top1, thresholds.
    """
    sure = confidences(evaluation.logits, policy)
    rows = []
    for point in operating_points(calibration, policy):
        measured = measure(evaluation, point.thresholds, policy, sure)
        rows.append(
            {
                "macs": measured.macs,
                "relative": measured.relative,
                "top1": measured.top1,
                "random": random_exit_accuracy(evaluation, measured.shares),
                "fixed_depth": fixed_depth_accuracy(evaluation, measured.macs),
                "mean_block": float(np.dot(measured.shares, evaluation.costs.blocks)),
                "val_top1": point.top1,
                "thresholds": point.thresholds,
            }
        )
    return pd.DataFrame(rows).sort_values("macs", ignore_index=True)
