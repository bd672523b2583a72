"""Transforms from the model's own timm data config, so that images arrive as the backbone was trained to
see them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn
from torchvision import transforms

from ..errors import AdapterError, unknown
from ..options import MOST_SIDE

__all__ = ["FILE_AUGMENTATIONS", "ULTRA_CROP", "image_transforms", "resolve_config"]

Transform = Callable[[Image.Image], Tensor]

# Without a model: the shape of the embedded micro ViT, and the normalisation most timm ViTs use.
NO_MODEL: dict[str, Any] = {
    "input_size": (3, 96, 96),
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "crop_pct": 0.9,
    "crop_mode": "center",
}

# Names for `augment` with images in files; None gives the evaluation transform, which is deterministic.
FILE_AUGMENTATIONS = ("crop", "flip", "ultra", "rand")

# The ILA paper's recipe: square resize to 1.34 x size, then a crop (random in training, central in testing).
ULTRA_CROP = {"crop_pct": 1 / 1.34, "crop_mode": "squash"}


def resolve_config(backbone: Any = None, image_size: int | None = None) -> dict[str, Any]:
    """Return a timm data config: input_size (3, H, W), interpolation, mean, std, crop_pct, crop_mode.

    Args:
        backbone: an adapted model, a timm model, or None for a 96 px default.
        image_size: side in pixels; None takes the model's own.

    Raises AdapterError when the model cannot take `image_size`, or is not a model.
    """
    if backbone is None:
        config = dict(NO_MODEL)
    elif isinstance(backbone, str):
        raise AdapterError(
            f"backbone={backbone!r} is a name; pass the model itself: backbone=create_backbone({backbone!r})"
        )
    elif isinstance(getattr(backbone, "data_config", None), dict):
        config = dict(backbone.data_config)
    elif isinstance(backbone, nn.Module):
        config = dict(resolve_model_data_config(backbone))
    else:
        raise AdapterError(f"backbone is a {type(backbone).__name__}; pass a timm model or an adapted one")
    model = getattr(backbone, "backbone", backbone)
    patches = getattr(model, "patch_embed", None)
    size = image_size if image_size is not None else _model_size(patches, config)
    _check_size(size, patches, config)
    return {**config, "input_size": (config["input_size"][0], size, size)}


def _model_size(patches: Any, config: dict[str, Any]) -> int:
    """The side the model was built for; `create_model(img_size=...)` leaves the config's input_size stale,
    so ask the patches first."""
    own = getattr(patches, "img_size", None)
    height, width = own if own is not None else config["input_size"][-2:]
    if height != width:
        raise AdapterError(
            f"the model takes {height}x{width} px images; only square ones are supported, pass"
            " image_size=<side>"
        )
    return int(height)


def _check_size(size: int, patches: Any, config: dict[str, Any]) -> None:
    """Raise AdapterError unless `size` is a side in pixels that the model's patch embedding accepts."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise AdapterError(f"image_size={size!r}; give a whole number of pixels, at least 1")
    if size > MOST_SIDE:
        raise AdapterError(f"image_size={size}; give at most {MOST_SIDE} pixels")
    if config["input_size"][0] != 3:
        raise AdapterError(
            f"the model takes {config['input_size'][0]} input channels; our images have 3, create it with"
            " in_chans=3"
        )
    own = getattr(patches, "img_size", None)
    if own is not None and getattr(patches, "strict_img_size", False) and tuple(own) != (size, size):
        raise AdapterError(
            f"image_size={size} but the model takes {own[0]} px; create the backbone with image_size={size}"
        )
    patch = getattr(patches, "patch_size", (1, 1))[0]
    if size % patch and not getattr(patches, "dynamic_img_pad", False):
        near = max(patch, round(size / patch) * patch)
        raise AdapterError(f"image_size={size} is not a multiple of the patch size {patch}; use {near}")


class TorchSeeded:
    """Make a transform that draws from Python's and NumPy's global generators follow torch's instead;
    those two are left as found."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __call__(self, image: Image.Image) -> Tensor:
        python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (RandAugment draws from it)
        seed = int(torch.randint(2**32, ()))
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            return self.transform(image)
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def image_transforms(config: dict[str, Any], augment: str | None) -> tuple[Transform, Transform]:
    """Return the (train, eval) transforms: an RGB PIL image -> float32 (3, H, W), normalised.

    Args:
        config: from `resolve_config`.
        augment: None: train as eval, deterministic.
            "crop": timm's random resized crop (at least 35 % of the area), mirror and color jitter.
            "flip": the eval geometry and a mirror.
            "rand": as "crop", with RandAugment m9 in place of the jitter.
            "ultra": square resize to 1.34 x size, random crop, mirror; a centre crop in evaluation, whatever
            `config` says.

    Raises AdapterError for an unknown `augment`.
    """
    if augment is not None and augment not in FILE_AUGMENTATIONS:
        raise unknown("augmentation", augment, FILE_AUGMENTATIONS)
    size = config["input_size"][-1]
    if augment == "ultra":
        config = {**config, **ULTRA_CROP}
    evaluate = create_transform(**config)
    normalize = [transforms.ToTensor(), transforms.Normalize(config["mean"], config["std"])]
    resize, *_ = evaluate.transforms
    mirror = transforms.RandomHorizontalFlip()
    if augment is None:
        return evaluate, evaluate
    if augment == "ultra":  # the same resize as in evaluation, so that train and test leaves have one scale
        return transforms.Compose([resize, transforms.RandomCrop(size), mirror, *normalize]), evaluate
    if augment == "flip":
        return transforms.Compose([mirror, *evaluate.transforms]), evaluate
    drawn = "rand-m9-mstd0.5-inc1" if augment == "rand" else None
    return (
        TorchSeeded(create_transform(**config, is_training=True, scale=(0.35, 1.0), auto_augment=drawn)),
        evaluate,
    )
