"""`tune`: choose the learning rate of each method on validation images and keep the choice."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ..errors import AdapterError
from .arguments import TABLES, add_jobs, add_number, add_seeds

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "methods",
        nargs="*",
        metavar="METHOD",
        help="e.g. linear lora adpt ila (with --until-bracketed default: all of the grids)",
    )
    parser.add_argument("--data", help="default leaves-ultra, with --exits leaves-mixed")
    table = f"{TABLES}/rates.csv"
    parser.add_argument(
        "--table", default=table, metavar="FILE", help=f"every run is kept here (default {table})"
    )
    parser.add_argument(
        "--rates",
        type=float,
        nargs="+",
        metavar="RATE",
        help="candidates for all methods (default: a method's own)",
    )
    parser.add_argument(
        "--until-bracketed",
        action="store_true",
        help="try rates until each best one lies between two that did no better",
    )
    add_number(
        parser,
        "--limit-minutes",
        type=float,
        metavar="M",
        help="with --until-bracketed: stop at the end of the epochs that then run",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="with --until-bracketed: say what is chosen and what is missing, run nothing",
    )
    add_jobs(parser)
    add_seeds(parser, "without --until-bracketed (default 100)")
    parser.add_argument(
        "--exits", action="store_true", help="rates of hosts of exits: one for adapter and heads"
    )
    parser.add_argument(
        "--as-written",
        action="store_true",
        help="the choice holds for these options alone, not for all of the method",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """{"chosen": {method: rate}, "missing": {method: [[rate, seed]]}, "text"}; what is chosen is stored,
    unless --list is given.

    Raises AdapterError: options that do not go together, no method, or the runs that failed.
    """
    from ..experiments.needs import lacking
    from ..training.offline_recipes import setting_of

    args.data = args.data or ("leaves-mixed" if args.exits else "leaves-ultra")
    if not args.list and (why := lacking(args.data, setting_of(args.data).backbone)):
        raise AdapterError(why)
    if args.until_bracketed:
        return _until_bracketed(args)
    for option in ("list", "limit_minutes"):
        if getattr(args, option) not in (None, False):
            raise AdapterError(f"--{option.replace('_', '-')} goes with --until-bracketed; pass that too")
    if not args.methods:
        raise AdapterError("no method; name at least one, such as lora, or pass --until-bracketed")
    return _candidates(args)


def _candidates(args: argparse.Namespace) -> dict[str, Any]:
    """Every candidate rate of these methods."""
    from ..experiments.run import work_folder
    from ..experiments.tune import SEEDS, choose, tune
    from ..methods import parse_method
    from ..training.offline_recipes import setting_of, store_rates

    how = {"jobs": args.jobs, "exits": args.exits, "work": work_folder()}
    table = tune(args.methods, args.data, args.table, args.rates, args.seeds or SEEDS[:1], **how)
    chosen = {
        method if args.as_written else parse_method(method).name: rate
        for method, rate in choose(table).items()
    }
    store_rates(setting_of(args.data, args.exits), chosen)
    tried = table.pivot_table(index="method", columns="lr", values="val_top1").round(1).to_string()
    return {"chosen": chosen, "missing": {}, "text": f"{tried}\nchosen: {chosen}"}


def _until_bracketed(args: argparse.Namespace) -> dict[str, Any]:
    """Only the rates that are missing until the best one has a neighbour on both sides."""
    from ..experiments.grids import tuned_methods
    from ..experiments.run import work_folder
    from ..experiments.tune import brackets, tune_until_bracketed
    from ..training.offline_recipes import setting_of, store_rates

    methods = args.methods or tuned_methods(args.data, args.exits)
    if args.list:
        bracketed = brackets(methods, args.data, args.table, args.exits)
    else:
        deadline = None if args.limit_minutes is None else time.time() + 60 * args.limit_minutes
        how: dict[str, Any] = {"exits": args.exits, "jobs": args.jobs, "work": work_folder()}
        bracketed = tune_until_bracketed(methods, args.data, args.table, deadline=deadline, **how)
    chosen = {method: b.rate for method, b in bracketed.items() if b.rate is not None}
    if not args.list:
        store_rates(setting_of(args.data, args.exits), chosen)
    missing = {method: b.missing for method, b in bracketed.items() if b.rate is None}
    lines = [
        f"{method}: " + (f"{chosen[method]:g}" if method in chosen else _still(missing[method]))
        for method in bracketed
    ]
    return {"chosen": chosen, "missing": missing, "text": "\n".join(lines)}


def _still(missing: Any) -> str:
    return "still to try: " + ", ".join(f"{rate:g} (seed {seed})" for rate, seed in missing)


def show(result: dict[str, Any]) -> str:
    return str(result["text"])
