"""`exits`: calibrate early exits on validation images, evaluate them on test images, draw the curve, run
the study."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import AdapterError
from ..options import MOST_BATCH, MOST_SEED
from .arguments import TABLES, add_batch, add_data, add_jobs, add_json, add_number, checked_options, key_value
from .trained import add_checkpoint, load_checkpoint
from .writing import save_figure

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    calibrate = actions.add_parser(
        "calibrate",
        help="choose thresholds on validation images and keep them in the checkpoint",
        allow_abbrev=False,
    )
    evaluate = actions.add_parser(
        "evaluate", help="classify test images with real exits, beside the controls", allow_abbrev=False
    )
    curve = actions.add_parser(
        "curve",
        help="accuracy against cost on test images, thresholds from validation images",
        allow_abbrev=False,
    )
    study = actions.add_parser(
        "study", help="every ablation and control, three seeds, one CSV table", allow_abbrev=False
    )
    for sub in (calibrate, evaluate, curve):
        _add_model_and_data(sub)
    for sub in (calibrate, curve):
        sub.add_argument(
            "--policy", default="max_softmax", help="max_softmax (default), entropy, margin or patience"
        )
    calibrate.add_argument(
        "--budget",
        default="0.5",
        help="expected MACs as a fraction of the full depth, or `best` (default 0.5)",
    )
    _add_evaluate(evaluate)
    _add_curve(curve)
    _add_study(study)
    add_json(calibrate, evaluate, curve, study)


def _add_model_and_data(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    parser.add_argument("--data", required=True, help="a name that `data list` shows")
    add_batch(parser)
    add_data(parser, of_run=True)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", default="test", choices=("val", "test"), help="default test")
    parser.add_argument(
        "--thresholds",
        type=float,
        nargs="+",
        help="one for every exit but the last (default: the calibrated ones)",
    )
    parser.add_argument("--policy", help="with --thresholds (default max_softmax)")


def _add_curve(parser: argparse.ArgumentParser) -> None:
    add_number(
        parser,
        "--timed",
        least=1,
        most=10_000,
        metavar="POINTS",
        help="also measure milliseconds of so many points, on 64 images, one CPU thread",
    )
    parser.add_argument("--table", metavar="FILE", help="write the points as CSV")
    parser.add_argument("--figure", metavar="FILE", help="draw the curve into a .png or .pdf file")


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--table", default=f"{TABLES}/exits.csv", metavar="FILE", help=f"default {TABLES}/exits.csv"
    )
    parser.add_argument(
        "--logits", metavar="FOLDER", help="keep the logits of every run here, for figures and sliders"
    )
    parser.add_argument(
        "--host", default="lora", help="the method that the exits are added to (default lora)"
    )
    parser.add_argument("--data", default="leaves-mixed", help="default leaves-mixed")
    add_number(parser, "--seeds", most=MOST_SEED, nargs="+", default=[0, 1, 2])
    parser.add_argument("--settings", nargs="+", metavar="NAME", help="only these (default: all)")
    add_number(parser, "--epochs", least=1, most=MOST_BATCH, help="default: the offline recipe's")
    parser.add_argument(
        "--dyn",
        default="",
        metavar="KEY=VALUE,…",
        help="options of dyn that all settings share, e.g. every=2,pool=avg",
    )
    parser.add_argument("--backbone", default="micro_vit", help="default micro_vit")
    parser.add_argument(
        "--data-option",
        action="append",
        default=[],
        type=key_value,
        metavar="KEY=VALUE",
        help="an option of the data set; repeatable",
    )
    add_jobs(parser, 1)


def run(args: argparse.Namespace) -> dict[str, Any]:
    return {"calibrate": _calibrate, "evaluate": _evaluate, "curve": _curve, "study": _study}[args.action](
        args
    )


def _calibrate(args: argparse.Namespace) -> dict[str, Any]:
    from ..exits.calibrate import calibrate
    from ..exits.costs import exit_costs

    model, task = load_checkpoint(args)
    point = calibrate(model, task.val, _budget(args.budget), args.policy, args.batch_size)
    model.save_pretrained(args.checkpoint)
    return {
        "action": "calibrate",
        "checkpoint": args.checkpoint,
        **point.to_dict(),
        "costs": exit_costs(model).to_dict(),
    }


def _budget(text: str) -> float | None:
    try:
        return None if text == "best" else float(text)
    except ValueError:
        raise AdapterError(
            f"budget {text!r}: give a fraction of the full depth's MACs, such as 0.5, or best"
        ) from None


def _evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """The controls from stored logits, the numbers that count from `predict`, and on how many images the
    two disagree."""
    import torch

    from ..datasets.load import make_loader
    from ..exits.calibrate import measure
    from ..exits.controls import evaluate_point
    from ..exits.predict import predict
    from ..exits.simulate import simulate, store_exits

    model, task = load_checkpoint(args)
    data = task.parts()[args.split]
    stored = store_exits(model, data, args.batch_size)
    kept = model.extra.get("exits", {})
    thresholds = args.thresholds or kept.get("thresholds")
    policy = args.policy or (kept.get("policy") if args.thresholds is None else None) or "max_softmax"
    device = next(model.parameters()).device
    outcomes = [
        predict(model, images.to(device), thresholds, policy)
        for images, _ in make_loader(data, args.batch_size)
    ]
    labels, index = (
        torch.cat([getattr(p, name).cpu() for p in outcomes]) for name in ("labels", "exit_index")
    )
    simulated = simulate(stored, thresholds, policy)
    return {
        "action": "evaluate",
        "checkpoint": args.checkpoint,
        "split": args.split,
        **evaluate_point(stored, measure(stored, thresholds, policy)),
        "top1": 100 * float((labels == stored.labels).double().mean()),
        "macs": float(torch.cat([p.macs.cpu() for p in outcomes]).double().mean()),
        "differ_from_simulation": int((index != simulated.exit_index).sum()),
    }


def _curve(args: argparse.Namespace) -> dict[str, Any]:
    from ..exits.controls import cost_curve
    from ..exits.simulate import store_exits

    model, task = load_checkpoint(args)
    val, test = (store_exits(model, data, args.batch_size) for data in (task.val, task.test))
    table = cost_curve(val, test, args.policy)
    if args.timed:
        table = _timed(model, task.test, table, args)
    if args.table:
        Path(args.table).parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(args.table, index=False, float_format="%.6g")
    if args.figure:
        from ..figures.exits import exit_curve

        title = f"{task.name}{' (synthetic)' if task.synthetic else ''}"
        cost = "ms" if args.timed else "relative"
        drawing = exit_curve(
            {"early exits": table}, cost=cost, full_depth=float(test.accuracies[-1]), title=title
        )
        save_figure(drawing, args.figure)
    return {"action": "curve", "full_depth": float(test.accuracies[-1]), "points": table.to_dict("records")}


def _timed(model: Any, test: Any, table: Any, args: argparse.Namespace) -> Any:
    import torch

    from ..benchmarks.exits import time_curve, timing_sample

    torch.set_num_threads(1)
    images, _ = timing_sample(test, 64)
    return time_curve(
        model, images.to(next(model.parameters()).device), table, policy=args.policy, points=args.timed
    )


def _study(args: argparse.Namespace) -> dict[str, Any]:
    from ..experiments.exit_study import run_study

    options = {
        name: getattr(args, name) for name in ("settings", "epochs", "dyn", "backbone", "logits", "jobs")
    }
    table = run_study(
        args.table,
        args.host,
        args.data,
        args.seeds,
        data_options=checked_options(args.data_option),
        **options,
    )
    return {"action": "study", "table": args.table, "rows": table.to_dict("records")}


def show(result: dict[str, Any]) -> str:
    if result["action"] == "study":
        return f"{len(result['rows'])} rows in {result['table']}"
    if result["action"] == "curve":
        lines = [
            f"{'MACs':>8} {'top-1':>7} {'random':>7} {'fixed':>7}   (full depth {result['full_depth']:.1f} %)"
        ]
        step = max(len(result["points"]) // 20, 1)
        points = result["points"][::step]
        return "\n".join(
            lines
            + [
                f"{p['relative']:8.3f} {p['top1']:7.2f} {p['random']:7.2f} {p['fixed_depth']:7.2f}"
                for p in points
            ]
        )
    text = (
        f"{result['checkpoint']}: {result['policy']} thresholds"
        f" {', '.join(f'{t:.4f}' for t in result['thresholds'])}: top-1 {result['top1']:.2f} % at"
        f" {result['relative']:.3f} of the full depth's MACs; leaving:"
        f" {', '.join(f'{100 * s:.0f} %' for s in result['shares'])}"
    )
    if result["action"] == "evaluate":
        text += (
            f"\nfull depth {result['full_depth']:.2f} %; at equal cost: random exit {result['random']:.2f} %,"
            f" fixed depth {result['fixed_depth']:.2f} %; {result['differ_from_simulation']} of"
            f" {result['images']} images differ from the simulation"
        )
    return text
