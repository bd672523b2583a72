"""What a run on photographs needs that is not drawn and does not ship with the package, how to get it, and
its digests in the runs' keys."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import try_to_load_from_cache

from ..backbones.images import EMBEDDED
from ..backbones.weight_files import FOLDER_VARIABLE, find_weights
from ..datasets.images import apples, elpv
from ..errors import AdapterError
from .run import Experiment, pinned

__all__ = ["inside", "insides", "lacking", "with_files"]

_HOMES: dict[str, Callable[[str], Path]] = {"elpv": elpv.home_of, "apples": apples.home_of}


def lacking(data: str, backbone: str) -> str:
    """What to do before a run on this set and backbone can be made, in words; "" if all is there."""
    remedies = []
    try:
        if data in _HOMES:
            _HOMES[data](data)
    except AdapterError as error:
        remedies.append(str(error))
    try:
        if not backbone.startswith(EMBEDDED) and find_weights(backbone) is None and not _cached(backbone):
            remedies.append(
                f"weights of {backbone}: none on this machine. Put {backbone}.safetensors into a folder and"
                f" set {FOLDER_VARIABLE} to it, or let the hub fetch them once: create_backbone({backbone!r})"
            )
    except AdapterError as error:  # the variable names no folder
        remedies.append(str(error))
    return " ".join(remedies)


def _cached(backbone: str) -> bool:
    """Whether the hub's files of a timm model lie in its cache."""
    config: Any = timm.get_pretrained_cfg(backbone) if timm.is_model(backbone.partition(".")[0]) else None
    if config is None or not config.hf_hub_id:
        return False
    files = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in files)


def inside(configuration: Mapping[str, Any]) -> str:
    """A run's configuration without the digests of files: what tells stored runs apart where the files are
    not there."""
    kept = {name: value for name, value in configuration.items() if name not in ("files", "weights")}
    return json.dumps(kept, sort_keys=True)


def insides(texts: Iterable[object]) -> list[str]:
    """`inside` of the column `configuration`; "" for a row without one."""
    return [inside(json.loads(text)) if isinstance(text, str) else "" for text in texts]


def with_files(runs: Sequence[Experiment]) -> list[Experiment]:
    """The runs with the digests of the photographs and weights behind them, which are looked up once a
    process for each set; a run that then finds other files says so and stores no row."""
    return [replace(run, outside=dict(_behind(run.data, run.backbone, _places(run.data)))) for run in runs]


def _places(data: str) -> tuple[str | None, ...]:
    """Where the files of today are looked for."""
    try:
        home = str(_HOMES[data](data).resolve())
    except AdapterError:
        home = None
    return home, os.environ.get(FOLDER_VARIABLE)


@lru_cache(maxsize=16)
def _behind(data: str, backbone: str, places: tuple[str | None, ...]) -> dict[str, str]:
    return pinned([Experiment((), data, 0, backbone)])[0].outside or {}
