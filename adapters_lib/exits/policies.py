"""When is an exit sure enough? Four confidences in [0, 1], and the one rule that compares them with
thresholds.

A threshold t of an exit means: 0, every image leaves here; 1, none does; in between, those with a confidence
above t leave. The last exit has no threshold, as it takes all that is left.

    max_softmax   max_c p_c                            Hendrycks & Gimpel 2017; Huang et al. 2018 (MSDNet)
    entropy       1 + Σ_c p_c log p_c / log C          Teerapittayanon et al. 2016 (BranchyNet); more is surer
    margin        the largest p minus the second       Scheffer et al. 2001
    patience      (exits in a row with this label − 1) / (exits − 1)   Zhou et al. 2020 (PABEE)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import AdapterError, unknown

__all__ = ["POLICIES", "check_policy", "check_thresholds", "confidence", "leaves"]

POLICIES = ("max_softmax", "entropy", "margin", "patience")


def check_policy(policy: str) -> None:
    if policy not in POLICIES:
        raise unknown("exit policy", policy, POLICIES)


def check_thresholds(thresholds: Sequence[float] | Tensor, blocks: Sequence[int]) -> tuple[float, ...]:
    """The thresholds as numbers that float32 holds, so that one image and a batch are compared with the very
    same.

    Raises:
        AdapterError: there is not one for every exit but the last, one is no number, or does not lie in [0,
            1].
    """
    try:
        values = tuple(float(t) for t in thresholds)
    except (TypeError, ValueError):
        rule = f"give a list of {len(blocks) - 1} numbers, one for every exit but the last"
        raise AdapterError(f"thresholds {thresholds!r}: {rule}") from None
    if len(values) != len(blocks) - 1:
        raise AdapterError(
            f"{len(values)} thresholds for exits behind blocks {', '.join(map(str, blocks))}: give"
            f" {len(blocks) - 1}, one for every exit but the last, which takes all that is left"
        )
    for block, value in zip(blocks, values, strict=False):
        if not 0 <= value <= 1:  # NaN too
            raise AdapterError(
                f"threshold {value} of the exit behind block {block}: it must lie in [0, 1]; at 0 all leave,"
                " at 1 none"
            )
    return tuple(float(np.float32(value)) for value in values)


def confidence(
    policy: str, logits: Tensor, memory: Tensor | None = None, exits: int = 2
) -> tuple[Tensor, Tensor | None]:
    """Confidence (B,), float32 in [0, 1], of logits (B, C); and what the policy must remember of these images
    at the next exit.

    memory: what the exit before gave, with the rows of images that left taken out; None at the first exit.
    exits: S.
    """
    logits = logits.float()
    if policy == "patience":
        label = logits.argmax(1)
        streak = torch.ones_like(label)
        if memory is not None:
            streak = torch.where(label == memory[:, 0], memory[:, 1] + 1, streak)
        # argmax of a NaN gives a label like any other, so NaN is carried over here
        sure = (streak - 1).float() / max(exits - 1, 1) + 0 * logits.sum(1)
        return sure, torch.stack((label, streak), dim=1)
    if logits.shape[1] == 1:
        return 0 * logits[:, 0] + 1, None
    if policy == "entropy":
        log_p = logits.log_softmax(1)
        return (1 + (log_p.exp() * log_p).sum(1) / math.log(logits.shape[1])).clamp(0, 1), None
    p = logits.softmax(1)
    if policy == "margin":
        first, second = p.topk(2, dim=1).values.unbind(1)
        return first - second, None
    return p.amax(1), None


def leaves(sure: Tensor | float, threshold: float) -> Any:
    """Who leaves, (B,) bool or a bool, by the rule at the head of this file."""
    return sure > (threshold if threshold > 0 else -1.0)
