"""Choose a learning rate for each method on validation images: `python -m adapters_lib.experiments.tune`.

It trains on other plants and other seeds than any reported result, and looks at no test image. The choice goes to `offline_recipes.json` in
this package, from which `offline_recipe` makes the recipe of the workbook's own experiments.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from ..backbones.clips import EMBEDDED_CLIPS
from ..backbones.images import EMBEDDED
from ..datasets.load import DATA_SETS
from ..methods import Method, parse_method
from ..saving.checkpoint import save_json
from ..text import printable
from ..training.recipe import Recipe
from .bracketing import Bracket, bracket, on_ladder
from .cores import use_cores
from .run import Experiment, read_table, run_grid, store_row, work_folder

__all__ = [
    "BASE",
    "BUDGET",
    "CLIPS",
    "CLIPS_BUDGET",
    "HEAD_LR",
    "Budget",
    "brackets",
    "choose",
    "main",
    "offline_recipe",
    "tune",
    "tune_until_bracketed",
]


@dataclass(frozen=True)
class Budget:
    """How long to train: passes over so many training images (or clips) of each class."""

    images: int
    passes: int

    def __str__(self) -> str:
        return f"{self.passes} passes over {self.images} a class"  # as `versions.budgets_of` says it


BUDGET = Budget(images=120, passes=6)
"""Of every grid of images: 3,600 updates on 20 classes at batch 4. To change it, change this line (see the grid `learning_curve`)."""

BASE = Recipe(
    epochs=BUDGET.passes,
    lr=3e-3,
    batch_size=4,
    warmup_epochs=BUDGET.passes / 10,
    weight_decay=1e-2,
    mixed_precision="auto",
)
"""The offline default; only the learning rate is chosen for each method. A tenth of the updates warms up.

Few passes over many images rather than many over few: on validation images of other plants (one seed), 30 images a class and 8 epochs at
batch 8 gave a linear probe 49.9 % and Houlsby's adapter 61.5 %; 24 epochs overfit (59.6 %). At 60 images and 3 epochs LoRA reached 53.5 %
at batch 8 with 3e-3, 52.6 % with 1e-2, and 59.3 % at batch 4 with 5e-3, for a sixth more time: more updates help, a higher rate alone
does not.
"""

HEAD_LR = 3e-2
"""At this rate, the best for a linear probe, the head learns beside every adapter; only the adapter's own rate is chosen.

