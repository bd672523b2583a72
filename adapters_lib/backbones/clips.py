"""Clips through an image transformer: tubelets in the place of patches, positions in space and time, pooling
in the place of a class token.

    clip (B, C, T, H, W) ─ Conv3d t × P × P ─ + positions ─ blocks ─ mean over tokens ─ norm ─ head

with N = T/t · H/P · W/P tokens, slice by slice: 784 for 8 frames of 224² pixels, t = 2 and P = 16. The result
is still a timm `VisionTransformer`, so the engine, all methods, costs and files treat it as they treat an
image model.

Tubelets: Arnab et al., "ViViT", ICCV 2021, arXiv:2103.15691; the inflated projection: Carreira and Zisserman
2017, arXiv:1705.07750; the sinusoid and the head: Tong et al., "VideoMAE", NeurIPS 2022, arXiv:2203.12602, as
Li et al. 2025 (PAdapter) use them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ..errors import AdapterError, unknown
from ..vit.check import check_backbone
from .images import EMBEDDED, about_embedded, create_image_backbone, load_embedded
from .positions import separable, sinusoid
from .videomae import load_videomae
from .weight_files import about_file

__all__ = [
    "CLIP_KWARGS",
    "EMBEDDED_CLIPS",
    "POSITIONS",
    "TubeletEmbed",
    "create_clip_backbone",
    "create_embedded_clips",
    "to_clip_model",
]

EMBEDDED_CLIPS = "micro_vit_clips"
"""Name of the clip model that ships with the package: `micro_vit` turned into one, and trained on further
on leaves in motion."""

CLIP_KWARGS: dict[str, Any] = {"image_size": 48, "frames": 8, "tubelet": 2}
"""What its clips are: 8 frames of 48² pixels, two frames a token, so 4 × 36 tokens. Its positions are
fixed: it takes no other size."""

POSITIONS = ("separable", "sinusoid")


class TubeletEmbed(PatchEmbed):
    """Clips (B, C, T, H, W) → tokens (B, T/t · H/P · W/P, D), made from an image's patch embedding.

    Its weights are repeated t times in time and divided by t (Carreira and Zisserman 2017), so each slice of
    a still clip becomes exactly what the image becomes. frames: T. tubelet: t. slices: T/t.
    """

    def __init__(self, image: Any, frames: int, tubelet: int) -> None:
        flat = image.proj
        shape = {
            "img_size": image.img_size,
            "patch_size": image.patch_size,
            "in_chans": flat.in_channels,
            "embed_dim": flat.out_channels,
        }
        with torch.device(flat.weight.device):
            super().__init__(**shape)
            size = (tubelet, *image.patch_size)
            solid = nn.Conv3d(flat.in_channels, flat.out_channels, size, size, bias=flat.bias is not None)
        solid.to(flat.weight.dtype)
        with torch.no_grad():
            solid.weight.copy_(flat.weight[:, :, None].expand_as(solid.weight) / tubelet)
            if flat.bias is not None and solid.bias is not None:
                solid.bias.copy_(flat.bias)
        self.proj = solid  # type: ignore[assignment]
        self.norm = image.norm
        self.frames, self.tubelet, self.slices = frames, tubelet, frames // tubelet
        self.num_patches = self.slices * self.grid_size[0] * self.grid_size[1]

    def forward(self, x: Tensor) -> Tensor:
        """Raises AdapterError for anything but clips of the shape for which the model was built."""
        wanted = (self.proj.in_channels, self.frames, *self.img_size)
        if tuple(x.shape[1:]) != wanted:
            raise AdapterError(
                f"the input has shape {tuple(x.shape)}, but this backbone was built for clips (batch,"
                f" channels, frames, height, width) = (B, {', '.join(map(str, wanted))}); give such clips, or"
                " pass frames=… and image_size=… to create_clip_backbone"
            )
        return self.norm(self.proj(x).flatten(2).transpose(1, 2))  # type: ignore[no-any-return]

    def set_input_size(self, *_sizes: Any, **_more: Any) -> None:
        """Raises AdapterError: positions in space and time are made for one size."""
        raise AdapterError(
            "a clip backbone keeps its size; create another one with create_clip_backbone(…, image_size=…,"
            " frames=…)"
        )


def create_clip_backbone(
    name: str = EMBEDDED,
    frames: int = 8,
    tubelet: int = 2,
    positions: str | None = None,
    image_size: int | None = None,
    pretrained: bool = True,
    *,
    time_scale: float = 1.0,
    weights: str | Path | None = None,
    fresh_norm: bool = False,
    **kwargs: Any,
) -> nn.Module:
    """Create a timm image ViT by name and turn it into a model of clips (B, C, T, H, W).

    `create_backbone(name, frames=8, …)` is the same call, by which a saved adapter finds its backbone again.

    Args:
        name, image_size, pretrained, **kwargs: as for `create_backbone`.
        frames: T, pictures of a clip, a multiple of `tubelet`.
        tubelet: t, pictures that one token sees.
        positions: `separable`: the image's own positions (resampled to the image size) in every slice, plus a
            sinusoid over the slices, so that an image model keeps what it knows; `sinusoid`: one sinusoid
            over all tokens in their order, as in VideoMAE, whose
            weights need it. Both are fixed. None: `sinusoid` with `weights`, else `separable`.
        time_scale: size (root mean square) of the separable positions' part in time, relative to that in
            space; with 0 the model does not know one slice from another.
        weights: a safetensors file of VideoMAE weights, see `load_videomae`, in place of the image model's
            own.
        fresh_norm: the norm behind the pooling starts at weight 1 and bias 0. So it does in the code of
            AdaptFormer and PAdapter, which drops the pre-trained final norm; here that one is kept and moves
            behind the pooling, unless this is True.

    Returns:
        A timm VisionTransformer in evaluation mode, without class token. Its norm stands behind the pooling,
        and `adapt` lets it train.

    Raises:
        AdapterError: frames, tubelet or positions break their rule, or the model cannot be turned into one of
            clips.
    """
    if name == EMBEDDED_CLIPS:
        if positions is not None or weights is not None or time_scale != 1.0:
            raise AdapterError(
                f"{name} has weights and positions of its own; leave out positions, time_scale and weights"
            )
        kwargs |= {"fresh_norm": True} if fresh_norm else {}
        return create_embedded_clips(pretrained, image_size, {"frames": frames, "tubelet": tubelet, **kwargs})
    options: dict[str, Any] = {"frames": frames, "tubelet": tubelet, "time_scale": time_scale}
    options["positions"] = positions or ("sinusoid" if weights else "separable")
    _check(**options)
    if weights is not None and not pretrained:
        raise AdapterError(
            f"pretrained=False asks for random weights, but weights={str(weights)!r} names a file of them;"
            " leave one out"
        )
    vit: Any = to_clip_model(
        create_image_backbone(name, pretrained and weights is None, image_size, **kwargs), **options
    )
    if weights is not None:
        load_videomae(vit, weights)
        vit.adapters_lib_weights = about_file(weights)
    if fresh_norm:
        vit.fc_norm.reset_parameters()
    asked = {"image_size": image_size, "fresh_norm": fresh_norm or None}
    given = {option: value for option, value in asked.items() if value is not None}
    vit.adapters_lib_source = {"name": name, "kwargs": {**kwargs, **options, **given}}
    return vit.eval()  # type: ignore[no-any-return]


def create_embedded_clips(pretrained: bool, image_size: int | None, kwargs: dict[str, Any]) -> nn.Module:
    """The image model turned into one of clips, with the weights that `pretrain_clips` made of it."""
    asked = {**kwargs, **({"image_size": image_size} if image_size is not None else {})}
    for option, value in CLIP_KWARGS.items():
        if asked.get(option, value) != value:
            raise AdapterError(
                f"{EMBEDDED_CLIPS}: {option}={asked[option]}, but its weights are for {option}={value}; leave"
                " it out, or turn the image "
                f'model into another clip model: create_clip_backbone("{EMBEDDED}", frames=…, image_size=…)'
            )
    others = {name: value for name, value in kwargs.items() if name not in CLIP_KWARGS}
    model = create_clip_backbone(EMBEDDED, pretrained=False, **CLIP_KWARGS, **{"num_classes": 0, **others})
    if pretrained:
        load_embedded(model, EMBEDDED_CLIPS, others)
        if kwargs.get("fresh_norm"):  # the file has brought the trained one back
            model.fc_norm.reset_parameters()  # type: ignore[union-attr, operator]
    model.adapters_lib_source = {"name": EMBEDDED_CLIPS, "kwargs": asked}  # type: ignore[assignment]
    model.adapters_lib_weights = about_embedded(EMBEDDED_CLIPS) if pretrained else {"source": "random"}  # type: ignore[assignment]
    return model


def to_clip_model(
    image_model: nn.Module,
    frames: int = 8,
    tubelet: int = 2,
    positions: str = "separable",
    time_scale: float = 1.0,
) -> nn.Module:
    """Turn a timm image ViT into a clip model; returns it, changed in place. Arguments and errors as for
    `create_clip_backbone`.

    A class token, registers and attention pooling are dropped; tokens are averaged in their place. The
    classifier stays, and so do the weights of the final norm, which moves behind the pooling.
    """
    _check(frames, tubelet, positions, time_scale)
    check_backbone(image_model)
    vit: Any = image_model
    if isinstance(vit.patch_embed, TubeletEmbed):
        raise AdapterError("this backbone is a clip model already; use it as it is")
    if type(vit)._pos_embed is not VisionTransformer._pos_embed:
        raise AdapterError(
            f"a {type(vit).__name__} puts tokens of its own before the patches; use a plain ViT such as"
            " vit_small_patch16_224"
        )
    if vit.dynamic_img_size:
        raise AdapterError(
            "dynamic_img_size=True: positions of clips are made for one size; leave it out and pass"
            " image_size=…"
        )
    if positions == "separable" and vit.pos_embed is None:
        raise AdapterError('this model has no position embedding to keep; pass positions="sinusoid"')
    embed = TubeletEmbed(vit.patch_embed, frames, tubelet)
    if positions == "sinusoid":
        table = sinusoid(embed.num_patches, vit.embed_dim)
    else:  # without the rows of class token and registers, which stand in front
        table = separable(vit.pos_embed.detach()[0, -vit.patch_embed.num_patches :], embed.slices, time_scale)
    weight = embed.proj.weight
    # A buffer: fixed, whatever a method unfreezes.
    del vit.pos_embed
    vit.register_buffer("pos_embed", table[None].to(weight.device, weight.dtype))
    vit.patch_embed = embed
    vit.cls_token = vit.reg_token = vit.attn_pool = None
    vit.num_prefix_tokens = vit.num_reg_tokens = 0
    vit.has_class_token = vit.pool_include_prefix = False
    vit.global_pool = "avg"
    if isinstance(vit.fc_norm, nn.Identity):
        vit.norm, vit.fc_norm = nn.Identity(), vit.norm
    return vit  # type: ignore[no-any-return]


def _check(frames: int, tubelet: int, positions: str, time_scale: float) -> None:
    for option, value in (("frames", frames), ("tubelet", tubelet)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise AdapterError(
                f"{option}={value!r}: a whole number, at least 1, is needed, such as frames=8, tubelet=2"
            )
    if frames % tubelet:
        near = max(round(frames / tubelet), 1) * tubelet
        raise AdapterError(
            f"frames={frames} does not divide into tubelets of {tubelet} frames; take frames={near}, for"
            " example"
        )
    if positions not in POSITIONS:
        raise unknown("positions", positions, POSITIONS)
    if not time_scale >= 0:
        raise AdapterError(f"time_scale={time_scale}, but it must be 0 or more")
