"""`site`: the reference to read, made of the executed notebooks, the docstrings and the stored tables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root", type=Path, default=Path(), metavar="FOLDER", help="the repository (default: this folder)"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default build/site in the repository")
    parser.add_argument(
        "--notebooks-only",
        action="store_true",
        help="just the notebooks as HTML with a table of contents, without the packages of the extra site",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """{"index": the first page, "pages": [{"name", "title", "figures"}] of the notebooks, "others": how many
    pages there are besides}; with --notebooks-only a page has "sections" too, and there are no others."""
    out = args.out or args.root / "build" / "site"
    if args.notebooks_only:
        from ..workbook.site import build

        pages = [
            {"name": page.name, "title": page.title, "sections": len(page.sections), "figures": page.figures}
            for page in build(args.root, out)
        ]
        others = 0
    else:
        from ..workbook.reference import build_reference

        made = build_reference(args.root, out)
        pages = [
            {"name": name, "title": made.titles[name], "figures": figures}
            for name, figures in made.figures.items()
        ]
        others = len(made.pages) - len(pages)
    return {"index": str(out / "index.html"), "pages": pages, "others": others}


def show(result: dict[str, Any]) -> str:
    pages = result["pages"]
    more = f" and {result['others']} other pages" if result["others"] else ""
    figures = sum(page["figures"] for page in pages)
    return f"{result['index']}: {len(pages)} notebooks, {figures} figures{more}"
