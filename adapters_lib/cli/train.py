"""`train`: adapt a backbone to a data set, test it after the last epoch, keep the adapter."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from . import plain
from .arguments import add_clips, add_data, add_model, checked_options, clip_options, data_options, key_value
from .devices import add_device, computing_on
from .run_config import check_same_data, check_same_weights, described_run, read_config

__all__ = ["add_arguments", "run", "show"]

_RECIPE = {  # fields of Recipe that have an option of their own; their defaults stay where they are defined
    "epochs": (int, "passes over the training images"),
    "lr": (float, "peak learning rate"),
    "batch_size": (int, "images per step and process"),
    "weight_decay": (float, "of matrices"),
    "optimizer": (str, "adamw, sgd (Nesterov momentum) or momentum (plain)"),
    "warmup_epochs": (float, "epochs of linear warm-up"),
    "mixed_precision": (str, "no, bf16, fp16 or auto; also written --precision"),
}

_DEFAULTS: dict[str, Any] = {
    "backbone": "micro_vit",
    "method": [],
    "tubelet": 2,
    "data": "leaves-ultra",
    "seed": 0,
    "data_option": [],
    "recipe": [],
    "download": False,
    "fresh_norm": False,
    "random_weights": False,
    "restart": False,
    "tensorboard": False,
}
"""What holds where neither the command line nor the file of --config says otherwise."""

_OF_BACKBONE = ("image_size", "frames", "tubelet", "fresh_norm", "random_weights", "backbone_option")
_OF_DATA = ("root", "download", "n_per_class", "data_option")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="settings from a .toml or .json file, or from run.json or result.json of a run's folder; options"
        " on the command line come first",
    )
    add_model(parser)
    add_clips(parser)
    fresh = "the norm behind a clip model's pooling starts at 1 and 0, see create_clip_backbone"
    parser.add_argument("--fresh-norm", action="store_true", help=fresh)
    parser.add_argument("--data", help="a name that `data list` shows (default leaves-ultra)")
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
        also = ["--precision"] if name == "mixed_precision" else []
        parser.add_argument(f"--{name.replace('_', '-')}", *also, dest=name, type=kind, help=meaning)
    parser.add_argument(
        "--recipe",
        action="append",
        type=key_value,
        metavar="KEY=VALUE",
        help="any other field of al.Recipe; repeatable",
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="write curves to FOLDER/tensorboard of --out; needs the package tensorboard",
    )
    add_device(parser, precision=False)
    # What is not given stays None, so that a file can say it; `_settings` puts the defaults behind both.
    parser.set_defaults(**dict.fromkeys(_DEFAULTS))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and test; with --out also written to FOLDER/result.json, whose "config" --config reads."""
    vars(args).update(_settings(args))
    with computing_on(args.device):
        return _run(args)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """Command line, then file, then defaults. Of another backbone or data set than the file's, the file's
    options are left out; so are its recipe and head beside a preset on the command line."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    file = read_config(args.config) if args.config else {}
    for name, details in (("backbone", _OF_BACKBONE), ("data", _OF_DATA)):
        if name in given and name in file and given[name] != file[name]:
            file = {key: value for key, value in file.items() if key not in details}
    if "preset" in given:
        file = {key: value for key, value in file.items() if key not in ("recipe", "head")}
    recipe = dict(file.get("recipe", {}))
    recipe |= {name: given[name] for name in ("seed", *_RECIPE) if name in given}
    recipe |= dict(given.get("recipe", []))
    options = {**file.get("data_option", {}), **checked_options(given.get("data_option", []))}
    merged = {**_DEFAULTS, "backbone_option": {}, **file, **given}
    merged |= {"data_option": list(options.items()), "recipe": {"seed": merged["seed"], **recipe}}
    return merged


def _run(args: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict, fields

    import torch

    from ..backbones.create import create_backbone
    from ..costs.cost import cost
    from ..datasets.load import load_data
    from ..errors import unknown
    from ..files import load_json, save_json
    from ..methods import format_method, parse_method
    from ..methods.adapt import adapt
    from ..training.fit import evaluate, fit
    from ..training.published_recipes import PRESETS, named_recipe
    from ..training.recipe import Recipe

    methods = [parse_method(text) for text in args.method]
    known = [field.name for field in fields(Recipe)]
    for name in args.recipe:
        if name not in known:
            raise unknown("recipe field", name, known)
    recipe = named_recipe(args.preset, **args.recipe) if args.preset else Recipe(**args.recipe)
    head = args.head or (PRESETS[args.preset].head if args.preset else "linear")
    # Random weights come out the same again, so that such a run can be resumed, too.
    torch.manual_seed(args.seed)
    pretrained = not args.random_weights
    clips = clip_options(args) | ({"fresh_norm": True} if args.fresh_norm else {})
    backbone = create_backbone(args.backbone, pretrained, args.image_size, **clips, **args.backbone_option)
    task = load_data(args.data, backbone=backbone, **data_options(args))
    model = adapt(backbone, methods, classes=task.classes, head=head, seed=args.seed)
    if args.config and args.config.endswith(".json") and (run := described_run(load_json(args.config))):
        _check_same(args, run, model, task)
    trained = fit(
        model,
        task.train,
        task.val,
        recipe,
        out=args.out,
        resume=not args.restart,
        tensorboard=args.tensorboard,
    )
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
        "config": _config(args, head, asdict(recipe)),
    }
    if args.out:
        save_json(Path(args.out) / "result.json", plain(result))
    return result


def _check_same(args: argparse.Namespace, run: dict[str, Any], model: Any, task: Any) -> None:
    """What a run.json cannot say, compared with the run; not where the command line asks for something
    else."""
    if args.backbone == run["backbone"]["name"] and not args.random_weights:
        check_same_weights(args.config, run, model)
    split = run["train"]["split"]
    asked = {"data": args.data, "seed": args.seed, "options": dict(args.data_option)}
    if args.n_per_class is None and all(split[key] == value for key, value in asked.items()):
        check_same_data(args.config, run, task.train)


def _config(args: argparse.Namespace, head: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """The settings as --config reads them; the preset has become the recipe and the head."""
    plainly = (
        "backbone",
        "method",
        "image_size",
        "frames",
        "random_weights",
        "fresh_norm",
        "backbone_option",
    )
    data = ("data", "root", "download", "n_per_class", "seed")
    config = {name: getattr(args, name) for name in (*plainly, *data)}
    config |= {"tubelet": args.tubelet if args.frames else None, "data_option": dict(args.data_option)}
    config = {name: value for name, value in config.items() if value not in (None, False, {}, [])}
    return {**config, "head": head, "recipe": recipe}


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
