"""`evaluate`: a saved adapter on a data set."""

from __future__ import annotations

import argparse
from typing import Any

from ..options import MOST_BATCH
from .arguments import Bounded, add_data, load_checkpoint

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", required=True, metavar="FOLDER", help="what save_pretrained or `train --out` wrote"
    )
    parser.add_argument("--data", required=True, help="a name that `data list` shows")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"), help="default test")
    what = "images at once (default 64)"
    parser.add_argument(
        "--batch-size", type=int, action=Bounded, least=1, most=MOST_BATCH, default=64, help=what
    )
    add_data(parser, of_run=True)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """top1 and top5 in percent, loss in nats, n images."""
    from ..training.fit import evaluate

    model, task = load_checkpoint(args)
    tested = evaluate(model, task.parts()[args.split], args.batch_size)
    facts = {
        "checkpoint": args.checkpoint,
        "data": task.describe(),
        "split": args.split,
        "seed": args.seed,
        "classes": model.classes,
    }
    return {**facts, **tested}


def show(result: dict[str, Any]) -> str:
    return (
        f"{result['checkpoint']} on {result['data']['name']} ({result['split']}, seed {result['seed']}):"
        f" top-1 {result['top1']:.2f} %, balanced {result['balanced']:.2f} %, top-5 {result['top5']:.2f} %,"
        f" loss {result['loss']:.4f} nats on"
        f" {result['n']} images"
    )
