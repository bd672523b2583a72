"""Run the grids behind the workbook's tables: `python -m adapters_lib.experiments.run_grids` runs what is
missing, one CSV a grid in `data/results/`.

    python -m adapters_lib.experiments.run_grids --list              done, left, hours; runs nothing
    python -m adapters_lib.experiments.run_grids --limit-minutes 60  the most wanted, an hour
    python -m adapters_lib.experiments.run_grids methods --only 'ila*' adpt/0 --seeds 0 1
    python -m adapters_lib.experiments.run_grids gpu --minutes 10    on one GPU, side by side

What the grids ask for stands in `grids`. No run is done twice: a row that another grid's table holds is
copied, and a run that is interrupted goes on from the end of its last epoch (its checkpoint lies in
`runs/cache`, as do the drawn images).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .. import __version__
from ..cores import available_cores, use_cores
from ..errors import AdapterError
from ..text import printable
from .grids import (
    COMBINATIONS,
    GRIDS,
    ILA_VARIANTS,
    MAIN_METHODS,
    PADAPTER_VARIANTS,
    PHOTOGRAPHS,
    VIDEO_VARIANTS,
)
from .needs import inside, insides
from .plan import ORDER, ORDERS, Pace, jobs_of, ordered, select
from .run import Experiment, arrange_rows, read_table
from .side_by_side import borrow, queue_of, run_jobs, run_on_gpu
from .versions import budgets_of, one_budget, versions_of

__all__ = [
    "COMBINATIONS",
    "FOLDER",
    "GRIDS",
    "ILA_VARIANTS",
    "MAIN_METHODS",
    "PADAPTER_VARIANTS",
    "VIDEO_VARIANTS",
    "main",
    "results",
    "stored",
]

FOLDER = Path("data/results")

ON_GPU = ("methods", "real", "real_images")
"""What the GPU's command runs unless told otherwise; `real_224` is worth an hour of one."""


def results(
    name: str,
    folder: str | Path = FOLDER,
    *,
    jobs: int = 1,
    seeds: Sequence[int] | None = None,
    work: Path | None = None,
) -> pd.DataFrame:
    """Run what the grid's table lacks and return its rows; in the end the table is in the order of the grid.

    name: a key of `GRIDS`. jobs: runs side by side. seeds: only these, default all. work: see
    `experiments.run_experiment`, default `experiments.work_folder()`.

    Raises AdapterError for an unknown grid, no seed of the grid, or, after all others, the runs that failed.
    """
    folder = Path(folder)
    borrow([name], folder)
    declared = jobs_of(name, folder)
    runs = select(declared, seeds=seeds)
    if not runs:
        known = sorted({run.seed for run in declared})
        raise AdapterError(f"grid {name}: no run with seeds {tuple(seeds or ())}; choose among {known}")
    left = [run for run in runs if not run.done]
    if wanting := list(dict.fromkeys(run.lacks for run in left if run.lacks)):
        raise AdapterError(f"grid {name}: {' '.join(wanting)}")
    if not left and name in PHOTOGRAPHS:  # keys hold digests of files that need not be here
        rows = stored(name, folder)
        return rows[rows["seed"].isin([run.seed for run in runs])].reset_index(drop=True)
    run_jobs(left, folder, jobs=jobs, work=work)
    rows = read_table(folder / f"{name}.csv").set_index("key")
    return rows.loc[[run.key for run in runs]].reset_index()


def stored(name: str, folder: str | Path = FOLDER) -> pd.DataFrame:
    """The rows of a grid's table that belong together: what the grid asks for, or, until that has caught up,
    those of an older budget.

    Rows of other versions of the code stay in, for methods without newer ones (see `versions.one_version`).
    An empty table if there is no file.
    """
    rows = read_table(Path(folder) / f"{name}.csv")
    if rows.empty or name not in GRIDS or name == "learning_curve":
        return rows
    if name == "real_images":  # of several budgets on purpose
        return _of_photographs(rows, GRIDS[name]())
    shown, runs = one_budget(rows, [column for column in ("data", "method") if column in rows]), GRIDS[name]()
    if name in PHOTOGRAPHS:
        return _of_photographs(shown, runs)
    older = ~budgets_of(shown).isin(_budgets(runs)) | (versions_of(shown) != __version__)
    return shown[older | shown["key"].isin({run.key for run in runs})]


def _of_photographs(rows: pd.DataFrame, runs: Sequence[Experiment]) -> pd.DataFrame:
    """The rows that the grid asks for, whether or not the photographs and weights are here; of several files
    of weights, those of the one with most rows."""
    asked = {inside(run.configuration()) for run in runs}
    older = versions_of(rows) != __version__
    rows = rows[older | pd.Series(insides(rows["configuration"]), index=rows.index).isin(asked)]
    if "weights" not in rows or rows["weights"].nunique() < 2:
        return rows
    return rows[rows["weights"] == rows["weights"].value_counts().index[0]]


def _budgets(runs: Sequence[Experiment]) -> set[str]:
    return set(budgets_of(pd.DataFrame({"configuration": [json.dumps(run.configuration()) for run in runs]})))


