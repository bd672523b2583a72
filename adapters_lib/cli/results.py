"""`results table GRID`: the stored runs of a grid as a table, and the README's block made from it;
`results claims`: what they decide; `results real`: photographs beside leaves."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_arguments", "run", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    table = actions.add_parser(
        "table", help="mean and 95 % interval over seeds, parameters, MACs, step time", allow_abbrev=False
    )
    table.add_argument("grid", help="a table in the folder, e.g. methods")
    table.add_argument("--folder", default="data/results", help="where the tables are (default data/results)")
    table.add_argument("--format", default="markdown", help="markdown (default), latex or csv")
    table.add_argument(
        "--readme", metavar="FILE", help="write it between this file's two marker lines as well"
    )
    claims = actions.add_parser(
        "claims", help="the workbook's four claims: shown, refuted or undecided", allow_abbrev=False
    )
    claims.add_argument(
        "--folder", default="data/results", help="where the tables are (default data/results)"
    )
    real = actions.add_parser(
        "real",
        help="photographs: the table, and whether the order of methods is that of leaves",
        allow_abbrev=False,
    )
    real.add_argument("--folder", default="data/results", help="where the tables are (default data/results)")
    for action in (table, claims, real):
        # SUPPRESS: without it a missing --json here would undo one that stands before the action
        action.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print one JSON object on stdout and nothing else there",
        )


def run(args: argparse.Namespace) -> dict[str, Any]:
    return {"table": _table, "claims": _claims, "real": _real}[args.action](args)


def _claims(args: argparse.Namespace) -> dict[str, Any]:
    """{"claims": one dict a claim, see `claims.Claim.to_dict`, "text"}."""
    from ..experiments.claims import decide, text_of

    found = decide(args.folder)
    return {"claims": [claim.to_dict() for claim in found], "text": text_of(found)}


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
    return str(result["text"])
