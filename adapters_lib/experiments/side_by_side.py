"""Work off a queue of runs, several at a time: on the cores of a CPU, or many on one GPU."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from ..backbones.create import create_backbone
from ..datasets.load import DATA_SETS
from ..errors import AdapterError
from ..vit.modes import device_name
from .grids import GRIDS
from .plan import Job, Pace, jobs_of, ordered, select
from .run import (
    Experiment,
    arrange_rows,
    load_task,
    read_table,
    run_missing,
    store_row,
    work_folder,
)
from .table import read_rows

__all__ = ["copy_shared_runs", "draw_ahead", "queue_of", "run_jobs", "run_on_gpu"]

AHEAD = 4
"""Images are drawn ahead for so many runs a process: a short session gets no further."""


def queue_of(
    names: Sequence[str],
    folder: Path,
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    order: str = "wanted",
) -> list[Job]:
    """What is left of these tables, in order; rows that another table holds are copied first.

    Runs whose photographs or weights are not here are left out, and a line says what to do.

    Raises AdapterError: an unknown table or order, a pattern that matches nothing, or nothing can be run for
    want of files.
    """
    jobs = [job for name in names for job in jobs_of(name, folder)]
    copy_shared_runs(names, folder)
    jobs = [job for name in names for job in jobs_of(name, folder)] if jobs else []
    left = [job for job in select(jobs, only, seeds) if not job.done]
    return ordered(_possible(left), order, Pace(folder))


def _possible(jobs: list[Job]) -> list[Job]:
    """The jobs whose files are here."""
    wanting = list(dict.fromkeys(job.lacks for job in jobs if job.lacks))
    possible = [job for job in jobs if not job.lacks]
    if wanting and not possible:
        raise AdapterError(f"none of the {len(jobs)} runs can be made. {' '.join(wanting)}")
    for why in wanting:
        lacking = [job for job in jobs if job.lacks == why]
        tables = ", ".join(dict.fromkeys(job.table for job in lacking))
        print(f"left out {len(lacking)} runs of {tables}. {why}")
    return possible


def run_jobs(
    queue: Sequence[Job],
    folder: Path,
    *,
    jobs: int = 1,
    work: Path | None = None,
    deadline: float | None = None,
) -> None:
    """Run a queue in its order, `jobs` side by side, then copy rows to the other tables that ask for them and
    put all in order.

    Raises AdapterError: after all others have run, for the runs that failed.
    """
    work = (work or work_folder()).resolve()
    missing = [(job.title, (job, work, deadline)) for job in queue]
    try:
        run_missing(_run_job, missing, folder, jobs=jobs, deadline=deadline)
    finally:
        touched = {job.table for job in queue} & set(GRIDS)
        copy_shared_runs(
            [name for name in GRIDS if name in touched or (folder / f"{name}.csv").exists()], folder
        )
        for name in touched:
            arrange_rows([run.key for run in GRIDS[name]()], folder / f"{name}.csv")


def _run_job(job: Job, work: Path, deadline: float | None) -> None:
    job.call(*job.arguments, work, deadline)


def copy_shared_runs(names: Sequence[str], folder: Path) -> None:
    """Copy runs that another grid's table holds already: the same key is the same run."""
    # As text, so that every digit goes along.
    tables = {name: read_rows(folder / f"{name}.csv")[1] for name in GRIDS}
    for name in (name for name in names if name in GRIDS):
        wanted = {run.key for run in GRIDS[name]()} - {row["key"] for row in tables[name]}
        for other, rows in tables.items():
            for row in (row for row in rows if other != name and row["key"] in wanted):
                wanted.discard(row["key"])
                store_row(dict(row), folder / f"{name}.csv")


def run_on_gpu(
    queue: Sequence[Job], folder: Path, *, minutes: float, processes: int, work: Path | None = None
) -> str:
    """Run the most wanted runs on one GPU, many side by side, for some minutes; what does not finish goes on
    another time.

    A run of the small backbone fills a fraction of a GPU, so runs share it. First the images are drawn, on
    all cores. Where there is no GPU the runs go to the CPU; rows say the device. Returns what was done, in
    words.

    Raises AdapterError: after all others have run, for the runs that failed.
    """
    if minutes <= 0 or processes < 1:
        raise AdapterError(
            f"minutes={minutes}, processes={processes}; give a time above 0 and at least 1 process"
        )
    started = time.time()
    deadline, before = started + 60 * minutes, _rows(queue, folder)
    draw_ahead(queue[: AHEAD * processes], work=work, jobs=processes, deadline=deadline)
    drawn = time.time() - started
    try:
        run_jobs(queue, folder, jobs=processes, work=work, deadline=deadline)
    finally:
        done, spent = _rows(queue, folder) - before, time.time() - started
        report = (
            f"{done} of {len(queue)} runs in {spent / 60:.1f} minutes on"
            f" {device_name(PartialState().device)}, {processes} side by side:"
            f" {3600 * done / max(spent - drawn, 1e-9):.0f} an hour; {drawn / 60:.1f} minutes to draw the"
            " images"
        )
    return report


def _rows(queue: Sequence[Job], folder: Path) -> int:
    """How many runs of the queue have a row."""
    known = {
        name: set(read_table(folder / f"{name}.csv").get("key", ())) for name in {job.table for job in queue}
    }
    return sum(job.key in known[job.table] for job in queue)


def draw_ahead(
    queue: Sequence[Job], *, work: Path | None = None, jobs: int = 1, deadline: float | None = None
) -> None:
    """Draw the images of these runs, each set once, on several cores, so that no run waits for them."""
    runs = [job.arguments[0] for job in queue if isinstance(job.arguments[0], Experiment)]
    runs = [run for run in runs if not DATA_SETS[run.data].files]  # the others lie there already
    sets = {json.dumps([run.data, run.seed, run.data_options], sort_keys=True): run for run in runs}
    folder = (work or work_folder()).resolve()
    missing = [(f"images of {run.data}, seed {run.seed}", (run, folder)) for run in sets.values()]
    run_missing(_draw, missing, folder, jobs=jobs, progress=False, deadline=deadline)


def _draw(run: Experiment, work: Path) -> None:
    load_task(run, create_backbone(run.backbone, pretrained=False, image_size=run.image_size), work)
