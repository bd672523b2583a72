"""The command line, the one door to every job: `python -m adapters_lib COMMAND …`, once installed
`adapters-lib COMMAND …`.

A command is a module with `add_arguments(parser)`, `run(args) -> dict` and, if the dict printed as it is
would be hard to read, `show(result) -> str`. It is named in `COMMANDS`, and only the one that is asked for is
imported, so that help comes at once. A module whose `COMPUTES` is False leaves this process's threads as they
are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import shtab

from .._version import __version__
from ..cores import use_cores
from ..errors import AdapterError
from ..text import printable
from .wording import spoken

__all__ = ["COMMANDS", "main", "plain"]

# command: (module, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "methods": ("adapters_lib.cli.methods", "list the adapters, their options and sources"),
    "cost": ("adapters_lib.cli.cost", "parameters, MACs, FLOPs and tokens of an adapted model"),
    "train": ("adapters_lib.cli.train", "adapt a backbone to a data set and test it"),
    "evaluate": ("adapters_lib.cli.evaluate", "test a saved adapter on a data set"),
    "predict": ("adapters_lib.cli.predict", "name the classes of new images or videos"),
    "export": ("adapters_lib.cli.export", "write a saved adapter as one file for other programs"),
    "data": ("adapters_lib.cli.data", "list and describe data sets, draw contact sheets"),
    "exits": ("adapters_lib.cli.exits", "early exits: calibrate, evaluate, curve, study"),
    "bench": ("adapters_lib.cli.bench", "measured time beside counted MACs"),
    "results": ("adapters_lib.cli.results", "run the grids; tables of stored runs, what they decide"),
    "tune": ("adapters_lib.cli.tune", "choose learning rates on validation images"),
    "figures": ("adapters_lib.cli.figures", "redraw the paper-style figures from stored tables"),
    "workbook": ("adapters_lib.cli.workbook", "run the notebooks, outputs in place"),
    "site": ("adapters_lib.cli.site", "the reference to read, notebooks included, as HTML"),
    "pretrain": ("adapters_lib.cli.pretrain", "pre-train the embedded micro ViT on drawn leaves"),
    "pretrain-clips": (
        "adapters_lib.cli.pretrain_clips",
        "teach the embedded micro ViT to see motion, on drawn leaves",
    ),
    "threads": ("adapters_lib.cli.threads", "settings for a process that computes, for the shell"),
}

COMPLETION = "--print-completion"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 2 for a mistake that we can explain (one line on stderr),
    130 after Ctrl-C.

    With `--json` the standard output is one JSON object and nothing else; whatever else is printed goes to
    stderr. argparse's own exits (`--help`, wrong arguments) raise SystemExit. Signs that the terminal lacks
    are written in plain letters.
    """
    with printable():
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(argv: list[str]) -> int:
    args = argparse.Namespace()
    try:
        parser, command = _parser(argv)
        parser.parse_args(argv, args)
        if getattr(command, "COMPUTES", True):
            use_cores()  # before the command imports torch: how threads wait is settled with OpenMP
        with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
            result = command.run(args)
        if os.environ.get("RANK", "0") == "0":  # under `accelerate launch` every process is here; one speaks
            print(
                json.dumps(plain(result), allow_nan=False) if args.json else _text(command, result),
                flush=True,
            )
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (AdapterError, OSError) as error:
        print("error:", *spoken(str(error), args).split(), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser(argv: Sequence[str]) -> tuple[argparse.ArgumentParser, Any]:
    """The parser, with the arguments of the one command that stands first in `argv`, and that command's
    module; with those of all commands if `argv` asks for shell completion."""
    completes = any(word.partition("=")[0] == COMPLETION for word in argv[:1])
    script = completes or Path(sys.argv[0]).stem == "adapters-lib"
    parser = argparse.ArgumentParser(
        prog="adapters-lib" if script else "python -m adapters_lib",
        description="Adapters for frozen vision transformers.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"adapters-lib {__version__}")
    shtab.add_argument_to(parser, COMPLETION, help="a script for the shell that completes `adapters-lib`")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    chosen = None
    for name, (module, summary) in COMMANDS.items():
        sub = commands.add_parser(
            name, help=summary, description=summary, allow_abbrev=False, conflict_handler="resolve"
        )
        if completes or argv[:1] == [name]:
            chosen = import_module(module)
            chosen.add_arguments(sub)
            sub.add_argument(
                "--json", action="store_true", help="print one JSON object on stdout and nothing else there"
            )
    if completes:
        _complete_paths(parser)
    return parser, chosen


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """The shell completes values that are called FOLDER or FILE from what is on the disk."""
    kinds = {"FOLDER": shtab.DIRECTORY, "FILE": shtab.FILE}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                _complete_paths(sub)
        elif action.metavar in kinds:
            action.complete = kinds[action.metavar]  # type: ignore[attr-defined]


def _text(command: Any, result: Any) -> str:
    if hasattr(command, "show"):
        return str(command.show(result))
    return json.dumps(plain(result), indent=2)


def plain(value: Any) -> Any:
    """Values that JSON has: NaN and infinity become null, tuples lists, paths and whatever else text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # a NumPy or torch scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, bool | int | float | str | None) else str(value)
