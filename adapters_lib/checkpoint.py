"""Files that survive a crash: safetensors and JSON, written whole or not at all, and the format adapters are shared in.

An adapter folder holds `adapter_model.safetensors` (what was trained, head included) and `adapter_config.json` (how to rebuild
the model). The configuration is also in the safetensors header, and that copy is the one read: two files cannot be replaced at
one stroke, so a crash between the two would otherwise pair new weights with an old configuration.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .adapting import adapt, unchanged_on_error
from .backbones import create_backbone
from .engine import AdaptedViT
from .errors import AdapterError, OptionWarning
from .hub import download, is_hub_id
from .methods import method_from_dict, method_to_dict

__all__ = [
    "atomic_write",
    "frozen_digest",
    "load_json",
    "load_pretrained",
    "load_tensors",
    "save_json",
    "save_pretrained",
    "save_tensors",
]

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def atomic_write(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write(temporary)` fill a file in the same folder, then put it in the place of `path` in one step.

    Whatever happens on the way (full disk, killed process, power cut), `path` holds either the old content or the new one.

    Raises:
        AdapterError: the file could not be written; the old one is untouched.
    """
    path = Path(path)
    # One fixed name, so that a file left behind by a killed process is overwritten by the next save instead of piling up.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except (OSError, safetensors.SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        state = "the file that was there before is unchanged" if path.exists() else "nothing was left behind"
        raise AdapterError(f"could not write {path}: {error}; {state}; free some space or choose another folder") from error


def _sync(path: Path) -> None:
    """Wait until the file or folder is on the disk (a rename may otherwise reach it before the content does)."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, atomically."""
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def load_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        AdapterError: there is no such file, or it is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterError(f"cannot read {path}: {error}; check the path, or restore the file") from error


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    """Write tensors and a JSON-able `metadata` to one safetensors file, atomically."""
    # safetensors refuses tensors that share memory, so each becomes its own contiguous CPU copy.
    content = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    header = {key: json.dumps(value) for key, value in (metadata or {}).items()}
    atomic_write(path, lambda temporary: save_file(content, temporary, metadata={"format": "pt", **header}))


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file: the tensors (on the CPU) and the metadata given to `save_tensors`.

    Raises:
        AdapterError: there is no such file, or it is truncated or no safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise AdapterError(f"no file {path}; check the path")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (the file is no dict)
        metadata = {key: json.loads(value) for key, value in header.items() if key != "format"}
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        size = path.stat().st_size
        raise AdapterError(f"{path} ({size} bytes) is truncated or no safetensors file of this library: {error}; copy it again") from error
    return tensors, metadata


def frozen_digest(model: AdaptedViT) -> str:
    """A hash of the frozen weights of the blocks: tells whether an adapter meets the backbone it was trained on.

    Position embedding and patch projection are left out, as resizing them to another image size may round differently
    from one machine to the next.
    """
    digest = hashlib.blake2b(digest_size=16)
    for parameter in model.backbone.blocks.parameters():
        if not parameter.requires_grad:
            weights = parameter.detach().to("cpu").contiguous()
            digest.update(f"{tuple(weights.shape)} {weights.dtype}".encode())
            digest.update(weights.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_pretrained(model: AdaptedViT, folder: str | Path, classes: list[str] | None = None) -> None:
    """Write what was trained and how to rebuild the model: `adapter_model.safetensors` and `adapter_config.json`.

    Args:
        classes: names of the classes; None: `model.classes`, if it has that.

    Raises:
        AdapterError: the disk is full or the folder cannot be written (what was there is kept), the model is merged, or the
            backbone was created with options that JSON cannot hold.
    """
    if model.merged:
        raise AdapterError("cannot save a merged model, since its adapters are part of the backbone's weights; call unmerge() first")
    config = {
        "library": "adapters_lib",
        "library_version": _version(),
        "backbone": {**model.backbone_source, "width": model.width, "depth": model.depth, "frozen_digest": frozen_digest(model)},
        "image_size": model.image_size,
        "data_config": model.data_config,
        "methods": [method_to_dict(method) for method in model.methods],
        "num_classes": model.num_classes,
        "classes": classes if classes is not None else getattr(model, "classes", None),
        "head": model.head_kind,
        "extra": model.extra,
    }
    try:
        json.dumps(config)
    except TypeError as error:
        raise AdapterError(
            f"cannot save: the backbone's options {model.backbone_source['kwargs']} are no JSON values ({error}); "
            "create it with numbers, strings, true or false"
        ) from error
    folder = Path(folder)
    save_tensors(folder / WEIGHTS, model.trainable_state_dict(), {"config": config})
    save_json(folder / CONFIG, config)


def load_pretrained(
    folder: str | Path, *, backbone: nn.Module | None = None, revision: str | None = None, token: str | None = None
) -> AdaptedViT:
    """Rebuild the model that `save_pretrained` wrote, in eval mode; class names are in `model.classes`.

    Args:
        folder: where it was written; or, if there is no such folder, `user/name` on the Hugging Face hub.
        revision, token: of the hub's repository: branch, tag or commit; and the right to read it.
        backbone: the frozen timm model to use; None creates it by the name in the configuration, with pretrained weights.
            Changed in place, as by `adapt`; left as it was if anything fails.

    Raises:
        AdapterError: a file is missing or truncated, or the backbone has another width, depth or other weights than the one
            that the adapter was trained on.
    """
    place = Path(folder)
    if not place.is_dir() and is_hub_id(str(folder)):
        place = download(str(folder), revision=revision, token=token)
    tensors, metadata = load_tensors(place / WEIGHTS)
    config = metadata.get("config", {})
    if config.get("library") != "adapters_lib":
        raise AdapterError(f"{place / WEIGHTS} was not written by save_pretrained; give the folder that it wrote to")
    source = config["backbone"]
    if backbone is None and not source["name"]:
        raise AdapterError(
            f"the adapter in {folder} was trained on a VisionTransformer that was built by hand, so there is no name to create it by; "
            "build it again, load its weights, and pass it as backbone=…"
        )
    if backbone is None:
        backbone = create_backbone(source["name"], **source["kwargs"])
    found = (getattr(backbone, "embed_dim", None), len(getattr(backbone, "blocks", ())))
    if found != (source["width"], source["depth"]):
        raise AdapterError(
            f"the adapter in {folder} was trained on {source['name']!r} with width {source['width']} and {source['depth']} blocks, "
            f"but this backbone has width {found[0]} and {found[1]} blocks; use the same backbone"
        )
    methods = [method_from_dict(spec) for spec in config["methods"]]
    with unchanged_on_error(backbone):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptionWarning)  # advice for a training that is over
            model = adapt(backbone, methods, config["num_classes"], head=config["head"])
        try:
            if frozen_digest(model) != source["frozen_digest"]:
                raise AdapterError(
                    f"the frozen weights of this backbone are not those that the adapter in {folder} was trained on ({source['name']!r}); "
                    "load the same pretrained weights, or pass backbone=… with them"
                )
            model.load_trainable_state_dict(tensors)
        except AdapterError:
            backbone.adapters_lib_adapted = False  # type: ignore[assignment]
            raise
    model.classes = config["classes"]
    model.extra = config.get("extra", {})
    return model.eval()


def _version() -> str:
    try:
        return importlib.metadata.version("adapters-lib")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # used from a folder that was not installed
