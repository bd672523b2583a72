"""Choose a learning rate for each method on validation images: `python -m adapters_lib.tuning`.

It trains on other plants and other seeds than any reported result, and looks at no test image. The choice goes to `offline_recipes.json` in
this package, from which `offline_recipe` makes the recipe of the workbook's own experiments.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from .backbones import EMBEDDED, EMBEDDED_CLIPS
from .checkpoint import save_json
from .data_sets import DATA_SETS
from .experiments import Experiment, grid, run_grid
from .methods import parse_method
from .recipes import Recipe

__all__ = ["BASE", "choose", "main", "offline_recipe", "tune"]

BASE = Recipe(epochs=3, lr=3e-3, batch_size=4, warmup_epochs=0.3, weight_decay=1e-2, mixed_precision="auto")
"""The small budget of the offline default; only the learning rate is chosen for each method.

Three passes over many images rather than many over few: on validation images of other plants (one seed), 30 images a class and 8 epochs at
batch 8 gave a linear probe 49.9 % and Houlsby's adapter 61.5 %; 24 epochs overfit (59.6 %). At 60 images and 3 epochs LoRA reached 53.5 %
at batch 8 with 3e-3, 52.6 % with 1e-2, and 59.3 % at batch 4 with 5e-3, for a sixth more time: more updates help, a higher rate alone
does not.
Rates were chosen at this budget (`data/results/tuning.csv`, rows of 3 epochs; one seed, 800 validation images, so a standard error of 1.8
points), but for full fine-tuning and the two VPTs, whose rates come from an earlier one (30 images a class, 6 epochs, batch 8). A good rate
can lie close to a bad one: Houlsby's adapter had 62.8 % with 3e-3 and 4.1 % with 1e-2, LoRA 58.6 and 10.0 %.
"""

CLIPS = replace(BASE, epochs=5)
"""The same for clips, of which there are fewer: 24 a class. Rates: `data/results/tuning.csv`, validation clips of seed 100."""

RATES = (1e-3, 3e-3, 1e-2)
OTHER_RATES = {"full": (1e-4, 3e-4, 1e-3)} | dict.fromkeys(
    ("linear", "vpt-shallow", "vpt-deep", "bitfit", "layernorm", "ssf", "vqt"), (3e-3, 1e-2, 3e-2)
)
"""Candidates for methods whose usual rates lie elsewhere."""
SEEDS = (100,)
_FILE = "offline_recipes.json"


def _base(data: str) -> tuple[str, Recipe]:
    """The name of the rates in the file, and the recipe that they go with."""
    return ("lr_clips", CLIPS) if DATA_SETS[data].clips else ("lr", BASE)


def offline_recipe(methods: str | Sequence[str], *, data: str = "leaves-ultra", **changes: Any) -> Recipe:
    """The recipe for a method on the offline default: `BASE`, or `CLIPS`, with the learning rate chosen on validation data.

    methods: text form; its options do not matter. A method that was never tuned gets the rate of `BASE`. A list gets the smallest rate
    of its members, as the most delicate one decides. dyn has none of its own: its heads learn at the host's rate, alone at the probe's.
    data: a set of images or of clips. changes: other fields, e.g. seed.
    """
    text = resources.files("adapters_lib").joinpath(_FILE).read_text()
    kind, base = _base(data)
    rates: dict[str, float] = json.loads(text)[kind]
    names = {parse_method(method).name for method in ([methods] if isinstance(methods, str) else methods)}
    lr = min(rates.get(name, base.lr) for name in names - {"dyn"} or {"linear"})
    return replace(base, **{"lr": lr, **changes})


def tune(
    methods: Sequence[str],
    data: str,
    table: str | Path,
    rates: Sequence[float] | None = None,
    seeds: Sequence[int] = SEEDS,
    data_options: Mapping[str, Any] | None = None,
    jobs: int = 1,
) -> pd.DataFrame:
    """Train every method with every rate and seed with `BASE` (clips: `CLIPS`), without the test images; return the rows.

    rates: None: `RATES`, or a method's own of `OTHER_RATES`. data_options: for `load_data`; None means 40 validation images a class, and
    plants that no reported result stands on; of motion leaves, 20 clips a class. jobs: runs side by side.
    """
    runs: list[Experiment] = []
    _, base = _base(data)
    clips = DATA_SETS[data].clips
    usual = {"augment": None, "n_val": 20} if clips else {"plants": 1, "augment": None, "n_val": 40}
    options = dict(usual if data_options is None else data_options)
    for method in methods:
        for rate in rates or OTHER_RATES.get(parse_method(method).name, RATES):
            recipe, backbone = replace(base, lr=rate), EMBEDDED_CLIPS if clips else EMBEDDED
            runs += grid([method], data, seeds, recipe=recipe, backbone=backbone, data_options=options, test=False)
    return run_grid(runs, table, jobs=jobs)


def choose(table: pd.DataFrame) -> dict[str, float]:
    """The rate with the best mean validation accuracy for each method; of equal ones the smallest."""
    means = table.groupby(["method", "lr"])["val_top1"].mean().reset_index().sort_values(["val_top1", "lr"], ascending=[False, True])
    best = means.drop_duplicates("method")
    return {str(row["method"]): float(row["lr"]) for row in best.sort_values("method").to_dict("records")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune the learning rates of methods on validation images and store the choice."""
    parser = argparse.ArgumentParser(prog="python -m adapters_lib.tuning", description=main.__doc__)
    parser.add_argument("methods", nargs="+", help="e.g. linear lora adpt ila")
    parser.add_argument("--data", default="leaves-ultra")
    parser.add_argument("--table", default="data/results/tuning.csv", help="every run is kept here")
    parser.add_argument("--rates", type=float, nargs="+", help="candidates for all methods; default 1e-3, 3e-3 and 1e-2, or a method's own")
    parser.add_argument("--jobs", type=int, default=-1, help="runs side by side, -1 for one a core")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options = parser.parse_args(arguments)
    table = tune(options.methods, options.data, options.table, options.rates, options.seeds, jobs=options.jobs)
    print(table.pivot_table(index="method", columns="lr", values="val_top1").round(1).to_string())
    path = Path(str(resources.files("adapters_lib"))) / _FILE
    known: dict[str, Any] = json.loads(path.read_text())
    kind, _ = _base(options.data)
    chosen = {parse_method(method).name: rate for method, rate in choose(table).items()}
    chosen = dict(sorted({**known.get(kind, {}), **chosen}.items()))
    save_json(path, {**known, kind: chosen})
    print("chosen:", chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
