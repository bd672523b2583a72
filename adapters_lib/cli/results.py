"""`results`: the stored runs of the grids. `results run` makes what is missing and `list` says what that is;
`table GRID` shows the runs of a grid as a table, and renews the block of a page (--readme) from it; `claims`
says what they decide, `real` sets photographs beside leaves."""

from __future__ import annotations

import argparse
from typing import Any

from . import results_runs
from .arguments import add_folder, add_json

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, summary, add in (
        ("run", "run what the tables lack, the most wanted first", results_runs.add_run),
        ("list", "say what is done and left and how long it takes; runs nothing", results_runs.add_list),
        ("gpu", "run what a table lacks on one GPU, many runs side by side", results_runs.add_gpu),
        ("prune", "drop rows that a grid no longer asks for; runs nothing", results_runs.add_prune),
        ("table", "mean and 95 %% interval over seeds, parameters, MACs, step time", _add_table),
        ("claims", "the workbook's four claims: shown, refuted or undecided", add_folder),
        ("real", "photographs: the table, and whether the order of methods is that of leaves", add_folder),
    ):
        action = actions.add_parser(name, help=summary, allow_abbrev=False)
        add(action)
        add_json(action)


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("grid", help="a table in the folder, e.g. methods")
    add_folder(parser)
    parser.add_argument("--format", default="markdown", help="markdown (default), latex or csv")
    parser.add_argument(
        "--readme", metavar="FILE", help="write it between this file's two marker lines as well"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "run": results_runs.run,
        "list": results_runs.what_is_left,
        "gpu": results_runs.gpu,
        "prune": results_runs.prune,
        "table": _table,
        "claims": _claims,
        "real": _real,
    }[args.action](args)


def _claims(args: argparse.Namespace) -> dict[str, Any]:
    """{"claims": one dict a claim, see `claims.Claim.to_dict`, "text"}."""
    from ..experiments.claims import decide, text_of

    claims = decide(args.folder)
    return {"claims": [claim.to_dict() for claim in claims], "text": text_of(claims)}


def _real(args: argparse.Namespace) -> dict[str, Any]:
    """{"rows", "correlations", "text"}, see `carry_over.real_report`."""
    from ..experiments.carry_over import real_report

    return real_report(args.folder)


def _table(args: argparse.Namespace) -> dict[str, Any]:
    """{"grid", "rows": one dict a method, "text": the table, "readme": whether that file changed, or
    None}."""
    from ..experiments.report import render, stored_table, update_block

    table = stored_table(args.grid, args.folder)
    text = render(table, args.format)
    changed = update_block(args.readme, args.grid, render(table)) if args.readme else None
    return {"grid": args.grid, "rows": table.to_dict("records"), "text": text, "readme": changed}


def show(result: dict[str, Any]) -> str:
    return results_runs.show_list(result) if "tables" in result else str(result["text"])
