"""`bench decode`: clips decoded per second, and the share of a training step spent waiting for them."""

from __future__ import annotations

import argparse
from typing import Any

from ..cores import available_cores
from ..options import MOST_BATCH, MOST_SIDE
from .arguments import add_data, add_number, add_threads, data_options
from .devices import device_of

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default="motion-leaves", help="a set of videos (default motion-leaves)")
    parser.add_argument(
        "--backbone",
        default="micro_vit",
        help="a timm model name; it becomes a clip model (default micro_vit)",
    )
    parser.add_argument(
        "--method", action="append", metavar="NAME[:KEY=VALUE,…]", help="repeatable (default padapter)"
    )
    add_number(
        parser,
        "--step-ms",
        type=float,
        least=0,
        most=10_000_000,
        metavar="MS",
        help="sleep so long in the place of a training step of a model",
    )
    add_number(
        parser,
        "--image-size",
        least=1,
        most=MOST_SIDE,
        metavar="PIXELS",
        help="side of a clip (default 64 for drawn clips, 224 for others)",
    )
    add_number(parser, "--batch", least=1, most=MOST_BATCH, default=8, help="clips a step (default 8)")
    add_number(
        parser,
        "--workers",
        least=0,
        most=max(2, available_cores()),
        default=2,
        help="loader processes (default 2)",
    )
    add_number(parser, "--steps", least=1, most=MOST_BATCH, default=20, help="timed steps (default 20)")
    add_number(
        parser,
        "--clips",
        least=1,
        most=MOST_BATCH,
        default=64,
        help="clips decoded for the rate (default 64)",
    )
    add_threads(parser, 1, "CPU threads of the training step (default 1)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
    add_data(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from ..benchmarks.decode import bench_decode
    from ..datasets.load import DATA_SETS, load_data

    torch.set_num_threads(args.threads)
    device = device_of(args.device)
    size = args.image_size or (DATA_SETS[args.data].image_size if args.data in DATA_SETS else None)
    backbone = None
    if args.step_ms is None:
        from ..backbones.clips import create_clip_backbone

        backbone = create_clip_backbone(args.backbone, image_size=size, pretrained=False)
    task = load_data(args.data, backbone=backbone, image_size=size, **data_options(args))
    model = None
    if backbone is not None:
        from ..methods.adapt import adapt

        model = adapt(backbone, args.method or ["padapter"], num_classes=task.num_classes).to(device)
    counts = {"batch": args.batch, "workers": args.workers, "steps": args.steps, "clips": args.clips}
    return {
        "backbone": args.backbone if model else None,
        "device": args.device,
        **bench_decode(task, model, step_ms=args.step_ms, **counts),
    }


def show(result: dict[str, Any]) -> str:
    step = (
        f"{result['backbone']} on {result['device']}"
        if result["backbone"]
        else "a pause in the place of training"
    )
    return (
        f"{result['data']} at {result['size']} px: {result['clips_per_second']:.0f} clips/s in one process,"
        f" {result['decode_ms']:.1f} ms; {result['frames_decoded']:.0f} frames decoded for"
        f" {result['frames_used']}\ntraining ({step}, {result['batch']} clips a step, {result['workers']}"
        f" workers, {result['cores']} cores): step {result['step_ms']:.0f} ms, waiting"
        f" {result['wait_ms']:.1f} ms = {100 * result['wait_share']:.1f} % of the time;"
        f" {result['clips_per_second_training']:.1f} clips/s; first step after {result['start_s']:.1f} s"
    )
