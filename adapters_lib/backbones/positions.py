"""Fixed positions in space and time."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["separable", "sinusoid"]


def sinusoid(count: int, width: int) -> Tensor:
    """Positions of Vaswani et al. 2017 (arXiv:1706.03762), float32 (count, width).

    p[n, 2i] = sin(n / 10000^(2i/D)),  p[n, 2i+1] = cos(n / 10000^(2i/D))
    """
    even = torch.arange(0, width, 2, dtype=torch.float64)
    angle = torch.arange(count, dtype=torch.float64)[:, None] / 10000 ** (even / width)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :width].float()


def separable(space: Tensor, slices: int, time_scale: float) -> Tensor:
    """An image's positions in every time slice, plus a sinusoid over the slices: (rows · columns, D) →
    (slices · rows · columns, D).

    time_scale: root mean square of the part in time, relative to that in space.
    """
    time = sinusoid(slices, space.shape[1]).to(space)
    return (space + time[:, None] * (time_scale * _size(space) / _size(time))).flatten(0, 1)


def _size(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()
