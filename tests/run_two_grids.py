"""Run by test_experiments_side_by_side.py: two grids that write one table at the same time, and a grid
that is killed while it writes."""

import os
import signal
import sys
import time
from pathlib import Path

import torch

from adapters_lib.experiments import run as experiments
from adapters_lib.experiments.run import Experiment, grid, run_grid


def pretend(experiment: Experiment, progress: bool = False) -> dict:
    """A row as long as a real one, without the training."""
    time.sleep(0.002)
    return {
        "key": experiment.key,
        "method": experiment.name,
        "seed": experiment.seed,
        "top1": float(experiment.seed),
        "hits": "0" * 400,
    }


def halves() -> tuple[list[Experiment], list[Experiment]]:
    """Two grids of 20 runs; four of them are in both."""
    return grid(["linear", "lora"], "digits", range(10)), grid(["linear", "lora"], "digits", range(8, 18))


def wait_for(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    experiments.run_experiment = pretend
    children = []
    for runs in halves():
        if (child := os.fork()) == 0:
            run_grid(runs, folder / "shared.csv", progress=False)
            os._exit(0)
        children.append(child)
    print("grids:", *map(wait_for, children), flush=True)

    if (child := os.fork()) == 0:
        replace, stored = os.replace, []

        def die_at_the_fourth(source: Path, target: Path) -> None:
            stored.append(source)
            # The lock is held, the new content is half written, the old table is still in its place.
            if len(stored) == 4:
                os.truncate(source, 100)
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = die_at_the_fourth
        run_grid(halves()[0], folder / "killed.csv", progress=False)
        os._exit(0)
    print("killed:", wait_for(child), flush=True)
