"""The study of the exits: host alone, naive exits, each component added alone, all of them; with controls at
equal cost; seed by seed.

`python -m adapters_lib exits study` writes one CSV table, one row a run and operating point. Finished runs
are skipped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from .. import __version__
from ..backbones.create import create_backbone, meta_backbone
from ..backbones.images import EMBEDDED
from ..benchmarks.exits import time_thresholds, timing_sample
from ..costs.cost import cost
from ..datasets.load import Task
from ..errors import AdapterError, unknown
from ..exits.calibrate import OperatingPoint, choose, operating_points
from ..exits.controls import cost_curve, evaluate_point
from ..exits.simulate import StoredExits, simulate, store_exits
from ..exits.stored_files import save_stored
from ..methods import parse_method
from ..methods.adapt import adapt
from ..methods.sparsity import idle_sparsity
from ..training.evaluate import collect_logits, evaluate
from ..training.fit import Run
from ..training.offline_recipes import offline_recipe
from ..vit.model import AdaptedViT
from ..vit.modes import on_device
from .clock import RunClock
from .run import (
    Experiment,
    load_task,
    pack_hits,
    pinned,
    read_table,
    run_folder,
    run_missing,
    store_row,
    train,
)

__all__ = ["SETTINGS", "mean_block_by_granularity", "run_study"]

_NAIVE = {
    "heads": "linear",
    "schedule": "uniform",
    "forward_sparsity": 0,
    "backward_sparsity": 0,
    "distil": 0,
}

SETTINGS: dict[str, dict[str, Any] | None] = {
    "host": None,
    "naive": _NAIVE,
    "all": {},
    "all + distillation": {"distil": 0.5},
    "+ balanced heads": _NAIVE | {"heads": "balanced"},
    "+ MLP heads": _NAIVE | {"heads": "mlp"},
    "+ reversed heads": _NAIVE | {"heads": "reversed"},
    "+ depth-weighted": _NAIVE | {"schedule": "depth_weighted"},
    "+ early up": _NAIVE | {"schedule": "early_up"},
    "+ early down": _NAIVE | {"schedule": "early_down"},
    "+ forward sparsity": _NAIVE | {"forward_sparsity": 0.2},
    "+ backward sparsity": _NAIVE | {"backward_sparsity": 0.3},
    "+ distillation": _NAIVE | {"distil": 0.5},
}
"""Options of `DynExits` by the name of the setting; None is the host without exits. "naive": linear heads,
equal weights, no sparsity."""

KEPT = ("naive", "all")
"""Settings whose logits are kept beside the table, for figures and sliders in a fresh clone."""

CURVE = 11
"""Points of a curve that are timed and stored."""

POINTS = {"half": 0.5, "best": None}
"""Operating points by name: the budget given to `exits.choose`."""


def run_study(
    table: str | Path,
    host: str | Sequence[str] = "lora",
    data: str = "leaves-mixed",
    seeds: Sequence[int] = (0, 1, 2),
    *,
    settings: Sequence[str] | None = None,
    epochs: int | None = None,
    dyn: str = "",
    backbone: str = EMBEDDED,
    logits: str | Path | None = None,
    data_options: dict[str, Any] | None = None,
    precision: str | None = None,
    jobs: int = 1,
    progress: bool = True,
    stored: bool = False,
    keep: int | None = None,
    work: str | Path | None = None,
    deadline: float | None = None,
) -> pd.DataFrame:
    """Train what the table does not hold yet and return the rows of this study.

    Args:
        table: CSV file. Columns: key, setting, point (`full` depth, `half` the MACs, `best` on validation),
            seed, top1, val_top1; of a point also `random` and `fixed_depth` (exits at equal cost), relative,
            macs, mean_block, coarse_block and fine_block (where images of the coarsest and of the finest
            classes leave, if the task knows granularities), shares, thresholds, exits (top-1 of every exit),
            ms and full_ms (milliseconds per image, measured in turn); parameters of adapter and head; hits
            (test images answered rightly, see `experiments.pack_hits`); configuration. Beside it
            `<table>_curves.csv`: `CURVE` rows of each run's accuracy–cost curve with the same controls, also
            timed; and `<table>_logits/`: float16 logits of the first seed of the settings in `KEPT`.
        host: the method that the exits join, several of them together, or none (an empty list: a linear
            probe).
        data, seeds, backbone, data_options: as in `experiments.Experiment`. epochs, precision: default the
            offline recipe's.
        jobs: runs side by side, through joblib, the cores shared out among them.
        settings: names from `SETTINGS`; None: all of them. Beside a host without a bottleneck, or without any
            adapter, the sparsity that has nothing to act on is off, and the settings about it are left out.
        dyn: options of `dyn` that all settings share, in text form.
        stored: train nothing and return the rows that are there.
        logits: folder for the validation and test logits of every run as well,
            `<setting>-<seed>-<part>.safetensors`.
        keep: the seed whose logits are kept, default the first one.
        work, deadline: as in `experiments.run_grid`.

    Raises:
        AdapterError: an unknown setting or option, or a setting about a sparsity that has nothing to act on
            beside this host; or, after all others have run, those that failed, each by name with its error.
    """
    for name in settings or ():
        if name not in SETTINGS:
            raise unknown("setting", name, SETTINGS)
    hosts = (host,) if isinstance(host, str) else tuple(host)
    idle = idle_sparsity(adapt(meta_backbone(backbone), hosts, 2))
    names = _about(hosts, idle, settings)
    changes = {"epochs": epochs, "mixed_precision": precision}
    changed = {name: value for name, value in changes.items() if value is not None}
    recipe = offline_recipe(hosts, data=data, exits=True, **changed)
    table, known = Path(table), set(read_table(table).get("key", ()))
    kept = seeds[0] if keep is None else keep
    keys: list[str] = []
    missing = []
    for name in names:
        for seed in seeds:
            methods = (
                hosts
                if SETTINGS[name] is None
                else (*hosts, _dyn(dyn, {**dict.fromkeys(idle, 0), **(SETTINGS[name] or {})}))
            )
            (run,) = pinned([Experiment(methods, data, seed, backbone, data_options or {}, recipe)])
            keys += [
                f"{run.key}-{point}" for point in (["full"] if SETTINGS[name] is None else ["full", *POINTS])
            ]
            if keys[-1] not in known and not stored:  # the last row of a run is written last
                folders = [Path(logits)] if logits else []
                folders += [table.with_name(f"{table.stem}_logits")] if name in KEPT and seed == kept else []
                missing.append((f"{name}, seed {seed}", (name, run, table, folders, work, deadline)))
    run_missing(_run_and_store, missing, table, jobs=jobs, progress=progress, deadline=deadline)
    rows = read_table(table)
    if stored or deadline is not None:
        known = set(rows.get("key", ()))
        keys = [key for key in keys if key in known]
    return rows.set_index("key").loc[keys].reset_index() if keys else rows.iloc[:0]


def _run_and_store(
    setting: str,
    run: Experiment,
    table: Path,
    folders: list[Path],
    work: str | Path | None = None,
    deadline: float | None = None,
) -> None:
    """Run one setting and store its rows."""
    rows, curve = _run(setting, run, folders, work, deadline)
    for row in curve:
        store_row(row, table.with_name(f"{table.stem}_curves.csv"))
    for row in rows:
        store_row(row, table)
    if work is not None:
        shutil.rmtree(run_folder(work, run), ignore_errors=True)


def _about(hosts: Sequence[str], idle: Sequence[str], settings: Sequence[str] | None) -> list[str]:
    """The settings to run; `idle`: options that have nothing to act on beside these hosts."""
    empty = {
        name: option for name, options in SETTINGS.items() for option in idle if (options or {}).get(option)
    }
    for name in settings or ():
        if name in empty:
            beside = " + ".join(hosts) or "no host"
            raise AdapterError(
                f"setting {name!r}: {empty[name]} has nothing to act on beside {beside}; leave the"
                " setting out"
            )
    return list(settings or (name for name in SETTINGS if name not in empty))


def _dyn(shared: str, options: dict[str, Any]) -> str:
    parts = [*filter(None, [shared]), *(f"{key}={value}" for key, value in options.items())]
    return "dyn" + (":" + ",".join(parts) if parts else "")


def _run(
    setting: str, run: Experiment, folders: list[Path], work: str | Path | None, deadline: float | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Train one setting; return its rows, the last one last, and those of its accuracy–cost curve."""
    clock = RunClock(None if work is None else run_folder(work, run))
    vit = create_backbone(run.backbone)
    task = load_task(run, vit, work)
    model = adapt(vit, list(run.methods), num_classes=task.num_classes, seed=run.seed)
    trained, device = train(run, model, task, clock, work=work, deadline=deadline)
    common = _common(setting, run, model, task, trained, device)
    full = {"point": "full", "relative": 1.0, "macs": common["full_macs"], "mean_block": model.depth}
    if not len(model.exits):
        logits, labels = collect_logits(model, task.test)
        right = logits.argmax(1) == labels
        row = {
            **full,
            "top1": _percent(right),
            "val_top1": evaluate(model, task.val)["top1"],
            "hits": pack_hits(right),
        }
        return [{"key": f"{run.key}-full", **common, **row, **clock.read()}], []
    val, test = store_exits(model, task.val), store_exits(model, task.test)
    for folder in folders:
        for part, stored in (("val", val), ("test", test)):
            save_stored(stored, folder / f"{setting.replace(' ', '_')}-{run.seed}-{part}.safetensors")
    # Heads at full depth: the early ones trained along, but nobody asks them.
    right = test.logits[-1].argmax(1) == test.labels
    rows = [
        {**full, "top1": _percent(right), "val_top1": float(val.accuracies[-1]), "hits": pack_hits(right)}
    ]
    reachable = operating_points(val)
    points = {name: choose(reachable, budget) for name, budget in POINTS.items()}
    rows += [_point(name, point, task, test) for name, point in points.items()]
    curve = cost_curve(val, test)
    curve = curve.iloc[np.unique(np.linspace(0, len(curve) - 1, CURVE).round().astype(int))]
    limits = [*(point.thresholds for point in points.values()), *curve["thresholds"]]
    with on_device(model) as place:
        ms, full_ms = time_thresholds(model, timing_sample(task.test, 32)[0].to(place), limits, repeats=3)
    for row, measured in zip(rows[1:], ms, strict=False):
        row |= {"ms": measured, "full_ms": full_ms}
    curve = curve.drop(columns="macs").assign(
        ms=ms[len(points) :], full_ms=full_ms, setting=setting, seed=run.seed, version=__version__
    )
    curve["thresholds"] = curve["thresholds"].map(json.dumps)
    curve.insert(0, "key", [f"{run.key}-{number}" for number in range(len(curve))])
    spent = clock.read()
    table: Any = curve.to_dict("records")
    return [{"key": f"{run.key}-{row['point']}", **common, **row, **spent} for row in rows], table


