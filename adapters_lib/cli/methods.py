"""`methods`: every adapter, with its options, their defaults and its source; `methods --recipes`: the
published recipes; `methods --compositions`: which pairs of methods go together."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from pathlib import Path
from typing import Any

from ..errors import AdapterError

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--recipes",
        action="store_true",
        help="list the papers' recipes (al.recipes.…) instead of the methods",
    )
    instead.add_argument(
        "--compositions",
        action="store_true",
        help="list the pairs of methods that do not go together, and why",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="with --compositions: write all pairs as CSV, e.g. data/composition.csv"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """{"methods": {name: {"summary", "source", "options": {name: default}}}}, or {"recipes": …}, or
    {"compositions": [{"first", "second", "composes", "why"}], "out"}.

    Raises AdapterError: --out without --compositions.
    """
    if args.compositions:
        return _compositions(args.out)
    if args.out:
        raise AdapterError(f"--out {args.out}: only pairs are written; pass --compositions too")
    if args.recipes:
        return {"recipes": _recipes()}
    from ..methods import METHODS

    methods = {}
    for name, cls in sorted(METHODS.items()):
        options = {field.name: field.default for field in dataclasses.fields(cls)}
        methods[name] = {
            "summary": " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split()),
            "source": cls.source,
            "options": options,
        }
    return {"methods": methods}


def _compositions(out: str | None) -> dict[str, Any]:
    from ..methods.compose import composition_table, write_table

    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_table(out)
    return {"compositions": composition_table(), "out": out}


def _recipes() -> dict[str, Any]:
    """{name: {"recipe": what differs from a plain Recipe, "scales", "rates", "methods", "head", "source",
    "note"}}"""
    from ..training.published_recipes import PRESETS
    from ..training.recipe import Recipe

    plain, presets = Recipe(), {}
    for name, preset in PRESETS.items():
        fields = {f.name: getattr(preset.recipe, f.name) for f in dataclasses.fields(Recipe)}
        kept = ("epochs", "lr", "batch_size", "weight_decay", "optimizer")
        presets[name] = {
            "recipe": {
                key: value for key, value in fields.items() if key in kept or value != getattr(plain, key)
            },
            "lr_follows_batch": not isinstance(preset.value, Recipe),
            "rates": list(preset.rates),
            "methods": list(preset.methods),
            "head": preset.head,
            "source": preset.source,
            "note": preset.note,
        }
    return presets


def _show_recipes(recipes: dict[str, Any]) -> str:
    lines = []
    for name, about in recipes.items():
        fields = ", ".join(f"{key}={value}" for key, value in about["recipe"].items())
        scaled = "(batch_size=…)" if about["lr_follows_batch"] else ""
        lines += [
            f"al.recipes.{name}{scaled}",
            f"    {fields}",
            f"    for:     {', '.join(about['methods'])}; head {about['head']}",
        ]
        lines += (
            [f"    rates:   {', '.join(f'{rate:g}' for rate in about['rates'])}"] if about["rates"] else []
        )
        lines += [f"    source:  {about['source']}"] + (
            [f"    note:    {about['note']}"] if about["note"] else []
        )
    return "\n".join(lines)


def _show_compositions(pairs: list[dict[str, str]], out: str | None) -> str:
    refused = [pair for pair in pairs if pair["composes"] == "no"]
    lines = [f"{pair['first']} + {pair['second']}: {pair['why']}" for pair in refused]
    lines.append(f"{len(pairs) - len(refused)} of {len(pairs)} pairs go together")
    return "\n".join([*lines, f"all pairs are in {out}"] if out else lines)


def show(result: dict[str, Any]) -> str:
    if "recipes" in result:
        return _show_recipes(result["recipes"])
    if "compositions" in result:
        return _show_compositions(result["compositions"], result["out"])
    lines = []
    for name, about in result["methods"].items():
        options = ", ".join(f"{key}={_written(value)}" for key, value in about["options"].items())
        lines += [
            f"{name}",
            f"    {about['summary']}",
            f"    options: {options or 'none'}",
            f"    source:  {about['source']}",
        ]
    return "\n".join(lines)


def _written(value: Any) -> str:
    """A default as it is typed in `name:key=value`."""
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)
