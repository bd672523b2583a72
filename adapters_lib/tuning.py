"""Choose a learning rate for each method on validation images: `python -m adapters_lib.tuning`.

It trains on other plants and other seeds than any reported result, and looks at no test image. The choice goes to `offline_recipes.json` in
this package, from which `offline_recipe` makes the recipe of the workbook's own experiments.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from .backbones import EMBEDDED, EMBEDDED_CLIPS
from .checkpoint import save_json
from .data_sets import DATA_SETS
from .experiments import Experiment, grid, read_table, run_grid
from .methods import Method, parse_method
from .recipes import Recipe
from .terminals import printable

__all__ = ["BASE", "HEAD_LR", "choose", "main", "offline_recipe", "tune"]

BASE = Recipe(epochs=3, lr=3e-3, batch_size=4, warmup_epochs=0.3, weight_decay=1e-2, mixed_precision="auto")
"""The small budget of the offline default; only the learning rate is chosen for each method.

Three passes over many images rather than many over few: on validation images of other plants (one seed), 30 images a class and 8 epochs at
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

CLIPS = replace(BASE, epochs=5)
"""The same for clips, of which there are fewer: 24 a class. One rate for adapter and head, chosen on validation clips of seed 100."""

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
OTHER_RATES = {"full": (3e-5, 1e-4, 3e-4), "linear": (3e-3, 1e-2, 3e-2, 1e-1)} | dict.fromkeys(
    ("vpt-shallow", "vpt-deep", "bitfit", "layernorm", "ssf", "vqt"), (3e-3, 1e-2, 3e-2)
)
"""Candidates for methods whose usual rates lie elsewhere. The stored table holds those around the best of each method, not all."""
SEEDS = (100,)
_FILE = "offline_recipes.json"


@dataclass(frozen=True)
class _Setting:
    """The name of the rates in the file, the recipe that they go with, and the rate of the head, None for that of the adapter."""

    kind: str
    base: Recipe
    head_lr: float | None = None

    def recipe(self, **changes: Any) -> Recipe:
        """The base with some fields changed, the head at its rate unless `changes` says otherwise."""
        found = replace(self.base, **changes)
        if self.head_lr is None or "head_lr_scale" in changes:
            return found
        return replace(found, head_lr_scale=float(f"{self.head_lr / found.lr:.6g}"))


def _setting(data: str, exits: bool = False) -> _Setting:
    """Exits bring heads of many layers, which learn at the rate of their host."""
    if DATA_SETS[data].clips:
        return _Setting("lr_clips", CLIPS)
    return _Setting("lr_exits", BASE) if exits else _Setting("lr", BASE, HEAD_LR)


def offline_recipe(methods: str | Sequence[str], *, data: str = "leaves-ultra", exits: bool | None = None, **changes: Any) -> Recipe:
    """The recipe for a method on the offline default: `BASE`, or `CLIPS`, with the learning rate chosen on validation data.

    The head learns at `HEAD_LR`, except for clips and beside exits, where one rate holds for all.

    methods: text form. Options with a rate of their own in the file, e.g. a wide bottleneck, get it, all others that of the method's
    name, and a method that was never tuned that of `BASE`. A list gets the smallest rate of its members, as the most delicate one decides.
    dyn has none of its own: its heads learn at the host's rate, alone at the probe's.
    data: a set of images or of clips. exits: the recipe that goes with exits, e.g. for a comparison with them; default: if dyn is in the
    list. changes: other fields, e.g. seed.
    """
    rates_of: dict[str, dict[str, float]] = json.loads(resources.files("adapters_lib").joinpath(_FILE).read_text())
    members = [parse_method(method) for method in ([methods] if isinstance(methods, str) else methods)]
    hosts = [member for member in members if member.name != "dyn"]
    setting = _setting(data, len(hosts) < len(members) if exits is None else exits)
    rates = rates_of[setting.kind]
    lr = min(_rate(host, rates, setting.base.lr) for host in hosts or [parse_method("linear")])
    return setting.recipe(**{"lr": lr, **changes})


