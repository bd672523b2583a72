"""`export`: a saved adapter with its backbone as one file that other programs run."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import add_number
from .trained import add_checkpoint

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser, hub=True)
    parser.add_argument("--out", required=True, metavar="FILE", help="ends in .pt2 or .onnx")
    parser.add_argument(
        "--format", choices=("torch", "onnx"), help="torch.export's .pt2 or ONNX (default: by the ending)"
    )
    what = "read the logits behind this block, one with an early exit (default: the full depth)"
    add_number(parser, "--exit", least=1, most=512, metavar="BLOCK", help=what)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """What `al.export` returns, and the checkpoint."""
    from ..saving.export import export
    from ..vit.model import AdaptedViT

    model = AdaptedViT.from_pretrained(args.checkpoint)
    return {"checkpoint": args.checkpoint, **export(model, args.out, args.format, args.exit)}


def show(result: dict[str, Any]) -> str:
    depth = "the full depth" if result["exit"] is None else f"the exit behind block {result['exit']}"
    shape = " × ".join(map(str, result["input"][1:]))
    checked = (
        "not run here: onnxruntime is not installed, or does not compute in this data type"
        if result["checked"] is None
        else f"its logits are the model's to within {result['checked']:.1g}"
    )
    return (
        f"{result['checkpoint']}, {depth}, as {result['format']}: {result['path']}"
        f" ({result['bytes'] / 2**20:.1f} MiB), any number of inputs of {shape}; {checked}"
    )
