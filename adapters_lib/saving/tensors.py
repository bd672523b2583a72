"""Tensors and what is known of them in one safetensors file: written whole or not at all, with a digest
that is checked on reading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save_file
from torch import Tensor

from ..errors import AdapterError
from ..files import atomic_write
from ..vit.frozen import tensor_digest

__all__ = ["load_tensors", "save_tensors"]


def save_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write tensors and a JSON-able `metadata` to one safetensors file, atomically, with a digest of both."""
    # safetensors refuses tensors that share memory, so each becomes its own contiguous CPU copy.
    content = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    header = {key: json.dumps(value) for key, value in (metadata or {}).items()}
    header["digest"] = json.dumps(_digest(content, header))
    atomic_write(path, lambda temporary: save_file(content, temporary, metadata={"format": "pt", **header}))


def _digest(tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    return tensor_digest(
        tensors, *(f"{key}={header[key]}" for key in sorted(header) if key not in ("format", "digest"))
    )


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file: the tensors (on the CPU) and the metadata given to `save_tensors`.

    Raises:
        AdapterError: there is no such file, it is truncated or no safetensors file, or a bit of it has
            changed since it was written (a file of version 0.2 or earlier has no digest, and that cannot be
            seen).
    """
    path = Path(path)
    if not path.is_file():
        raise AdapterError(f"no file {path}; check the path")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (the file is no dict)
        metadata = {key: json.loads(value) for key, value in header.items() if key != "format"}
    except (
        OSError,
        safetensors.SafetensorError,
        ValueError,
        RecursionError,
        RuntimeError,
        KeyError,
        AttributeError,
    ) as error:
        size = path.stat().st_size
        raise AdapterError(
            f"{path} ({size} bytes) is truncated or no safetensors file of this library: {error}; copy it"
            " again"
        ) from error
    if "digest" in metadata and metadata.pop("digest") != _digest(tensors, header):
        raise AdapterError(
            f"{path} is damaged: its content has another digest than when it was written; copy it again"
        )
    return tensors, metadata
