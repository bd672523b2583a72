"""Stored logits in a file: half precision, so that a data set's exits fit into some hundred kilobytes."""

from __future__ import annotations

from pathlib import Path

import torch

from ..saving.tensors import load_tensors, save_tensors
from .costs import ExitCosts
from .simulate import StoredExits

__all__ = ["load_stored", "save_stored"]


def save_stored(stored: StoredExits, path: str | Path) -> None:
    """Write logits (float16: 11 significant bits, enough for the confidence's third decimal), labels and
    costs to one safetensors file."""
    tensors = {"logits": stored.logits.half(), "labels": stored.labels.to(torch.int16)}
    save_tensors(path, tensors, {"costs": stored.costs.to_dict(), "part": stored.part})


def load_stored(path: str | Path) -> StoredExits:
    """Read what `save_stored` wrote; logits come back as float32. Raises AdapterError if there is no such
    file or it is damaged."""
    tensors, metadata = load_tensors(path)
    return StoredExits(
        tensors["logits"].float(),
        tensors["labels"].long(),
        ExitCosts.from_dict(metadata["costs"]),
        metadata["part"],
    )
