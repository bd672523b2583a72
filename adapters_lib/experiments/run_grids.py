"""The grids behind the workbook's tables: `python -m adapters_lib results run` runs what is missing,
one CSV a grid in `data/results/`.

    python -m adapters_lib results list                    done, left, hours; runs nothing
    python -m adapters_lib results run --limit-minutes 60  the most wanted, an hour
    python -m adapters_lib results run methods --only 'ila*' adpt/0 --seeds 0 1
    python -m adapters_lib results gpu --minutes 10        on one GPU, side by side

What the grids ask for stands in `grids`. No run is done twice: a row that another grid's table holds is
copied, and a run that is interrupted goes on from the end of its last epoch (its checkpoint lies in
`runs/cache`, as do the drawn images).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .. import __version__
from ..errors import AdapterError
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
from .plan import Pace, jobs_of, ordered, select
from .run import Experiment, arrange_rows, read_table
from .side_by_side import copy_shared_runs, run_jobs
from .versions import budgets_of, one_budget, versions_of

__all__ = [
    "COMBINATIONS",
    "FOLDER",
    "GRIDS",
    "ILA_VARIANTS",
    "MAIN_METHODS",
    "PADAPTER_VARIANTS",
    "VIDEO_VARIANTS",
    "prune",
    "remaining",
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
    copy_shared_runs([name], folder)
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


def remaining(
    names: Sequence[str],
    folder: str | Path = FOLDER,
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
) -> dict[str, Any]:
    """What is done and what is left of these tables, and in all; runs nothing.

    Returns {"tables": [{"table", "path", "done", "runs", "left", "seconds", "next", "unasked"}], "left",
    "seconds"}. left: runs among `only` and `seeds`; in all each is counted once, although several tables ask
    for it. seconds: about how long they take on one core. next: the first of them in words, or None. unasked:
    rows of a grid that it no longer asks for.

    Raises AdapterError: an unknown table, or a pattern that matches nothing.
    """
    folder = Path(folder)
    pace, runs = Pace(folder), {name: jobs_of(name, folder) for name in names}
    left = [job for job in select([job for name in names for job in runs[name]], only, seeds) if not job.done]
    tables = []
    for name in names:
        path, done = folder / f"{name}.csv", sum(job.done for job in runs[name])
        mine = [job for job in left if job.table == name]
        tables.append(
            {
                "table": name,
                "path": str(path),
                "done": done,
                "runs": len(runs[name]),
                "left": len(mine),
                "seconds": sum(map(pace.seconds, mine)),
                "next": mine[0].title if mine else None,
                "lacking": list(dict.fromkeys(job.lacks for job in runs[name] if job.lacks)),
                "unasked": len(read_table(path)) - done if name in GRIDS else 0,
            }
        )
    queue = ordered(left, "wanted", pace)
    return {"tables": tables, "left": len(queue), "seconds": sum(map(pace.seconds, queue))}


def prune(name: str, folder: str | Path = FOLDER) -> int:
    """Drop the grid's rows that it no longer asks for; those of another budget stay, they may be shown
    beside the new ones. Returns how many were dropped.

    Raises AdapterError: `name` is no grid.
    """
    if name not in GRIDS:
        raise AdapterError(f"{name}: only tables of grids can be pruned; choose among {', '.join(GRIDS)}")
    runs, path = GRIDS[name](), Path(folder) / f"{name}.csv"
    rows = read_table(path)
    if rows.empty:
        return 0
    keep = [run.key for run in runs] + rows.loc[~budgets_of(rows).isin(_budgets(runs)), "key"].to_list()
    return arrange_rows(keep, path, drop=True)
