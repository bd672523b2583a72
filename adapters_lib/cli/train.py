"""`train`: adapt a backbone to a data set, test it after the last epoch, keep the adapter."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from . import plain
from .arguments import add_clips, add_data, add_model, clip_options, data_options, key_value

__all__ = ["add_arguments", "run", "show"]

_RECIPE = {  # fields of Recipe that have an option of their own; their defaults stay where they are defined
    "epochs": (int, "passes over the training images"),
    "lr": (float, "peak learning rate"),
    "batch_size": (int, "images per step and process"),
    "weight_decay": (float, "of matrices"),
    "optimizer": (str, "adamw, sgd (Nesterov momentum) or momentum (plain)"),
    "warmup_epochs": (float, "epochs of linear warm-up"),
    "mixed_precision": (str, "no, bf16, fp16 or auto"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_clips(parser)
    fresh = "the norm behind a clip model's pooling starts at 1 and 0, see create_clip_backbone"
    parser.add_argument("--fresh-norm", action="store_true", help=fresh)
    parser.add_argument(
        "--data", default="leaves-ultra", help="a name that `data list` shows (default leaves-ultra)"
    )
    add_data(parser)
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="keep checkpoints, adapter and result here; the same command resumes a killed run",
    )
    parser.add_argument(
        "--restart", action="store_true", help="begin again instead of resuming the run in --out"
    )
    parser.add_argument(
        "--random-weights",
        action="store_true",
        help="a backbone without pre-trained weights, drawn from the seed",
    )
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="begin with a published recipe and its head (`methods --recipes`); other options change it",
    )
    classifier = "the classifier, see al.adapt (default: the preset's, or linear)"
    parser.add_argument("--head", metavar="KIND", help=classifier)
    for name, (kind, meaning) in _RECIPE.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=meaning)
    parser.add_argument(
        "--recipe",
        action="append",
        default=[],
        type=key_value,
        metavar="KEY=VALUE",
        help="any other field of al.Recipe; repeatable",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and test; with --out also written to FOLDER/result.json."""
    from dataclasses import asdict, fields

    import torch

    from ..backbones.create import create_backbone
    from ..costs.cost import cost
    from ..datasets.load import load_data
    from ..errors import unknown
    from ..files import save_json
    from ..methods import format_method, parse_method
    from ..methods.adapt import adapt
    from ..training.fit import evaluate, fit
    from ..training.published_recipes import PRESETS, named_recipe
    from ..training.recipe import Recipe

    methods = [parse_method(text) for text in args.method]
    settings = {name: getattr(args, name) for name in _RECIPE if getattr(args, name) is not None}
    settings |= {"seed": args.seed, **dict(args.recipe)}
    known = [field.name for field in fields(Recipe)]
    for name in settings:
        if name not in known:
            raise unknown("recipe field", name, known)
    recipe = named_recipe(args.preset, **settings) if args.preset else Recipe(**settings)
    head = args.head or (PRESETS[args.preset].head if args.preset else "linear")
    # Random weights come out the same again, so that such a run can be resumed, too.
    torch.manual_seed(args.seed)
    pretrained = not args.random_weights
    clips = clip_options(args) | ({"fresh_norm": True} if args.fresh_norm else {})
    backbone = create_backbone(args.backbone, pretrained, args.image_size, **clips)
    task = load_data(args.data, backbone=backbone, **data_options(args))
    model = adapt(backbone, methods, classes=task.classes, head=head, seed=args.seed)
    trained = fit(model, task.train, task.val, recipe, out=args.out, resume=not args.restart)
    tested = evaluate(model, task.test, recipe.batch_size, num_workers=recipe.num_workers)
    result = {
        "backbone": args.backbone,
        "methods": [format_method(method) for method in methods],
        "head": head,
        "data": task.describe(),
        "recipe": asdict(recipe),
        "cost": cost(model).to_dict(),
        "history": trained.history.to_dict("records"),
        "test": tested,
        "out": args.out,
    }
    if args.out:
        save_json(Path(args.out) / "result.json", plain(result))
    return result


def show(result: dict[str, Any]) -> str:
    test, trainable = result["test"], sum(result["cost"]["trainable"].values())
    subject = "clip" if "frames" in result["cost"] else "image"
    lines = [
        (
            f"{result['backbone']} + {' + '.join(result['methods']) or 'a head'} on {result['data']['name']},"
            f" {len(result['history'])} epochs"
        ),
        (
            f"test: top-1 {test['top1']:.2f} %, balanced {test['balanced']:.2f} %,"
            f" top-5 {test['top5']:.2f} %, loss {test['loss']:.4f} nats on {test['n']} images"
        ),
        f"cost: {trainable:,} trainable parameters, {result['cost']['macs'] / 1e9:.3f} GMACs per {subject}",
    ]
    return "\n".join(lines + ([f"kept in {result['out']}"] if result["out"] else []))
