"""`cost`: what a backbone with adapters costs, without weights, data or a download."""

from __future__ import annotations

import argparse
from typing import Any

from ..options import MOST_BATCH, MOST_CLASSES
from .arguments import Bounded, add_clips, add_model, add_number, add_threads, clip_options
from .devices import device_of

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_clips(parser)
    classes: dict[str, Any] = {
        "type": int,
        "action": Bounded,
        "least": 1,
        "most": MOST_CLASSES,
        "unit": "class",
    }
    parser.add_argument("--classes", default=1000, help="outputs of the head (default 1000)", **classes)
    parser.add_argument(
        "--latency", action="store_true", help="also measure the milliseconds of a forward pass"
    )
    parser.add_argument(
        "--memory",
        action="store_true",
        help="also work out the peak memory of inference and of a training step",
    )
    what = "images at once, for --latency and --memory (default 1)"
    add_number(parser, "--batch", least=1, most=MOST_BATCH, default=1, help=what)
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "bfloat16", "float16"),
        help="for --latency (default float32)",
    )
    parser.add_argument("--device", help="for --latency: cpu, cuda, … (default: cuda if there is one)")
    add_threads(parser, None, "CPU threads, for --latency (default: torch's choice)")
    add_number(
        parser,
        "--repeats",
        least=1,
        most=100_000,
        default=30,
        help="timed passes, for --latency (default 30)",
    )
    parser.add_argument(
        "--pretrained", action="store_true", help="load the weights (costs do not depend on them)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """What `Cost.to_dict` gives, and the model that was asked for."""
    import torch

    from ..backbones.create import create_backbone, meta_backbone
    from ..costs.cost import cost
    from ..costs.latency import latency
    from ..costs.memory import memory_use
    from ..methods import format_method, parse_method
    from ..methods.adapt import adapt

    methods = [parse_method(text) for text in args.method]
    clips = clip_options(args)
    with_data = args.pretrained or args.latency or args.memory  # otherwise shapes are enough
    if with_data:
        backbone = create_backbone(
            args.backbone, pretrained=args.pretrained, image_size=args.image_size, **clips
        )
    else:
        backbone = meta_backbone(args.backbone, image_size=args.image_size, **clips)
    model = adapt(backbone, methods, num_classes=args.classes)
    counted = cost(model)
    if args.memory:
        counted = counted.measured(memory=memory_use(model, args.batch))
    if args.latency:
        if args.threads is not None:
            torch.set_num_threads(args.threads)
        model.to(device_of(args.device))
        counted = counted.measured(
            latency=latency(model, args.batch, repeats=args.repeats, dtype=getattr(torch, args.dtype))
        )
    return {
        "backbone": args.backbone,
        "methods": [format_method(m) for m in methods],
        "classes": args.classes,
        **counted.to_dict(),
    }


def show(result: dict[str, Any]) -> str:
    from ..costs.cost import Cost

    title = f"{result['backbone']} + {' + '.join(result['methods']) or 'a head'}, {result['classes']} classes"
    return f"{title}\n{Cost.from_dict(result)}"