def _report(
    names: Sequence[str], folder: Path, only: Sequence[str], seeds: Sequence[int] | None, jobs: int
) -> None:
    """What is done and what is left of every table, and in all."""
    pace, runs = Pace(folder), {name: jobs_of(name, folder) for name in names}
    left = [job for job in select([job for name in names for job in runs[name]], only, seeds) if not job.done]
    for name in names:
        path, done = folder / f"{name}.csv", sum(job.done for job in runs[name])
        mine = [job for job in left if job.table == name]
        line = f"{name}: {done} of {len(runs[name])} runs in {path}"
        if mine:
            line += f"; left {_hours(sum(map(pace.seconds, mine)))} on one core, next {mine[0].title}"
        if name in GRIDS and (others := len(read_table(path)) - done):
            line += f"; {others} rows that it no longer asks for"
        print(line)
        for why in dict.fromkeys(job.lacks for job in runs[name] if job.lacks):
            print(f"    to run it: {why}")
    queue = ordered(left, "wanted", pace)
    total = sum(map(pace.seconds, queue))
    print(
        f"in all {len(queue)} runs left, each counted once: about {_hours(total)} on one core,"
        f" {_hours(total / jobs)} on {jobs}"
    )


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


@printable()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grids of the workbook, the most wanted runs first, skipping what their tables hold; safe to
    interrupt and to start again."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    use_cores()
    try:
        return _gpu(arguments[1:]) if arguments[:1] == ["gpu"] else _run(_parser().parse_args(arguments))
    except AdapterError as error:
        print(error, file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    names = options.grids or list(ORDER)
    jobs = available_cores() if options.jobs < 1 else options.jobs
    if options.prune:
        for name in names:
            print(
                f"{name}: {_prune(name, options.folder)} rows dropped from {options.folder / f'{name}.csv'}"
            )
    elif options.list:
        _report(names, options.folder, options.only, options.seeds, jobs)
    else:
        queue = queue_of(names, options.folder, options.only, options.seeds, options.order)
        deadline = None if options.limit_minutes is None else time.time() + 60 * options.limit_minutes
        run_jobs(queue, options.folder, jobs=jobs, deadline=deadline)
    return 0


def _gpu(arguments: Sequence[str]) -> int:
    found = argparse.ArgumentParser(
        prog="python -m adapters_lib.experiments.run_grids gpu", description=run_on_gpu.__doc__
    )
    found.add_argument("grids", nargs="*", default=list(ON_GPU), help=f"default {' '.join(ON_GPU)}")
    _add_selection(found)
    found.add_argument(
        "--minutes", type=float, default=10, help="in all, drawing the images included (default 10)"
    )
    found.add_argument(
        "--processes", type=int, default=-1, help="runs side by side on the GPU; -1: one a core"
    )
    options = found.parse_args(arguments)
    processes = available_cores() if options.processes < 1 else options.processes
    queue = queue_of(options.grids, options.folder, options.only, options.seeds, options.order)
    print(run_on_gpu(queue, options.folder, minutes=options.minutes, processes=processes))
    return 0


def _prune(name: str, folder: Path) -> int:
    """Drop the grid's rows that it no longer asks for; those of another budget stay, they may be shown
    beside the new ones."""
    if name not in GRIDS:
        raise AdapterError(f"{name}: only tables of grids can be pruned; choose among {', '.join(GRIDS)}")
    runs, path = GRIDS[name](), folder / f"{name}.csv"
    rows = read_table(path)
    if rows.empty:
        return 0
    keep = [run.key for run in runs] + rows.loc[~budgets_of(rows).isin(_budgets(runs)), "key"].to_list()
    return arrange_rows(keep, path, drop=True)


def _parser() -> argparse.ArgumentParser:
    """The options of the command."""
    found = argparse.ArgumentParser(
        prog="python -m adapters_lib.experiments.run_grids", description=main.__doc__
    )
    found.add_argument(
        "grids", nargs="*", help=f"some of: {' '.join(ORDER)}; default all; or gpu, see gpu --help"
    )
    _add_selection(found)
    found.add_argument(
        "--jobs", type=int, default=-1, help="runs side by side, each on one thread; -1: one a core"
    )
    found.add_argument(
        "--limit-minutes",
        type=float,
        metavar="M",
        help="start no run after so long; those that run stop after an epoch",
    )
    found.add_argument(
        "--list", action="store_true", help="say what is done and left and how long it takes, and run nothing"
    )
    found.add_argument(
        "--prune", action="store_true", help="drop rows that the grid no longer asks for, and run nothing"
    )
    return found


def _add_selection(found: argparse.ArgumentParser) -> None:
    """Options that choose and order runs."""
    found.add_argument("--folder", type=Path, default=FOLDER, help="where the tables are")
    found.add_argument(
        "--seeds", type=int, nargs="+", help="only these seeds, e.g. --seeds 0 for a quick look"
    )
    found.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="only methods (settings) like ila*, or */3, METHOD/SEED",
    )
    found.add_argument(
        "--order",
        default="wanted",
        help=f"one of {', '.join(ORDERS)}: table by table, seed by seed, or short runs first",
    )


if __name__ == "__main__":
    sys.exit(main())
