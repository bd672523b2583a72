"""`predict`: names for the images of a folder, or its videos with a clip model."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from ..errors import AdapterError
from ..options import MOST_CLASSES
from ..text import one_line
from .arguments import add_batch, add_number
from .devices import add_device, device_of
from .trained import add_checkpoint
from .writing import save_table

__all__ = ["add_arguments", "run", "show"]

SHOWN = 20  # rows on the screen; --out and --json have all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="FOLDER", help="folders, searched at any depth, or files")
    add_checkpoint(parser, hub=True)
    parser.add_argument("--out", metavar="FILE", help="write the table here, as CSV")
    what = "names for each image, likeliest first (default 5)"
    add_number(parser, "--top", least=1, most=MOST_CLASSES, default=5, help=what)
    add_batch(parser)
    parser.add_argument(
        "--full-depth", action="store_true", help="use no early exit, although thresholds are calibrated"
    )
    what = "a text file with the names of the classes, one a line, for a checkpoint that has none"
    parser.add_argument("--classes", metavar="FILE", help=what)
    add_device(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """{"checkpoint", "images", "labels": one dict an image as `al.classify` gives it, "skipped": [{"file",
    "why"}], "relative": mean MACs as a share of the full depth's or None, "out"}."""
    from ..datasets.task import DataWarning
    from ..exits.classify import classify
    from ..exits.costs import exit_costs
    from ..vit.model import AdaptedViT

    if args.out and Path(args.out).is_dir():
        raise AdapterError(
            f"--out {args.out} is a folder; give a file, such as {Path(args.out) / 'labels.csv'}"
        )
    model = AdaptedViT.from_pretrained(args.checkpoint).to(device_of(args.device))
    if args.classes:
        model.classes = _names(args.classes)
    if model.classes is None:
        raise AdapterError(
            f"{args.checkpoint} does not say what its {model.num_classes} outputs are called; give --classes"
            " FILE with their names, one a line, in the order of the labels"
        )
    options = {"batch_size": args.batch_size, "full_depth": args.full_depth, "precision": args.precision}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # what was left out is listed below the table
        table = classify(model, args.paths, args.top, progress=True, **options)
    if args.out:
        save_table(table, args.out)
    relative = float(table["macs"].mean()) / exit_costs(model).full if "macs" in table else None
    return {
        "checkpoint": args.checkpoint,
        "images": len(table),
        "labels": table.to_dict("records"),
        "skipped": table.attrs["skipped"],
        "relative": relative,
        "out": args.out,
    }


def _names(file: str) -> list[str]:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AdapterError(f"--classes {file} cannot be read: {error}; give a text file in UTF-8") from error
    return [line.strip() for line in lines if line.strip()]


def show(result: dict[str, Any]) -> str:
    lines = []
    for row in result["labels"][:SHOWN]:
        ranks = [key.removeprefix("class_") for key in row if key.startswith("class_")]
        classes = [f"{one_line(row[f'class_{r}'])} {100 * row[f'probability_{r}']:.1f} %" for r in ranks]
        left = f" (exit behind block {row['exit']})" if "exit" in row else ""
        lines.append(f"{one_line(row['file'])}: {', '.join(classes)}{left}")
    if (more := result["images"] - SHOWN) > 0:
        lines.append(f"… and {more} more; --out FILE writes all")
    if result["relative"] is not None:
        lines.append(f"{100 * result['relative']:.0f} % of the full depth's MACs on average")
    lines += [
        f"left out: {one_line(row['file'])}: {one_line(row['why'])}" for row in result["skipped"][:SHOWN]
    ]
    if (more := len(result["skipped"]) - SHOWN) > 0:
        lines.append(f"… and {more} more were left out; --json lists all")
    lines.append(f"{result['images']} named, {len(result['skipped'])} left out")
    return "\n".join(lines + ([f"written to {result['out']}"] if result["out"] else []))
