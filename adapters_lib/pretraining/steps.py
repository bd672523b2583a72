"""What every pre-training does: set up, the steps, the safetensors file that holds it between two of them,
and the files at the end.

The file keeps weights, optimiser state, minutes, curve and recipe. Every random number of a step follows from
(seed, step), so a stopped run goes on from it as if it had never stopped.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from ..errors import AdapterError
from ..files import atomic_write
from ..saving.tensors import load_tensors, save_tensors
from ..training.run_lock import TrainingLock
from ..vit.state_check import check_state

__all__ = ["halved", "run_steps", "set_up", "write"]

M = TypeVar("M", bound=nn.Module)

CHECKPOINT = "checkpoint.safetensors"
FREE = ("device", "checkpoint_steps", "eval_steps")
"""Fields of a recipe in which two runs may differ and one still continue the other."""


def set_up(
    config: Any, out: str | Path, make: Callable[[], M]
) -> tuple[Path, torch.device, M, torch.optim.Optimizer]:
    """The folder, made; the device; the model in training mode on it, its weights drawn from the recipe's
    seed; and its optimiser."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    )
    torch.manual_seed(config.seed)
    model = make().to(device).train()
    return (
        folder,
        device,
        model,
        create_optimizer_v2(model, opt=config.optimizer, lr=config.lr, weight_decay=config.weight_decay),
    )


def halved(vit: nn.Module) -> dict[str, Tensor]:
    """The weights in float16, on the CPU; `vit` is rounded to them, so that what is measured next is what
    will be written."""
    weights = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in vit.state_dict().items()}
    vit.load_state_dict({k: v.float() for k, v in weights.items()})
    return weights


def write(folder: Path, name: str, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write `folder`/`name`.safetensors and the description beside it, `folder`/`name`.json."""
    content = save(weights, metadata={"format": "pt"})  # as bytes: readable by all, unlike save_file's
    atomic_write(folder / f"{name}.safetensors", lambda partial: partial.write_bytes(content))
    atomic_write(
        folder / f"{name}.json",
        lambda partial: partial.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8"),
    )


def _key(config: Any) -> dict[str, Any]:
    """The recipe as it comes back from a file: no tuples."""
    known: dict[str, Any] = json.loads(
        json.dumps({k: v for k, v in dataclasses.asdict(config).items() if k not in FREE})
    )
    return known


def _store(
    folder: Path,
    config: Any,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    minutes: float,
    curve: list[dict[str, Any]],
) -> None:
    """Write `folder`/checkpoint.safetensors, replaced in one go. config: the recipe, a dataclass. step:
    how many are done."""
    tensors = {f"model.{k}": v.contiguous() for k, v in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{k}": torch.as_tensor(v).contiguous() for k, v in state.items()}
    save_tensors(
        folder / CHECKPOINT,
        tensors,
        {"config": _key(config), "step": step, "minutes": minutes, "curve": curve},
    )


def _resume(
    folder: Path, config: Any, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, float, list[dict[str, Any]]]:
    """Load the checkpoint into model and optimiser, if there is one; (steps done, minutes so far, curve so
    far).

    Raises AdapterError when it belongs to another recipe, is damaged, or holds what is not of this model.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return 0, 0.0, []
    tensors, note = load_tensors(path)
    if note.get("config") != _key(config):
        raise AdapterError(
            f"{path} belongs to another recipe: {note.get('config')}; choose another folder or remove the"
            " file"
        )
    step, minutes, curve = (note.get(name) for name in ("step", "minutes", "curve"))
    if (
        not isinstance(step, int)
        or step < 0
        or not isinstance(minutes, int | float)
        or not isinstance(curve, list)
    ):
        raise AdapterError(
            f"{path}: step {step!r}, minutes {minutes!r} are no counts of a run; choose another folder or"
            " remove the file"
        )
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    check_state(model.state_dict(), weights)
    model.load_state_dict(weights)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if match := re.fullmatch(r"optimizer\.(\d+)\.(\w+)", name):
            state.setdefault(int(match[1]), {})[match[2]] = value
        elif not name.startswith("model."):
            raise AdapterError(
                f"{path}: the tensor {name!r} is of no pre-training; choose another folder or remove the file"
            )
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return step, float(minutes), curve


def run_steps(
    config: Any,
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    loss_of: Callable[[int], Tensor],
    measure: Callable[[int, bool], tuple[dict[str, Any], dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Train step by step, from `folder`'s checkpoint if there is one of the same recipe, and return the
    curve.

    Each point of the curve also goes as a line to stderr and to `folder`/curve.jsonl.

    Args:
        config: the recipe, a dataclass: seed, clip (of the gradient's norm), lr and learning_rate(step),
            eval_steps, checkpoint_steps.
        loss_of: step → the loss to go down on; torch's generator is seeded for the step before.
        measure: (step, last) → what was seen so far, and how good the model is on validation data; called
            every `eval_steps` steps.

    Raises AdapterError when the checkpoint belongs to another recipe, on a non-finite loss (the last
    checkpoint stays), or when another process trains in the folder.
    """
    with TrainingLock(folder):
        start, minutes, curve = _resume(folder, config, model, optimizer)
        # What a killed process had noted beyond its checkpoint comes again.
        lines = "".join(json.dumps(point) + "\n" for point in curve)
        atomic_write(folder / "curve.jsonl", lambda partial: partial.write_text(lines, encoding="utf-8"))
        clock, losses = time.perf_counter() - 60 * minutes, []
        for step in range(start, steps):
            torch.manual_seed(config.seed * 1_000_003 + step)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate(step)
            loss = loss_of(step)
            if not torch.isfinite(loss):
                raise AdapterError(
                    f"step {step}: the loss is {loss.item()}; the last checkpoint in {folder} is kept; lower"
                    f" lr ({config.lr})"
                )
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
            last = step + 1 == steps
            if (step + 1) % config.eval_steps == 0 or last:
                seen, quality = measure(step, last)
                spent = {
                    "minutes": round((time.perf_counter() - clock) / 60, 2),
                    "loss": round(sum(losses) / len(losses), 4),
                }
                curve.append({"step": step + 1, **seen, **spent, **quality})
                losses.clear()
                with (folder / "curve.jsonl").open("a") as log:
                    log.write(json.dumps(curve[-1]) + "\n")
                print(json.dumps(curve[-1]), file=sys.stderr, flush=True)
            if (step + 1) % config.checkpoint_steps == 0 and not last:
                _store(folder, config, model, optimizer, step + 1, (time.perf_counter() - clock) / 60, curve)
        return curve
