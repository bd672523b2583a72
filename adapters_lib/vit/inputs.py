"""The images, or clips, on which costs are measured: of the model's own size, on its own device."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AdapterError

__all__ = ["image_size_of", "input_shape", "probe_images", "vit_of"]


def image_size_of(model: nn.Module, image_size: int | Sequence[int] | None = None) -> tuple[int, int]:
    """(height, width) in pixels: ``image_size`` checked against ``model``, or the model's own.

    Raises AdapterError for a size that is not one or two positive integers, or that the model was not built
    for.
    """
    vit = vit_of(model)
    embed = vit.patch_embed
    built_for = getattr(embed, "img_size", None)
    config = getattr(vit, "pretrained_cfg", None) or {}  # none, if the model was built without create_model
    own = _pair(built_for or config.get("input_size", (3, 224, 224))[1:])
    wanted = own if image_size is None else _pair(image_size)
    patch = getattr(embed, "patch_size", (1, 1))
    if any(side % step for side, step in zip(wanted, patch, strict=True)) and not getattr(
        embed, "dynamic_img_pad", False
    ):
        raise AdapterError(
            f"image size {wanted[0]}×{wanted[1]} does not divide into patches of {patch[0]}×{patch[1]} pixels"
        )
    fixed = built_for is not None and getattr(embed, "strict_img_size", True)
    if wanted != own and fixed:
        raise AdapterError(
            f"image size {wanted[0]}×{wanted[1]}: this model was built for {own[0]}×{own[1]}; "
            f"build it with create_backbone(name, image_size={wanted[0]})"
        )
    return wanted


def probe_images(
    model: nn.Module, image_size: tuple[int, int], batch: int = 1, dtype: torch.dtype | None = None
) -> Tensor:
    """Normal noise (batch, channels, height, width) on the model's device and in its data type, unless told
    otherwise.

    For a clip backbone: (batch, channels, frames, height, width).

    Raises AdapterError for a batch below 1.
    """
    if batch < 1:
        raise AdapterError(f"batch {batch}: at least one image is needed")
    first = next(model.parameters())
    return torch.randn(
        batch, *input_shape(model, image_size), device=first.device, dtype=dtype or first.dtype
    )


def input_shape(model: nn.Module, image_size: tuple[int, int] | None = None) -> tuple[int, ...]:
    """What one input looks like: (channels, height, width), or (channels, frames, height, width) for a
    clip backbone."""
    embed = vit_of(model).patch_embed
    channels = int(getattr(getattr(embed, "proj", None), "in_channels", 3))
    frames = (embed.frames,) if hasattr(embed, "frames") else ()
    return (channels, *frames, *(image_size or embed.img_size))


def vit_of(model: nn.Module) -> Any:
    """The timm model inside an adapted one, or ``model`` itself. Raises AdapterError if it has no
    patch_embed or no blocks."""
    vit = getattr(model, "backbone", model)
    if not hasattr(vit, "patch_embed") or not hasattr(vit, "blocks"):
        kind = type(vit).__name__
        raise AdapterError(
            f"{kind} has no patch_embed and blocks; costs are measured on timm vision transformers and models"
            " from adapt()"
        )
    return vit


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(not isinstance(side, int) or side < 1 for side in pair):
        raise AdapterError(
            f"image size {size!r}: one or two positive numbers of pixels are needed, such as 224 or (224,"
            " 224)"
        )
    return pair
