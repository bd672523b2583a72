"""The grids behind the workbook's tables: `python -m adapters_lib.results` runs what is missing, one CSV a grid in `data/results/`.

Every run trains with the offline recipe (`tuning.offline_recipe`), whose learning rates were chosen on other plants, and is evaluated
after its last epoch on the same test images for every seed.

| grid | what | runs |
|---|---|---|
| methods | every method on the ultra-fine leaves | 20 × 3 seeds |
| tasks | eight main methods on the coarse and the mixed leaves | 2 × 8 × 3 |
| bottleneck | ADPT, PAdapter, LoRA, ILA++ with bottleneck or rank 4, 16, 64 on the ultra-fine leaves | 12 × 3 |
| granularity | four methods at five granularities of the ultra-fine leaves | 20 × 3 |
| padapter | PAdapter's forms, modes and positions on the ultra-fine leaves, beside its baselines of the same size | 14 × 3 |
| video | PAdapter's forms and positions, and its baselines of about as many parameters, on motion leaves | 11 × 3 |
| compose | ILA, PAdapter and exits, each in or out, on the mixed leaves, all with the recipe that goes with exits | 8 × 3 |
| ila | ILA's positions, number of down-samplings and residual starts, five of them in `methods` too | 12 × 3 |
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from .backbones import EMBEDDED, EMBEDDED_CLIPS
from .data_sets.leaves import KINDS
from .errors import AdapterError, unknown
from .experiments import Experiment, arrange_rows, read_table, run_grid, store_row
from .methods import METHODS
from .terminals import printable
from .tuning import offline_recipe

__all__ = ["COMBINATIONS", "FOLDER", "GRIDS", "ILA_VARIANTS", "MAIN_METHODS", "PADAPTER_VARIANTS", "VIDEO_VARIANTS", "main", "results"]

FOLDER = Path("data/results")
SEEDS = (0, 1, 2)

ALL_METHODS = tuple(name for name in METHODS if name != "dyn")
"""In the order of the methods' table; dyn needs a host and has a study of its own (`python -m adapters_lib exits study`)."""

MAIN_METHODS = ("linear", "full", "vpt-deep", "adpt", "lora", "ila", "ila++", "padapter")
"""The papers' three methods and what they compare with most."""

GRANULARITIES = (0.06, 0.09, 0.12, 0.18, 0.25)

_SWEPT = {"adpt": "bottleneck", "padapter": "bottleneck", "lora": "rank", "ila++": "bottleneck"}

PADAPTER_VARIANTS = {
    "linear probe": "linear",
    "x_p add, p_a_m": "padapter:bottleneck=8",
    "a_p_m": "padapter:bottleneck=8,position=a_p_m",
    "a_m_p": "padapter:bottleneck=8,position=a_m_p",
    "p+a_m": "padapter:bottleneck=8,position=p+a_m",
    "a_p+m": "padapter:bottleneck=8,position=a_p+m",
    "p+b": "padapter:bottleneck=8,position=p+b",
    "x_p cat": "padapter:bottleneck=8,mode=cat",
    "p_x_p add": "padapter:bottleneck=8,form=p_x_p",
    "p_x_p cat": "padapter:bottleneck=8,form=p_x_p,mode=cat",
    "p_2x_p add": "padapter:bottleneck=8,form=p_2x_p",
    "shared prompt, r = 11": "padapter:bottleneck=11,num_tokens=1",
    "AdaptFormer, r = 16": "adaptformer:bottleneck=16",
    "Pfeiffer, r = 16": "pfeiffer:bottleneck=16",
}
"""Text forms of the ablation by name; bottlenecks such that adapters have about as many parameters."""

VIDEO_VARIANTS = {
    "linear probe": "linear",
    "full": "full",
    "VPT-deep": "vpt-deep:prompts=34",
    "ADPT": "adpt",
    "AdaptFormer": "adaptformer:bottleneck=16",
    "LoRA": "lora",
    "PAdapter x_p, a_m_p": "padapter:bottleneck=8,position=a_m_p",
    "PAdapter p_x_p, a_m_p": "padapter:bottleneck=5,form=p_x_p,position=a_m_p",
    "PAdapter p_2x_p, a_m_p": "padapter:bottleneck=4,form=p_2x_p,position=a_m_p",
    "PAdapter x_p, p_a_m": "padapter:bottleneck=8,position=p_a_m",
    "PAdapter x_p, a_p_m": "padapter:bottleneck=8,position=a_p_m",
}
"""Text forms of the comparison on clips by name; all adapters have about 50,000 parameters."""

ILA_VARIANTS = {
    "linear probe": "linear",
    "ADPT": "adpt",
    "ILA (paper): 4 and 8, near one": "ila",
    "ILA+": "ila+",
    "ILA++": "ila++",
    "start at 1/9": "ila:near_one=0.1111",
    "average pool": "ila:residual=avgpool",
    "once, after 6": "ila:samplings=1",
    "three times: 3, 6, 9": "ila:samplings=3",
    "earlier: 2 and 6": "ila:after=2/6",
    "later: 6 and 10": "ila:after=6/10",
    "ILA++, start at 1/9": "ila++:near_one=0.1111",
}
"""Text forms of ILA's ablation by name: where the modules stand, how often they shrink the grid, and how their residual starts."""

