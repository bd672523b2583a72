"""`site`: the executed notebooks as HTML with a table of contents."""

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


def run(args: argparse.Namespace) -> dict[str, Any]:
    """{"index": the table of contents, "pages": [{"name", "title", "sections", "figures"}]}"""
    from ..workbook.site import build

    out = args.out or args.root / "build" / "site"
    pages = [
        {"name": page.name, "title": page.title, "sections": len(page.sections), "figures": page.figures}
        for page in build(args.root, out)
    ]
    return {"index": str(out / "index.html"), "pages": pages}


def show(result: dict[str, Any]) -> str:
    pages = result["pages"]
    return f"{result['index']}: {len(pages)} notebooks, {sum(page['figures'] for page in pages)} figures"
