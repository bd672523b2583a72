"""Arguments that several commands share. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
import ast
from typing import Any

from ..errors import AdapterError

__all__ = ["add_clips", "add_data", "add_model", "add_size", "clip_options", "data_options", "key_value", "load_checkpoint"]


def add_model(parser: argparse.ArgumentParser) -> None:
    """--backbone and --method."""
    parser.add_argument("--backbone", default="micro_vit", help="a timm model name, or micro_vit, which ships with the package (default)")
    parser.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="NAME[:KEY=VALUE,…]",
        help="e.g. ila or lora:rank=16; repeat it to combine several; none: only the head trains",
    )
    add_size(parser)


def add_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="side of the images (default: the backbone's own)")


def add_clips(parser: argparse.ArgumentParser) -> None:
    """--frames and --tubelet, which make a clip model of the backbone."""
    parser.add_argument("--frames", type=int, metavar="T", help="clips of T frames instead of images, see create_clip_backbone")
    parser.add_argument("--tubelet", type=int, default=2, metavar="T", help="frames that one token sees, with --frames (default 2)")


def clip_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments for `create_backbone` from what `add_clips` read; none without --frames."""
    return {} if args.frames is None else {"frames": args.frames, "tubelet": args.tubelet}


def add_data(parser: argparse.ArgumentParser, of_run: bool = False) -> None:
    """What `load_data` wants to know. of_run: unless told otherwise, the seed is that of the run that a checkpoint comes from."""
    parser.add_argument("--root", metavar="FOLDER", help="where real data lie, or are downloaded to")
    parser.add_argument("--download", action="store_true", help="let torchvision fetch its data sets")
    parser.add_argument("--n-per-class", type=int, metavar="N", help="use only N training images of each class")
    if of_run:
        parser.add_argument("--seed", type=int, help="of the data and the split (default: that of the training, else 0)")
    else:
        parser.add_argument("--seed", type=int, default=0, help="of the data, the split, the initial weights and the training (default 0)")
    parser.add_argument(
        "--data-option", action="append", default=[], type=key_value, metavar="KEY=VALUE", help="an option of this data set; repeatable"
    )


def data_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments for `load_data` from what `add_data` read; options that were not given are left to their defaults."""
    given: dict[str, Any] = {name: getattr(args, name) for name in ("root", "n_per_class") if getattr(args, name) is not None}
    given |= {"download": True} if args.download else {}
    return {"seed": args.seed, **given, **dict(args.data_option)}


def key_value(text: str) -> tuple[str, Any]:
    """`key=value` → (key, value), the value read as a Python literal if it is one (3, 0.5, True, None, (1, 2)), else as text."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form key=value")
    try:
        return key.strip().replace("-", "_"), ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key.strip().replace("-", "_"), value


def load_checkpoint(args: argparse.Namespace) -> tuple[Any, Any]:
    """The model in `args.checkpoint` and the task `args.data` for it, split as in the training if it is the same data set.

    Seed and options (number of classes, fractions of the split, …) that the command does not give are those of the training.

    Raises:
        AdapterError: the data set has another number of classes than the model's head.
    """
    from ..data_sets import load_data
    from ..engine import AdaptedViT

    model = AdaptedViT.from_pretrained(args.checkpoint)
    told = model.trained_on or {}
    same = told if told.get("data") == args.data else {}
    if args.seed is None:
        args.seed = same.get("seed") or 0
    task = load_data(args.data, backbone=model.backbone, **{**_plain_options(same.get("options")), **data_options(args)})
    if task.num_classes != model.num_classes:
        raise AdapterError(
            f"{args.checkpoint} has a head of {model.num_classes} classes, but {args.data} has {task.num_classes}; "
            "give the data set and the --data-option on which it was trained"
        )
    return model, task


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


def _plain_options(options: Any) -> dict[str, Any]:
    """Of the options in a file, those that say how a data set is drawn or divided: numbers and words, no place and no address."""
    found = options if isinstance(options, dict) else {}
    plain = {k: v for k, v in found.items() if v is None or isinstance(v, bool | int | float) or (isinstance(v, str) and v.isidentifier())}
    return {key: value for key, value in plain.items() if key not in _NOT_TAKEN and key.isidentifier()}
