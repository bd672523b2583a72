"""Messages of the library in the words of the command line: `download=True` becomes `--download`, `root=…`
`--root …`."""

from __future__ import annotations

import argparse
import inspect
import re
from importlib import import_module

__all__ = ["spoken"]

PYTHON = {"num_classes": "classes", "repeats": "rounds"}
"""Arguments of functions that an option has another name for."""

NO_OPTIONS = {"name", "names", "grid", "grids", "methods", "json", "action"}
"""What the parsed arguments hold without an option of that name, on one command or another."""

_VALUE = r"True|False|None|'[^']*'|\"[^\"]*\"|<[^>]*>|\([^)]*\)|[^\s;,)]+"
_GIVEN = re.compile(rf"(?<![\w./:'\"-])([a-z_][a-z0-9_]*)=({_VALUE})?")
_LOADED = re.compile(r"load_data\('([\w:.-]+)'\)")


def spoken(message: str, args: argparse.Namespace) -> str:
    """`message` with the options of this command in the place of Python's arguments; other text stays as
    it is."""
    options = {name: f"--{name.replace('_', '-')}" for name in vars(args) if name not in NO_OPTIONS}

    def option(match: re.Match[str]) -> str:
        name, value = match[1], match[2] or ""
        known = name if name in options else PYTHON.get(name, "")
        if known in options and isinstance(getattr(args, known), bool):
            return (
                options[known]
                if value == "True"
                else f"no {options[known]}"
                if value == "False"
                else match[0]
            )
        if known in options and value == "None":
            return f"no {options[known]}"
        if known in options:
            return f"{options[known]} {value}".strip()
        if "recipe" in options and name in _fields():
            return f"--recipe {match[0]}"
        if "data_option" in options and name in _data_options():
            return f"--data-option {match[0]}"
        return match[0]

    message = _GIVEN.sub(option, _LOADED.sub(r"the data set \1", message))
    bare = [re.escape(name) for name in options if "_" in name]  # words that no sentence has
    return re.sub(
        rf"(?<![\w./'-])({'|'.join(bare) or '$^'})(?![\w=(.'])", lambda match: options[match[1]], message
    )


def _fields() -> set[str]:
    """Names of a recipe's fields."""
    from ..training.recipe import Recipe

    return set(inspect.signature(Recipe).parameters)


def _data_options() -> set[str]:
    """Names of all options of all data sets."""
    from ..datasets.load import DATA_SETS

    names: set[str] = set()
    for module in {entry.module for entry in DATA_SETS.values()}:
        load = import_module(f"adapters_lib.datasets.{module}").load
        names |= {p.name for p in inspect.signature(load).parameters.values() if p.kind is p.KEYWORD_ONLY}
    return names | {"augment"}
