"""`make kill`: processes that train, fill a table, pre-train or cache are killed (SIGKILL), at random and at
their worst moments, and go on.

    python tests/kill_campaign.py --kills 100 --seed 0

Every victim is started again until it has finished. What it leaves must be what a victim that nobody killed
leaves: the same weights, bit for
bit; every row of the table, once and unchanged; every entry of the cache readable and right. A line a
scenario is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from run_and_be_killed import METHOD
from tiny_training import striped_images, tiny_model
from torch import nn

from adapters_lib.datasets.labelled import TensorImages
from adapters_lib.datasets.video.cache import ClipCache
from adapters_lib.experiments import run as experiments
from adapters_lib.experiments.run import grid, read_table, run_grid
from adapters_lib.pretraining.steps import run_steps, set_up
from adapters_lib.saving import tensors as checkpoint
from adapters_lib.saving.tensors import load_tensors
from adapters_lib.training.fit import fit
from adapters_lib.training.recipe import Recipe

POINTS = ("replace", "replaced", "fsync", "half a save", "work")
"""Where a victim dies: before or after a file takes its place, while it goes to the disk, when half of it
is written, or at its work."""

MOST = 8  # kills of one victim; a longer life would only be slower


@dataclass
class Plan:
    """Die at the `count`-th visit of `point`, or `after` seconds if that is given."""

    point: str
    count: int
    after: float | None = None


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Victim:
    """Lays the plan's trap in the functions that it is to die in. Only ever used in a process of its own."""

    def __init__(self, plan: Plan | None) -> None:
        self.plan, self.visits = plan, 0
        replace, fsync, save = os.replace, os.fsync, checkpoint.save_file

        def watched_replace(source: object, target: object) -> None:
            self.visit("replace")
            replace(source, target)  # type: ignore[arg-type]
            self.visit("replaced")

        def watched_fsync(handle: int) -> None:
            self.visit("fsync")
            fsync(handle)

        def watched_save(tensors: dict, path: Path, metadata: dict) -> None:
            save(tensors, path, metadata)
            self.visit("half a save", lambda: os.truncate(path, path.stat().st_size // 2))

        os.replace, os.fsync, checkpoint.save_file = watched_replace, watched_fsync, watched_save  # type: ignore[assignment]

    def visit(self, point: str, before: Callable[[], object] = lambda: None) -> None:
        if self.plan is None or self.plan.after is not None or self.plan.point != point:
            return
        self.visits += 1
        if self.visits == self.plan.count:
            before()
            die()


# ---- the scenarios: work(folder, victim) does it all, found(folder) tells what it left -----------

RECIPE = Recipe(
    epochs=4, batch_size=8, lr=1e-2, warmup_epochs=1, accumulate=2, mixup=0.4, clip_norm=1.0, seed=3
)


class Watched(TensorImages):
    """Augmentation by torch's global generator, and a visit at every batch."""

    deterministic = False  # type: ignore[assignment]
    victim: Victim

    def __getitems__(self, indices):
        self.victim.visit("work")
        images, labels = super().__getitems__(indices)
        return images + 0.1 * torch.randn_like(images), labels


def train(folder: Path, victim: Victim) -> None:
    images = striped_images(44)
    data = Watched(images.images, images.labels, [0.5] * 3, [0.5] * 3)
    Watched.victim = victim
    fit(tiny_model(METHOD), data, striped_images(12, seed=1), RECIPE, out=folder / "run", progress=False)


def trained(folder: Path) -> object:
    """Weights and history in the checkpoint, and the weights of the adapter beside it."""
    tensors, facts = load_tensors(folder / "run" / "checkpoint.safetensors")
    adapter, _ = load_tensors(folder / "run" / "adapter_model.safetensors")
    history = [
        {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")}
        for row in facts["history"]
    ]
    litter = sorted(path.name for path in (folder / "run").iterdir() if path.name.endswith(".tmp"))
    return (
        digest(tensors),
        digest({k: v for k, v in adapter.items() if not k.startswith("trained_on")}),
        repr(history),
        litter,
    )


def fill_table(folder: Path, victim: Victim) -> None:
    def pretend(run: experiments.Experiment, progress: bool = False) -> dict:
        victim.visit("work")
        time.sleep(0.01)
        return {
            "key": run.key,
            "method": run.name,
            "seed": run.seed,
            "macs": 410_712_345 + run.seed,
            "loss": run.seed / 7,
        }

    experiments.run_experiment = pretend
    run_grid(grid(["linear", "lora"], "digits", range(6)), folder / "t.csv", progress=False)


def filled(folder: Path) -> object:
    return (folder / "t.csv").read_text(), len(read_table(folder / "t.csv"))


@dataclass
class Steps:
    """A pre-training recipe of ten steps."""

    seed: int = 0
    device: str = "cpu"
    optimizer: str = "adamw"
    lr: float = 1e-2
    weight_decay: float = 0.01
    clip: float = 1.0
    eval_steps: int = 3
    checkpoint_steps: int = 2
    shape: tuple[int, ...] = field(default=(8, 4))

    def learning_rate(self, step: int) -> float:
        return self.lr / (1 + step)


def pretrain(folder: Path, victim: Victim) -> None:
    place, _, model, optimizer = set_up(Steps(), folder / "pre", lambda: nn.Linear(*Steps().shape))

    def loss_of(step: int) -> torch.Tensor:
        victim.visit("work")
        time.sleep(0.01)
        return model(torch.randn(16, 8)).square().mean()

    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    curve = run_steps(Steps(), place, model, optimizer, 10, loss_of, lambda step, last: ({"seen": step}, {}))
    checkpoint.save_tensors(
        place / "end.safetensors", model.state_dict(), {"curve": [point["step"] for point in curve]}
    )


def pretrained(folder: Path) -> object:
    tensors, facts = load_tensors(folder / "pre" / "end.safetensors")
    lines = (folder / "pre" / "curve.jsonl").read_text().count("\n")
    return digest(tensors), facts["curve"], lines


ENTRIES = 24


def entry(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)


def cache(folder: Path, victim: Victim) -> None:
    # Room for most of them, so that some are dropped on the way.
    kept = ClipCache(folder / "cache", 20 * 3200)
    for number in range(ENTRIES):
        victim.visit("work")
        time.sleep(0.004)
        kept.get(("entry", number), lambda number=number: entry(number))


def cached(folder: Path) -> object:
    kept = ClipCache(folder / "cache", 20 * 3200)
    right = all(
        np.array_equal(kept.get(("entry", n), lambda n=n: entry(n)), entry(n)) for n in range(ENTRIES)
    )
    return right, kept.size <= kept.limit


@dataclass(frozen=True)
class Scenario:
    """share: of all kills. visits: how often each point is passed, about, in a life that nobody ends."""

    work: Callable[[Path, Victim], None]
    looked_at: Callable[[Path], object]
    share: float
    visits: int


SCENARIOS = {
    "fit": Scenario(train, trained, 0.4, 24),
    "grid": Scenario(fill_table, filled, 0.3, 12),
    "pre-training": Scenario(pretrain, pretrained, 0.15, 8),
    "image cache": Scenario(cache, cached, 0.15, 20),
}


def digest(tensors: dict[str, torch.Tensor]) -> str:
    content = hashlib.sha256()
    for name in sorted(tensors):
        content.update(
            name.encode() + tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return content.hexdigest()


# ---- the campaign --------------------------------------------------------------------------------


def life(scenario: Scenario, folder: Path, plan: Plan | None) -> int:
    """Exit code of one process: 0, or -9 if it died as planned."""
    if (child := os.fork()) == 0:
        try:
            scenario.work(folder, Victim(plan))
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.__stderr__, flush=True)
            os._exit(1)
        os._exit(0)
    if plan is not None and plan.after is not None:
        time.sleep(plan.after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def campaign(name: str, kills: int, dice: random.Random) -> tuple[int, int, int]:
    """Victims of one scenario until `kills` have died: (kills, victims, victims whose result differs from
    the undisturbed one)."""
    scenario, done, victims, differ = SCENARIOS[name], 0, 0, 0
    with tempfile.TemporaryDirectory() as undisturbed:
        started = time.perf_counter()
        assert life(scenario, Path(undisturbed), None) == 0, f"{name} fails without a kill"
        lasted = time.perf_counter() - started
        wanted = scenario.looked_at(Path(undisturbed))
    while done < kills:
        victims += 1
        with tempfile.TemporaryDirectory() as place:
            folder, deaths = Path(place), 0
            while True:
                plan = None
                if deaths < min(MOST, kills - done):
                    plan = Plan(dice.choice(POINTS), dice.randint(1, scenario.visits))
                    plan.after = dice.uniform(0, lasted) if dice.random() < 0.4 else None
                code = life(scenario, folder, plan)
                if code != -signal.SIGKILL:
                    break
                deaths += 1
            done += deaths
            differ += code != 0 or scenario.looked_at(folder) != wanted
    return done, victims, differ


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    total, wrong = 0, 0
    print(f"{'scenario':14}{'kills':>7}{'victims':>9}{'differ':>8}")
    for name in options.only:
        share = SCENARIOS[name].share / sum(SCENARIOS[each].share for each in options.only)
        kills, victims, differ = campaign(
            name, max(1, round(share * options.kills)), random.Random(f"{name}{options.seed}")
        )
        print(f"{name:14}{kills:7}{victims:9}{differ:8}", flush=True)
        total, wrong = total + kills, wrong + differ
    print(f"{'all':14}{total:7}{'':9}{wrong:8}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
