"""What a file from a stranger may ask for: the name of a model that timm itself knows, and plain numbers and
words as its options.

An adapter's header says how to rebuild the backbone. Nothing is fetched or read because it says so, but for
the named model's own weights: no address, no path, no configuration of weights can be written in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import timm

from ..errors import AdapterError

__all__ = ["MOST_PARAMETERS", "OPTIONS", "check_options", "is_safe_name"]

MOST_PARAMETERS = 10_000_000_000
"""Of a backbone that a header may ask for: the largest ViTs of timm have 7 billion."""

_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
_WORD = re.compile(r"[A-Za-z0-9_]{1,40}")
_OURS = ("micro_vit", "micro_vit_clips")


def is_safe_name(name: object) -> bool:
    """Whether a text is one of our backbones or a model of timm, with or without a tag; no address, no
    path."""
    return (
        isinstance(name, str)
        and _NAME.fullmatch(name) is not None
        and (name in _OURS or timm.is_model(name.partition(".")[0]))
    )


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _pair(one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        one(value) or (isinstance(value, list | tuple) and len(value) == 2 and all(map(one, value)))
    )


def _or_none(one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or one(value)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _word(value: Any) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and low <= value <= high
    )


_rate = _number(0, 1)
OPTIONS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("image_size", "img_size"), _pair(_whole(1, 16384))),
    "patch_size": _pair(_whole(1, 1024)),
    "in_chans": _whole(1, 1024),
    "num_classes": _whole(0, 1_000_000),
    "embed_dim": _whole(1, 65536),
    "depth": _whole(1, 512),
    "num_heads": _whole(1, 4096),
    "reg_tokens": _whole(0, 4096),
    "mlp_ratio": _number(0, 64),
    "init_values": _or_none(_number(0, 100)),
    "fc_norm": _or_none(_flag),
    **dict.fromkeys(
        (
            "qkv_bias",
            "qk_norm",
            "proj_bias",
            "class_token",
            "no_embed_class",
            "pre_norm",
            "final_norm",
            "pool_include_prefix",
        ),
        _flag,
    ),
    **dict.fromkeys(
        (
            "dynamic_img_size",
            "dynamic_img_pad",
            "scale_attn_norm",
            "scale_mlp_norm",
            "fix_init",
            "fresh_norm",
        ),
        _flag,
    ),
    **dict.fromkeys(
        (
            "drop_rate",
            "pos_drop_rate",
            "patch_drop_rate",
            "proj_drop_rate",
            "attn_drop_rate",
            "drop_path_rate",
        ),
        _rate,
    ),
    **dict.fromkeys(
        (
            "global_pool",
            "pos_embed",
            "weight_init",
            "norm_layer",
            "embed_norm_layer",
            "act_layer",
            "positions",
        ),
        _or_none(_word),
    ),
    "frames": _whole(1, 4096),
    "tubelet": _whole(1, 4096),
    "time_scale": _number(0, 1e6),
}
"""Keyword arguments of `create_backbone` that a header may hold, and which values."""


def check_options(name: object, options: object, where: object) -> dict[str, Any]:
    """The options of a header, checked. Raises AdapterError that names what is not allowed; nothing has
    been built then."""
    remedy = "pass backbone=… if you trust it and know what it is"
    if not is_safe_name(name):
        raise AdapterError(
            f"{where}: its header names the backbone {name!r}, which is no model of timm by its plain name;"
            f" {remedy}"
        )
    if not isinstance(options, dict):
        raise AdapterError(
            f"{where}: the backbone's options in its header are {options!r}, no table of names and values;"
            f" {remedy}"
        )
    for key, value in options.items():
        if key not in OPTIONS:
            raise AdapterError(
                f"{where}: its header wants to build the backbone with {key}={value!r}, which a file may not"
                f" ask for; {remedy}"
            )
        if not OPTIONS[key](value):
            raise AdapterError(
                f"{where}: {key}={value!r} in its header is no value that a file may give; {remedy}"
            )
    width, depth = options.get("embed_dim", 0), options.get("depth", 12)
    if 12 * depth * width**2 > MOST_PARAMETERS:
        raise AdapterError(
            f"{where}: {depth} blocks of width {width} in its header are more than {MOST_PARAMETERS:,}"
            f" parameters; {remedy}"
        )
    return {str(key): value for key, value in options.items()}
