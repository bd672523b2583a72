"""Random views of a whole batch at once: no Python loop over samples, so that a CPU keeps up with a small
ViT.

Every draw comes from torch's global generator, so re-seeding it replays the same views.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import unknown

__all__ = ["AUGMENTATIONS", "augment_batch", "check_augmentation"]


def _coin(x: Tensor) -> Tensor:
    """One fair coin a sample, shaped (B, 1, 1, 1) to select between whole images."""
    return torch.rand(x.shape[0], 1, 1, 1, device=x.device) < 0.5


def _mirror(x: Tensor) -> Tensor:
    """Left-right mirror image for half of the samples."""
    return torch.where(_coin(x), x.flip(-1), x)


def _reflect(index: Tensor, size: int) -> Tensor:
    """Fold indices that left 0..size-1 back inside, as a mirror at the border would (border not repeated)."""
    return (size - 1) - ((size - 1) - index.abs()).abs()


def _shift(x: Tensor, reach: float = 1 / 12) -> Tensor:
    """Move each image by whole pixels, up to `reach` of its side: a crop from the reflect-padded image,
    still sharp."""
    batch, channels, height, width = x.shape
    far = max(1, round(reach * min(height, width)))
    dy, dx = torch.randint(-far, far + 1, (2, batch, 1), device=x.device)
    rows = _reflect(torch.arange(height, device=x.device) + dy, height)  # (B, H)
    cols = _reflect(torch.arange(width, device=x.device) + dx, width)  # (B, W)
    x = x.gather(2, rows[:, None, :, None].expand(batch, channels, height, width))
    return x.gather(3, cols[:, None, None, :].expand(batch, channels, height, width))


def _light(x: Tensor, reach: float = 0.2) -> Tensor:
    """Brightness and contrast, each times a factor from U(1 - reach, 1 + reach) a sample; values stay in
    [0, 1]."""
    gain, contrast = 1 + reach * (2 * torch.rand(2, x.shape[0], 1, 1, 1, device=x.device) - 1)
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    return (gain * (middle + contrast * (x - middle))).clamp(0, 1)


# What a name stands for. Digits and street numbers must not be mirrored; drawn leaves stand upright in every
# part of a task, so they are mirrored but not turned.
AUGMENTATIONS: dict[str, tuple[Callable[[Tensor], Tensor], ...]] = {
    "flip": (_mirror,),
    "shift": (_shift,),
    "flip-shift": (_mirror, _shift),
    "leaf": (_mirror, _shift, _light),
}


def check_augmentation(mode: str | None) -> None:
    """Raise AdapterError unless `mode` is None or a name in AUGMENTATIONS."""
    if mode is not None and mode not in AUGMENTATIONS:
        raise unknown("augmentation", mode, AUGMENTATIONS)


def augment_batch(images: Tensor, mode: str | None) -> Tensor:
    """Return a random view of each image: float (B, 3, H, W) in [0, 1] -> the same shape and range; None
    changes nothing."""
    check_augmentation(mode)
    for step in AUGMENTATIONS[mode] if mode is not None else ():
        images = step(images)
    return images
