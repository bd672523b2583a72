"""`bench exits`: early exits against the full depth, on the same batches, in turn."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import AdapterError
from ..options import MOST_BATCH, MOST_CLASSES
from .arguments import add_data, add_model, add_number, add_threads, data_options
from .devices import device_of

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_number(
        parser,
        "--shares",
        type=float,
        most=1,
        nargs="+",
        metavar="SHARE",
        help="of images that leave at each exit (default: 4 : 3 : 2 : 1)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FOLDER",
        help="a trained model instead, with --data and its calibrated thresholds",
    )
    parser.add_argument("--data", help="test images for --checkpoint")
    add_number(
        parser,
        "--batch",
        least=1,
        most=MOST_BATCH,
        nargs="+",
        default=[1, 32],
        help="images at once (default 1 32)",
    )
    add_number(parser, "--images", least=2, most=MOST_BATCH, default=32, help="images per round (default 32)")
    add_number(parser, "--rounds", least=1, most=100_000, default=10, help="timed rounds (default 10)")
    add_threads(parser)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
    add_number(
        parser,
        "--classes",
        least=1,
        most=MOST_CLASSES,
        default=100,
        help="outputs of the heads, without --checkpoint (default 100)",
    )
    add_data(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from ..benchmarks.exits import bench_exits, drawn_thresholds, spread_shares

    torch.set_num_threads(args.threads)
    model, images, labels = _trained(args) if args.checkpoint else _drawn(args)
    device = device_of(args.device)
    model.to(device).eval()
    images = images.to(device)
    results = []
    for batch in args.batch:
        if args.checkpoint:
            thresholds, policy = model.extra["exits"]["thresholds"], model.extra["exits"]["policy"]
        else:
            shares = args.shares or spread_shares(len(model.exits) + 1)
            thresholds, policy = drawn_thresholds(model, images, shares, batch=batch), "max_softmax"
        results.append(
            bench_exits(
                model, images, thresholds, policy=policy, batch=batch, repeats=args.rounds, labels=labels
            )
        )
    return {
        "backbone": model.backbone_name,
        "methods": [m.name for m in model.methods],
        "checkpoint": args.checkpoint,
        "results": results,
    }


def _drawn(args: argparse.Namespace) -> tuple[Any, Any, None]:
    """A model that nobody trained, on noise: for timing, all that counts is how many images leave where."""
    import torch

    from ..backbones.create import create_backbone
    from ..methods.adapt import adapt

    methods = args.method or ["lora", "dyn"]
    backbone = create_backbone(args.backbone, pretrained=False, image_size=args.image_size)
    model = adapt(backbone, methods, num_classes=args.classes, seed=args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    return model, torch.randn(args.images, *model.data_config["input_size"], generator=generator), None


def _trained(args: argparse.Namespace) -> tuple[Any, Any, Any]:
    from ..benchmarks.exits import timing_sample
    from ..datasets.load import load_data
    from ..vit.model import AdaptedViT

    model = AdaptedViT.from_pretrained(args.checkpoint)
    if args.data is None:
        raise AdapterError("--checkpoint needs --data: the data set whose test images are timed")
    if "exits" not in model.extra:
        raise AdapterError(
            f"{args.checkpoint} has no thresholds; run `exits calibrate --checkpoint {args.checkpoint}` first"
        )
    test = load_data(args.data, backbone=model.backbone, **data_options(args)).test
    return model, *timing_sample(test, args.images)


def show(result: dict[str, Any]) -> str:
    lines = [f"{result['backbone']} + {' + '.join(result['methods'])}"]
    for row in result["results"]:
        realised = (
            "nothing to save"
            if row["realised"] is None
            else f"realised {row['realised']:.2f} of the MAC saving"
        )
        lines.append(
            f"batch {row['batch']:3}: MACs saved {100 * row['mac_saving']:.1f} %, time saved"
            f" {100 * row['time_saving']:.1f} %, {realised}; overhead when none leaves"
            f" {100 * row['overhead']:.1f} % ({row['device']}, {row['threads']} threads, {row['rounds']}"
            " rounds)"
        )
        if "top1" in row:
            lines.append(
                f"           top-1 {row['top1']:.1f} % with exits, {row['full_top1']:.1f} % at full depth,"
                f" {row['images']} images"
            )
    return "\n".join(lines)
