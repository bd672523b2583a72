"""The folder of a run: one checkpoint file that holds everything needed to go on, and a manifest that says whose run it is.

`checkpoint.safetensors` carries weights, optimiser state, history and manifest in one file, so that they can never be of different
epochs. `run.json` repeats manifest and history for people and programs that read results.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .checkpoint import load_json, load_tensors, save_json, save_tensors
from .data_sets.base import labels_of
from .engine import AdaptedViT
from .errors import AdapterError
from .frozen import frozen_digest
from .methods import format_method
from .recipes import Recipe

__all__ = ["RunFolder", "State", "describe_run"]

CHECKPOINT = "checkpoint.safetensors"
SUMMARY = "run.json"


@dataclasses.dataclass
class State:
    """Where a run stands at the end of an epoch (0: before the first)."""

    epoch: int
    updates: int
    history: list[dict[str, Any]]
    scaler: dict[str, Any] | None
    tensors: dict[str, Tensor]


def describe_run(model: AdaptedViT, recipe: Recipe, train: Dataset, val: Dataset | None, processes: int) -> dict[str, Any]:
    """Everything that decides what a run computes, as JSON values: two runs with the same description are the same run."""
    return {
        "backbone": {**model.backbone_source, "frozen_weights": frozen_digest(model)},
        "image_size": model.image_size,
        "methods": [format_method(method) for method in model.methods],
        "num_classes": model.num_classes,
        "head": model.head_kind,
        "recipe": dataclasses.asdict(recipe),
        "train": _describe_data(train),
        "val": None if val is None else _describe_data(val),
        "processes": processes,
    }


def _describe_data(dataset: Dataset) -> dict[str, Any]:
    labels = labels_of(dataset)
    return {"images": len(labels), "labels": hashlib.blake2b(labels.contiguous().numpy().data, digest_size=8).hexdigest()}


class RunFolder:
    """Checkpoints of one run in one folder.

    Args:
        folder: made if need be.
        manifest: from `describe_run`.

    Raises:
        AdapterError: the folder holds another run; the message says in what they differ, and nothing is touched.
    """

    def __init__(self, folder: str | Path, manifest: dict[str, Any]) -> None:
        self.folder = Path(folder)
        try:
            self.manifest = json.loads(json.dumps(manifest))  # as it comes back from a file: no tuples
        except TypeError as error:
            raise AdapterError(f"cannot keep a run in {folder}: {error}; create the backbone with JSON-able options") from error
        self.checkpoint = self.folder / CHECKPOINT
        summary = self.folder / SUMMARY
        if self.checkpoint.exists():
            self._check(load_tensors(self.checkpoint)[1].get("manifest"))
        elif summary.exists():
            self._check(load_json(summary).get("manifest"))

    def _check(self, found: Any) -> None:
        if found != self.manifest:
            differences = _differences(found, self.manifest) if isinstance(found, dict) else ["it is no run of this library"]
            raise AdapterError(
                f"{self.folder} holds another run: {'; '.join(differences[:4])}; nothing was changed; "
                "give another folder, or delete this one if it is not needed"
            )

    def load(self) -> State | None:
        """The last saved state, or None in a fresh folder."""
        if not self.checkpoint.exists():
            return None
        tensors, metadata = load_tensors(self.checkpoint)
        return State(tensors=tensors, **{key: metadata[key] for key in ("epoch", "updates", "history", "scaler")})

    def save(self, state: State) -> None:
        """Replace the checkpoint in one step; whenever the process dies, a whole one is there."""
        facts = {"epoch": state.epoch, "updates": state.updates, "history": state.history, "scaler": state.scaler}
        save_tensors(self.checkpoint, state.tensors, {"manifest": self.manifest, **facts})
        finished = state.epoch == self.manifest["recipe"]["epochs"]
        save_json(self.folder / SUMMARY, {"manifest": self.manifest, "finished": finished, "history": state.history})


def _differences(there: dict[str, Any], here: dict[str, Any], path: str = "") -> list[str]:
    """Readable differences of two nested dicts: 'recipe.lr is 0.1 there, 0.01 here'."""
    found: list[str] = []
    for key in sorted(there.keys() | here.keys()):
        old, new = there.get(key), here.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{path}{key}.")
        elif old != new:
            found.append(f"{path}{key} is {old!r} there, {new!r} here")
    return found


def pack(model: AdaptedViT, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Trainable weights as `model/<name>`, optimiser state as `optimizer/<kind>/<name>`: tensors only, nothing to unpickle."""
    tensors = {f"model/{name}": tensor for name, tensor in model.trainable_state_dict().items()}
    for name, parameter in model.named_parameters():
        for kind, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                tensors[f"optimizer/{kind}/{name}"] = torch.as_tensor(value)
    return tensors


def unpack(tensors: dict[str, Tensor], model: AdaptedViT, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Put what `pack` returned back into model and, if given, optimiser.

    Raises:
        AdapterError: the tensors are those of another model; the model is unchanged.
    """
    model.load_trainable_state_dict({name.removeprefix("model/"): t for name, t in tensors.items() if name.startswith("model/")})
    if optimizer is None:
        return
    state: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, kind, parameter = name.split("/", 2)
            state.setdefault(parameter, {})[kind] = tensor
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    full = optimizer.state_dict()
    full["state"] = {i: state[names[id(p)]] for i, p in enumerate(ordered) if names[id(p)] in state}
    optimizer.load_state_dict(full)
