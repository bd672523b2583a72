"""Weights of timm's ViTs from files: one that is named, or one in a folder for rooms without a network.

    al.create_backbone("vit_base_patch16_224.augreg_in21k", weights="somewhere/model.safetensors")
    ADAPTERS_WEIGHTS=/mnt/weights python …      # looked through by the model's name before the hub is asked

In that folder a model's weights are `<name>.safetensors` or `<name>/model.safetensors`, with the tag that
timm gives them (`vit_tiny_patch16_224.augreg_in21k_ft_in1k.safetensors`); a name without a tag stands for
timm's own choice of it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from ..errors import AdapterError

__all__ = ["FOLDER_VARIABLE", "about_file", "about_weights", "find_weights", "load_weights"]

FOLDER_VARIABLE = "ADAPTERS_WEIGHTS"
NAMED = 3
"""Tensors of each kind that a message names."""


def find_weights(name: str) -> Path | None:
    """The file of a model in the folder $ADAPTERS_WEIGHTS; None if the variable is not set or the folder has
    none for it.

    Raises:
        AdapterError: the variable names no folder.
    """
    if not (given := os.environ.get(FOLDER_VARIABLE)):
        return None
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise AdapterError(
            f"{FOLDER_VARIABLE}={given} is no folder; set it to the one that holds the weights, or unset it"
        )
    names = [name]
    if (
        "." not in name
        and timm.is_model(name)
        and (config := timm.get_pretrained_cfg(name)) is not None
        and config.tag
    ):
        names.append(f"{name}.{config.tag}")
    for each in names:
        if Path(each).name != each:
            continue  # an address or a path is no name of a file in that folder
        for path in (folder / f"{each}.safetensors", folder / each / "model.safetensors"):
            if path.is_file():
                return path
    return None


def about_file(path: str | Path) -> dict[str, Any]:
    """{"source": "file", "file": its name, "digest": SHA-256 of its content}."""
    path = Path(path)
    stat = path.stat()
    return {
        "source": "file",
        "file": path.name,
        "digest": _file_digest(str(path.resolve()), stat.st_size, stat.st_mtime_ns),
    }


@lru_cache(maxsize=32)
def _file_digest(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def about_weights(model: nn.Module, pretrained: bool) -> dict[str, Any]:
    """Where the weights of a model that timm made came from: {"source": "hub", "file", "digest"}, or
    {"source": "random"}."""
    if not pretrained:
        return {"source": "random"}
    config: Any = getattr(model, "pretrained_cfg", None) or {}
    repository = config.get("hf_hub_id") or ""
    about: dict[str, Any] = {
        "source": "hub",
        "file": repository or str(config.get("url") or config.get("file") or ""),
    }
    if repository:
        from huggingface_hub import try_to_load_from_cache

        for file in (config.get("hf_hub_filename"), "model.safetensors"):
            if file and isinstance(path := try_to_load_from_cache(repository, file), str):
                return {**about, "digest": about_file(path)["digest"]}
    return about


def load_weights(model: nn.Module, path: str | Path) -> dict[str, Any]:
    """Load a safetensors file into a timm ViT, in place, all of it checked before the first tensor is copied;
    returns `about_file`.

    Layouts that timm converts (its own, OpenCLIP's and others') are converted; positions of another image
    size are resampled as timm does. A classifier of another size, or none, leaves the model's own as it is.

    Raises:
        AdapterError: no such file, no safetensors file, or tensors that are missing, unexpected or of another
            shape; the message names them, and the model is as it was.
    """
    path = Path(path).expanduser()
    state = _read(path)
    try:
        state = checkpoint_filter_fn(dict(state), model, adapt_layer_scale=True)  # type: ignore[arg-type]
    except Exception as error:  # a layout that timm begins to convert and cannot: no key of it is as expected
        raise AdapterError(
            f"the weights {path} cannot be read as those of this model ({error}); are they of this"
            " architecture?"
        ) from error
    own = model.state_dict()
    heads = [name for name in own if name.partition(".")[0] in ("head", "head_dist")]
    state = {
        name: t
        for name, t in state.items()
        if name.partition(".")[0] not in ("head", "head_dist") or _same(t, own.get(name))
    }
    _check(path, state, {name: tensor for name, tensor in own.items() if name not in heads}, set(heads))
    if not any(tensor.is_meta for tensor in own.values()):
        model.load_state_dict(state, strict=False)
    return about_file(path)


def _same(tensor: Tensor, own: Tensor | None) -> bool:
    return own is not None and tensor.shape == own.shape


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.is_file() and path.suffix != ".safetensors":
        raise AdapterError(
            f"{path} is no safetensors file, and others may run code when they are read; convert it once"
            " where you trust it: safetensors.torch.save_file(torch.load(path, weights_only=True),"
            ' "weights.safetensors")'
        )
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise AdapterError(
            f"cannot read the weights {path}: {error}; check the path, or fetch the file again"
        ) from error


def _check(path: Path, state: Mapping[str, Tensor], own: Mapping[str, Tensor], heads: set[str]) -> None:
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own and name not in heads]
    shapes = [
        f"{n} {tuple(state[n].shape)} for {tuple(t.shape)}"
        for n, t in own.items()
        if n in state and state[n].shape != t.shape
    ]
    parts = [
        f"{len(keys)} {what} ({_named(keys)})"
        for keys, what in ((missing, "missing"), (unexpected, "unexpected"))
        if keys
    ]
    parts += [f"{len(shapes)} of another shape ({_named(shapes)})"] if shapes else []
    if parts:
        raise AdapterError(
            f"the weights {path} do not fit: {'; '.join(parts)}; give those of this architecture, patch size"
            " and width"
        )
    for name, tensor in state.items():
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            what = f"is {tensor.dtype}" if not tensor.is_floating_point() else "holds NaN or infinity"
            raise AdapterError(f"the weights {path}: {name} {what}; fetch the file again")


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
