"""The four claims that the workbook's tables decide, each with the intervals that decide it.

    python -m adapters_lib results claims [--json]

A comparison is a mean difference in percentage points, paired by seed, with its 95 % t-interval over seeds
and, where single images are known, a bootstrap over test images. What counts is the span of both, from the
lower of their bounds to the higher:

    wins    shown: the span lies above 0;           refuted: it lies below the target: no win is so large
    holds   shown: it lies above minus the target;  refuted: it lies below 0, so there is a loss

and else undecided. With fewer seeds than wanted the verdict is "not enough runs". Only rows of the present
budget count.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..training.offline_recipes import BUDGET, CLIPS_BUDGET
from .compare import hits_of
from .grids import ALL_METHODS, EQUAL_SIZES, MORE_SEEDS, SEEDS, both_starts
from .run import read_table
from .statistics import Bootstrap, Interval, bootstrap_difference, mean_interval
from .versions import OutdatedRows, budgets_of, one_version

__all__ = ["CLAIMS", "Claim", "Comparison", "compared", "decide", "text_of"]

Verdict = Literal["shown", "refuted", "undecided", "not enough runs"]

NO_RUNS = Interval(math.nan, math.nan, 0)
FEW, MANY = len(SEEDS), len(SEEDS) + len(MORE_SEEDS)
DECIDED = 17
"""So many of the 19 methods beside the probe have to be decided."""


@dataclass(frozen=True)
class Comparison:
    """First minus second.

    kind: "wins" or "holds". seeds, images: the two intervals; None: the single images are not known. target:
    points, the half-width that is aimed at and the margin. wanted: the number of seeds that a verdict needs.
    counts: whether the claim rests on it.
    """

    about: str
    kind: Literal["wins", "holds"]
    seeds: Interval
    images: Bootstrap | None
    target: float
    wanted: int
    counts: bool = True

    @property
    def span(self) -> tuple[float, float]:
        """The lower of the lower and the higher of the upper bounds."""
        mean, half, _ = self.seeds
        bounds = [(mean - half, mean + half)] + ([(self.images.low, self.images.high)] if self.images else [])
        return min(low for low, _ in bounds), max(high for _, high in bounds)

    @property
    def verdict(self) -> Verdict:
        """See the head of this module."""
        if self.seeds.n < self.wanted:
            return "not enough runs"
        low, high = self.span
        least, most = (0.0, self.target) if self.kind == "wins" else (-self.target, 0.0)
        return "shown" if low > least else "refuted" if high < most else "undecided"

    def to_dict(self) -> dict[str, Any]:
        """Plain values; images_low and images_high are None where no bootstrap was possible."""
        images = {
            "images_low": self.images and self.images.low,
            "images_high": self.images and self.images.high,
        }
        numbers = {"mean": self.seeds.mean, "half_width": self.seeds.half, "n": self.seeds.n, **images}
        return {
            "about": self.about,
            "kind": self.kind,
            **numbers,
            "target": self.target,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Claim:
    """A sentence and what decides it; the first comparison is the one that sums it up."""

    name: str
    sentence: str
    comparisons: list[Comparison]
    verdict: Verdict
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The claim with the mean, half-width, n and target of its first comparison, and all comparisons."""
        every = [comparison.to_dict() for comparison in self.comparisons]
        first = {key: every[0][key] for key in ("mean", "half_width", "n", "target")}
        return {
            "claim": self.name,
            "sentence": self.sentence,
            **first,
            "verdict": self.verdict,
            "note": self.note,
            "comparisons": every,
        }


def decide(folder: str | Path = "data/results") -> list[Claim]:
    """All claims from the tables in `folder`; a table or a row that is missing makes a claim lack runs,
    not an error."""
    return [claim(Path(folder)) for claim in CLAIMS.values()]


def compared(
    rows: pd.DataFrame,
    first: str,
    second: str,
    kind: Literal["wins", "holds"],
    target: float,
    wanted: int,
    counts: bool = True,
) -> Comparison:
    """Two methods on the seeds that both have run. rows: of one budget and version, see `_rows`."""
    pair = [_of(rows, "method", name) for name in (first, second)]
    return _paired(f"{first} − {second}", pair[0], pair[1], kind, target, wanted, counts)


