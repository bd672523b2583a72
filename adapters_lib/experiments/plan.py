"""All grids and studies as one queue of runs: what is done, what is left and about how long it takes, the
most wanted first."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import AdapterError, unknown
from ..training.offline_recipes import REAL_SIZE, offline_recipe
from .exit_study import run_study
from .grids import GRIDS, PHOTOGRAPHS, STUDIES, Study
from .needs import inside, insides, lacking
from .run import Experiment, read_table, run_and_store, title

__all__ = ["ORDER", "ORDERS", "Job", "Pace", "jobs_of", "ordered", "select"]

ORDER = (
    "learning_curve",
    "methods",
    "exits",
    *(name for name in GRIDS if name not in ("learning_curve", "methods")),
    "video_exits",
)
"""Names of all tables, the most wanted first."""

ORDERS = ("wanted", "seeds", "short")
"""How to order the queue: as the grids are, table by table; all tables' first seeds first; the shortest
runs first."""

STEP = 0.1
"""Seconds an update of 4 images takes on one thread where no stored run of the method tells."""

REAL_STEP = 1.2
"""The same for a ViT-B at 112 pixels in float32; it grows with the number of pixels."""

CLASSES = {"motion-leaves": 16, "elpv": 4, "apples": 30}
"""Of data sets with other than 20."""

ALL_CELLS = 364
"""A class, on average, where all that are not held out are trained on."""


@dataclass(frozen=True)
class Job:
    """One run of a table. call, arguments: how to run it, without `work` and `deadline`. updates: about
    how many it makes. data: with the size of images where that is not the backbone's. lacks: what has to be
    fetched first, see `needs.lacking`."""

    table: str
    title: str
    method: str
    seed: int
    data: str
    updates: int
    done: bool
    call: Callable[..., object]
    arguments: tuple[Any, ...]
    key: str = ""
    lacks: str = ""


def jobs_of(name: str, folder: Path) -> list[Job]:
    """The runs of a grid or study, the most wanted first.

    Raises AdapterError: no such table.
    """
    if name in STUDIES:
        return _study_jobs(name, STUDIES[name], folder)
    if name not in GRIDS:
        raise unknown("grid", name, [*GRIDS, *STUDIES])
    path = folder / f"{name}.csv"
    rows = read_table(path)
    known, runs = set(rows.get("key", ())), GRIDS[name]()
    if name not in PHOTOGRAPHS:
        return [_grid_job(name, run, path, run.key in known) for run in runs]
    lacks = {pair: lacking(*pair) for pair in {(run.data, run.backbone) for run in runs}}
    stored = set(insides(rows.get("configuration", ())))
    jobs = []
    for run in runs:
        why = lacks[run.data, run.backbone]
        # Without the files nobody knows their digests, which are part of the key.
        done = run.key in known or bool(why and inside(run.configuration()) in stored)
        jobs.append(_grid_job(name, run, path, done, why))
    return jobs


def _grid_job(name: str, run: Experiment, path: Path, done: bool, lacks: str = "") -> Job:
    return Job(
        name,
        title(run),
        run.name,
        run.seed,
        _data_at(run.data, run.image_size),
        _updates(run),
        done,
        run_grid_job,
        (run, path),
        run.key,
        lacks,
    )


def _data_at(data: str, image_size: int | None) -> str:
    return data if image_size is None else f"{data} at {image_size} px"


def _study_jobs(name: str, study: Study, folder: Path) -> list[Job]:
    """A setting and seed is done when the rows of all its points are there."""
    path, options = folder / f"{name}.csv", study.options()
    stored = run_study(
        path,
        settings=study.settings,
        seeds=sorted({seed for _, seed in study.runs()}),
        stored=True,
        **options,
    )
    rows = stored.groupby(["setting", "seed"]).size().to_dict() if len(stored) else {}
    recipe = offline_recipe(study.host, data=study.data, exits=True)
    run = Experiment((study.host,), study.data, data_options=options["data_options"], recipe=recipe)
    jobs = []
    for setting, seed in study.runs():
        done = rows.get((setting, seed), 0) >= (1 if setting == "host" else 3)
        about = f"{setting} ({study.host}) on {study.data}, seed {seed}"
        jobs.append(
            Job(
                name,
                about,
                setting,
                seed,
                study.data,
                _updates(run),
                done,
                run_study_job,
                (path, setting, seed, options),
            )
        )
    return jobs


def run_grid_job(run: Experiment, table: Path, work: Path, deadline: float | None) -> None:
    """One run of a grid, for a worker process."""
    run_and_store(run, table, work=work, deadline=deadline)


def run_study_job(
    table: Path, setting: str, seed: int, options: Mapping[str, Any], work: Path, deadline: float | None
) -> None:
    """One setting of a study and one seed, for a worker process; the logits of seed 0 are kept for
    figures."""
    how: dict[str, Any] = {"jobs": 1, "progress": False, "keep": 0, "work": work, "deadline": deadline}
    run_study(table, settings=[setting], seeds=[seed], **options, **how)


def select(jobs: Iterable[Job], only: Sequence[str] = (), seeds: Sequence[int] | None = None) -> list[Job]:
    """Those whose method (of a study: setting) matches a pattern such as "ila*" or "*/3", method/seed, and
    whose seed is asked for.

    Raises AdapterError: a pattern that matches none of the jobs.
    """
    jobs = list(jobs)
    for pattern in only:
        if not any(_matches(job, pattern) for job in jobs):
            known = ", ".join(sorted({job.method for job in jobs})[:8])
            rule = "give METHOD, METHOD/SEED or a pattern, such as 'ila*' or '*/0'"
            raise AdapterError(f"no run matches --only {pattern!r}; {rule}: {known}, …")
    chosen = [job for job in jobs if not only or any(_matches(job, pattern) for pattern in only)]
    return [job for job in chosen if seeds is None or job.seed in seeds]


def _matches(job: Job, pattern: str) -> bool:
    method, slash, seed = pattern.rpartition("/")
    if not slash or not (seed.isdecimal() or seed == "*"):  # a slash may belong to the method: ila:after=2/6
        return fnmatchcase(job.method, pattern)
    return fnmatchcase(job.method, pattern) or (
        fnmatchcase(job.method, method) and seed in ("*", str(job.seed))
    )


def ordered(jobs: Sequence[Job], order: str, pace: Pace) -> list[Job]:
    """The queue in one of `ORDERS`, each run once although several tables ask for it.

    Raises AdapterError: no such order.
    """
    if order not in ORDERS:
        raise unknown("order", order, ORDERS)
    seen: set[str] = set()
    queue = []
    for job in jobs:
        if not job.key or job.key not in seen:
            queue.append(job)
            seen.add(job.key)
    if order == "seeds":
        queue.sort(key=lambda job: job.seed % 100)
    elif order == "short":
        queue.sort(key=lambda job: pace.seconds(job))
    return queue


class Pace:
    """How long a run will take, from what stored runs of its method and data took an update."""

    def __init__(self, folder: Path) -> None:
        parts = [_paces(read_table(path)) for path in sorted(folder.glob("*.csv"))]
        parts = [part for part in parts if len(part)]
        rows = pd.concat(parts) if parts else pd.DataFrame(columns=["method", "data", "pace"])
        rows["name"] = [str(method).partition(":")[0] for method in rows["method"]]
        self._known: dict[tuple[str, ...], float] = {}
        for by in (["method", "data"], ["name", "data"], ["name"], ["data"]):
            for key, pace in rows.groupby(by)["pace"].median().items():
                self._known[tuple(by) + (key if isinstance(key, tuple) else (str(key),))] = float(pace)

    def seconds(self, job: Job) -> float:
        """About how long the whole run takes on one thread."""
        name = job.method.partition(":")[0]
        asked: tuple[tuple[str, ...], ...] = (
            ("method", "data", job.method, job.data),
            ("name", "data", name, job.data),
            ("name", name),
            ("data", job.data),
        )
        step, (_, at, size) = STEP, job.data.partition(" at ")
        if at:  # a larger backbone: what the method took on other data says nothing
            step = REAL_STEP * (int(size.split()[0]) / REAL_SIZE) ** 2
            asked = tuple(key for key in asked if "data" in key)
        return job.updates * next((self._known[key] for key in asked if key in self._known), step)


def _paces(rows: pd.DataFrame) -> pd.DataFrame:
    """method, data and seconds an update, of rows that know how many they made; CPU seconds, as others may
    have used the cores too."""
    if not {"updates", "seconds", "data"} <= set(rows) or not {"method", "setting"} & set(rows):
        return pd.DataFrame()
    rows = rows[rows["updates"].notna()]
    on_cpu = (
        rows["cpu_seconds"].where(rows["device"] == "cpu")
        if {"cpu_seconds", "device"} <= set(rows)
        else rows["seconds"]
    )
    method = rows["method"] if "method" in rows else rows["setting"]
    texts = rows["configuration"] if "configuration" in rows else [None] * len(rows)
    sizes = [json.loads(text).get("image_size") if isinstance(text, str) else None for text in texts]
    data = [_data_at(name, size) for name, size in zip(rows["data"], sizes, strict=True)]
    return pd.DataFrame({"method": method, "data": data, "pace": on_cpu / rows["updates"]}).dropna()


def _updates(run: Experiment) -> int:
    """From the budget: batches of an epoch, times epochs. Of data sets without a number of images a class
    20 classes of 60."""
    classes, images = CLASSES.get(run.data, 20), run.data_options.get("n_train", 60) or ALL_CELLS
    return run.recipe.epochs * math.ceil(classes * images / run.recipe.batch_size)