With one rate for both, either the head lags behind or the adapter breaks. On validation images of other plants (`data/results/tuning.csv`,
one seed, 800 images, a standard error of 1.8 points), the best rate for both and the best rate beside such a head: probe 54.3 %, ADPT 53.4
and 65.5 %, PAdapter 58.8 and 64.1 %, Houlsby 62.8 and 65.1 %, LoRA 58.6 and 58.8 %.
"""

CLIPS_BUDGET = Budget(images=60, passes=6)
"""Of the grids of clips: 1,440 updates on 16 classes at batch 4."""

CLIPS = replace(BASE, epochs=CLIPS_BUDGET.passes, warmup_epochs=CLIPS_BUDGET.passes / 10)
"""The same for clips, of which there are fewer. One rate for adapter and head, chosen on validation clips of seed 100."""

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
OTHER_RATES = {"full": (3e-5, 1e-4, 3e-4), "linear": (3e-3, 1e-2, 3e-2, 1e-1)} | dict.fromkeys(
    ("vpt-shallow", "vpt-deep", "bitfit", "layernorm", "ssf", "vqt"), (3e-3, 1e-2, 3e-2)
)
"""Candidates for methods whose usual rates lie elsewhere. The stored table holds those around the best of each method, not all."""
SEEDS = (100, 101)
"""The second one decides where the best two rates of the first lie within one standard error."""
_FILE = "offline_recipes.json"


@dataclass(frozen=True)
class _Setting:
    """What rates are chosen for: their name in the file, the recipe and the budget that they go with, and where they are tried.

    head_lr: the rate of the head, None for that of the adapter. validation: images of all classes.
    """

    kind: str
    base: Recipe
    budget: Budget
    head_lr: float | None = None
    backbone: str = EMBEDDED
    validation: int = 2000

    @property
    def data_options(self) -> dict[str, Any]:
        """Plants, or clips, that no reported result stands on."""
        if self.backbone == EMBEDDED_CLIPS:
            return {"augment": None, "n_train": self.budget.images, "n_val": self.validation // 16}
        return {"plants": 1, "augment": None, "n_train": self.budget.images, "n_val": self.validation // 20}

    def recipe(self, **changes: Any) -> Recipe:
        """The base with some fields changed, the head at its rate unless `changes` says otherwise."""
        found = replace(self.base, **changes)
        if self.head_lr is None or "head_lr_scale" in changes:
            return found
        return replace(found, head_lr_scale=float(f"{self.head_lr / found.lr:.6g}"))


def _setting(data: str, exits: bool = False) -> _Setting:
    """Exits bring heads of many layers, which learn at the rate of their host."""
    if DATA_SETS[data].clips:
        return _Setting("lr_clips", CLIPS, CLIPS_BUDGET, backbone=EMBEDDED_CLIPS, validation=400)
    return _Setting("lr_exits", BASE, BUDGET) if exits else _Setting("lr", BASE, BUDGET, HEAD_LR)


def offline_recipe(methods: str | Sequence[str], *, data: str = "leaves-ultra", exits: bool | None = None, **changes: Any) -> Recipe:
    """The recipe for a method on the offline default: `BASE`, or `CLIPS`, with the learning rate chosen on validation data.

    The head learns at `HEAD_LR`, except for clips and beside exits, where one rate holds for all.

    methods: text form. Options with a rate of their own in the file, e.g. a wide bottleneck, get it, all others that of the method's
    name, and a method that was never tuned that of `BASE`. A list gets the smallest rate of its members, as the most delicate one decides.
    dyn has none of its own: its heads learn at the host's rate, alone at the probe's.
    data: a set of images or of clips. exits: the recipe that goes with exits, e.g. for a comparison with them; default: if dyn is in the
    list. changes: other fields, e.g. seed; a tenth of other `epochs` warms up unless `warmup_epochs` says otherwise.
    """
    rates_of: dict[str, dict[str, float]] = json.loads(resources.files("adapters_lib.training").joinpath(_FILE).read_text())
    members = [parse_method(method) for method in ([methods] if isinstance(methods, str) else methods)]
    hosts = [member for member in members if member.name != "dyn"]
    setting = _setting(data, len(hosts) < len(members) if exits is None else exits)
    rates = rates_of[setting.kind]
    lr = min(_rate(host, rates, setting.base.lr) for host in hosts or [parse_method("linear")])
    warmup = {"warmup_epochs": changes["epochs"] / 10} if "epochs" in changes and "warmup_steps" not in changes else {}
    return setting.recipe(**{"lr": lr, **warmup, **changes})


def _rate(method: Method, rates: Mapping[str, float], otherwise: float) -> float:
    """The rate stored for these very options, in whatever order they are written, else that of the name."""
    alike = (text for text in rates if text.startswith(f"{method.name}:"))  # reading a text form takes milliseconds
    exact = (rates[text] for text in alike if parse_method(text) == method)
    return next(exact, rates.get(method.name, otherwise))


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
    """Train every method with every rate and seed, without the test images; return the rows, with those of other rates in the table.

    rates: None: `RATES`, or a method's own of `OTHER_RATES`. data_options: for `load_data`; None means the images of the budget and 2,000
    for validation, of plants that no reported result stands on; of clips, 400. jobs: runs side by side. exits: with the recipe that goes
    with exits, see `offline_recipe`. work: as in `experiments.run_experiment`.
    """
    runs: list[Experiment] = []
    stored = read_table(table)
    held = set(stored.get("key", ()))
    for method in methods:
        candidates = tuple(rates or OTHER_RATES.get(parse_method(method).name, RATES))
        before = stored.loc[stored["method"] == method, "lr"] if len(stored) else ()
        for rate in sorted({*candidates, *before}):
            found = [_trial(method, rate, seed, data, exits, data_options) for seed in seeds]
            runs += [run for run in found if rate in candidates or run.key in held]
    return run_grid(runs, table, jobs=jobs, work=work)


def _trial(method: str, rate: float, seed: int, data: str, exits: bool, data_options: Mapping[str, Any] | None = None) -> Experiment:
    """A run that tries one rate, in float32 on every machine; a probe's is that of its head, as the head is all it trains."""
    setting = _setting(data, exits)
    changes = {"head_lr_scale": 1.0} if parse_method(method).name == "linear" else {}
    recipe = setting.recipe(lr=rate, mixed_precision="no", **changes)
    options = dict(setting.data_options if data_options is None else data_options)
    return Experiment((method,), data, seed, setting.backbone, options, recipe, test=False)


def brackets(methods: Sequence[str], data: str, table: str | Path, exits: bool = False) -> dict[str, Bracket]:
    """For every method what the stored runs say at the present budget: its rate, or the runs that are missing before one is bracketed."""
    setting, rows = _setting(data, exits), read_table(table)
    values = dict(zip(rows["key"], rows["val_top1"], strict=True)) if len(rows) else {}
    found = {}
    for method in methods:
        rates = {float(rate) for rate in rows.loc[rows["method"] == method, "lr"]} if len(rows) else set()
        tried: dict[float, dict[int, float]] = {}
        for rate, seed in product(rates, SEEDS):
            if (value := values.get(_trial(method, rate, seed, data, exits).key)) is not None:
                tried.setdefault(rate, {})[seed] = value
        start = on_ladder(offline_recipe(method, data=data, exits=exits or None).lr)
        found[method] = bracket(tried, start, setting.validation, (SEEDS[0], SEEDS[1]))
    return found


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
    """Run just the rates that are missing until every method's best lies between a smaller and a larger one that did no better.

    deadline: in seconds since the epoch, see `experiments.run_grid`; methods may then be left without a choice.

    Raises AdapterError: a method is not known; or for the runs that failed, after all others of their round.
    """
    _borrow(methods, data, Path(table), exits)
    while True:
        found = brackets(methods, data, table, exits)
        runs = [_trial(method, rate, seed, data, exits) for method in methods for rate, seed in found[method].missing]
        if not runs or (deadline is not None and time.time() >= deadline):
            return found
        run_grid(runs, table, jobs=jobs, work=work, deadline=deadline)


