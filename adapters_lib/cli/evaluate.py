"""`evaluate`: a saved adapter on a data set: accuracy, by class too, who is taken for whom, and whether its
confidences are to be believed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import AdapterError
from ..text import one_line
from .arguments import add_batch, add_data
from .devices import add_device, computing_on
from .trained import add_checkpoint, load_checkpoint
from .writing import save_table

__all__ = ["add_arguments", "run", "show"]

WHOLE = 12  # classes up to which the whole confusion table fits on a screen
WORST = 10  # classes or pairs shown of more than that


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    parser.add_argument("--data", required=True, help="a name that `data list` shows")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"), help="default test")
    add_batch(parser)
    parser.add_argument(
        "--report",
        metavar="FOLDER",
        help="write tables (CSV) and figures (PNG, PDF) of confusions, classes and calibration here",
    )
    add_device(parser)
    add_data(parser, of_run=True)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """top1 and top5 in percent, loss in nats, n images, ece in [0, 1], `confusion` (rows: true classes),
    `per_class` (the worst first), `pairs` (most confused first), `report`: the files written."""
    from accelerate import PartialState

    from ..analysis.confusion import confusion
    from ..analysis.reliability import reliability
    from ..training.fit import evaluate
    from ..vit.modes import in_precision

    if args.report and Path(args.report).exists() and not Path(args.report).is_dir():
        raise AdapterError(f"--report {args.report} is a file; give a folder")
    with computing_on(args.device):
        model, task = load_checkpoint(args)

        def forward(images: Any) -> Any:
            with in_precision(PartialState().device, args.precision):
                return model(images)

        tested = evaluate(
            model, task.parts()[args.split], args.batch_size, return_logits=True, forward=forward
        )
    logits, labels = tested.pop("logits"), tested.pop("labels")
    classes = model.classes or task.classes
    seen, trust = confusion(logits, labels, classes), reliability(logits, labels)
    writes = bool(args.report) and PartialState().is_main_process
    return {
        "checkpoint": args.checkpoint,
        "data": task.describe(),
        "split": args.split,
        "seed": args.seed,
        "classes": model.classes,
        **tested,
        "ece": trust.ece,
        "confusion": {"classes": classes, "counts": seen.matrix.tolist()},
        "per_class": seen.per_class.to_dict("records"),
        "pairs": seen.pairs(WORST).to_dict("records"),
        "report": _report(Path(args.report), seen, trust, task.name) if writes else None,
    }


def _report(folder: Path, seen: Any, trust: Any, name: str) -> list[str]:
    """Write the tables and figures; their paths."""
    import pandas as pd

    from ..figures.classes import confusion_matrix, reliability_diagram
    from ..figures.styling import save

    counts = pd.DataFrame(seen.matrix, columns=list(seen.classes))
    counts.insert(0, "true \\ said", list(seen.classes))
    every_pair = seen.pairs(max(1, len(seen.classes) ** 2))
    tables = {
        "confusion": counts,
        "per_class": seen.per_class,
        "pairs": every_pair,
        "calibration": trust.bins,
    }
    paths = [folder / f"{stem}.csv" for stem in tables]
    for path, table in zip(paths, tables.values(), strict=True):
        save_table(table, path)
    drawn = {
        "confusion": confusion_matrix(seen, title=name),
        "calibration": reliability_diagram({name: trust}),
    }
    for stem, figure in drawn.items():
        paths += save(figure, stem, folder)
    return [str(path) for path in paths]


def show(result: dict[str, Any]) -> str:
    import pandas as pd

    lines = [
        (
            f"{result['checkpoint']} on {result['data']['name']} ({result['split']}, seed {result['seed']}):"
            f" top-1 {result['top1']:.2f} %, balanced {result['balanced']:.2f} %,"
            f" top-5 {result['top5']:.2f} %, loss {result['loss']:.4f} nats on"
            f" {result['n']} images"
        ),
        f"calibration: expected error {100 * result['ece']:.1f} % (confidence against accuracy, 10 bins)",
    ]
    names = [one_line(name) for name in result["confusion"]["classes"]]
    if len(names) <= WHOLE:
        # Numbers above the columns: with names the table would be wider than a screen.
        numbers = [str(number) for number in range(len(names))]
        index = pd.Index([f"{number} {name}" for number, name in enumerate(names)], name="true \\ said")
        counts = pd.DataFrame(result["confusion"]["counts"], index=index, columns=numbers)
        lines += ["", "confusion, images (a row for the true class, a column for what was said):"]
        lines += [counts.to_string()]
    lines += ["", f"top-1 by class, the worst {WORST}:" if len(names) > WORST else "top-1 by class:"]
    lines += [
        f"  {one_line(row['class'])}: {row['top1']:.1f} % of {row['n']}"
        if row["n"]
        else f"  {one_line(row['class'])}: no image"
        for row in result["per_class"][:WORST]
    ]
    if result["pairs"]:
        lines += ["", "most confused pairs:"]
        lines += [f"  {one_line(row['names'])}: {row['mistakes']} images" for row in result["pairs"]]
    if result["report"]:
        lines += ["", f"written: {', '.join(result['report'])}"]
    return "\n".join(lines)
