"""The stored runs of an ablation for a notebook, or a few quick ones in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..experiments.run import grid, run_grid
from ..experiments.run_grids import stored
from ..experiments.versions import one_budget, one_version
from ..files import output_folder
from ..training.recipe import Recipe

__all__ = ["ablation"]


def ablation(
    tables: Sequence[str],
    variants: Mapping[str, str],
    data: str,
    *,
    taste: Sequence[str],
    recipe: Recipe,
    options: Mapping[str, Any],
    folder: str | Path | None = None,
) -> pd.DataFrame:
    """Rows of the stored `tables` for the named variants, one a run, with the column `variant`.

    Where the tables lack one of the variants of `taste`, these few are trained here, with one seed, into
    runs/taste.csv, so that the cells behind have something to work on; their order means nothing.

    Args:
        tables: grids whose tables are read, e.g. ("ila", "methods").
        variants: name → method in text form, e.g. "start at 1/9" → "ila:residual_scale=0.1111".
        data: the data set.
        taste: names of variants without which nothing is worth showing.
        recipe, options: of the quick runs; options of the data set.
        folder: of the tables; default data/results, placed by `files.output_folder`.
    """
    names = {method: name for name, method in variants.items()}
    place = Path(folder or output_folder("data/results"))
    rows = pd.concat([stored(table, place) for table in tables])
    if not {variants[name] for name in taste} <= set(rows.get("method", ())):
        runs = grid([variants[name] for name in taste], data, (0,), recipe=recipe, data_options=dict(options))
        rows = run_grid(runs, output_folder("runs") / "taste.csv")
    rows = rows[rows["method"].isin(names) & (rows["data"] == data)].drop_duplicates("key")
    rows = rows.assign(variant=rows["method"].map(names)).reset_index(drop=True)
    return one_version(one_budget(rows, ["variant"]), ["variant"])
