"""A grid of runs → one tidy table, one row a run. Finished runs are skipped; a failed one does not stop the
rest.

The table is a CSV file that only grows: each row is appended under a file lock, so several processes, or
several grids, may write the same table. A run is known by a key over its whole configuration; whoever asks
for it again gets the stored row.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import timm
import torch
from accelerate import PartialState
from filelock import FileLock
from torch import Tensor
from tqdm.auto import tqdm

from .. import __version__
from ..backbones.create import create_backbone
from ..backbones.images import EMBEDDED
from ..backbones.weight_files import about_file, find_weights
from ..costs.cost import cost
from ..costs.memory import memory_use
from ..datasets.load import DATA_SETS, Task, files_digest, load_data
from ..errors import AdapterError
from ..files import output_folder
from ..methods import format_method
from ..methods.adapt import adapt
from ..training.evaluate import evaluate
from ..training.fit import Run, fit
from ..training.recipe import Recipe
from ..vit.model import AdaptedViT
from ..vit.modes import device_name, exact_float32, on_device
from .clock import RunClock
from .table import as_frame, as_text, read_rows, unpacked, write_rows

__all__ = [
    "Experiment",
    "OutOfTime",
    "check_time",
    "grid",
    "load_task",
    "pack_hits",
    "pinned",
    "read_table",
    "run_and_store",
    "run_experiment",
    "run_folder",
    "run_grid",
    "run_missing",
    "store_row",
    "title",
    "train",
    "unpack_hits",
    "work_folder",
]

_FIRST_FIELDS = frozenset(
    (
        *(
            "epochs",
            "lr",
            "batch_size",
            "weight_decay",
            "optimizer",
            "warmup_epochs",
            "warmup_steps",
            "min_lr",
            "clip_norm",
        ),
        *(
            "accumulate",
            "mixed_precision",
            "label_smoothing",
            "mixup",
            "cutmix",
            "seed",
            "num_workers",
            "head_lr_scale",
        ),
    )
)
"""Fields that a recipe had when the first rows were stored. A field that came later and is at its default
does not change a run's key."""


