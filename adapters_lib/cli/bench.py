"""`bench`: measured time beside counted MACs."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import AdapterError
from ..options import MOST_BATCH, MOST_CLASSES
from . import bench_decode, bench_export, bench_video
from .arguments import TABLES, add_data, add_json, add_model, add_number, add_threads, data_options
from .devices import device_of

__all__ = ["add_arguments", "run", "show"]


def _batch(parser: argparse.ArgumentParser, what: str, **options: Any) -> None:
    add_number(parser, "--batch", least=1, most=MOST_BATCH, help=what, **options)


def _rounds(parser: argparse.ArgumentParser, what: str, **options: Any) -> None:
    add_number(parser, "--rounds", least=1, most=100_000, help=what, **options)


def _classes(parser: argparse.ArgumentParser, what: str, **options: Any) -> None:
    add_number(parser, "--classes", least=1, most=MOST_CLASSES, help=what, **options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    exits = actions.add_parser(
        "exits", help="early exits against the full depth, on the same batches, in turn", allow_abbrev=False
    )
    add_model(exits)
    add_number(
        exits,
        "--shares",
        type=float,
        most=1,
        nargs="+",
        metavar="SHARE",
        help="of images that leave at each exit (default: 4 : 3 : 2 : 1)",
    )
    exits.add_argument(
        "--checkpoint",
        metavar="FOLDER",
        help="a trained model instead, with --data and its calibrated thresholds",
    )
    exits.add_argument("--data", help="test images for --checkpoint")
    _batch(exits, "images at once (default 1 32)", nargs="+", default=[1, 32])
    add_number(exits, "--images", least=2, most=MOST_BATCH, default=32, help="images per round (default 32)")
    _rounds(exits, "timed rounds (default 10)", default=10)
    add_threads(exits)
    exits.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
    _classes(exits, "outputs of the heads, without --checkpoint (default 100)", default=100)
    add_data(exits)
    methods = actions.add_parser(
        "methods",
        help="training steps against full fine-tuning, inference against bare timm",
        allow_abbrev=False,
    )
    add_model(methods)
    _batch(methods, "images at once in inference (default 1 16)", nargs="+", default=[1, 16])
    add_number(
        methods,
        "--train-batch",
        least=2,
        most=MOST_BATCH,
        default=8,
        help="images of a training step (default 8)",
    )
    _rounds(methods, "timed rounds at most (default 15)", default=15)
    add_number(
        methods,
        "--minutes",
        type=float,
        least=0,
        most=10_000,
        default=9,
        help="about how long it may take; at least 3 rounds are made (default 9)",
    )
    add_threads(methods)
    _classes(methods, "outputs of the heads (default 100)", default=100)
    latency = actions.add_parser(
        "latency", help="milliseconds of every method's forward pass, as a table", allow_abbrev=False
    )
    _batch(latency, "images at once (default 1 16)", nargs="+", default=[1, 16])
    steps = actions.add_parser(
        "steps", help="every method's training step against full fine-tuning, as a table", allow_abbrev=False
    )
    _batch(steps, "images of a step (default 4)", default=4)
    for each, name in ((latency, "latency"), (steps, "steps")):
        out = f"{TABLES}/{name}.csv"
        each.add_argument(
            "--backbone", default="micro_vit", help="default micro_vit, which ships with the package"
        )
        each.add_argument(
            "--method",
            action="append",
            metavar="NAME[:KEY=VALUE,…]",
            help="repeatable (default: those of the methods grid)",
        )
        _rounds(each, "timed rounds (default 20)", default=20)
        add_threads(each)
        _classes(each, "outputs of the heads (default 20)", default=20)
        each.add_argument("--out", default=out, metavar="FILE", help=f"default {out}")
    video = actions.add_parser(
        "video",
        help="memory and time of a training step on clips, blocks kept or recomputed",
        allow_abbrev=False,
    )
    bench_video.add_arguments(video)
    decode = actions.add_parser(
        "decode",
        help="clips read per second, and the share of a step spent waiting for them",
        allow_abbrev=False,
    )
    bench_decode.add_arguments(decode)
    exported = actions.add_parser(
        "export", help="an exported model under onnxruntime beside PyTorch", allow_abbrev=False
    )
    bench_export.add_arguments(exported)
    add_json(exits, methods, latency, steps, video, decode, exported)


def run(args: argparse.Namespace) -> dict[str, Any]:
    runs = {
        "methods": _methods,
        "exits": _exits,
        "latency": _table,
        "steps": _table,
        "video": bench_video.run,
        "decode": bench_decode.run,
        "export": bench_export.run,
    }
    return runs[args.action](args)


def _methods(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from ..benchmarks.methods import bench_methods

    torch.set_num_threads(args.threads)
    chosen = {
        "train_batch": args.train_batch,
        "batches": args.batch,
        "classes": args.classes,
        "repeats": args.rounds,
    }
    chosen["minutes"] = args.minutes
    return bench_methods(args.backbone, args.method or None, **chosen)


def _table(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from ..benchmarks.latency import latency_table, step_table
    from ..experiments.grids import ALL_METHODS
    from ..files import atomic_write

    torch.set_num_threads(args.threads)
    chosen, options = args.method or ALL_METHODS, {"classes": args.classes, "repeats": args.rounds}
    if args.action == "steps":
        table = step_table(chosen, args.backbone, batch=args.batch, **options)
    else:
        table = latency_table(chosen, args.backbone, batches=args.batch, **options)
    atomic_write(args.out, lambda path: table.to_csv(path, index=False, float_format="%.6g"))
    return {"table": args.out, "rows": table.to_dict("records")}


def _exits(args: argparse.Namespace) -> dict[str, Any]:
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
    if "decode_ms" in result:
        return bench_decode.show(result)
    if "clip" in result:
        return bench_video.show(result)
    if "onnxruntime" in result:
        return bench_export.show(result)
    if "training" in result:
        return _show_methods(result)
    if "table" in result:
        return _show_table(result)
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


def _show_methods(result: dict[str, Any]) -> str:
    lines = [
        f"{result['backbone']} on {result['device']}, {result['threads']} threads; medians [quartiles] of"
        " ratios within a round"
    ]
    tables = {"training step ÷ full fine-tuning": result["training"]}
    tables |= {f"inference, batch {batch} ÷ bare timm": rows for batch, rows in result["inference"].items()}
    for title, rows in tables.items():
        lines.append(title)
        for name, row in rows.items():
            more = "".join(
                f", {what} ×{row[key]:.2f}"
                for key, what in (("peak_ratio", "memory"), ("macs_ratio", "MACs"))
                if key in row
            )
            lines.append(
                f"  {name:24}×{row['ratio']:.3f} [{row['ratio_q25']:.3f}, {row['ratio_q75']:.3f}]"
                f" {row['ms']:9.2f} ms{more}"
            )
    lines.append("targets")
    for row in result["targets"]:
        lines.append(
            f"  {'met   ' if row['met'] else 'MISSED'} {row['target']}: {row['measured']:.3f}, limit"
            f" {row['limit']:.3f}"
        )
    return "\n".join(lines)


def _show_table(result: dict[str, Any]) -> str:
    first = result["rows"][0]
    lines = [
        f"{first['backbone']} on {first['device']}, {first['threads']} threads, {first['rounds']} rounds;"
        f" {result['table']}"
    ]
    for row in result["rows"]:
        name = f"{row['method']}{', merged' * row.get('merged', False)}"
        time = (
            f"{row['step_ms']:9.2f} ms a step"
            if "step_ms" in row
            else f"{row['latency_ms']:9.2f} ms an image"
        )
        lines.append(f"  batch {row['batch']:3}  {name:28}{time}, ×{row['ratio']:.3f} of {first['method']}")
    return "\n".join(lines)
