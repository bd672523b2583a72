"""VideoMAE weights for a clip backbone: other names and another cut of the attention's biases, the same
network.

    qkv.bias = [q_bias, 0, v_bias]        a key's bias adds the same to all scores of a query

Read from safetensors, in three layouts: of the authors' code (`blocks.0.attn.qkv.weight`,
`blocks.0.attn.q_bias`, …; a pre-training checkpoint has them behind `encoder.`); of AdaptFormer's and
PAdapter's code, which cuts query, key and value apart (`blocks.0.attn.q_proj.weight`, `blocks.0.fc1.weight`,
…); and of the transformers library (`videomae.encoder.layer.0.attention.attention.query.weight`, …).

Tong, Song, Wang, Wang, "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video
Pre-Training", NeurIPS 2022, arXiv:2203.12602. Frames are normalised with the mean and standard deviation of
ImageNet, positions are one sinusoid over all tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from ..errors import AdapterError
from .positions import sinusoid

__all__ = ["load_videomae", "videomae_state"]

# What stands in front of a whole network in one file or another; none of it tells anything.
_WRAPPERS = re.compile(r"^(module\.|model\.|backbone\.|videomae\.|encoder\.(?!layer\.))+")
_PROJECTIONS = ("q_proj.weight", "k_proj.weight", "v_proj.weight")
# Names of the transformers library and of AdaptFormer → the authors', which are timm's except in attention.
_RENAMED = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.(\d+)\.attention\.attention\.([qkv])(uery|ey|alue)\.", r"blocks.\1.attn.\2_proj."),
    (r"^encoder\.layer\.(\d+)\.attention\.attention\.([qv]_bias)$", r"blocks.\1.attn.\2"),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layer\.(\d+)\.intermediate\.dense\.", r"blocks.\1.mlp.fc1."),
    (r"^encoder\.layer\.(\d+)\.output\.dense\.", r"blocks.\1.mlp.fc2."),
    (r"^encoder\.layer\.(\d+)\.layernorm_before\.", r"blocks.\1.norm1."),
    (r"^encoder\.layer\.(\d+)\.layernorm_after\.", r"blocks.\1.norm2."),
    (r"^layernorm\.", "norm."),
    (r"^blocks\.(\d+)\.attn\.([qkv])_proj\.bias$", r"blocks.\1.attn.\2_bias"),
    (r"^blocks\.(\d+)\.(fc[12])\.", r"blocks.\1.mlp.\2."),
)
# The decoder of pre-training and the classifier of another task; `adapt` makes a head of its own.
_LEFT_ASIDE = re.compile(r"^(decoder\.|encoder_to_decoder\.|mask_token$|head\.|classifier\.)")


def load_videomae(backbone: nn.Module, weights: str | Path | Mapping[str, Tensor]) -> list[str]:
    """Copy VideoMAE weights into a clip backbone, in place; all of them are checked before the first is
    copied.

    Positions become the sinusoid (or those in the file), and the backbone's data configuration the mean and
    deviation of ImageNet.

    Args:
        backbone: from `create_clip_backbone`, of the same architecture, not adapted yet.
        weights: a safetensors file, or the tensors by name.

    Returns:
        The names that were left aside: decoder, mask token, classifier.

    Raises:
        AdapterError: no clip backbone, or one that is adapted; a file that cannot be read; a tensor is
            missing, unknown, of another shape, or there twice. The message names the tensor and the remedy;
            the backbone is as it was.
    """
    vit: Any = backbone
    if not hasattr(getattr(vit, "patch_embed", None), "frames"):
        raise AdapterError(
            f"{type(vit).__name__} is no clip backbone; make one with create_clip_backbone(…) and load the"
            " weights into that"
        )
    if getattr(vit, "adapters_lib_adapted", False):
        raise AdapterError("this backbone is adapted already; load the weights first, then call adapt")
    state, aside = videomae_state(_read(weights))
    target = {name: tensor for name, tensor in vit.state_dict().items() if not name.startswith("head.")}
    state.setdefault("pos_embed", sinusoid(target["pos_embed"].shape[1], target["pos_embed"].shape[2])[None])
    _check(state, target)
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(state[name])
    vit.pretrained_cfg = {
        **(getattr(vit, "pretrained_cfg", None) or {}),
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
    }
    return aside


def videomae_state(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """VideoMAE tensors by timm's names, and the names that were left aside. Raises AdapterError for a
    tensor without its partners."""
    state: dict[str, Tensor] = {}
    aside = []
    for name, tensor in tensors.items():
        short = _WRAPPERS.sub("", name)
        for pattern, new in _RENAMED:
            short = re.sub(pattern, new, short)
        if _LEFT_ASIDE.match(short):
            aside.append(name)
        elif short in state:
            raise AdapterError(
                f"two tensors stand for {short!r}, {name!r} is the second; give the weights of one network"
            )
        else:
            state[short] = tensor
    parts = (re.match(r"(blocks\.\d+\.attn)\.[qkv]_", name) for name in state)
    for attention in sorted({part[1] for part in parts if part}):
        if (weights := _take(state, attention, _PROJECTIONS)) is not None:
            _put(state, f"{attention}.qkv.weight", weights)
        if (biases := _take(state, attention, ("q_bias", "v_bias"))) is not None:
            q, v = biases
            k = state.pop(f"{attention}.k_bias", torch.zeros_like(q))
            _put(state, f"{attention}.qkv.bias", [q, k, v])
    # Of pre-training: the encoder's last norm, which a clip backbone has behind the pooling.
    if "fc_norm.weight" not in state:
        for part in ("weight", "bias"):
            if (norm := state.pop(f"norm.{part}", None)) is not None:
                state[f"fc_norm.{part}"] = norm
    return state, aside


def _put(state: dict[str, Tensor], name: str, parts: list[Tensor]) -> None:
    """Add the tensor that three parts, one below the other, make."""
    if name in state:
        raise AdapterError(f"the weights have {name!r} as a whole and in parts; give those of one network")
    state[name] = torch.cat(parts)


def _take(state: dict[str, Tensor], owner: str, names: tuple[str, ...]) -> list[Tensor] | None:
    """Remove the tensors `names` of `owner` from the state: all of them, or None if there is none."""
    present = [name for name in names if f"{owner}.{name}" in state]
    if not present:
        return None
    if lost := [name for name in names if name not in present]:
        raise AdapterError(
            f"the weights have {owner}.{present[0]} but no {owner}.{lost[0]}; they belong together, so fetch"
            " the file again"
        )
    return [state.pop(f"{owner}.{name}") for name in names]


def _read(weights: str | Path | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if isinstance(weights, Mapping):
        return weights
    path = Path(weights)
    if path.is_file() and path.suffix != ".safetensors":
        raise AdapterError(
            f"{path} is no safetensors file, and others may run code when they are read; convert it once"
            ' where you trust it: safetensors.torch.save_file(torch.load(path, weights_only=True)["model"],'
            ' "weights.safetensors")'
        )
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise AdapterError(
            f"cannot read the weights {path}: {error}; check the path, or fetch the file again"
        ) from error


def _check(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    same = "is this VideoMAE, and the architecture the same (width, blocks, patch size)?"
    if missing := [name for name in target if name not in state]:
        hint = "was it trained without biases of q and v? " if missing[0].endswith("qkv.bias") else ""
        raise AdapterError(
            f"the weights lack {len(missing)} of {len(target)} tensors, first {missing[0]!r}; {hint}{same}"
        )
    if extra := [name for name in state if name not in target]:
        raise AdapterError(
            f"the weights have {len(extra)} tensors that the backbone does not have, first {extra[0]!r};"
            f" {same}"
        )
    for name, tensor in target.items():
        if tensor.shape != state[name].shape:
            remedy = {
                "pos_embed": "take the same frames, tubelet and image_size",
                "patch_embed.proj.weight": "take the same tubelet",
            }
            raise AdapterError(
                f"{name!r} has shape {tuple(state[name].shape)} in the weights but {tuple(tensor.shape)} in"
                f" the backbone; {remedy.get(name, 'create the backbone with the same width and blocks')}"
            )