def _paired(
    about: str,
    first: pd.DataFrame,
    second: pd.DataFrame,
    kind: Literal["wins", "holds"],
    target: float,
    wanted: int,
    counts: bool = True,
) -> Comparison:
    """Rows of two runs a seed → their difference on the seeds that both have."""
    shared = sorted(set(first["seed"]) & set(second["seed"])) if len(first) and len(second) else []
    if not shared:
        return Comparison(about, kind, NO_RUNS, None, target, wanted, counts)
    pair = [rows.set_index("seed").loc[shared].reset_index() for rows in (first, second)]
    seeds = mean_interval((pair[0]["top1"] - pair[1]["top1"]).to_list())
    hits = [np.stack(hits_of(rows)) for rows in pair] if all(_has_hits(rows) for rows in pair) else None
    images = bootstrap_difference(*hits) if hits and hits[0].shape == hits[1].shape else None
    return Comparison(about, kind, seeds, images, target, wanted, counts)


def _has_hits(rows: pd.DataFrame) -> bool:
    known = "hits" in rows and rows["hits"].map(lambda text: isinstance(text, str) and text != "").all()
    return bool(known and rows["n_test"].nunique() == 1)


def _of(rows: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    return rows[rows[column] == value] if column in rows else rows.iloc[:0]


def _rows(folder: Path, name: str, by: Sequence[str], budget: object = BUDGET) -> pd.DataFrame:
    """Rows of a table at the present budget, of one version and precision for each of `by`."""
    rows = read_table(folder / f"{name}.csv")
    rows = rows[budgets_of(rows) == str(budget)] if len(rows) else rows
    if rows.empty:
        return rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutdatedRows)  # the claim says how many rows it has
        rows = one_version(rows, by)
    return rows[~rows["outdated"]].drop_duplicates([*by, "seed"], keep="last")


def _all_of(comparisons: Sequence[Comparison]) -> Verdict:
    """Shown if every comparison that counts is; refuted if one is; else what is lacking."""
    verdicts = [comparison.verdict for comparison in comparisons if comparison.counts]
    for verdict in ("refuted", "not enough runs", "undecided"):
        if verdict in verdicts:
            return verdict  # type: ignore[return-value]
    return "shown"


def _ila(folder: Path) -> Claim:
    rows = _rows(folder, "methods", ["method"])
    starts = zip(both_starts("ila++"), both_starts("adpt"), strict=True)
    comparisons = [compared(rows, ila, adpt, "holds", 1.0, MANY) for ila, adpt in starts]
    macs = [
        _of(rows, "method", name)["macs"].median() if len(_of(rows, "method", name)) else math.nan
        for name in ("ila++", "adpt")
    ]
    ratio = macs[0] / macs[1]
    note = f"MACs of ILA++ over those of ADPT: {'no runs' if math.isnan(ratio) else f'{ratio:.2f}'}"
    return Claim(
        "ila++",
        "ILA++ holds ADPT's accuracy at 30 % fewer MACs, from either start",
        comparisons,
        _all_of(comparisons),
        note,
    )


def _probe(folder: Path) -> Claim:
    rows = _rows(folder, "methods", ["method"])
    comparisons = [
        compared(rows, name, "linear", "wins", 1.0, FEW) for name in ALL_METHODS if name != "linear"
    ]
    # What is missing, then the weakest.
    comparisons.sort(key=lambda comparison: (comparison.seeds.n >= FEW, comparison.seeds.mean))
    verdicts = [comparison.verdict for comparison in comparisons]
    counts = {
        verdict: verdicts.count(verdict) for verdict in ("shown", "refuted", "undecided", "not enough runs")
    }
    verdict: Verdict = "undecided"
    if len(comparisons) - counts["not enough runs"] < DECIDED:
        verdict = "not enough runs"
    elif counts["refuted"]:
        verdict = "refuted"
    elif counts["shown"] >= DECIDED:
        verdict = "shown"
    note = (
        ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        + f", of {len(comparisons)} methods"
    )
    return Claim(
        "probe", "every adapter, and full fine-tuning, beats the linear probe", comparisons, verdict, note
    )