def _borrow(methods: Sequence[str], data: str, table: Path, exits: bool) -> None:
    """Copy the runs that the learning curve has made already: at this budget it tries the rates that one starts from."""
    curve, known = read_table(table.with_name("learning_curve.csv")), set(read_table(table).get("key", ()))
    for row in curve[curve["method"].isin(methods)].to_dict("records") if len(curve) else ():
        trial = _trial(str(row["method"]), float(row["lr"]), int(row["seed"]), data, exits)
        if trial.key == row["key"] and trial.key not in known:
            store_row({str(column): value for column, value in row.items()}, table)


def choose(table: pd.DataFrame) -> dict[str, float]:
    """The rate with the best mean validation accuracy for each method; of equal ones the smallest."""
    means = table.groupby(["method", "lr"])["val_top1"].mean().reset_index().sort_values(["val_top1", "lr"], ascending=[False, True])
    best = means.drop_duplicates("method")
    return {str(row["method"]): float(row["lr"]) for row in best.sort_values("method").to_dict("records")}


@printable()
def main(arguments: Sequence[str] | None = None) -> int:
    """Tune the learning rates of methods on validation images and store the choice."""
    parser = argparse.ArgumentParser(prog="python -m adapters_lib.experiments.tune", description=main.__doc__)
    parser.add_argument("methods", nargs="*", help="e.g. linear lora adpt ila; with --until-bracketed default all of the grids")
    parser.add_argument("--data", help="default leaves-ultra, with --exits leaves-mixed")
    parser.add_argument("--table", default="data/results/rates.csv", help="every run is kept here")
    parser.add_argument("--rates", type=float, nargs="+", help="candidates for all methods; default a method's own")
    parser.add_argument("--until-bracketed", action="store_true", help="try rates until each best one lies between two that did no better")
    parser.add_argument("--limit-minutes", type=float, help="with --until-bracketed: stop at the end of the epochs that then run")
    parser.add_argument("--list", action="store_true", help="with --until-bracketed: say what is chosen and what is missing, run nothing")
    parser.add_argument("--jobs", type=int, default=-1, help="runs side by side, -1 for one a core")
    parser.add_argument("--seeds", type=int, nargs="+", default=[SEEDS[0]])
    parser.add_argument("--exits", action="store_true", help="rates of hosts of exits: one for adapter and heads")
    parser.add_argument("--as-written", action="store_true", help="the choice holds for these options alone, not for all of the method")
    options = parser.parse_args(arguments)
    options.data = options.data or ("leaves-mixed" if options.exits else "leaves-ultra")
    use_cores()
    if options.until_bracketed:
        return _until_bracketed(options)
    if not options.methods:
        parser.error("name at least one method, or pass --until-bracketed")
    how = {"jobs": options.jobs, "exits": options.exits, "work": work_folder()}
    table = tune(options.methods, options.data, options.table, options.rates, options.seeds, **how)
    print(table.pivot_table(index="method", columns="lr", values="val_top1").round(1).to_string())
    chosen = {method if options.as_written else parse_method(method).name: rate for method, rate in choose(table).items()}
    _store(_setting(options.data, options.exits), chosen)
    print("chosen:", chosen)
    return 0


def _until_bracketed(options: argparse.Namespace) -> int:
    from .grids import tuned_methods  # which asks this module for recipes

    methods = options.methods or tuned_methods(options.data, options.exits)
    deadline = None if options.limit_minutes is None else time.time() + 60 * options.limit_minutes
    if options.list:
        found = brackets(methods, options.data, options.table, options.exits)
    else:
        how = {"exits": options.exits, "jobs": options.jobs, "work": work_folder(), "deadline": deadline}
        found = tune_until_bracketed(methods, options.data, options.table, **how)
        _store(_setting(options.data, options.exits), {method: b.rate for method, b in found.items() if b.rate is not None})
    for method, (rate, missing) in found.items():
        left = ", ".join(f"{rate:g} (seed {seed})" for rate, seed in missing)
        print(f"{method}: {f'{rate:g}' if rate is not None else f'still to try: {left}'}")
    return 0


def _store(setting: _Setting, chosen: Mapping[str, float]) -> None:
    """Put the rates into the package's file, each with the budget at which it was chosen."""
    path = Path(str(resources.files("adapters_lib.training"))) / _FILE
    known: dict[str, Any] = json.loads(path.read_text())
    budgets = {kind: dict(of) for kind, of in known.get("chosen_at", {}).items()}
    budgets.setdefault(setting.kind, {}).update(dict.fromkeys(chosen, str(setting.budget)))
    rates = dict(sorted({**known.get(setting.kind, {}), **chosen}.items()))
    save_json(path, {**known, setting.kind: rates, "chosen_at": budgets})


if __name__ == "__main__":
    raise SystemExit(main())
