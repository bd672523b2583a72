"""The model in a checkpoint, how it is asked for, and the data set as it was divided in its training."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import AdapterError
from .arguments import data_options

__all__ = ["add_checkpoint", "load_checkpoint"]

_NOT_TAKEN = (
    "root",
    "download",
    "folder",
    "backbone",
    "image_size",
    "augment",
    "n_per_class",
    "cache",
    "cache_gib",
    "verify",
    "strict",
    "seed",
)


def add_checkpoint(parser: argparse.ArgumentParser, hub: bool = False) -> None:
    """--checkpoint, which has to be given; hub: the help names the hub as well."""
    what = "what save_pretrained or `train --out` wrote" + ", or user/name on the hub" * hub
    parser.add_argument("--checkpoint", required=True, metavar="FOLDER", help=what)


def load_checkpoint(args: argparse.Namespace) -> tuple[Any, Any]:
    """The model in `args.checkpoint` and the task `args.data` for it, split as in the training if it is the
    same data set.

    Seed and options (number of classes, fractions of the split, …) that the command does not give are those
    of the training.

    Raises:
        AdapterError: the data set has another number of classes than the model's head.
    """
    from ..datasets.load import load_data
    from ..vit.model import AdaptedViT

    model = AdaptedViT.from_pretrained(args.checkpoint)
    trained_on = model.trained_on or {}
    same = trained_on if trained_on.get("data") == args.data else {}
    if args.seed is None:
        args.seed = same.get("seed") or 0
    task = load_data(
        args.data, backbone=model.backbone, **{**_plain_options(same.get("options")), **data_options(args)}
    )
    if task.num_classes != model.num_classes:
        raise AdapterError(
            f"{args.checkpoint} has a head of {model.num_classes} classes, but {args.data} has"
            f" {task.num_classes}; give the data set and the --data-option on which it was trained"
        )
    return model, task


def _plain_options(options: Any) -> dict[str, Any]:
    """Of the options in a file, those that say how a data set is drawn or divided: numbers and words, no
    place and no address."""
    given = options if isinstance(options, dict) else {}
    plain = {
        k: v
        for k, v in given.items()
        if v is None or isinstance(v, bool | int | float) or (isinstance(v, str) and v.isidentifier())
    }
    return {key: value for key, value in plain.items() if key not in _NOT_TAKEN and key.isidentifier()}
