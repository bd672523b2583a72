"""Choose a learning rate for each method on validation images: `python -m adapters_lib tune`.

It trains on other plants and other seeds than any reported result, and looks at no test image. The choice
goes to `training/offline_recipes.json`, from which `offline_recipe` makes the recipe of the workbook's own
experiments.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from ..methods import parse_method
from ..training.offline_recipes import offline_recipe, setting_of
from .bracketing import Bracket, bracket, on_ladder
from .needs import with_files
from .run import Experiment, read_table, run_grid, store_row

__all__ = ["brackets", "choose", "tune", "tune_until_bracketed"]


RATES = (3e-4, 1e-3, 3e-3, 1e-2)
OTHER_RATES = {"full": (3e-5, 1e-4, 3e-4), "linear": (3e-3, 1e-2, 3e-2, 1e-1)} | dict.fromkeys(
    ("vpt-shallow", "vpt-deep", "bitfit", "layernorm", "ssf", "vqt"), (3e-3, 1e-2, 3e-2)
)
"""Candidates for methods whose usual rates lie elsewhere. The stored table holds those around the best of
each method, not all."""
SEEDS = (100, 101)
"""The second one decides where the best two rates of the first lie within one standard error."""


def tune(
    methods: Sequence[str],
    data: str,
    table: str | Path,
    rates: Sequence[float] | None = None,
    seeds: Sequence[int] = SEEDS[:1],
    data_options: Mapping[str, Any] | None = None,
    jobs: int = 1,
    exits: bool = False,
    work: Path | None = None,
) -> pd.DataFrame:
    """Train every method with every rate and seed, without the test images; return the rows, with those of
    other rates in the table.

    rates: None: `RATES`, or a method's own of `OTHER_RATES`. data_options: for `load_data`; None means the
    images of the budget and 2,000 for validation, of plants that no reported result stands on; of clips, 400.
    jobs: runs side by side. exits: with the recipe that goes with exits, see `offline_recipe`. work: as in
    `experiments.run_experiment`.
    """
    runs: list[Experiment] = []
    stored = read_table(table)
    held = set(stored.get("key", ()))
    for method in methods:
        candidates = tuple(rates or OTHER_RATES.get(parse_method(method).name, RATES))
        before = stored.loc[stored["method"] == method, "lr"] if len(stored) else ()
        for rate in sorted({*candidates, *before}):
            trials = [_trial(method, rate, seed, data, exits, data_options) for seed in seeds]
            runs += [run for run in trials if rate in candidates or run.key in held]
    return run_grid(runs, table, jobs=jobs, work=work)


def _trial(
    method: str, rate: float, seed: int, data: str, exits: bool, data_options: Mapping[str, Any] | None = None
) -> Experiment:
    """A run that tries one rate, in float32 on every machine; a probe's is that of its head, as the head
    is all it trains."""
    setting = setting_of(data, exits)
    changes = {"head_lr_scale": 1.0} if parse_method(method).name == "linear" else {}
    recipe = setting.recipe(lr=rate, mixed_precision="no", **changes)
    options = dict(setting.data_options if data_options is None else data_options)
    run = Experiment((method,), data, seed, setting.backbone, options, recipe, test=False)
    return with_files([replace(run, image_size=setting.image_size)])[0] if setting.data else run


def brackets(methods: Sequence[str], data: str, table: str | Path, exits: bool = False) -> dict[str, Bracket]:
    """For every method what the stored runs say at the present budget: its rate, or the runs that are
    missing before one is bracketed."""
    setting, rows = setting_of(data, exits), read_table(table)
    values = dict(zip(rows["key"], rows["val_top1"], strict=True)) if len(rows) else {}
    by_method = {}
    for method in methods:
        rates = {float(rate) for rate in rows.loc[rows["method"] == method, "lr"]} if len(rows) else set()
        tried: dict[float, dict[int, float]] = {}
        for rate, seed in product(rates, SEEDS):
            if (value := values.get(_trial(method, rate, seed, data, exits).key)) is not None:
                tried.setdefault(rate, {})[seed] = value
        start = on_ladder(offline_recipe(method, data=data, exits=exits or None).lr)
        by_method[method] = bracket(tried, start, setting.validation, (SEEDS[0], SEEDS[1]))
    return by_method


def tune_until_bracketed(
    methods: Sequence[str],
    data: str,
    table: str | Path,
    *,
    exits: bool = False,
    jobs: int = 1,
    work: Path | None = None,
    deadline: float | None = None,
) -> dict[str, Bracket]:
    """Run just the rates that are missing until every method's best lies between a smaller and a larger one
    that did no better.

    deadline: in seconds since the epoch, see `experiments.run_grid`; methods may then be left without a
    choice.

    Raises AdapterError: a method is not known; or for the runs that failed, after all others of their round.
    """
    _copy_curve_runs(methods, data, Path(table), exits)
    while True:
        by_method = brackets(methods, data, table, exits)
        runs = [
            _trial(method, rate, seed, data, exits)
            for method in methods
            for rate, seed in by_method[method].missing
        ]
        if not runs or (deadline is not None and time.time() >= deadline):
            return by_method
        run_grid(runs, table, jobs=jobs, work=work, deadline=deadline)


def _copy_curve_runs(methods: Sequence[str], data: str, table: Path, exits: bool) -> None:
    """Copy the runs that the learning curve has made already: at this budget it tries the rates that one
    starts from."""
    curve, known = read_table(table.with_name("learning_curve.csv")), set(read_table(table).get("key", ()))
    for row in curve[curve["method"].isin(methods)].to_dict("records") if len(curve) else ():
        trial = _trial(str(row["method"]), float(row["lr"]), int(row["seed"]), data, exits)
        if trial.key == row["key"] and trial.key not in known:
            store_row({str(column): value for column, value in row.items()}, table)


def choose(table: pd.DataFrame) -> dict[str, float]:
    """The rate with the best mean validation accuracy for each method; of equal ones the smallest."""
    means = (
        table.groupby(["method", "lr"])["val_top1"]
        .mean()
        .reset_index()
        .sort_values(["val_top1", "lr"], ascending=[False, True])
    )
    best = means.drop_duplicates("method")
    return {str(row["method"]): float(row["lr"]) for row in best.sort_values("method").to_dict("records")}
