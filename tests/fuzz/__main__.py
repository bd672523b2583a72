"""`python -m fuzz`: the long run. Prints a table, then every fault; exits with 1 if there is one."""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from fuzz.engine import all_kinds, table, try_input, try_kinds


def main() -> int:
    kinds = all_kinds()
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"only these of: {', '.join(kinds)}")
    parser.add_argument("--inputs", type=int, default=10_000, help="so many inputs in all (default 10000)")
    parser.add_argument(
        "--minutes", type=float, default=20, help="or so long, whichever comes first (default 20)"
    )
    parser.add_argument(
        "--first",
        type=int,
        default=1000,
        help="number of the first input (default 1000; the tests begin at 0)",
    )
    parser.add_argument(
        "--only", type=int, metavar="NUMBER", help="run this one input of the kinds and show what happens"
    )
    args = parser.parse_args()
    names = args.kinds or list(kinds)
    if unknown := set(names) - set(kinds):
        parser.error(f"unknown kind {min(unknown)!r}; known: {', '.join(kinds)}")
    faulthandler.enable()
    if args.only is not None:
        for name in names:
            print(try_input(name, args.only))
        return 0
    tallies = try_kinds(names, args.inputs, args.minutes, args.first)
    print(table(tallies))
    faults = [fault for tally in tallies.values() for fault in tally.faults]
    for fault in faults:
        print(str(fault)[:1000])
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
