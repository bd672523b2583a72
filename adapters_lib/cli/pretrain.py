"""`pretrain`: pre-train the embedded micro ViT on drawn leaves; and what `pretrain-clips` shares with it."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, TypeVar

from ..cores import available_cores
from ..options import MOST_SEED
from ..pretraining.recipes import PretrainConfig
from .arguments import Bounded, add_number

__all__ = ["add_arguments", "add_fields", "command_of", "config_of", "run"]

T = TypeVar("T")

_AT_LEAST_ONE = ("batch_size", "checkpoint_steps", "eval_steps", "images_per_species", "val_per_species")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One option a field of `PretrainConfig`, and `--out`, `--threads`."""
    add_fields(parser, PretrainConfig, "runs/pretrain")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """What `pretrain` returns."""
    from ..pretraining.images import pretrain

    config = config_of(PretrainConfig, args)
    return pretrain(config, args.out, command_of("pretrain", config))


def add_fields(parser: argparse.ArgumentParser, config: type[Any], out: str) -> None:
    """One option a field of the dataclass `config`, and `--out` (default `out`), `--threads`."""
    parser.add_argument(
        "--out",
        default=out,
        metavar="FOLDER",
        help=f"for the weights, the curve and the checkpoint (default {out})",
    )
    add_number(
        parser,
        "--threads",
        most=max(2, available_cores()),
        default=0,
        metavar="N",
        help="CPU threads (default 0: torch's choice)",
    )
    for field in dataclasses.fields(config):
        if field.name == "schedule":
            shown = f"side:dropped:images,… (default {_written(field.default)})"
            parser.add_argument("--schedule", type=_schedule, default=field.default, help=shown)
        else:
            option, kind = f"--{field.name.replace('_', '-')}", type(field.default)
            bounds: dict[str, Any] = {}
            if kind is not str:
                bounds = {"action": Bounded, "least": int(field.name in _AT_LEAST_ONE)}
            bounds |= {"most": MOST_SEED} if field.name == "seed" else {}
            parser.add_argument(
                option, type=kind, default=field.default, help=f"default {field.default}", **bounds
            )


def config_of(kind: type[T], args: argparse.Namespace) -> T:
    """The recipe `kind` that the parsed arguments of `add_fields` describe; sets the number of threads as
    well."""
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    return kind(**{f.name: getattr(args, f.name) for f in dataclasses.fields(kind)})  # type: ignore[arg-type]


def command_of(name: str, config: Any) -> str:
    """The command line that means this recipe: what differs from the defaults."""
    words = [f"python -m adapters_lib {name}"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default:
            words.append(f"--{field.name.replace('_', '-')} {_written(value)}")
    return " ".join(words)


def _schedule(text: str) -> tuple[tuple[int, float, int], ...]:
    """'48:0:128000,96:0.5:128000' -> ((48, 0.0, 128000), (96, 0.5, 128000))."""
    try:
        parts = [entry.split(":") for entry in text.split(",")]
        return tuple((int(side), float(drop), int(images)) for side, drop, images in parts)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"schedule {text!r}: write side:dropped:images,… such as 48:0:128000,96:0.5:128000"
        ) from error


def _written(value: object) -> str:
    return (
        ",".join(f"{side}:{drop:g}:{images}" for side, drop, images in value)
        if isinstance(value, tuple)
        else str(value)
    )
