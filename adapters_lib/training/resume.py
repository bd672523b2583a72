"""The folder of a run: one checkpoint file that holds everything needed to go on, and a manifest that says
whose run it is.

`checkpoint.safetensors` carries weights, optimiser state, history and manifest in one file, so that they can
never be of different epochs. `start.safetensors` is such a file of the moment before the first epoch; it
stays, so that a run can begin again from its beginning. `run.json` repeats manifest and history for people
and programs that read results, and is written anew from the checkpoint if a kill between the two left it
behind.
"""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..datasets.identity import identity, labels_digest
from ..datasets.labelled import labels_of
from ..errors import AdapterError
from ..files import load_json, save_json
from ..methods import format_method
from ..saving.tensors import load_tensors, save_tensors
from ..vit.architecture import differences
from ..vit.frozen import difference, frozen_print
from ..vit.model import AdaptedViT
from ..vit.state_check import check_state, check_tensor
from .meaning import names_of_outputs
from .recipe import Recipe

__all__ = ["RunFolder", "State", "describe_run", "pack", "unpack"]

CHECKPOINT = "checkpoint.safetensors"
START = "start.safetensors"
SUMMARY = "run.json"
NEVER = ("train_loss", "lr")  # columns of the history that are never NaN


@dataclasses.dataclass
class State:
    """Where a run stands at the end of an epoch (0: before the first)."""

    epoch: int
    updates: int
    history: list[dict[str, Any]]
    scaler: dict[str, Any] | None
    tensors: dict[str, Tensor]


def describe_run(
    model: AdaptedViT, recipe: Recipe, train: Dataset, val: Dataset | None, processes: int
) -> dict[str, Any]:
    """Everything that decides what a run computes, as JSON values: two runs with the same description are
    the same run."""
    return {
        "backbone": {
            **model.backbone_source,
            "architecture": model.architecture,
            "frozen": frozen_print(model),
            "dtype": str(next(model.backbone.parameters()).dtype),
        },
        "image_size": model.image_size,
        "methods": [format_method(method) for method in model.methods],
        "num_classes": model.num_classes,
        "classes": names_of_outputs(model, train),
        "head": model.head_kind,
        "recipe": dataclasses.asdict(recipe),
        "train": _describe_data(train),
        "val": None if val is None else _describe_data(val),
        "processes": processes,
    }


def _describe_data(dataset: Dataset) -> dict[str, Any]:
    """`content` changes with every image and with how it is prepared; `split` is kept for readers."""
    origin = getattr(dataset, "origin", None)
    described: dict[str, Any] = {
        "images": len(labels_of(dataset)),
        "labels": labels_digest(dataset),
        "content": identity(dataset),
    }
    if origin is not None:
        described["split"] = {"data": origin.data, "seed": origin.seed, "options": origin.options}
    return described


