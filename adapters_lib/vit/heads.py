"""The classifiers behind an adapted backbone, each with the start that some paper's code gives it."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from ..errors import unknown

__all__ = ["HEADS", "make_head"]

PRIOR = 0.01
"""Of VPT's head: the sigmoid of its bias at the start, whatever the number of classes."""


def _like_timm(linear: nn.Linear) -> None:
    nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)


def _xavier(linear: nn.Linear) -> None:
    nn.init.xavier_uniform_(linear.weight)
    nn.init.normal_(linear.bias, std=1e-6)


def _kaiming(linear: nn.Linear) -> None:
    nn.init.kaiming_normal_(linear.weight, mode="fan_out")
    nn.init.constant_(linear.bias, -math.log((1 - PRIOR) / PRIOR))


def _small(linear: nn.Linear) -> None:
    nn.init.trunc_normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)


def _small_weights(linear: nn.Linear) -> None:
    nn.init.trunc_normal_(linear.weight, std=0.01)


_STARTS: dict[str, Callable[[nn.Linear], object]] = {
    "linear": lambda linear: None,
    "linear_timm": _like_timm,
    "linear_xavier": _xavier,
    "linear_kaiming": _kaiming,
    "bn_linear": _small,
    "bn_linear_bias": _small_weights,
}
HEADS = tuple(_STARTS)


def make_head(kind: str, features: int, num_classes: int) -> nn.Module:
    """A classifier (B, D) → (B, C), D = features, C = num_classes.

    ================  ====================================  ================  =============================
    kind              weights at the start                  bias              in the code of
    ================  ====================================  ================  =============================
    `linear`          U(±1/√D), std 0.021 at D = 768        U(±1/√D)          PyTorch; RepAdapter, ConvPass
    `linear_timm`     truncated normal, std 0.02            0                 timm; Adapter+, SSF
    `linear_xavier`   U(±√(6/(D + C))), std √(2/(D + C))    normal, std 1e-6  ILA and ADPT
    `linear_kaiming`  normal, std √(2/C), 0.14 at C = 100   −log 99 = −4.6    VPT, VQT
    `bn_linear`       truncated normal, std 0.01            0                 PAdapter, AdaptFormer on clips
    `bn_linear_bias`  truncated normal, std 0.01            U(±1/√D)          PAdapter, AdaptFormer on images
    ================  ====================================  ================  =============================

    A `bn_` head begins with a batch norm without affine (eps 1e-6), as in MAE's linear probe.

    Raises:
        AdapterError: unknown kind.
    """
    if kind not in _STARTS:
        raise unknown("head", kind, HEADS)
    linear = nn.Linear(features, num_classes)
    _STARTS[kind](linear)
    if not kind.startswith("bn_"):
        return linear
    return nn.Sequential(nn.BatchNorm1d(features, affine=False, eps=1e-6), linear)
