"""Which methods go together, and why some do not.

Methods fill different sites, so most lists are sensible. Refused are those in which one method makes another pointless or undoes it.
`python -m adapters_lib.methods.compose` writes the table of all pairs to `data/composition.csv`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path

from ..errors import AdapterError
from ..vit.method import METHODS, Method
from .lora import LoRA

__all__ = ["check_together", "composition_table", "conflict", "write_table"]

_FOLDING = ("bitfit", "layernorm", "lora", "repadapter", "ssf")
_ILA = ("ila", "ila+", "ila++")
_VPT = ("vpt-shallow", "vpt-deep")


def conflict(first: Method, second: Method) -> str | None:
    """Why two methods cannot be listed together; None if they can."""
    names = {first.name, second.name}
    if isinstance(first, LoRA) and isinstance(second, LoRA):
        shared = sorted(_layers(first) & _layers(second))
        return f"both update {', '.join(shared)}; one update of a higher rank says the same, use that" if shared else None
    if len(names) == 1:
        return f"{first.name} is listed twice; once, with a larger size, says the same, use that"
    if "linear" in names:
        return "linear means that the head alone trains; every method trains the head, so leave linear out"
    if "full" in names and (other := names & set(_FOLDING)):
        return f"full trains every weight already, and {other.pop()} only re-expresses some of them; leave one of them out"
    if names <= set(_ILA):
        return "both put a module behind the same blocks; choose one of ila, ila+, ila++"
    if names <= set(_VPT):
        return "vpt-deep throws away the prompts of vpt-shallow before they reach a block; choose one of them"
    if names == {"vqt", "dyn"}:
        return "vqt's head reads what every block answered, so no image can leave early; choose another host"
    if names == {"ila++", "adpt"}:
        return "ila++ already has an adpt beside attention and MLP; use ila with adpt to choose its options apart"
    return None


def check_together(methods: Sequence[Method]) -> None:
    """Raise an AdapterError that says why if two methods of the list contradict each other."""
    for index, first in enumerate(methods):
        for second in methods[index + 1 :]:
            if reason := conflict(first, second):
                raise AdapterError(f"{first.name} and {second.name} do not go together: {reason}")


def composition_table() -> list[dict[str, str]]:
    """One row for every pair of methods with their defaults: first, second, composes (yes or no), why."""
    rows = []
    for first, second in combinations_with_replacement(METHODS.values(), 2):
        reason = conflict(first(), second())
        rows.append({"first": first.name, "second": second.name, "composes": "no" if reason else "yes", "why": reason or ""})
    return rows


def write_table(path: str | Path) -> None:
    """Write `composition_table` as CSV."""
    rows = composition_table()
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _layers(method: LoRA) -> set[str]:
    return {name for target in method.targets for name in (("q", "k", "v") if target == "qkv" else (target,))}


if __name__ == "__main__":
    from .compose import write_table as write  # the package's own copy knows all methods

    target = Path("data") / "composition.csv"
    write(target)
    print(f"wrote {target}")
