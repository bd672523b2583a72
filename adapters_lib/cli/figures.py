"""`figures`: redraw the paper-style figures from the stored tables, without training; or the diagrams of all
methods, which need no table."""

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
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where the figures go (default figures, of diagrams figures/diagrams)",
    )
    parser.add_argument(
        "--diagrams",
        action="store_true",
        help="draw the diagrams of the block and of every method instead",
    )
    parser.add_argument("--dark", action="store_true", help="with --diagrams: light strokes on a dark page")
    parser.add_argument("--svg", action="store_true", help="with --diagrams: SVG too, besides PNG and PDF")
    parser.add_argument(
        "--list",
        action="store_true",
        help="say which figures there are and which tables they need, and draw nothing",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """{"written": files}, or with --list {"figures": {name: {"tables", "about"}}} or {"diagrams": names}.

    Raises AdapterError: an unknown name, --dark or --svg without --diagrams, or nothing could be drawn.
    """
    if args.diagrams:
        return _diagrams(args)
    if args.dark or args.svg:
        raise AdapterError(f"--{'dark' if args.dark else 'svg'} is for diagrams; give --diagrams too")
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


def _diagrams(args: argparse.Namespace) -> dict[str, Any]:
    from ..figures.diagrams import DIAGRAMS, write_diagrams

    if args.list:
        return {"diagrams": list(DIAGRAMS)}
    return {"written": write_diagrams(args.names or None, args.out, args.dark, args.svg)}


def show(result: dict[str, Any]) -> str:
    if "diagrams" in result:
        return "\n".join(result["diagrams"])
    if "written" in result:
        return f"{len(result['written'])} files written"
    return "\n".join(
        f"{name:28}{' + '.join(about['tables']) or 'small models':22}{about['about']}"
        for name, about in result["figures"].items()
    )