def _rate(method: Method, rates: Mapping[str, float], otherwise: float) -> float:
    """The rate stored for these very options, in whatever order they are written, else that of the name."""
    exact = (rate for text, rate in rates.items() if ":" in text and parse_method(text) == method)
    return next(exact, rates.get(method.name, otherwise))


def tune(
    methods: Sequence[str],
    data: str,
    table: str | Path,
    rates: Sequence[float] | None = None,
    seeds: Sequence[int] = SEEDS,
    data_options: Mapping[str, Any] | None = None,
    jobs: int = 1,
    exits: bool = False,
) -> pd.DataFrame:
    """Train every method with every rate and seed, without the test images; return the rows, with those of other rates in the table.

    rates: None: `RATES`, or a method's own of `OTHER_RATES`. data_options: for `load_data`; None means 40 validation images a class, and
    plants that no reported result stands on; of motion leaves, 20 clips a class. jobs: runs side by side. exits: with the recipe that goes
    with exits, see `offline_recipe`.
    """
    runs: list[Experiment] = []
    setting = _setting(data, exits)
    clips = DATA_SETS[data].clips
    usual = {"augment": None, "n_val": 20} if clips else {"plants": 1, "augment": None, "n_val": 40}
    options = dict(usual if data_options is None else data_options)
    backbone = EMBEDDED_CLIPS if clips else EMBEDDED
    stored = read_table(table)
    held = set(stored.get("key", ()))
    for method in methods:
        name = parse_method(method).name
        changes = {"head_lr_scale": 1.0} if name == "linear" else {}  # the head is all it trains
        candidates = tuple(rates or OTHER_RATES.get(name, RATES))
        before = stored.loc[stored["method"] == method, "lr"] if len(stored) else ()
        for rate in sorted({*candidates, *before}):
            recipe = setting.recipe(lr=rate, **changes)
            found = grid([method], data, seeds, recipe=recipe, backbone=backbone, data_options=options, test=False)
            runs += [run for run in found if rate in candidates or run.key in held]
    return run_grid(runs, table, jobs=jobs)


def choose(table: pd.DataFrame) -> dict[str, float]:
    """The rate with the best mean validation accuracy for each method; of equal ones the smallest."""
    means = table.groupby(["method", "lr"])["val_top1"].mean().reset_index().sort_values(["val_top1", "lr"], ascending=[False, True])
    best = means.drop_duplicates("method")
    return {str(row["method"]): float(row["lr"]) for row in best.sort_values("method").to_dict("records")}


@printable()
def main(arguments: Sequence[str] | None = None) -> int:
    """Tune the learning rates of methods on validation images and store the choice."""
    parser = argparse.ArgumentParser(prog="python -m adapters_lib.tuning", description=main.__doc__)
    parser.add_argument("methods", nargs="+", help="e.g. linear lora adpt ila")
    parser.add_argument("--data", default="leaves-ultra")
    parser.add_argument("--table", default="data/results/tuning.csv", help="every run is kept here")
    parser.add_argument("--rates", type=float, nargs="+", help="candidates for all methods; default a method's own")
    parser.add_argument("--jobs", type=int, default=-1, help="runs side by side, -1 for one a core")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--exits", action="store_true", help="rates of hosts of exits: one for adapter and heads")
    parser.add_argument("--as-written", action="store_true", help="the choice holds for these options alone, not for all of the method")
    options = parser.parse_args(arguments)
    table = tune(options.methods, options.data, options.table, options.rates, options.seeds, jobs=options.jobs, exits=options.exits)
    print(table.pivot_table(index="method", columns="lr", values="val_top1").round(1).to_string())
    path = Path(str(resources.files("adapters_lib"))) / _FILE
    known: dict[str, Any] = json.loads(path.read_text())
    kind = _setting(options.data, options.exits).kind
    chosen = {method if options.as_written else parse_method(method).name: rate for method, rate in choose(table).items()}
    chosen = dict(sorted({**known.get(kind, {}), **chosen}.items()))
    save_json(path, {**known, kind: chosen})
    print("chosen:", chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