def _common(
    setting: str, run: Experiment, model: AdaptedViT, task: Task, trained: Run, device: str
) -> dict[str, Any]:
    """What all rows of one training have in common."""
    counted = cost(model)
    return {
        "setting": setting,
        "host": " + ".join(m for m in run.methods if parse_method(m).name != "dyn") or "linear",
        "data": run.data,
        "seed": run.seed,
        **{role: counted.trainable[role] for role in ("adapter", "head")},
        "full_macs": counted.macs,
        "n_test": len(task.test),  # type: ignore[arg-type]
        "updates": trained.updates,
        "precision": trained.precision,
        "device": device,
        "threads": torch.get_num_threads(),
        "version": __version__,
        "torch": torch.__version__,
        "configuration": json.dumps(run.configuration(), sort_keys=True),
    }


def _point(name: str, point: OperatingPoint, task: Task, test: StoredExits) -> dict[str, Any]:
    """The row of an operating point that was chosen on validation images, on the test images."""
    evaluated, outcome = evaluate_point(test, point), simulate(test, point.thresholds)
    left_after = torch.tensor(test.costs.blocks)[outcome.exit_index]
    columns = ("top1", "relative", "macs", "mean_block", "random", "fixed_depth")
    return {
        "point": name,
        "val_top1": point.top1,
        **{column: evaluated[column] for column in columns},
        **mean_block_by_granularity(task, test.labels, left_after),
        **{column: json.dumps(evaluated[column]) for column in ("shares", "thresholds", "exits")},
        "hits": pack_hits(outcome.labels == test.labels),
    }


def _percent(right: torch.Tensor) -> float:
    return 100 * float(right.double().mean())


def mean_block_by_granularity(task: Task, labels: torch.Tensor, blocks: torch.Tensor) -> dict[str, float]:
    """`coarse_block` and `fine_block`: the mean block (N,) after which images of the coarsest and of the
    finest classes left."""
    if "granularity" not in task.info:
        return {}
    granularity = np.array(task.info["granularity"])[labels.numpy()]
    return {
        name: float(blocks.numpy()[granularity == extreme].mean())
        for name, extreme in (("coarse_block", granularity.max()), ("fine_block", granularity.min()))
    }
