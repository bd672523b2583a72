"""Thresholds for a budget, from validation images: the budgeted batch classification of MSDNet (Huang et al.
2018, arXiv:1703.09844).

Quotas q_k ∝ p^k say which share of the images should leave at exit k. Walking the exits in order, T_k is set
such that the ⌊n·q_k⌋ surest images that are still here leave; the last exit takes all that is left. One p is
one operating point; p from 0 to infinity is the whole curve from "all leave first" to "none leaves early". A
threshold stands half-way between the last image that leaves and the first that stays, so that rounding does
not move an image to the other side.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import AdapterError
from ..vit.exits import exit_blocks
from .costs import check_exits
from .policies import check_policy
from .simulate import StoredExits, confidences, simulate, store_exits

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = [
    "CalibrationWarning",
    "OperatingPoint",
    "calibrate",
    "choose",
    "measure",
    "operating_points",
    "quota_thresholds",
]

# The values of p that are tried: ratios of neighbouring quotas from 10⁻⁹ to 10⁹.
POWERS = np.logspace(-9, 9, 361)


class CalibrationWarning(UserWarning):
    """It cannot be known whether the images given for calibration are validation images."""


@dataclass(frozen=True)
class OperatingPoint:
    """Thresholds, and what they did on the images that they were measured on.

    thresholds: one for every exit but the last. policy: the confidence that they are for. shares: of images
    that leave at each exit. macs: expected, per image, with the heads on the way. relative: that as a
    fraction of the full depth without early heads. top1: percent.
    """

    thresholds: tuple[float, ...]
    policy: str
    shares: tuple[float, ...]
    macs: float
    relative: float
    top1: float

    def to_dict(self) -> dict[str, Any]:
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }


def calibrate(
    model: AdaptedViT,
    val: Dataset,
    budget: float | None = 0.5,
    policy: str = "max_softmax",
    batch_size: int = 64,
) -> OperatingPoint:
    """Choose thresholds on validation images and leave them in `model.extra["exits"]`, which
    `save_pretrained` keeps.

    Args:
        val: images that the model was not trained on and will not be tested on; the `val` of a `Task`.
        budget: expected MACs per image as a fraction of the full depth without early heads; the dearest
            operating point that does not exceed it is taken. None: the one with the highest accuracy, the
            cheapest of equals.
        policy: a name in `exits.policies.POLICIES`.

    Raises:
        AdapterError: `val` is known to be training or test data, or is smaller than the number of exits; a
            budget that cannot be reached; no early exits; logits that are not finite. CalibrationWarning: it
            cannot be known what `val` is.

    Examples:
        >>> vit = al.create_backbone()
        >>> task = al.load_data("leaves-ultra", backbone=vit, cultivars=2, n_train=1, n_val=4, n_test=1)
        >>> model = al.adapt(vit, [al.AdaptFormer(), al.DynExits(every=3)], classes=task.classes)
        >>> point = al.calibrate(model, task.val, budget=0.5)  # thresholds for half the MACs
        >>> len(point.thresholds)
        3
    """
    check_exits(model)
    check_policy(policy)
    _check_part(getattr(val, "part", None))
    blocks = exit_blocks(model)
    count = len(val)  # type: ignore[arg-type]
    if count < len(blocks):
        raise AdapterError(
            f"{count} validation images for {len(blocks)} exits: give at least as many images as exits,"
            " better hundreds"
        )
    point = choose(operating_points(store_exits(model, val, batch_size), policy), budget)
    model.extra["exits"] = {**point.to_dict(), "blocks": list(blocks), "budget": budget}
    return point


def _check_part(part: str | None) -> None:
    if part == "test":
        raise AdapterError(
            "these are the task's test images: thresholds chosen on them flatter the result; calibrate on"
            " task.val"
        )
    if part == "train":
        raise AdapterError(
            "the model was trained on these images and is surer of them than of new ones; calibrate on"
            " task.val"
        )
    if part is None:
        warnings.warn(
            "cannot tell whether these images are validation images; thresholds must not be chosen on"
            " training or test images",
            CalibrationWarning,
            stacklevel=3,
        )


def operating_points(
    stored: StoredExits, policy: str = "max_softmax", sure: Tensor | None = None
) -> list[OperatingPoint]:
    """The curve on these images, one point for each p, cheapest first; equal shares are listed once."""
    sure = confidences(stored.logits, policy) if sure is None else sure
    table = sure.numpy()
    stages = np.arange(len(table))
    by_shares: dict[tuple[float, ...], OperatingPoint] = {}
    for log_p in np.log(POWERS):
        quotas = np.exp(log_p * stages - (log_p * stages).max())
        thresholds = quota_thresholds(table, quotas / quotas.sum())
        point = measure(stored, thresholds, policy, sure)
        by_shares.setdefault(point.shares, point)
    return sorted(by_shares.values(), key=lambda point: (point.macs, -point.top1))


def measure(
    stored: StoredExits, thresholds: Sequence[float], policy: str, sure: Tensor | None = None
) -> OperatingPoint:
    """What these thresholds do on these images."""
    outcome = simulate(stored, thresholds, policy, sure)
    macs = stored.costs.expected(outcome.shares)
    top1 = 100 * float((outcome.labels == stored.labels).double().mean())
    return OperatingPoint(tuple(thresholds), policy, outcome.shares, macs, macs / stored.costs.full, top1)


def quota_thresholds(sure: NDArray[Any], quotas: Sequence[float] | NDArray[Any]) -> tuple[float, ...]:
    """Thresholds under which about `quotas[k]` of the images leave at exit k; exactly ⌊n·q⌋ unless
    confidences are equal.

    sure: confidences (S, N). quotas: S shares that sum to 1; the last is not looked at.
    """
    n = sure.shape[1]
    remaining = np.ones(n, dtype=bool)
    thresholds = []
    for stage, quota in zip(sure[:-1].astype(np.float64), quotas, strict=False):
        count = int(n * quota + 1e-6)  # a whole number of images may come out as 6.999999
        left = -np.sort(-stage[remaining])
        # Images that are equally sure go together: of the places between unequal ones, the nearest to the
        # quota.
        edges = np.array([0, *(np.flatnonzero(np.diff(left)) + 1), len(left)])
        edge = int(edges[np.abs(edges - count).argmin()])
        limit = 1.0 if edge == 0 else 0.0 if edge == len(left) else float((left[edge - 1] + left[edge]) / 2)
        remaining &= ~((stage > limit) | (limit == 0))
        thresholds.append(limit)
    return tuple(thresholds)


def choose(points: Sequence[OperatingPoint], budget: float | None) -> OperatingPoint:
    """The dearest of `points` whose relative cost is within the budget; with None the most accurate, the
    cheapest of equals.

    Raises:
        AdapterError: the budget is no number, or below the cheapest point or above the dearest; the message
            gives the range.
    """
    if isinstance(budget, str | bool):
        raise AdapterError(
            f"budget={budget!r}: give a fraction of the full depth's MACs, such as 0.5, or None for the most"
            " accurate point"
        )
    if budget is None:
        return max(points, key=lambda point: (point.top1, -point.macs))
    least, most = points[0].relative, points[-1].relative
    if not least - 1e-9 <= budget <= most + 1e-9:  # NaN too
        raise AdapterError(
            f"budget={budget}: with these exits the expected cost can lie between {least:.3f} and {most:.3f}"
            " of the full depth; choose from that range, or place the exits elsewhere (DynExits(every=…) or"
            " at=…)"
        )
    return max(
        (point for point in points if point.relative <= budget + 1e-9),
        key=lambda point: (point.macs, point.top1),
    )
