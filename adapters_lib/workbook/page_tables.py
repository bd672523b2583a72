"""The pages that are made of stored data: recipes, costs, results."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

from ..errors import AdapterError
from ..experiments.claims import decide, text_of
from ..experiments.grids import GRIDS
from ..experiments.report import render, stored_table
from ..training.published_recipes import PRESETS
from ..training.recipe import Recipe
from .page_methods import BACKBONES, CLASSES, cost_table

__all__ = ["costs_page", "recipes_text", "results_text"]

_ALWAYS = ("epochs", "lr", "batch_size", "weight_decay", "optimizer")


def recipes_text() -> str:
    """All published recipes, each with what differs from a plain `Recipe`."""
    plain = Recipe()
    parts = ["## All published recipes"]
    for name, preset in PRESETS.items():
        fields = {f.name: getattr(preset.recipe, f.name) for f in dataclasses.fields(Recipe)}
        kept = {k: v for k, v in fields.items() if k in _ALWAYS or v != getattr(plain, k)}
        call = f"al.recipes.{name}" + ("" if isinstance(preset.value, Recipe) else "(batch_size=…)")
        lines = [
            f"### {name}",
            "",
            f"`{call}`, from {preset.source}",
            "",
            f"* {', '.join(f'`{key}={value!r}`' for key, value in kept.items())}",
            f"* for {', '.join(f'`{method}`' for method in preset.methods)}; head `{preset.head}`",
        ]
        lines += [f"* rates: {', '.join(f'{rate:g}' for rate in preset.rates)}"] if preset.rates else []
        lines += [f"* note: {preset.note}"] if preset.note else []
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def costs_page() -> str:
    """What every method costs, counted when the site is built."""
    text = [
        "# Costs",
        f"Counted for one image and {CLASSES} classes, with the default options of every method. Parameters"
        " of the adapter, of the backbone that a method unfreezes, and of the head stand apart; MACs are"
        " multiply-accumulate operations of one forward pass, 2 FLOPs each. Measured times are in the"
        " [results](results.md); `al.latency` and `al.memory_use` measure on your machine.",
    ]
    for backbone in BACKBONES:
        text += [f"## {backbone}", cost_table(backbone)]
    return "\n\n".join(text) + "\n"


def results_text(folder: Path) -> str:
    """The tables of all grids that have tested rows in `folder`, and what the claims come to."""
    parts = ["## All tables"]
    empty = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tables themselves mark rows of another version
        for grid in GRIDS:
            try:
                table = render(stored_table(grid, folder))
            except AdapterError:  # not run, or not of the kind that one table can hold
                empty.append(f"`{grid}`")
                continue
            source = folder / f"{grid}.csv"
            parts.append(f"### {grid}\n\n[All rows as CSV](../../../data/results/{source.name})\n\n{table}")
        if empty:
            parts.append(f"Without a table: {', '.join(empty)}.")
        decided = text_of(decide(folder))
    parts.append(f"## What the tables decide\n\n```text\n{decided}\n```")
    return "\n\n".join(parts)
