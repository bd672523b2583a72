"""Image backbones: any plain ViT of timm by name, and the embedded one that needs no download."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import load as load_safetensors
from torch import nn

from ..errors import AdapterError, unknown
from .weight_files import about_weights, find_weights, load_weights

__all__ = ["EMBEDDED", "about_embedded", "create_image_backbone", "embedded_info", "load_embedded"]

EMBEDDED = "micro_vit"
"""Name of the backbone that ships with the package: 12 blocks, width 128, patch 8 at 96 px, trained on
synthetic leaves."""


def create_image_backbone(
    name: str = EMBEDDED,
    pretrained: bool = True,
    image_size: int | None = None,
    *,
    weights: str | Path | None = None,
    **kwargs: Any,
) -> nn.Module:
    """`create_backbone` for images; its arguments and errors."""
    options = dict(kwargs)
    if image_size is not None:
        options["img_size"] = image_size
    if weights is None and pretrained and name != EMBEDDED:
        weights = find_weights(name)
    fetch = pretrained and weights is None
    try:
        model = _embedded(fetch, options) if name == EMBEDDED else _from_timm(name, fetch, options)
    except (AssertionError, TypeError, RuntimeError) as error:
        raise AdapterError(
            f"backbone {name!r} cannot be built with {options}: {error}; check image size and options"
        ) from error
    _check_divisible(name, model, image_size)
    if weights is not None:
        about = load_weights(model, weights)
    else:
        about = about_embedded(name) if fetch and name == EMBEDDED else about_weights(model, fetch)
    model.adapters_lib_weights = about  # type: ignore[assignment]
    source = {
        "name": name,
        "kwargs": {**kwargs, **({"image_size": image_size} if image_size is not None else {})},
    }
    model.adapters_lib_source = source  # type: ignore[assignment]
    return model.eval()


def _check_divisible(name: str, model: nn.Module, image_size: int | None) -> None:
    """timm drops the pixels that fill no patch; an image size that someone asked for should not lose any."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if image_size is not None and patch is not None and (image_size < patch[0] or image_size % patch[0]):
        near = max(round(image_size / patch[0]), 1) * patch[0]
        rule = f"does not divide into the {patch[0]}-pixel patches of {name!r}"
        raise AdapterError(f"image_size={image_size} {rule}; take {near}, for example")


def embedded_info(name: str = EMBEDDED) -> dict[str, Any]:
    """What is recorded with the weights of "micro_vit" or "micro_vit_clips": architecture, command, curve
    and upstream accuracy."""
    text = resources.files("adapters_lib.backbones").joinpath(f"weights/{name}.json").read_text()
    info: dict[str, Any] = json.loads(text)
    return info


def _embedded(pretrained: bool, options: dict[str, Any]) -> nn.Module:
    info = embedded_info()
    kwargs = {**info["kwargs"], "num_classes": info["classes"]}
    size = options.pop("img_size", None)
    native = kwargs["img_size"]
    config = {
        "mean": info["mean"],
        "std": info["std"],
        "input_size": (3, native, native),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
    }
    model = timm.create_model(info["architecture"], pretrained_cfg_overlay=config, **{**kwargs, **options})
    if pretrained:
        load_embedded(model, EMBEDDED, options)
    return _resized(model, size, native)


@lru_cache(maxsize=2)
def about_embedded(name: str) -> dict[str, Any]:
    """What a saved adapter keeps of embedded weights: source, file, SHA-256."""
    data = resources.files("adapters_lib.backbones").joinpath(f"weights/{name}.safetensors").read_bytes()
    return {"source": "embedded", "file": f"{name}.safetensors", "digest": hashlib.sha256(data).hexdigest()}


def load_embedded(model: nn.Module, name: str, options: dict[str, Any]) -> None:
    """Load an embedded file; a classifier of another size keeps its random start, and a model on the meta
    device needs no weights."""
    if any(tensor.is_meta for tensor in model.state_dict().values()):
        return
    data = resources.files("adapters_lib.backbones").joinpath(f"weights/{name}.safetensors").read_bytes()
    weights = {key: tensor.float() for key, tensor in load_safetensors(data).items()}
    if "head.bias" in weights and model.num_classes != len(weights["head.bias"]):
        weights = {key: tensor for key, tensor in weights.items() if not key.startswith("head.")}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or [key for key in missing if not key.startswith("head.")]:
        raise AdapterError(
            f"the embedded weights do not fit {options}; create {name} with pretrained=False for another"
            " shape"
        )


def _resized(model: nn.Module, size: int | None, native: int) -> nn.Module:
    if size is not None and size != native:
        model.set_input_size(img_size=size)  # type: ignore[operator]
    return model


def _from_timm(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    if not timm.is_model(name.split(":")[-1].split("/")[-1]) and not name.startswith(
        ("hf-hub:", "local-dir:")
    ):
        raise unknown(
            "backbone", name, [EMBEDDED, *timm.list_models("*vit*"), *timm.list_models("deit*")][:4000]
        ) from None
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except AssertionError:
        raise
    except Exception as error:
        if not pretrained or not _looks_offline(error):
            raise
        raise AdapterError(
            f"the weights of {name!r} could not be fetched ({type(error).__name__}): no network or no such"
            " file on the hub; use the "
            f'embedded default create_backbone("{EMBEDDED}"), pass pretrained=False for random weights, or'
            " fetch them once online"
        ) from error


def _looks_offline(error: BaseException) -> bool:
    """Whether a failure came from fetching: the hub client wraps connection errors in several types of its
    own."""
    return (
        isinstance(error, OSError | RuntimeError)
        or "httpx" in type(error).__module__
        or "huggingface_hub" in type(error).__module__
    )
