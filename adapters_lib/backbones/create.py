"""Backbones by name, images and clips alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import AdapterError
from ..options import MOST_SIDE, whole_number
from .clips import EMBEDDED_CLIPS, create_clip_backbone, create_embedded_clips
from .images import EMBEDDED, create_image_backbone

__all__ = ["create_backbone", "meta_backbone"]


def create_backbone(
    name: str = EMBEDDED,
    pretrained: bool = True,
    image_size: int | None = None,
    *,
    weights: str | Path | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Create a timm ViT by name; `"micro_vit"` is the embedded offline default.

    Args:
        name: a timm model name, with or without its weights tag, "micro_vit", or "micro_vit_clips", a clip
            model.
        pretrained: load weights: the embedded file for the two micro models; for the others a file in the
            folder that the variable ADAPTERS_WEIGHTS names, if it has one of that name, else timm's hub
            (network or its local cache).
        image_size: pixels; None keeps the model's own. Learned positions are resampled by timm.
        weights: a safetensors file of them, in place of the above (see `weight_files`); for a clip model one
            of VideoMAE.
        **kwargs: passed on to `timm.create_model` (e.g. `dynamic_img_size=True`, `drop_path_rate=0.1`). With
            `frames=…` the result is a clip model, and the options of `create_clip_backbone` may be given.

    Returns:
        The timm model in evaluation mode.

    Raises:
        AdapterError: unknown name, image size not divisible into patches, weights that cannot be fetched (no
            network), or a file of them that does not fit: the message names tensors that are missing,
            unexpected or of another shape.

    Examples:
        >>> vit = al.create_backbone()  # embedded, 12 blocks
        >>> len(vit.blocks), vit.embed_dim
        (12, 128)
    """
    if image_size is not None:
        whole_number("image_size", image_size, 1, MOST_SIDE)
    if weights is not None and not pretrained:
        raise AdapterError(
            f"pretrained=False asks for random weights, but weights={str(weights)!r} names a file of them;"
            " leave one out"
        )
    if name == EMBEDDED_CLIPS and weights is not None:
        raise AdapterError(
            f"{name} has weights of its own; leave weights out, or turn another image model into one of clips"
        )
    if name == EMBEDDED_CLIPS:
        return create_embedded_clips(pretrained, image_size, kwargs)
    if "frames" in kwargs:
        return create_clip_backbone(
            name, pretrained=pretrained, image_size=image_size, weights=weights, **kwargs
        )
    return create_image_backbone(name, pretrained, image_size, weights=weights, **kwargs)


def meta_backbone(name: str, image_size: int | None = None, **kwargs: Any) -> nn.Module:
    """The same architecture on the meta device: shapes and costs without memory or weights."""
    with torch.device("meta"):
        return create_backbone(name, pretrained=False, image_size=image_size, **kwargs)
