"""One safetensors file that holds a pre-training between two steps: weights, optimiser state, minutes, curve and recipe."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .errors import AdapterError

__all__ = ["resume", "store"]

FREE = ("device", "checkpoint_steps", "eval_steps")
"""Fields of a recipe in which two runs may differ and one still continue the other."""


def _key(config: Any) -> str:
    return json.dumps({k: v for k, v in dataclasses.asdict(config).items() if k not in FREE}, sort_keys=True)


def store(
    folder: Path, config: Any, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, minutes: float, curve: list[dict[str, Any]]
) -> None:
    """Write `folder`/checkpoint.safetensors, replaced in one go. config: the recipe, a dataclass. step: how many are done."""
    tensors = {f"model.{k}": v.contiguous() for k, v in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{k}": torch.as_tensor(v).contiguous() for k, v in state.items()}
    note = {"config": _key(config), "step": str(step), "minutes": str(minutes), "curve": json.dumps(curve)}
    save_file(tensors, folder / "checkpoint.part", metadata=note)
    os.replace(folder / "checkpoint.part", folder / "checkpoint.safetensors")


def resume(folder: Path, config: Any, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float, list[dict[str, Any]]]:
    """Load the checkpoint into model and optimiser, if there is one; (steps done, minutes so far, curve so far).

    Raises AdapterError when it belongs to another recipe.
    """
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return 0, 0.0, []
    with safe_open(path, "pt") as file:
        note = file.metadata()
    if note["config"] != _key(config):
        raise AdapterError(f"{path} belongs to another recipe: {note['config']}; choose another folder or remove the file")
    tensors = load_file(path)
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".", 2)
            state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(note["step"]), float(note["minutes"]), json.loads(note["curve"])