COMBINATIONS = {
    "linear probe": ("linear",),
    "ILA": ("ila",),
    "PAdapter": ("padapter:bottleneck=8",),
    "ILA × PAdapter": ("ila", "padapter:bottleneck=8"),
    "Dyn": ("dyn",),
    "ILA × Dyn": ("ila", "dyn"),
    "PAdapter × Dyn": ("padapter:bottleneck=8", "dyn"),
    "ILA × PAdapter × Dyn": ("ila", "padapter:bottleneck=8", "dyn"),
}
"""Lists of the three papers' methods by name: each of them in or out."""


def _runs(
    methods: Iterable[str | Sequence[str]],
    data: str = "leaves-ultra",
    data_options: Mapping[str, object] | None = None,
    backbone: str = EMBEDDED,
    exits: bool | None = None,
) -> list[Experiment]:
    """Seed by seed, so that an interrupted grid has whole seeds rather than whole methods. exits: as in `offline_recipe`."""
    lists = [(m,) if isinstance(m, str) else tuple(m) for m in methods]
    options = {"augment": None, **(data_options or {})}
    recipes = [offline_recipe(m, data=data, exits=exits) for m in lists]
    return [
        Experiment(methods=m, data=data, seed=seed, backbone=backbone, recipe=recipe, data_options=dict(options))
        for seed in SEEDS
        for m, recipe in zip(lists, recipes, strict=True)
    ]


def _dial(granularity: float) -> dict[str, float]:
    """The default is left unsaid, so that its runs are the same as those of the grid `methods`."""
    return {} if granularity == KINDS["ultra"].granularity else {"granularity": granularity}


GRIDS: dict[str, Callable[[], list[Experiment]]] = {
    "methods": lambda: _runs(ALL_METHODS),
    "tasks": lambda: [run for data in ("leaves-coarse", "leaves-mixed") for run in _runs(MAIN_METHODS, data)],
    "bottleneck": lambda: _runs(f"{name}:{option}={size}" for name, option in _SWEPT.items() for size in (4, 16, 64)),
    "granularity": lambda: [run for dial in GRANULARITIES for run in _runs(("linear", "adpt", "lora", "ila++"), data_options=_dial(dial))],
    "padapter": lambda: _runs(PADAPTER_VARIANTS.values()),
    "video": lambda: _runs(VIDEO_VARIANTS.values(), "motion-leaves", backbone=EMBEDDED_CLIPS),
    "compose": lambda: _runs(COMBINATIONS.values(), "leaves-mixed", exits=True),
    "ila": lambda: _runs(ILA_VARIANTS.values()),
}


def results(name: str, folder: str | Path = FOLDER, *, jobs: int = 1, seeds: Sequence[int] = SEEDS) -> pd.DataFrame:
    """Run what the grid's table lacks and return its rows; in the end the table is in the order of the grid.

    name: a key of `GRIDS`. jobs: runs side by side. seeds: only these.

    Raises AdapterError for an unknown grid, no seed of the grid, or, after all others, the runs that failed.
    """
    runs = [run for run in _declared(name) if run.seed in seeds]
    if not runs:
        raise AdapterError(f"grid {name}: no run with seeds {tuple(seeds)}; choose among {SEEDS}")
    path = Path(folder) / f"{name}.csv"
    _borrow({run.key for run in runs}, path)
    rows = run_grid(runs, path, jobs=jobs)
    arrange_rows([run.key for run in _declared(name)], path)
    return rows


def _declared(name: str) -> list[Experiment]:
    if name not in GRIDS:
        raise unknown("grid", name, GRIDS)
    return GRIDS[name]()


def _borrow(wanted: set[str], path: Path) -> None:
    """Copy runs that another grid's table holds already: the same key is the same run."""
    wanted = wanted - set(read_table(path).get("key", ()))
    for other in GRIDS:
        rows = read_table(path.with_name(f"{other}.csv"))
        for row in rows[rows["key"].isin(wanted)].to_dict("records") if len(rows) else ():
            wanted.discard(row["key"])
            store_row({str(column): value for column, value in row.items()}, path)


@printable()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grids of the workbook, skipping what their tables hold already; safe to interrupt and to start again."""
    parser = argparse.ArgumentParser(prog="python -m adapters_lib.results", description=main.__doc__)
    parser.add_argument("grids", nargs="*", default=[], help=f"some of: {' '.join(GRIDS)}; default all")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the tables are")
    parser.add_argument("--jobs", type=int, default=-1, help="runs side by side, each on one thread; -1: one a core")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="only these seeds, e.g. --seeds 0 for a quick look")
    parser.add_argument("--list", action="store_true", help="say what is there and what is missing, and run nothing")
    parser.add_argument("--prune", action="store_true", help="drop rows that the grid no longer asks for, and run nothing")
    options = parser.parse_args(arguments)
    status = 0
    for name in options.grids or GRIDS:
        try:
            path = options.folder / f"{name}.csv"
            if options.prune:
                print(f"{name}: {arrange_rows([run.key for run in _declared(name)], path, drop=True)} rows dropped from {path}")
            elif options.list:
                keys = [run.key for run in _declared(name)]
                rows = read_table(path)
                here = rows["key"].isin(keys).sum() if len(rows) else 0
                others = f"; {len(rows) - here} rows that it no longer asks for" if here < len(rows) else ""
                print(f"{name}: {here} of {len(keys)} runs in {path}{others}")
            else:
                results(name, options.folder, jobs=options.jobs, seeds=options.seeds)
        except AdapterError as error:
            print(error, file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
