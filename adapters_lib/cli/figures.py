"""`figures`: redraw the paper-style figures from the stored tables, without training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import AdapterError
from .arguments import TABLES

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all, see --list)")
    parser.add_argument(
        "--tables",
        type=Path,
        default=TABLES,
        metavar="FOLDER",
        help=f"where the tables are (default {TABLES})",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the figures go (default figures)")
    parser.add_argument(
        "--list",
        action="store_true",
        help="say which figures there are and which tables they need, and draw nothing",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """{"written": files}, or with --list {"figures": {name: {"tables", "about"}}}.

    Raises AdapterError: an unknown name, or nothing could be drawn.
    """
    from ..figures.paper import FIGURES, draw

    if args.list:
        return {
            "figures": {
                name: {"tables": list(figure.tables), "about": figure.about}
                for name, figure in FIGURES.items()
            }
        }
    written = draw(args.names or None, args.tables, args.out)
    if not written:
        raise AdapterError(f"no figure could be drawn from the tables in {args.tables}; give --tables FOLDER")
    return {"written": written}


def show(result: dict[str, Any]) -> str:
    if "written" in result:
        return f"{len(result['written'])} files written"
    return "\n".join(
        f"{name:28}{' + '.join(about['tables']) or 'small models':22}{about['about']}"
        for name, about in result["figures"].items()
    )
