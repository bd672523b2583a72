"""`pretrain-clips`: teach the embedded micro ViT to see motion, on drawn leaves."""

from __future__ import annotations

import argparse
from typing import Any

from ..pretraining.recipes import PretrainClipsConfig
from .pretrain import add_fields, command_of, config_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One option a field of `PretrainClipsConfig`, and `--out`, `--threads`."""
    add_fields(parser, PretrainClipsConfig, "runs/pretrain-clips")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """What `pretrain_clips` returns."""
    from ..pretraining.clips import pretrain_clips

    config = config_of(PretrainClipsConfig, args)
    return pretrain_clips(config, args.out, command_of("pretrain-clips", config))
