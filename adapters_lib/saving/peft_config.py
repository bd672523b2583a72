"""peft's `adapter_config.json`, read by an allow-list: a field that is not known here, or whose value is not
plain LoRA, is refused.

peft keeps adding variants (DoRA, rank-stabilised and quantised ones, initialisations that change the
backbone's weights). A list of what is bad would be out of date with its next release; this one is of what is
known to mean W + s · B A and nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import AdapterError
from ..files import load_json

__all__ = ["read_config", "scale_of", "targeted"]

REMEDY = "merge the adapter with peft (merge_and_unload) and use the merged timm model"


def _unset(value: Any) -> bool:
    """None, False, or an empty list, text or table: the field asks for nothing."""
    return value is None or value is False or value in ([], {}, "")


def _any(value: Any) -> bool:
    return True


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _fraction(value: Any) -> bool:
    return _finite(value) and 0 <= value < 1


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _pattern_of(one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        value is None
        or (isinstance(value, dict) and all(isinstance(k, str) and one(v) for k, v in value.items()))
    )


# Field: (whether a value is plain LoRA, what stands for it where the field is missing).
FIELDS: dict[str, tuple[Callable[[Any], bool], Any]] = {
    "peft_type": (lambda value: value == "LORA", ...),
    "r": (_whole, ...),
    "lora_alpha": (_finite, ...),
    "target_modules": (lambda value: isinstance(value, str) or (_texts(value) and bool(value)), ...),
    "exclude_modules": (lambda value: value is None or isinstance(value, str) or _texts(value), None),
    "lora_dropout": (_fraction, 0.0),
    "rank_pattern": (_pattern_of(_whole), None),
    "alpha_pattern": (_pattern_of(_finite), None),
    "modules_to_save": (
        lambda value: value is None or (_texts(value) and set(value) <= {"head", "head_dist"}),
        None,
    ),
    "use_rslora": (_flag, False),
    "bias": (lambda value: value == "none", "none"),
    # How A and B began: not how the backbone's own weights did, as with "pissa", "olora", "loftq" or "corda".
    "init_lora_weights": (
        lambda value: isinstance(value, bool) or value in (None, "gaussian", "orthogonal"),
        True,
    ),
    # What only says where the adapter comes from, or matters while it trains on other machines.
    **dict.fromkeys(
        (
            "base_model_name_or_path",
            "revision",
            "task_type",
            "peft_version",
            "inference_mode",
            "megatron_core",
        ),
        (_any, None),
    ),
    "qalora_group_size": (_any, None),  # of use_qalora, which has to be unset
    "runtime_config": (_any, None),
    "auto_mapping": (_any, None),
}


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration in `folder`, every field of it checked, defaults filled in.

    Raises:
        AdapterError: no such file, no JSON table, or a field whose value is not known to be plain LoRA; it is
            named.
    """
    config = load_json(folder / "adapter_config.json")
    if not isinstance(config, dict):
        raise AdapterError(f"{folder}: adapter_config.json is no table of names and values; copy it again")
    checked = {}
    for name, value in config.items():
        allowed = FIELDS.get(name, (_unset, None))[0]
        if not allowed(value):
            raise AdapterError(f"{folder}: {name}={value!r}, but only plain LoRA can be read here; {REMEDY}")
        checked[name] = value
    for name, (_, default) in FIELDS.items():
        if name not in checked:
            if default is ...:
                raise AdapterError(f"{folder}: adapter_config.json has no {name}; copy it again")
            checked[name] = default
    patterns = [*(checked["rank_pattern"] or {}), *(checked["alpha_pattern"] or {})]
    patterns += [
        value for name in ("target_modules", "exclude_modules") if isinstance(value := checked[name], str)
    ]
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise AdapterError(
                f"{folder}: {pattern!r} is no regular expression ({error}); copy adapter_config.json again"
            ) from error
    if checked["target_modules"] == "all-linear":
        raise AdapterError(f"{folder}: target_modules='all-linear' does not say which layers; {REMEDY}")
    return checked


def targeted(config: dict[str, Any], name: str) -> bool:
    """Whether peft updates the module `name`: a text is a regular expression of the whole name, a list
    holds names and endings of names."""
    if _matches(config["exclude_modules"], name):
        return False
    if any(
        re.match(rf"(^|.*\.){re.escape(saved)}($|\..*)", name) for saved in config["modules_to_save"] or ()
    ):
        return False
    return _matches(config["target_modules"], name)


def _matches(given: str | list[str] | None, name: str) -> bool:
    if isinstance(given, str):
        return bool(given) and re.fullmatch(given, name) is not None
    return any(name == each or name.endswith(f".{each}") for each in given or ())


def scale_of(config: dict[str, Any], name: str) -> tuple[int, float]:
    """Rank of a module by the configuration, and the factor in front of its BA.

    The keys of peft's patterns are regular expressions of the end of a module's name; the first that matches
    counts.
    """
    rank = _by_pattern(config["rank_pattern"], name, config["r"])
    alpha = _by_pattern(config["alpha_pattern"], name, config["lora_alpha"])
    return int(rank), alpha / (math.sqrt(rank) if config["use_rslora"] else rank)


def _by_pattern(patterns: dict[str, float] | None, name: str, default: float) -> float:
    return next(
        (value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", name)), default
    )
