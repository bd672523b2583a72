"""`bench video`: memory and time of a training step on clips, with and without recomputing the blocks."""

from __future__ import annotations

import argparse
from typing import Any

from ..options import MOST_BATCH, MOST_CLASSES, MOST_SIDE
from .arguments import add_number, add_threads
from .devices import device_of

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backbone",
        default="vit_small_patch16_224",
        help="a timm model name, or micro_vit (default vit_small_patch16_224)",
    )
    parser.add_argument(
        "--method",
        action="append",
        metavar="NAME[:KEY=VALUE,…]",
        help="repeatable (default: full, and padapter after blocks)",
    )
    add_number(parser, "--frames", least=1, most=4096, default=8, help="of a clip (default 8)")
    add_number(
        parser, "--tubelet", least=1, most=4096, default=2, help="frames that one token sees (default 2)"
    )
    add_number(
        parser,
        "--image-size",
        least=1,
        most=MOST_SIDE,
        metavar="PIXELS",
        help="side of the frames (default: the backbone's own)",
    )
    add_number(parser, "--batch", least=1, most=MOST_BATCH, default=1, help="clips of a step (default 1)")
    add_number(
        parser, "--classes", least=1, most=MOST_CLASSES, default=174, help="outputs of the head (default 174)"
    )
    add_number(
        parser,
        "--rounds",
        least=0,
        most=100_000,
        default=1,
        help="timed steps of each (default 1; 0: memory only)",
    )
    add_threads(parser)
    parser.add_argument("--device", default="cpu", help="for the time: cpu (default), cuda, …")


def run(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from ..benchmarks.video import bench_video

    torch.set_num_threads(args.threads)
    device_of(args.device)  # before anything is built
    chosen = {
        name: getattr(args, name)
        for name in ("frames", "tubelet", "image_size", "batch", "classes", "rounds", "device")
    }
    methods = {"methods": args.method} if args.method else {}
    return bench_video(args.backbone, **methods, **chosen)


def show(result: dict[str, Any]) -> str:
    frames, height, width = result["clip"]
    tokens = " → ".join(map(str, result["tokens"]))
    lines = [
        f"{result['backbone']}, training step on {result['batch']} clip(s) of {frames} × {height}×{width}"
        f" pixels, {tokens} tokens"
    ]
    for row in result["rows"]:
        blocks = "recomputed" if row["recompute"] else "kept"
        took = (
            f", {row['step_ms']:,.0f} ms ({result['device']}, {result['threads']} threads)"
            if "step_ms" in row
            else ""
        )
        lines.append(f"  {row['method']:24} blocks {blocks:10} {row['step_bytes'] / 2**20:9,.1f} MiB{took}")
    return "\n".join(lines)
