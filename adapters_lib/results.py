"""Run the grids behind the workbook's tables: `python -m adapters_lib.results` runs what is missing, one CSV a grid in `data/results/`.

What the grids ask for stands in `grids`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .errors import AdapterError, unknown
from .experiments import Experiment, arrange_rows, read_table, run_grid, store_row, work_folder
from .grids import COMBINATIONS, GRIDS, ILA_VARIANTS, MAIN_METHODS, PADAPTER_VARIANTS, VIDEO_VARIANTS
from .table_files import read_rows

__all__ = ["COMBINATIONS", "FOLDER", "GRIDS", "ILA_VARIANTS", "MAIN_METHODS", "PADAPTER_VARIANTS", "VIDEO_VARIANTS", "main", "results"]

FOLDER = Path("data/results")

def results(
    name: str,
    folder: str | Path = FOLDER,
    *,
    jobs: int = 1,
    seeds: Sequence[int] | None = None,
    work: Path | None = None,
) -> pd.DataFrame:
    """Run what the grid's table lacks and return its rows; in the end the table is in the order of the grid.

    name: a key of `GRIDS`. jobs: runs side by side. seeds: only these, default all. work: see `experiments.run_experiment`,
    default `experiments.work_folder()`.

    Raises AdapterError for an unknown grid, no seed of the grid, or, after all others, the runs that failed.
    """
    declared = _declared(name)
    runs = [run for run in declared if seeds is None or run.seed in seeds]
    if not runs:
        known = sorted({run.seed for run in declared})
        raise AdapterError(f"grid {name}: no run with seeds {tuple(seeds or ())}; choose among {known}")
    path = Path(folder) / f"{name}.csv"
    _borrow({run.key for run in runs}, path)
    rows = run_grid(runs, path, jobs=jobs, work=work or work_folder())
    arrange_rows([run.key for run in declared], path)
    return rows


def _declared(name: str) -> list[Experiment]:
    if name not in GRIDS:
        raise unknown("grid", name, GRIDS)
    return GRIDS[name]()


def _borrow(wanted: set[str], path: Path) -> None:
    """Copy runs that another grid's table holds already: the same key is the same run."""
    wanted = wanted - set(read_table(path).get("key", ()))
    for other in GRIDS:
        for row in read_rows(path.with_name(f"{other}.csv"))[1]:  # as text, so that every digit goes along
            if row["key"] in wanted:
                wanted.discard(row["key"])
                store_row(dict(row), path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grids of the workbook, skipping what their tables hold already; safe to interrupt and to start again."""
    parser = argparse.ArgumentParser(prog="python -m adapters_lib.results", description=main.__doc__)
    parser.add_argument("grids", nargs="*", default=[], help=f"some of: {' '.join(GRIDS)}; default all")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the tables are")
    parser.add_argument("--jobs", type=int, default=-1, help="runs side by side, each on one thread; -1: one a core")
    parser.add_argument("--seeds", type=int, nargs="+", help="only these seeds, e.g. --seeds 0 for a quick look")
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