class RunFolder:
    """Checkpoints of one run in one folder.

    Args:
        folder: made if need be.
        manifest: from `describe_run`.

    Raises:
        AdapterError: the folder holds another run; the message says in what they differ, and nothing is
            touched.
    """

    def __init__(self, folder: str | Path, manifest: dict[str, Any]) -> None:
        self.folder = Path(folder)
        try:
            self.manifest = json.loads(json.dumps(manifest))  # as it comes back from a file: no tuples
        except TypeError as error:
            raise AdapterError(
                f"cannot keep a run in {folder}: {error}; create the backbone with JSON-able options"
            ) from error
        self.checkpoint, self.start = self.folder / CHECKPOINT, self.folder / START
        self.summary = self.folder / SUMMARY
        for path in (self.checkpoint, self.start):
            if path.exists():
                self._check(load_tensors(path)[1].get("manifest"))
        if not self.checkpoint.exists() and not self.start.exists() and self.summary.exists():
            summary = load_json(self.summary)
            self._check(summary.get("manifest") if isinstance(summary, dict) else None)

    def _check(self, stored: Any) -> None:
        stored = _with_later_fields(stored)
        lacking = (
            ["it is no run of this library"]
            if not isinstance(stored, dict)
            else differences(*_comparable(stored, self.manifest))
        )
        if lacking:
            raise AdapterError(
                f"{self.folder} holds another run: {'; '.join(lacking[:4])}; nothing was changed; "
                "give another folder, or delete this one if it is not needed"
            )
        if isinstance(stored, dict) and "content" not in stored.get("train", {}):
            message = (
                "holds a run of an earlier version, which did not record its images; they are taken to be"
                " those given now"
            )
            warnings.warn(f"{self.folder} {message}", UserWarning, stacklevel=4)

    def load(self, model: AdaptedViT) -> State | None:
        """The last saved state, checked against the model; None in a fresh folder."""
        path = self.checkpoint if self.checkpoint.exists() else self.start
        return self._read(path, model) if path.exists() else None

    def beginning(self, model: AdaptedViT) -> State | None:
        """The state before the first epoch; None in a fresh folder.

        Raises:
            AdapterError: the folder holds a run, but not its beginning: it was made by an earlier version.
        """
        if self.start.exists():
            return self._read(self.start, model)
        if self.checkpoint.exists():
            state = self._read(self.checkpoint, model)
            if state.epoch == 0:
                return state
            raise AdapterError(
                f"{self.folder} holds a run of an earlier version, which did not keep the weights that it"
                " began with; delete it, or give another folder, and begin with a model that is not"
                " trained yet"
            )
        return None

    def _read(self, path: Path, model: AdaptedViT) -> State:
        tensors, metadata = load_tensors(path)
        return _checked(path, tensors, metadata, self.manifest["recipe"], model)

    def save(self, state: State) -> None:
        """Replace the checkpoint in one step; whenever the process dies, a whole one is there. The first
        goes to `start.safetensors`."""
        facts = {
            "epoch": state.epoch,
            "updates": state.updates,
            "history": state.history,
            "scaler": state.scaler,
        }
        path = self.checkpoint if state.epoch or self.start.exists() else self.start
        save_tensors(path, state.tensors, {"manifest": self.manifest, **facts})
        self.write_summary(state)

    def go_back_to(self, state: State) -> None:
        """Forget what came after `state`, the folder's beginning, and let `run.json` say what is there."""
        if state.epoch == 0 and self.start.exists():
            self.checkpoint.unlink(missing_ok=True)
        self.write_summary(state)

    def write_summary(self, state: State) -> None:
        """Write `run.json`, unless it says just this already."""
        finished = state.epoch == self.manifest["recipe"]["epochs"]
        content = {"manifest": self.manifest, "finished": finished, "history": state.history}
        try:
            if self.summary.exists() and json.dumps(load_json(self.summary)) == json.dumps(
                content, sort_keys=True
            ):
                return
        except AdapterError:
            pass  # cut short: it is written anew
        save_json(self.summary, content)


def _with_later_fields(manifest: Any) -> Any:
    """The manifest with each younger field of `Recipe` at its default, which is how that run trained."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("recipe"), dict):
        return manifest
    return {**manifest, "recipe": {**dataclasses.asdict(Recipe()), **manifest["recipe"]}}


def _comparable(stored: dict[str, Any], own: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two manifests, with the same entry where resampled weights differ by rounding alone, and without
    what `stored` is too old to have."""
    own = json.loads(json.dumps(own))
    there, present = stored.get("backbone"), own["backbone"]
    if not isinstance(there, dict):
        return stored, own
    if isinstance(there.get("frozen"), dict):
        there = dict(there)
        if (reason := difference(there.pop("frozen"), present.pop("frozen"))) is not None:
            there["frozen_weights"], present["frozen_weights"] = "its own", f"others ({reason})"
        return {**stored, "backbone": there}, own
    there = {key: value for key, value in there.items() if key != "frozen_weights"}
    for key in ("architecture", "frozen", "dtype"):
        present.pop(key)
    own.pop("classes")
    for part in ("train", "val"):
        if own[part] is not None:
            own[part] = {key: own[part][key] for key in ("images", "labels")}
    return {**stored, "backbone": there}, own


