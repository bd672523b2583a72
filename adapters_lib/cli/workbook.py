"""`workbook`: run the notebooks and write them back with their outputs; `workbook --copy DIR` lays them out,
with the tables that they read, in a folder of one's own."""

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
    parser.add_argument(
        "--copy",
        type=Path,
        metavar="FOLDER",
        help="run nothing: write the notebooks and their tables there, from the installed package too",
    )
    parser.add_argument("--force", action="store_true", help="with --copy: replace files that are there")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """{"notebooks": [{"name", "minutes", "megabytes"}]}; each is said as soon as it is done. With --copy
    {"folder", "written": files, "kept": files}.

    What a failing cell printed goes to stderr as it is, before the one line that says which notebook stopped.
    """
    if args.copy:
        return _copy(args)
    if args.force:
        raise AdapterError("--force replaces files that --copy would keep; pass --copy FOLDER too")
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


def _copy(args: argparse.Namespace) -> dict[str, Any]:
    from ..workbook.copying import copy_workbook

    if args.out or args.quick:
        raise AdapterError("--copy runs nothing; leave --out and --quick out")
    copied = copy_workbook(args.copy, args.names, force=args.force)
    return {"folder": str(args.copy), "written": copied.written, "kept": copied.kept}


def show(result: dict[str, Any]) -> str:
    if "kept" in result:
        kept = f"; {len(result['kept'])} were there and stay as they are (--force replaces them)"
        written = f"{result['folder']}: {len(result['written'])} files written"
        return written + (kept if result["kept"] else "")
    ran = result["notebooks"]
    return f"{len(ran)} notebooks in {sum(notebook['minutes'] for notebook in ran):.1f} minutes"
