"""`workbook`: run the notebooks and write them back with their outputs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..errors import AdapterError

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="only notebooks whose names contain one of these, e.g. 02"
    )
    parser.add_argument(
        "--root", type=Path, default=Path(), metavar="FOLDER", help="the repository (default: this folder)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write the executed notebooks there instead of in place"
    )
    parser.add_argument("--quick", action="store_true", help="the small setting of the tests")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """{"notebooks": [{"name", "minutes", "megabytes"}]}; each is said as soon as it is done.

    What a failing cell printed goes to stderr as it is, before the one line that says which notebook stopped.
    """
    from ..workbook.run import run_notebooks

    try:
        ran = run_notebooks(
            args.names, args.root, args.out, quick=args.quick, say=lambda line: print(line, flush=True)
        )
    except AdapterError as error:
        summary, _, traceback = str(error).partition("\n")
        print(traceback, end="", file=sys.stderr)
        raise AdapterError(summary) from error
    return {"notebooks": [notebook._asdict() for notebook in ran]}


def show(result: dict[str, Any]) -> str:
    ran = result["notebooks"]
    return f"{len(ran)} notebooks in {sum(notebook['minutes'] for notebook in ran):.1f} minutes"
