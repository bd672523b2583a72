"""Options that several commands share: how they are declared, and what they come to as keyword arguments.
Nothing heavy is imported here."""

from __future__ import annotations

import argparse
import ast
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..cores import available_cores
from ..errors import AdapterError
from ..options import MOST_BATCH, MOST_SEED, MOST_SIDE

__all__ = [
    "TABLES",
    "Bounded",
    "add_batch",
    "add_clips",
    "add_data",
    "add_jobs",
    "add_folder",
    "add_json",
    "add_model",
    "add_number",
    "add_seeds",
    "add_size",
    "add_threads",
    "checked_options",
    "clip_options",
    "data_options",
    "key_value",
]

TABLES = "data/results"
"""Where the tables of stored runs are."""

OWN = {
    "seed": "--seed",
    "root": "--root",
    "n_per_class": "--n-per-class",
    "download": "--download",
    "image_size": "--image-size",
    "name": "",
    "backbone": "",
}
"""Arguments of `load_data` that are no options of a data set, with the option to give instead."""


class Bounded(argparse.Action):
    """Stores numbers that lie within bounds: `action=Bounded, type=int, least=1, most=9, unit="image"`.

    Raises AdapterError that names the option, the value and the bounds, as for any other mistake that we can
    explain.
    """

    def __init__(
        self, *args: Any, least: float = 0, most: float = 2**31 - 1, unit: str = "", **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.least, self.most, self.unit = least, most, unit

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        unit = f" {self.unit}" if self.unit else ""
        for value in values if isinstance(values, list) else [values]:
            if not self.least <= value:  # not `<`: NaN is neither
                raise AdapterError(f"{option_string}={value}; give at least {self.least:,}{unit}")
            if not value <= self.most:
                raise AdapterError(
                    f"{option_string}={value if value < 10**18 else '…'}; give at most {self.most:,}"
                )
        setattr(namespace, self.dest, values)


def add_number(
    parser: argparse.ArgumentParser, name: str, *, type: Callable[[str], Any] = int, **options: Any
) -> None:
    """An option that takes a number within bounds, or several; `least`, `most`, `unit`: see `Bounded`."""
    parser.add_argument(name, type=type, action=Bounded, **options)


def add_batch(parser: argparse.ArgumentParser) -> None:
    """--batch-size of a command that only runs forward."""
    add_number(
        parser, "--batch-size", least=1, most=MOST_BATCH, default=64, help="images at once (default 64)"
    )


def add_folder(parser: argparse.ArgumentParser) -> None:
    """--folder, where the tables of stored runs are."""
    what = f"where the tables are (default {TABLES})"
    parser.add_argument("--folder", type=Path, default=Path(TABLES), metavar="FOLDER", help=what)


def add_seeds(parser: argparse.ArgumentParser, what: str) -> None:
    """--seeds, several whole numbers."""
    add_number(parser, "--seeds", most=MOST_SEED, nargs="+", metavar="SEED", help=what)


def add_model(parser: argparse.ArgumentParser) -> None:
    """--backbone and --method."""
    parser.add_argument(
        "--backbone",
        default="micro_vit",
        help="a timm model name, or micro_vit, which ships with the package (default)",
    )
    parser.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="NAME[:KEY=VALUE,…]",
        help="e.g. ila or lora:rank=16; repeat it to combine several; none: only the head trains",
    )
    add_size(parser)


def add_size(parser: argparse.ArgumentParser) -> None:
    what = "side of the images (default: the backbone's own)"
    add_number(parser, "--image-size", least=1, most=MOST_SIDE, metavar="PIXELS", help=what)


def add_threads(
    parser: argparse.ArgumentParser, default: int | None = 1, what: str = "CPU threads (default 1)"
) -> None:
    add_number(parser, "--threads", least=1, most=max(2, available_cores()), default=default, help=what)


def add_jobs(parser: argparse.ArgumentParser, default: int = -1) -> None:
    add_number(
        parser,
        "--jobs",
        least=-1,
        most=max(2, available_cores()),
        default=default,
        metavar="N",
        help=f"runs side by side, -1 for one a core (default {default})",
    )


def add_json(*parsers: argparse.ArgumentParser) -> None:
    """--json for the actions of a command. It may stand before the action as well: one that is missing here
    does not undo it."""
    for parser in parsers:
        parser.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print one JSON object on stdout and nothing else there",
        )


def add_clips(parser: argparse.ArgumentParser) -> None:
    """--frames and --tubelet, which make a clip model of the backbone."""
    bounds: dict[str, Any] = {"type": int, "action": Bounded, "least": 1, "most": 4096, "metavar": "T"}
    parser.add_argument(
        "--frames", help="clips of T frames instead of images, see create_clip_backbone", **bounds
    )
    parser.add_argument(
        "--tubelet", default=2, help="frames that one token sees, with --frames (default 2)", **bounds
    )


def clip_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments for `create_backbone` from what `add_clips` read; none without --frames."""
    return {} if args.frames is None else {"frames": args.frames, "tubelet": args.tubelet}


def add_data(parser: argparse.ArgumentParser, of_run: bool = False) -> None:
    """What `load_data` wants to know. of_run: unless told otherwise, the seed is that of the run that a
    checkpoint comes from."""
    parser.add_argument("--root", metavar="FOLDER", help="where real data lie, or are downloaded to")
    parser.add_argument("--download", action="store_true", help="let torchvision fetch its data sets")
    add_number(parser, "--n-per-class", least=1, metavar="N", help="use only N training images of each class")
    seed: dict[str, Any] = {"type": int, "action": Bounded, "most": MOST_SEED}
    if of_run:
        parser.add_argument(
            "--seed", help="of the data and the split (default: that of the training, else 0)", **seed
        )
    else:
        parser.add_argument(
            "--seed",
            default=0,
            help="of the data, the split, the initial weights and the training (default 0)",
            **seed,
        )
    parser.add_argument(
        "--data-option",
        action="append",
        default=[],
        type=key_value,
        metavar="KEY=VALUE",
        help="an option of this data set; repeatable",
    )


def data_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments for `load_data` from what `add_data` read; options that were not given are left to
    their defaults."""
    given: dict[str, Any] = {
        name: getattr(args, name) for name in ("root", "n_per_class") if getattr(args, name) is not None
    }
    given |= {"download": True} if args.download else {}
    return {"seed": args.seed, **given, **checked_options(args.data_option)}


def checked_options(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """What `--data-option` gave. Raises AdapterError for what has an option of its own, or is none of the
    data set's."""
    for name, value in pairs:
        if name in OWN:
            remedy = f"write {OWN[name]} instead" if OWN[name] else "leave it out"
            raise AdapterError(
                f"--data-option {f'{name}={value}'[:40]!r}: that is no option of a data set; {remedy}"
            )
    return dict(pairs)


def key_value(text: str) -> tuple[str, Any]:
    """`key=value` → (key, value), the value read as a Python literal if it is one (3, 0.5, True, None, (1,
    2)), else as text."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form key=value")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in what may be a path
            return key.strip().replace("-", "_"), ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return key.strip().replace("-", "_"), value
