"""What the measured cost of the methods should be, and whether a bench met it: `bench methods` ends with this
list.

Each target compares ratios of one interleaved run, so that a slow machine moves both sides; near a limit, the
quartiles of the rows say how far a verdict can be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["BARE", "FLOOR", "PEFT", "targets"]

BARE, PEFT = "bare timm", "peft lora"
FLOOR = "positions alone (floor)"
"""A training step in which nothing but the position embedding learns: no adapter, and no gradient of any
matrix, yet the error goes back through all blocks. A method with a module in the first block that keeps
all tokens cannot train faster."""

Rows = Mapping[str, Mapping[str, Any]]

STEP_LIMIT = 0.75
"""ADPT's and AdaptFormer's training step over full fine-tuning's: a frozen layer spares one of a layer's
three matrix products."""


def targets(training: Rows, inference: Mapping[str, Rows]) -> list[dict[str, Any]]:
    """One entry a target: {"target", "measured", "limit", "met"}; those whose methods were not measured are
    left out.

    training, inference: rows as `benchmarks.methods` gives them, inference by batch size.
    """
    entries = [*_training(training)]
    for batch, rows in inference.items():
        entries += _inference(rows, int(batch))
    return entries


def _entry(target: str, measured: float, limit: float) -> dict[str, Any]:
    return {
        "target": target,
        "measured": round(measured, 4),
        "limit": round(limit, 4),
        "met": measured <= limit,
    }


def _training(rows: Rows) -> Iterator[dict[str, Any]]:
    if "lora" in rows and PEFT in rows:
        yield _entry("training step of lora at most peft's", rows["lora"]["ratio"], rows[PEFT]["ratio"])
    for name in ("adpt", "adaptformer"):
        if name in rows:
            yield _entry(
                f"training step of {name} at most {STEP_LIMIT} of full fine-tuning",
                rows[name]["ratio"],
                STEP_LIMIT,
            )


def _inference(rows: Rows, batch: int) -> Iterator[dict[str, Any]]:
    where = f"batch {batch}"
    if "lora" in rows and PEFT in rows:
        overhead, peft = rows["lora"]["ratio"] - 1, rows[PEFT]["ratio"] - 1
        yield _entry(f"{where}: overhead of lora unmerged at most half of peft's", overhead, max(peft, 0) / 2)
    for name, row in rows.items():
        if name.endswith(", merged"):
            yield _entry(f"{where}: {name}, within 1 % of the bare model", row["ratio"], 1.01)
    if "ila" in rows:
        ratio, macs = rows["ila"]["ratio"], rows["ila"]["macs_ratio"]
        if batch == 1:
            yield _entry(f"{where}: ila not slower than the bare model", ratio, 1.0)
        else:
            yield _entry(
                f"{where}: ila's time, of which at least 90 % of its MAC saving is realised",
                ratio,
                1 - 0.9 * (1 - macs),
            )
