"""`bench export`: an exported model under onnxruntime beside PyTorch."""

from __future__ import annotations

import argparse
from typing import Any

from ..options import MOST_BATCH, MOST_CLASSES
from .arguments import Bounded, add_model, add_threads

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    count: dict[str, Any] = {"type": int, "action": Bounded, "least": 1}
    parser.add_argument("--checkpoint", metavar="FOLDER", help="a trained model instead")
    parser.add_argument(
        "--exit", most=512, metavar="BLOCK", help="export at this exit, see `export`", **count
    )
    what = "images at once (default 1 16)"
    parser.add_argument("--batch", nargs="+", most=MOST_BATCH, default=[1, 16], help=what, **count)
    rounds: dict[str, Any] = {"type": int, "action": Bounded, "least": 2, "most": 100_000}
    parser.add_argument("--rounds", default=20, help="timed rounds (default 20)", **rounds)
    add_threads(parser)
    what = "outputs of the head, without --checkpoint (default 100)"
    parser.add_argument("--classes", most=MOST_CLASSES, default=100, help=what, **count)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """What `benchmarks.exported.bench_exported` measures, and the checkpoint."""
    import torch

    from ..backbones.create import create_backbone
    from ..benchmarks.exported import bench_exported
    from ..methods.adapt import adapt
    from ..vit.model import AdaptedViT

    torch.set_num_threads(args.threads)
    if args.checkpoint:
        model = AdaptedViT.from_pretrained(args.checkpoint)
    else:
        backbone = create_backbone(args.backbone, pretrained=False, image_size=args.image_size)
        model = adapt(backbone, args.method or ["lora"], num_classes=args.classes)
    measured = bench_exported(model, batches=args.batch, repeats=args.rounds, exit=args.exit)
    return {"checkpoint": args.checkpoint, **measured}


def show(result: dict[str, Any]) -> str:
    place = "" if result["exit"] is None else f", exported behind block {result['exit']}"
    lines = [
        f"{result['backbone']} + {' + '.join(result['methods'])}{place}, {result['threads']} threads; medians"
        " [quartiles] of ratios within a round"
    ]
    for row in result["results"]:
        lines.append(
            f"  batch {row['batch']:3}  {row['engine']:14}{row['ms']:9.2f} ms  ×{row['ratio']:.3f}"
            f" [{row['ratio_q25']:.3f}, {row['ratio_q75']:.3f}]"
        )
    if result["onnxruntime"] is None:
        lines.append("  onnxruntime is not installed; pip install onnx onnxscript onnxruntime")
    return "\n".join(lines)
