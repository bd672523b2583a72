"""`data`: which data sets there are, what is in one, and how its images look."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import Bounded, add_data, add_json, add_size, data_options
from .writing import save_figure

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every name that load_data knows", allow_abbrev=False)
    describe = actions.add_parser("describe", help="classes, counts, image size, source", allow_abbrev=False)
    sheet = actions.add_parser(
        "contact-sheet", help="draw a few images of each class into a file", allow_abbrev=False
    )
    for sub in (describe, sheet):
        sub.add_argument("name", help="a name that `data list` shows")
        add_data(sub)
        add_size(sub)
    sheet.add_argument("--out", required=True, metavar="FILE", help="a .png or .pdf file")
    bounds: dict[str, Any] = {"type": int, "action": Bounded, "least": 1, "most": 1000}
    sheet.add_argument("--classes", default=20, help="the first so many classes (default 20)", **bounds)
    sheet.add_argument(
        "--per-class",
        **bounds,
        help="test images of each class (default 8), or clips, whose frames are drawn (default 1)",
    )
    add_json(listing, describe, sheet)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from ..datasets.load import DATA_SETS, load_data

    if args.action == "list":
        needs = {
            name: "nothing" if not entry.files else "files" + " or --download" * entry.download
            for name, entry in DATA_SETS.items()
        }
        return {"data_sets": {name: {"needs": need} for name, need in needs.items()}}
    task = load_data(args.name, image_size=args.image_size, **data_options(args))
    if args.action == "describe":
        return task.describe()
    if DATA_SETS[args.name].clips:
        from ..figures.clip_samples import clip_sheet

        figure = clip_sheet(task, args.per_class or 1, args.classes)
    else:
        from ..figures.samples import contact_sheet

        figure = contact_sheet(task, args.per_class or 8, args.classes)
    save_figure(figure, args.out, bbox_inches="tight")
    return {"name": task.name, "out": args.out}


def show(result: dict[str, Any]) -> str:
    if "data_sets" in result:
        return "\n".join(f"{name:24}needs {about['needs']}" for name, about in result["data_sets"].items())
    if "out" in result:
        return f"drew {result['out']}"
    facts = {**{key: value for key, value in result.items() if key != "info"}, **result.get("info", {})}
    return "\n".join(f"{key:24}{value}" for key, value in facts.items())