def _checked(
    path: Path,
    tensors: dict[str, Tensor],
    metadata: dict[str, Any],
    recipe: dict[str, Any],
    model: AdaptedViT,
) -> State:
    """The one door through which a checkpoint comes back: counters, history, weights and optimiser state,
    or an AdapterError."""

    def refuse(what: str) -> AdapterError:
        return AdapterError(
            f"{path}: {what}; restore the file from a copy, or delete the folder and train again"
        )

    epoch, updates, history, scaler = (
        metadata.get(key, ...) for key in ("epoch", "updates", "history", "scaler")
    )
    for name, value in (("epoch", epoch), ("updates", updates)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise refuse(f"{name} is {value!r}, but must be a whole number, 0 or more")
    if epoch > recipe["epochs"]:
        raise refuse(f"epoch {epoch} of a training of {recipe['epochs']} epochs")
    if (epoch == 0) != (updates == 0) or updates % max(epoch, 1):
        raise refuse(f"{updates} updates after {epoch} epochs, but every epoch has equally many")
    if not isinstance(history, list) or len(history) != epoch:
        raise refuse(
            f"the history has {len(history) if isinstance(history, list) else 'no'} rows after {epoch} epochs"
        )
    for number, row in enumerate(history, 1):
        if (
            not isinstance(row, dict)
            or row.get("epoch") != number
            or not all(_is_number(value) for value in row.values())
        ):
            raise refuse(f"row {number} of the history is {str(row)[:120]}")
        if not all(name in row and math.isfinite(row[name]) for name in NEVER):
            raise refuse(f"row {number} of the history lacks {' or '.join(NEVER)}")
    if scaler is not None and not (
        isinstance(scaler, dict) and all(_is_number(value) for value in scaler.values())
    ):
        raise refuse(f"the state of the gradient scaler is {str(scaler)[:80]}")
    try:
        _check_tensors(tensors, model, updates, recipe["optimizer"])
    except AdapterError as error:
        raise refuse(str(error)) from error
    return State(epoch, updates, history, scaler, tensors)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_KINDS = {
    "adamw": {"exp_avg", "exp_avg_sq", "step"},
    "sgd": {"momentum_buffer"},
    "momentum": {"momentum_buffer"},
}


def _check_tensors(tensors: dict[str, Tensor], model: AdaptedViT, updates: int, optimizer: str) -> None:
    check_state(model.trainable_state_dict(), _weights(tensors))
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    by_owner: dict[str, set[str]] = {}
    for name, tensor in tensors.items():
        if name.startswith("model/"):
            continue
        group, _, rest = name.partition("/")
        kind, _, owner = rest.partition("/")
        if group != "optimizer" or owner not in parameters or kind not in _KINDS.get(optimizer, {kind}):
            raise AdapterError(f"the tensor {name!r} belongs to no parameter that {optimizer} trains")
        by_owner.setdefault(owner, set()).add(kind)
        if kind == "step":
            if tensor.numel() != 1 or not 0 <= float(tensor) <= updates:
                raise AdapterError(f"{name!r} is {tensor.flatten()[:3].tolist()} after {updates} updates")
        else:
            check_tensor(name, tensor, parameters[owner])
            if kind == "exp_avg_sq" and bool((tensor < 0).any()):
                raise AdapterError(f"{name!r} holds squares below 0")
    if updates == 0 and by_owner:
        raise AdapterError("the optimiser has a state before its first update")
    if updates and not by_owner:
        raise AdapterError(f"the optimiser's state is missing after {updates} updates")
    for owner, kinds in by_owner.items():
        if lost := sorted(_KINDS.get(optimizer, kinds) - kinds):
            raise AdapterError(f"the optimiser's {lost[0]} of {owner!r} is missing")


def _weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix("model/"): tensor for name, tensor in tensors.items() if name.startswith("model/")
    }


def pack(model: AdaptedViT, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Trainable weights as `model/<name>`, optimiser state as `optimizer/<kind>/<name>`: tensors only,
    nothing to unpickle."""
    tensors = {f"model/{name}": tensor for name, tensor in model.trainable_state_dict().items()}
    for name, parameter in model.named_parameters():
        for kind, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                tensors[f"optimizer/{kind}/{name}"] = torch.as_tensor(value)
    return tensors


def unpack(
    tensors: dict[str, Tensor], model: AdaptedViT, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Put what `pack` returned back into model and, if given, optimiser.

    Raises:
        AdapterError: the tensors are those of another model; the model is unchanged.
    """
    model.load_trainable_state_dict(_weights(tensors))
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
