"""What stands in the header of a saved adapter: how to rebuild the model, what its outputs mean, and what it
was trained on.

A header is read as something a stranger wrote: every field has its type checked here, and what it may ask for
is in `safe_names`.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..backbones.rebuild import rebuild_options
from ..errors import AdapterError
from ..methods import Method, method_from_dict, method_to_dict
from ..vit.class_names import check_names
from ..vit.frozen import frozen_print
from ..vit.safe_names import check_options

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["Header", "make_header", "read_header"]

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


def make_header(model: AdaptedViT, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """The header of a model, as JSON values. classes: in place of `model.classes`.

    Raises:
        AdapterError: other names than outputs, or values that JSON cannot hold.
    """
    names = check_names(classes, model.num_classes) if classes is not None else model.classes
    config = {
        "library": "adapters_lib",
        "library_version": _version(),
        "backbone": {
            **_source(model),
            "width": model.width,
            "depth": model.depth,
            "dtype": str(next(model.backbone.parameters()).dtype).removeprefix("torch."),
            "weights": model.weights,
            "architecture": model.architecture,
            "frozen": frozen_print(model),
        },
        "image_size": model.image_size,
        "data_config": model.data_config,
        "methods": [method_to_dict(method) for method in model.methods],
        "num_classes": model.num_classes,
        "classes": None if names is None else list(names),
        "head": model.head_kind,
        "extra": model.extra,
        "trained_on": model.trained_on,
    }
    try:
        return json.loads(json.dumps(config))  # type: ignore[no-any-return]  # as it comes back: no tuples
    except (TypeError, ValueError) as error:
        raise AdapterError(
            f"cannot save: the backbone's options {model.backbone_source['kwargs']} are no JSON values"
            f" ({error}); create it with numbers, strings, true or false"
        ) from error


def _source(model: AdaptedViT) -> dict[str, Any]:
    """name and kwargs; of a model made by hand, the options that can be read off it, or the reason why it
    cannot be rebuilt."""
    source = model.backbone_source
    if not model.by_hand:
        return dict(source)
    options, reason = rebuild_options(
        source["name"], source["kwargs"], model.architecture, model.backbone_options
    )
    return {"name": source["name"], "kwargs": options, **({} if reason is None else {"by_hand": reason})}


def _version() -> str:
    try:
        return importlib.metadata.version("adapters-lib")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # used from a folder that was not installed


@dataclass(frozen=True)
class Header:
    """A header whose fields have the right types. None where an older version wrote nothing.

    file: where it stood. source: the entry `backbone`. by_hand: why the backbone cannot be rebuilt by its
    name.
    """

    file: Path
    source: dict[str, Any]
    methods: tuple[Method, ...]
    num_classes: int
    classes: tuple[str, ...] | None
    head: str
    extra: dict[str, Any]
    trained_on: dict[str, Any] | None

    @property
    def name(self) -> str:
        return str(self.source["name"])

    @property
    def architecture(self) -> dict[str, Any] | None:
        return self.source.get("architecture")

    @property
    def frozen(self) -> dict[str, Any] | None:
        return self.source.get("frozen")

    @property
    def blocks_digest(self) -> str | None:
        """Of version 0.2 and earlier."""
        return self.source.get("frozen_digest")

    @property
    def dtype(self) -> torch.dtype | None:
        return _DTYPES.get(self.source.get("dtype", ""))

    @property
    def needs_weights(self) -> bool:
        """False if everything was trained: then all weights are in the file."""
        return self.frozen is None or self.frozen["tensors"] > 0

    @property
    def weights_in_words(self) -> str:
        about = self.source.get("weights") or {}
        return f", weights {about['file']} {about.get('digest', '')[:12]}" if about.get("file") else ""

    def check_size(self, backbone: nn.Module) -> None:
        """Raise an AdapterError if the backbone has another width or number of blocks."""
        size = (getattr(backbone, "embed_dim", None), len(getattr(backbone, "blocks", ())))
        if size != (self.source["width"], self.source["depth"]):
            raise AdapterError(
                f"the adapter in {self.file} was trained on {self.name!r} with width {self.source['width']}"
                f" and {self.source['depth']} blocks, but this backbone has width {size[0]} and {size[1]}"
                " blocks; use the same backbone"
            )

    def rebuild(self, weights: bool) -> tuple[str, dict[str, Any]]:
        """Name and options for `create_backbone`. weights: a file of them was given.

        Raises:
            AdapterError: the header asks for what it may not, or the backbone cannot be had by its name.
        """
        if (reason := self.source.get("by_hand")) is not None:
            raise AdapterError(
                f"the backbone of {self.file} was made by hand and its name {self.name!r} does not tell how:"
                f" {reason}; pass backbone=…, or make it with al.create_backbone, which keeps name and"
                " options"
            )
        options = dict(self.source["kwargs"])
        about = self.source.get("weights") or {}
        # A path, written by version 0.2; a file is never opened because a header names it.
        if "weights" in options:
            about = {"source": "file", "file": Path(str(options.pop("weights"))).name}
        if self.needs_weights and not weights and about.get("source") == "random":
            raise AdapterError(
                f"the adapter in {self.file} was trained on random weights, which are not kept; pass"
                " backbone=… with them"
            )
        if (
            self.needs_weights
            and not weights
            and about.get("source") == "file"
            and not _found_by_name(self.name)
        ):
            raise AdapterError(
                f"the adapter in {self.file} was trained on the weights {about.get('file')}; say where they"
                " are: from_pretrained(…, weights=…), or the folder ADAPTERS_WEIGHTS"
            )
        return self.name, check_options(self.name, options, self.file)


def _found_by_name(name: str) -> bool:
    from ..backbones.weight_files import find_weights

    return find_weights(name) is not None


def read_header(file: Path, metadata: dict[str, Any]) -> Header:
    """The header of an adapter file, checked.

    Raises:
        AdapterError: no header of this library, or a field that is missing or of another type; the message
            names it.
    """
    config = metadata.get("config")
    if not isinstance(config, dict) or config.get("library") != "adapters_lib":
        raise AdapterError(f"{file} was not written by save_pretrained; give the folder that it wrote to")

    def field(holder: dict[str, Any], name: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        value = holder.get(name, default)
        if value is ... or not (value is default or isinstance(value, kind)) or isinstance(value, bool):
            problem = "is missing" if value is ... else f"is {str(value)[:80]!r}"
            raise AdapterError(
                f"{file}: {name} in its header {problem}; it is damaged or was not written by this library,"
                " copy it again"
            )
        return value

    source = field(config, "backbone", dict)
    for name, kind in (("name", str), ("kwargs", dict), ("width", int), ("depth", int)):
        field(source, name, kind)
    for name, kind in (
        ("frozen_digest", str),
        ("dtype", str),
        ("by_hand", str),
        ("weights", dict),
        ("architecture", dict),
        ("frozen", dict),
    ):
        field(source, name, kind, None)
    _check_frozen(file, source.get("frozen"))
    if (about := source.get("weights")) is not None:
        for name in ("source", "file", "digest"):
            field(about, name, str, None)
    if (trained_on := field(config, "trained_on", dict, None)) is not None:
        facts: dict[str, type] = {
            "data": str,
            "seed": int,
            "options": dict,
            "held_out": str,
            "prepared": dict,
            "classes": list,
            "images": int,
        }
        for name, wanted in facts.items():
            field(trained_on, name, wanted, None)
    specs = field(config, "methods", list)
    if not all(
        isinstance(spec, dict)
        and isinstance(spec.get("name"), str)
        and isinstance(spec.get("options", {}), dict)
        for spec in specs
    ):
        raise AdapterError(
            f"{file}: methods in its header are no list of names with options; copy the file again"
        )
    num_classes = field(config, "num_classes", int)
    classes = field(config, "classes", list, None)
    if num_classes < 1:
        raise AdapterError(f"{file}: num_classes in its header is {num_classes}; copy the file again")
    return Header(
        file=file,
        source=source,
        methods=tuple(_method(file, spec) for spec in specs),
        num_classes=num_classes,
        classes=None if classes is None else check_names(classes, num_classes),
        head=field(config, "head", str),
        extra=field(config, "extra", dict, None) or {},
        trained_on=trained_on,
    )


def _method(file: Path, spec: dict[str, Any]) -> Method:
    try:
        return method_from_dict(spec)
    except AdapterError:
        raise
    except Exception as error:  # a value of a type that no option has
        raise AdapterError(
            f"{file}: the method {str(spec)[:200]} in its header cannot be read ({error}); copy the file"
            " again"
        ) from error


def _check_frozen(file: Path, frozen: dict[str, Any] | None) -> None:
    if frozen is None:
        return
    numbers = (int, float)
    sound = (
        isinstance(frozen.get("tensors"), int)
        and isinstance(frozen.get("digest"), str)
        and isinstance(frozen.get("resampled"), dict)
    )
    for about in frozen["resampled"].values() if sound else ():
        sound = (
            sound
            and isinstance(about, dict)
            and isinstance(about.get("shape"), list)
            and isinstance(about.get("size"), numbers)
        )
        sound = (
            sound
            and isinstance(about.get("sums"), list)
            and all(isinstance(value, numbers) for value in about["sums"])
        )
    if not sound:
        raise AdapterError(
            f"{file}: what its header says of the frozen weights cannot be read; copy the file again"
        )
