"""`results run`, `list`, `prune` and `gpu`: make the stored runs of the grids (`run_grids`)."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ..cores import available_cores
from .arguments import add_folder, add_jobs, add_number, add_seeds

__all__ = ["add_gpu", "add_list", "add_prune", "add_run", "gpu", "prune", "run", "show_list", "what_is_left"]


def add_run(parser: argparse.ArgumentParser) -> None:
    _add_grids(parser, "default: all")
    _add_selection(parser)
    _add_order(parser)
    add_jobs(parser)
    add_number(
        parser,
        "--limit-minutes",
        type=float,
        metavar="M",
        help="start no run after so long; those that run stop after an epoch",
    )


def add_list(parser: argparse.ArgumentParser) -> None:
    _add_grids(parser, "default: all")
    _add_selection(parser)
    add_jobs(parser)


def add_prune(parser: argparse.ArgumentParser) -> None:
    _add_grids(parser, "default: all grids")
    add_folder(parser)


def add_gpu(parser: argparse.ArgumentParser) -> None:
    _add_grids(parser, "default: methods real real_images")
    _add_selection(parser)
    _add_order(parser)
    parser.add_argument(
        "--minutes",
        type=float,
        default=10,
        metavar="M",
        help="in all, drawing the images included (default 10)",
    )
    add_number(
        parser,
        "--processes",
        least=-1,
        most=1024,
        default=-1,
        metavar="N",
        help="runs side by side on the GPU, -1 for one a core (default -1)",
    )


def _add_grids(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "grids", nargs="*", metavar="GRID", help=f"tables that `results list` names ({default})"
    )


def _add_selection(parser: argparse.ArgumentParser) -> None:
    """Options that choose among the runs of the tables."""
    add_folder(parser)
    add_seeds(parser, "only these, e.g. --seeds 0 for a quick look")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="only methods (settings) like ila*, or */3, METHOD/SEED",
    )


def _add_order(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--order",
        default="wanted",
        help="wanted (table by table, default), seeds (seed by seed) or short (short runs first)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run what is left, the most wanted first: {"ran", "left", "text"}. Safe to interrupt and to start
    again."""
    from ..experiments.plan import ORDER
    from ..experiments.side_by_side import queue_of, run_jobs

    asked = (args.grids or list(ORDER), args.folder, args.only, args.seeds)
    queue = queue_of(*asked, args.order)
    deadline = None if args.limit_minutes is None else time.time() + 60 * args.limit_minutes
    run_jobs(queue, args.folder, jobs=_cores(args.jobs), deadline=deadline)
    left = len(queue_of(*asked)) if queue else 0
    done = len(queue) - left
    return {"ran": done, "left": left, "text": f"{done} of {len(queue)} runs done, {left} left"}


def what_is_left(args: argparse.Namespace) -> dict[str, Any]:
    """What `run_grids.remaining` gives, and {"jobs"}; runs nothing."""
    from ..experiments.plan import ORDER
    from ..experiments.run_grids import remaining

    remaining_runs = remaining(args.grids or list(ORDER), args.folder, args.only, args.seeds)
    return {**remaining_runs, "jobs": _cores(args.jobs)}


def prune(args: argparse.Namespace) -> dict[str, Any]:
    """{"dropped": {grid: rows}, "text"}"""
    from ..experiments.grids import GRIDS
    from ..experiments.run_grids import prune

    dropped = {name: prune(name, args.folder) for name in args.grids or GRIDS}
    lines = [
        f"{name}: {rows} rows dropped from {args.folder / f'{name}.csv'}" for name, rows in dropped.items()
    ]
    return {"dropped": dropped, "text": "\n".join(lines)}


def gpu(args: argparse.Namespace) -> dict[str, Any]:
    """{"text": what was done, in words}"""
    from ..experiments.run_grids import ON_GPU
    from ..experiments.side_by_side import queue_of, run_on_gpu

    queue = queue_of(args.grids or list(ON_GPU), args.folder, args.only, args.seeds, args.order)
    return {"text": run_on_gpu(queue, args.folder, minutes=args.minutes, processes=_cores(args.processes))}


def show_list(result: dict[str, Any]) -> str:
    lines = []
    for table in result["tables"]:
        line = f"{table['table']}: {table['done']} of {table['runs']} runs in {table['path']}"
        if table["left"]:
            line += f"; left {_hours(table['seconds'])} on one core, next {table['next']}"
        if table["unasked"]:
            line += f"; {table['unasked']} rows that it no longer asks for"
        lines += [line, *(f"    to run it: {why}" for why in table["lacking"])]
    seconds, jobs = result["seconds"], result["jobs"]
    total = f"about {_hours(seconds)} on one core, {_hours(seconds / jobs)} on {jobs}"
    return "\n".join([*lines, f"in all {result['left']} runs left, each counted once: {total}"])


def _cores(asked: int) -> int:
    return available_cores() if asked < 1 else asked


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