@dataclass(frozen=True)
class Experiment:
    """One run: what is adapted, how, on what.

    methods: text forms, e.g. ("ila", "lora:rank=4"). seed: of the task's images, of the initial weights and
    of the training. image_size: pixels, None for the backbone's own. data_options: passed to `load_data`.
    recipe: its seed is replaced by this experiment's.
    test: evaluate on the test images; False while hyper-parameters are being chosen, so that the test images
    stay unseen. outside: digests of the images and the weights that lie in files, which name and options do
    not tell; None: found when they are asked for (`run_grid` does so once for all its runs).
    """

    methods: tuple[str, ...]
    data: str
    seed: int = 0
    backbone: str = EMBEDDED
    data_options: dict[str, Any] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    test: bool = True
    outside: dict[str, str] | None = None
    image_size: int | None = None

    @property
    def name(self) -> str:
        return " + ".join(self.methods) or "linear"

    def configuration(self) -> dict[str, Any]:
        """All that decides the result, as JSON values; of the recipe's younger fields only those that are
        not at their default."""
        recipe = asdict(replace(self.recipe, seed=self.seed))
        usual = asdict(Recipe())
        recipe = {
            name: value for name, value in recipe.items() if name in _FIRST_FIELDS or value != usual[name]
        }
        values = {**asdict(self), "methods": list(self.methods), "recipe": recipe, "version": __version__}
        del values["outside"]
        if self.image_size is None:  # younger than the first rows: their keys stay
            del values["image_size"]
        return values | (_outside(self) if self.outside is None else self.outside)

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that change with any part of the configuration."""
        return hashlib.sha256(json.dumps(self.configuration(), sort_keys=True).encode()).hexdigest()[:16]


def _outside(experiment: Experiment) -> dict[str, str]:
    """`files`: digest of images that lie in files; `weights`: of those that are found in the folder
    ADAPTERS_WEIGHTS. Only what there is."""
    try:
        files = files_digest(experiment.data, experiment.seed, experiment.data_options)
    except AdapterError as error:  # the run itself will say so, and store no row
        files = f"not readable: {error}"
    weights = None if experiment.backbone.startswith(EMBEDDED) else find_weights(experiment.backbone)
    return {
        **({"files": files} if files else {}),
        **({"weights": about_file(weights)["digest"][:16]} if weights else {}),
    }


def grid(
    methods: Iterable[str | Sequence[str]], data: str, seeds: Iterable[int] = (0, 1, 2), **options: Any
) -> list[Experiment]:
    """Every method with every seed. options: the other fields of `Experiment`."""
    listed = [(m,) if isinstance(m, str) else tuple(m) for m in methods]
    return [Experiment(methods=m, data=data, seed=seed, **options) for m, seed in product(listed, seeds)]


class OutOfTime(Exception):
    """The deadline came before the run's last epoch; with a `work` folder it goes on from there another
    time."""


def run_experiment(
    experiment: Experiment,
    progress: bool = False,
    work: str | Path | None = None,
    deadline: float | None = None,
) -> dict[str, Any]:
    """Train, evaluate the last epoch on the test images in the precision of the training, and return the row
    of the table.

    work: a folder, see `work_folder`; with it images are drawn once for all runs, and a run that was killed
    goes on from the end of its last epoch. deadline: in seconds since 1970, as `time.time()`; an epoch that
    ends later is the last one, and raises `OutOfTime`.

    Columns: key, method, data, seed, top1, balanced (only where test classes differ in size), top5
    (percent), loss (nats), val_top1, n_test, hits (see `pack_hits`), trained, adapter, head, backbone
    (parameters), macs, lr, head_lr, epochs, updates (of the weights), precision, step_ms (training time a
    step, median over epochs), memory_mib (peak of a training step), seconds, cpu_seconds (of all threads),
    device, threads, versions, weights (the backbone's: where from, and the beginning of their digest), and
    the configuration as JSON.

    Raises AdapterError: also when images or weights in files changed while it ran.
    """
    experiment = replace(
        experiment, outside=_outside(experiment) if experiment.outside is None else experiment.outside
    )
    clock = RunClock(None if work is None else run_folder(work, experiment))
    backbone, seed = create_backbone(experiment.backbone, image_size=experiment.image_size), experiment.seed
    task = load_task(experiment, backbone, work)
    model = adapt(backbone, list(experiment.methods), num_classes=len(task.classes), seed=seed)
    run, device = train(experiment, model, task, clock, progress=progress, work=work, deadline=deadline)
    bf16 = run.precision == "bf16"
    with (
        on_device(model) as target,
        exact_float32(),
        torch.autocast(target.type, torch.bfloat16, enabled=bf16),
    ):
        validated = evaluate(model, task.val)
        result = evaluate(model, task.test, return_logits=True) if experiment.test else {}
    if (now := _outside(experiment)) != experiment.outside:
        raise AdapterError(
            f"the files behind {title(experiment)} changed while it ran: {experiment.outside}, now {now};"
            " run it again"
        )
    recipe = run.recipe
    trainable, macs, memory = _facts(model, recipe.batch_size)
    return {
        "key": experiment.key,
        "method": experiment.name,
        "data": experiment.data,
        "seed": seed,
        "top1": result.get("top1", math.nan),
        **({"balanced": result["balanced"]} if result and _uneven(result["labels"]) else {}),
        **{name: result.get(name, math.nan) for name in ("top5", "loss")},
        "val_top1": validated["top1"],
        "n_test": result.get("n", 0),
        "hits": pack_hits(result["logits"].argmax(1) == result["labels"]) if result else "",
        "trained": sum(trainable.values()),
        **trainable,
        "macs": macs,
        "lr": recipe.lr,
        "head_lr": recipe.lr * recipe.head_lr_scale,
        "epochs": recipe.epochs,
        "updates": run.updates,
        "precision": run.precision,
        "step_ms": 1000 * recipe.batch_size / run.history["images_per_second"].median(),
        "memory_mib": memory / 2**20,
        **clock.read(),
        "device": device,
        "threads": torch.get_num_threads(),
        "version": __version__,
        "torch": torch.__version__,
        "timm": timm.__version__,
        "weights": (
            " ".join(
                (
                    str(model.weights.get("file") or model.weights["source"]),
                    model.weights.get("digest", "")[:12],
                )
            ).strip()
        ),
        "configuration": json.dumps(experiment.configuration(), sort_keys=True),
    }


def _uneven(labels: Tensor) -> bool:
    """Whether the classes that occur differ in size."""
    return labels.unique(return_counts=True)[1].unique().numel() > 1


def train(
    experiment: Experiment,
    model: AdaptedViT,
    task: Task,
    clock: RunClock,
    *,
    progress: bool = False,
    work: str | Path | None = None,
    deadline: float | None = None,
) -> tuple[Run, str]:
    """Train an experiment's model; what `fit` gives, and the device that computed. Options as in
    `run_experiment`."""
    out = None if work is None else run_folder(work, experiment)
    recipe = replace(experiment.recipe, seed=experiment.seed)

    def after_epoch(row: dict[str, Any]) -> None:
        clock.note(row)
        if row["epoch"] < recipe.epochs:
            check_time(deadline)

    with exact_float32():
        run = fit(model, task.train, None, recipe, progress=progress, out=out, on_epoch=after_epoch)
    return run, device_name(PartialState().device)


def check_time(deadline: float | None) -> None:
    """Raise `OutOfTime` if the deadline has passed."""
    if deadline is not None and time.time() >= deadline:
        raise OutOfTime


def load_task(experiment: Experiment, backbone: Any, work: str | Path | None = None) -> Task:
    """The experiment's data; drawn images are kept in the `work` folder, so that the next run need not
    draw them."""
    draws = work is not None and DATA_SETS[experiment.data].keeps
    drawn: dict[str, Any] = {"drawn": Path(work) / "images"} if draws and work is not None else {}
    return load_data(
        experiment.data, backbone=backbone, seed=experiment.seed, **experiment.data_options, **drawn
    )


def run_folder(work: str | Path, experiment: Experiment) -> Path:
    """Where the checkpoint of a run lies while it is going on; it goes when the row is stored."""
    return Path(work) / "runs" / experiment.key


def work_folder() -> Path:
    """Where grids keep drawn images and the checkpoints of runs that are going on: $ADAPTERS_CACHE, else
    `runs/cache`; may be deleted."""
    chosen = os.environ.get("ADAPTERS_CACHE")
    return Path(chosen) if chosen else output_folder("runs") / "cache"


_FACTS: dict[str, tuple[dict[str, int], int, int]] = {}


def _facts(model: AdaptedViT, batch: int) -> tuple[dict[str, int], int, int]:
    """Trainable parameters by role, MACs, bytes of a training step: worked out once a process for what all
    seeds of a method share."""
    source = json.dumps(model.backbone_source, sort_keys=True, default=str)
    key = repr(
        [source, model.image_size, [format_method(m) for m in model.methods], model.num_classes, batch]
    )
    if key not in _FACTS:
        counted = cost(model)
        _FACTS[key] = (counted.trainable, counted.macs, memory_use(model, batch).training)
    return _FACTS[key]


def pack_hits(hits: Tensor) -> str:
    """Which test images (N,) were answered rightly, as text: eight images a byte, first image first, in
    hexadecimal digits."""
    return np.packbits(hits.cpu().numpy()).tobytes().hex()


def unpack_hits(text: str, n: int) -> np.ndarray:
    """The booleans (n,) that `pack_hits` wrote. Raises AdapterError if the text is no hexadecimal digits
    or does not hold n images."""
    return unpacked(text, n)


def run_grid(
    experiments: Sequence[Experiment],
    table: str | Path,
    *,
    jobs: int = 1,
    progress: bool = True,
    rerun: bool = False,
    work: str | Path | None = None,
    deadline: float | None = None,
) -> pd.DataFrame:
    """Run what the table does not hold yet and return the rows of all `experiments`, in their order.

    Args:
        table: CSV file; created with its folder, appended to otherwise.
        jobs: processes side by side, through joblib; under `joblib.parallel_config(backend="dask")`, or "ray"
            once Ray is registered with joblib, the runs go there, and the table must lie where all workers
            can write it.
        rerun: run again what is there already; the old rows are replaced.
        work: as in `run_experiment`; the grids of the workbook give `work_folder()`.
        deadline: as in `run_experiment`; runs that have not started by then are left for another time, and
            have no row.

    Raises:
        AdapterError: no experiment at all; or, after all others have run, those that failed, each by name
            with its error.
    """
    if not experiments:
        raise AdapterError("run_grid got no experiments; choose at least one method and one seed")
    experiments = pinned(experiments)
    known = set() if rerun else set(read_table(table).get("key", ()))
    missing = [(title(e), (e, Path(table), rerun, work, deadline)) for e in experiments if e.key not in known]
    run_missing(run_and_store, missing, table, jobs=jobs, progress=progress, deadline=deadline)
    rows = read_table(table)
    if deadline is not None:
        experiments = [e for e in experiments if e.key in set(rows.get("key", ()))]
    return (
        rows.set_index("key").loc[[e.key for e in experiments]].reset_index()
        if experiments
        else rows.iloc[:0]
    )


def pinned(experiments: Sequence[Experiment]) -> list[Experiment]:
    """The experiments with the digests of the files behind them, looked up once for those that share them."""
    digests: dict[str, dict[str, str]] = {}
    pinned = []
    for experiment in experiments:
        source = json.dumps(
            [experiment.data, experiment.seed, experiment.data_options, experiment.backbone],
            sort_keys=True,
            default=str,
        )
        if experiment.outside is None and source not in digests:
            digests[source] = _outside(experiment)
        pinned.append(
            replace(experiment, outside=digests[source] if experiment.outside is None else experiment.outside)
        )
    return pinned


def run_missing(
    work: Callable[..., object],
    missing: Sequence[tuple[str, tuple[Any, ...]]],
    table: str | Path,
    *,
    jobs: int = 1,
    progress: bool = True,
    deadline: float | None = None,
) -> None:
    """Call `work(*arguments)` for every (name, arguments), some side by side; a failing one does not stop the
    rest.

    Side by side every process computes with one thread.

    work: a function of a module, so that other processes can call it; it stores its own rows in `table`.
    jobs, deadline: as in `run_grid`.

    Raises AdapterError: after all others have run, for those that failed, each by name with its error.
    """
    calls = (
        joblib.delayed(_attempt)(name, work, arguments, jobs != 1, deadline) for name, arguments in missing
    )
    try:
        workers = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    except ValueError:
        # Backends made like joblib's "multiprocessing", Ray's among them, give all results at the end.
        workers = joblib.Parallel(n_jobs=jobs)
    outcomes = tqdm(workers(calls), "runs", total=len(missing), disable=not progress or not missing)
    if failures := [failure for failure in outcomes if failure]:
        raise AdapterError(
            f"{len(failures)} of {len(missing)} runs failed, the others are in {table}: "
            + "; ".join(failures)
        )


def _attempt(
    name: str,
    work: Callable[..., object],
    arguments: tuple[Any, ...],
    side_by_side: bool,
    deadline: float | None,
) -> str | None:
    """What went wrong, if anything did."""
    if side_by_side:
        torch.set_num_threads(1)
    try:
        check_time(deadline)
        work(*arguments)
    except OutOfTime:
        return None
    except Exception as error:  # one bad run must not cost the others
        return f"{name}: {type(error).__name__}: {error}"
    return None


def title(experiment: Experiment) -> str:
    """A run in words."""
    return f"{experiment.name} on {experiment.data}, seed {experiment.seed}"


def run_and_store(
    experiment: Experiment,
    table: Path,
    rerun: bool = False,
    work: str | Path | None = None,
    deadline: float | None = None,
) -> None:
    """Run one experiment and store its row, unless another grid has done so meanwhile."""
    if work is None:
        if rerun or experiment.key not in set(read_table(table).get("key", ())):
            store_row(run_experiment(experiment), table)
        return
    folder = run_folder(work, experiment)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # two processes would write the same checkpoint
        if rerun or experiment.key not in set(read_table(table).get("key", ())):
            store_row(run_experiment(experiment, work=work, deadline=deadline), table)
        shutil.rmtree(folder, ignore_errors=True)
        Path(f"{folder}.lock").unlink(missing_ok=True)  # whoever waits for it finds the row


def read_table(table: str | Path) -> pd.DataFrame:
    """The stored rows; an empty table if the file does not exist. Raises AdapterError as
    `table.read_rows`: it names a broken row."""
    return as_frame(*read_rows(Path(table)))


def store_row(row: dict[str, Any], path: Path) -> None:
    """Add a row under a lock, in place of one with the same key; the file is replaced as a whole, never
    half-written.

    All other rows stay as they are written, digit for digit. Raises AdapterError if the file is no sound
    table of runs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        columns, rows = read_rows(path)
        if columns and "key" not in columns:
            raise AdapterError(
                f"{path} is no table of runs: it has no column 'key'; choose another file for this grid"
            )
        new = {str(name): as_text(value) for name, value in row.items()}
        others = [each for each in rows if each["key"] != new["key"]]
        write_rows(path, [*columns, *(name for name in new if name not in columns)], [*others, new])


def arrange_rows(keys: Sequence[str], path: Path, *, drop: bool = False) -> int:
    """Put the rows with these keys first, in this order, under the lock; drop: and no others. Returns how
    many other rows there were."""
    if not path.exists():
        return 0
    place = {key: index for index, key in enumerate(keys)}
    with FileLock(f"{path}.lock"):
        columns, rows = read_rows(path)
        arranged = sorted((row for row in rows if row.get("key") in place), key=lambda row: place[row["key"]])
        others = [row for row in rows if row.get("key") not in place]
        wanted = arranged if drop else [*arranged, *others]
        if wanted != rows:
            write_rows(path, columns, wanted)
    return len(others)
