"""Space: multi-scale crops of a training clip, three crops along the longer side at test. One crop serves
all frames of a clip."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import unknown

__all__ = ["AUGMENTATIONS", "check_clip_augmentation", "multi_scale_crop", "spatial_view"]

# "crop" leaves left and right alone: where direction is the label, a mirrored clip belongs to another class.
AUGMENTATIONS = ("crop", "crop-flip")
SCALES = (1.0, 0.875, 0.75, 0.66)  # of the short side (TSN, arXiv 1608.00859)


def check_clip_augmentation(mode: str | None) -> None:
    """Raise AdapterError unless `mode` is None, "crop" or "crop-flip"."""
    if mode is not None and mode not in AUGMENTATIONS:
        raise unknown("augmentation of clips", mode, AUGMENTATIONS)


def multi_scale_crop(frames: Tensor, size: int, flip: bool = False) -> Tensor:
    """A random view of a clip: uint8 (T, 3, H, W) -> uint8 (T, 3, size, size). Draws from torch's global
    generator.

    Height and width of the crop are the short side times 1, 0.875, 0.75 or 0.66, at most one step apart, at a
    random place. With `flip` half of the clips are mirrored.
    """
    height, width = frames.shape[-2:]
    short = min(height, width)
    first = int(torch.randint(len(SCALES), ()))
    near = [step for step in range(len(SCALES)) if abs(step - first) <= 1]
    second = near[int(torch.randint(len(near), ()))]
    rows, columns = (max(1, round(short * SCALES[step])) for step in (first, second))
    top, left = int(torch.randint(height - rows + 1, ())), int(torch.randint(width - columns + 1, ()))
    frames = _resize(frames[..., top : top + rows, left : left + columns], size, size)
    return frames.flip(-1) if flip and bool(torch.rand(()) < 0.5) else frames


def spatial_view(frames: Tensor, size: int, number: int = 0, count: int = 1) -> Tensor:
    """View `number` of `count` along the longer side: uint8 (T, 3, H, W) -> uint8 (T, 3, size, size).

    The short side is resized to `size`; the only view is the central one, and of three the outer ones touch
    the ends. All views of a square video are the same.
    """
    height, width = frames.shape[-2:]
    scale = size / min(height, width)
    frames = _resize(frames, max(size, round(height * scale)), max(size, round(width * scale)))
    place = 0.5 if count == 1 else number / (count - 1)
    top, left = (round((side - size) * place) for side in frames.shape[-2:])
    return frames[..., top : top + size, left : left + size]


def _resize(frames: Tensor, height: int, width: int) -> Tensor:
    if frames.shape[-2:] == (height, width):
        return frames
    return F.interpolate(frames, size=(height, width), mode="bilinear", antialias=True)