def _padapter(folder: Path) -> Claim:
    rows = _rows(folder, "padapter", ["method"])
    own, *others = EQUAL_SIZES
    comparisons = [compared(rows, own, other, "wins", 0.7, MANY) for other in others]
    prompts = ("padapter:bottleneck=8,train_prompt=false", "padapter:bottleneck=11,num_tokens=1")
    comparisons += [compared(rows, own, other, "wins", 0.7, FEW, counts=False) for other in prompts]
    note = (
        "the last two say what the prompt does: against one that stays at its start, and one row shared by"
        " all tokens"
    )
    return Claim(
        "padapter", "PAdapter beats every adapter of its size", comparisons, _all_of(comparisons), note
    )


def _dyn(folder: Path) -> Claim:
    comparisons: list[Comparison] = []
    for name, budget, wanted, what in (
        ("exits", BUDGET, MANY, "leaves"),
        ("video_exits", CLIPS_BUDGET, FEW, "clips"),
    ):
        rows = _rows(folder, name, ["data", "host", "setting", "point"], budget)
        host = _of(_of(rows, "setting", "host"), "point", "full")
        half = {setting: _of(_of(rows, "setting", setting), "point", "half") for setting in ("all", "naive")}
        comparisons.append(_paired(f"half the MACs − host, {what}", half["all"], host, "holds", 1.0, wanted))
        for control in ("random", "fixed_depth"):
            other = _control(half["all"], control)
            about = f"half the MACs − {control.replace('_', ' ')} exits at equal cost, {what}"
            comparisons.append(_paired(about, half["all"], other, "wins", 1.0, wanted))
        comparisons.append(
            _paired(
                f"naive exits at half the MACs − host, {what}",
                half["naive"],
                host,
                "holds",
                1.0,
                wanted,
                counts=False,
            )
        )
        cut = _control(half["naive"], "fixed_depth")  # whose early exits no other training has weakened
        about = f"half the MACs − naive exits at a fixed depth, {what}"
        comparisons.append(_paired(about, half["all"], cut, "wins", 1.0, wanted, counts=False))
        comparisons.append(
            _paired(
                f"all − naive exits at half the MACs, {what}",
                half["all"],
                half["naive"],
                "wins",
                1.0,
                wanted,
                counts=False,
            )
        )
    sentence = (
        "Dyn-Adapter halves the MACs at no loss, and leaves by confidence better than at random or at a fixed"
        " depth"
    )
    return Claim(
        "dyn",
        sentence,
        comparisons,
        _all_of(comparisons),
        "naive exits (linear heads, equal weights, no sparsity) are the control",
    )


def _control(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The same runs with the accuracy of a control that was measured in them, at equal cost."""
    return rows.assign(top1=rows[column], hits="") if len(rows) else rows


CLAIMS: dict[str, Callable[[Path], Claim]] = {
    "ila++": _ila,
    "probe": _probe,
    "padapter": _padapter,
    "dyn": _dyn,
}


def text_of(claims: Sequence[Claim]) -> str:
    """For reading: a line a claim, one a comparison, and one for all comparisons without runs."""
    lines = []
    for claim in claims:
        lines += [f"{claim.verdict.upper()}: {claim.sentence} ({claim.note})"]
        lines += [f"    {_line(comparison)}" for comparison in claim.comparisons if comparison.seeds.n]
        lacking = [comparison.about for comparison in claim.comparisons if not comparison.seeds.n]
        if lacking:
            lines += [f"    no runs of the present budget: {'; '.join(lacking)}"]
    return "\n".join(lines)


def _line(comparison: Comparison) -> str:
    mean, half, n = comparison.seeds
    images = (
        f"; over images [{comparison.images.low:+.1f}, {comparison.images.high:+.1f}]"
        if comparison.images
        else ""
    )
    about = (
        f"{comparison.about}: {mean:+.2f} ± {half:.2f} (n = {n} of {comparison.wanted}; target ±"
        f" {comparison.target}){images}"
    )
    return f"{about}: {comparison.verdict}{'' if comparison.counts else ' (no part of the verdict)'}"
