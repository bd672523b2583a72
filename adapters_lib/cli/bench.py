"""`bench`: measured time beside counted MACs."""

from __future__ import annotations

import argparse
from typing import Any

from ..options import MOST_BATCH, MOST_CLASSES
from . import bench_decode, bench_exits, bench_export, bench_video
from .arguments import TABLES, add_json, add_model, add_number, add_threads

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
    bench_exits.add_arguments(exits)
    methods = actions.add_parser(
        "methods",
        help="training steps against full fine-tuning, inference against bare timm",
        allow_abbrev=False,
    )
    _add_methods(methods)
    latency = actions.add_parser(
        "latency", help="milliseconds of every method's forward pass, as a table", allow_abbrev=False
    )
    _batch(latency, "images at once (default 1 16)", nargs="+", default=[1, 16])
    steps = actions.add_parser(
        "steps", help="every method's training step against full fine-tuning, as a table", allow_abbrev=False
    )
    _batch(steps, "images of a step (default 4)", default=4)
    for each, name in ((latency, "latency"), (steps, "steps")):
        _add_table(each, f"{TABLES}/{name}.csv")
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


def _add_methods(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    _batch(parser, "images at once in inference (default 1 16)", nargs="+", default=[1, 16])
    add_number(
        parser,
        "--train-batch",
        least=2,
        most=MOST_BATCH,
        default=8,
        help="images of a training step (default 8)",
    )
    _rounds(parser, "timed rounds at most (default 15)", default=15)
    add_number(
        parser,
        "--minutes",
        type=float,
        least=0,
        most=10_000,
        default=9,
        help="about how long it may take; at least 3 rounds are made (default 9)",
    )
    add_threads(parser)
    _classes(parser, "outputs of the heads (default 100)", default=100)


def _add_table(parser: argparse.ArgumentParser, out: str) -> None:
    parser.add_argument(
        "--backbone", default="micro_vit", help="default micro_vit, which ships with the package"
    )
    parser.add_argument(
        "--method",
        action="append",
        metavar="NAME[:KEY=VALUE,…]",
        help="repeatable (default: those of the methods grid)",
    )
    _rounds(parser, "timed rounds (default 20)", default=20)
    add_threads(parser)
    _classes(parser, "outputs of the heads (default 20)", default=20)
    parser.add_argument("--out", default=out, metavar="FILE", help=f"default {out}")


def run(args: argparse.Namespace) -> dict[str, Any]:
    runs = {
        "methods": _methods,
        "exits": bench_exits.run,
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
    return bench_exits.show(result)


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
