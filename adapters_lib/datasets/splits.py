"""Pieces the file-based sets share: a seeded stratified split, counts against what was expected, and the
finished task."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import AdapterError
from .images.files import MAX_PIXELS, ImageFiles
from .request import Request
from .task import DataWarning, Task
from .transforms import ULTRA_CROP, image_transforms

__all__ = [
    "DEFAULT_ROOT",
    "OFFLINE_HINT",
    "Sample",
    "Skipped",
    "check_counts",
    "files_task",
    "split_samples",
    "stratified_split",
    "warn_skipped",
]

Sample = tuple[Path, int]
Skipped = list[tuple[Path, str]]
DEFAULT_ROOT = Path("data/real")  # below the working directory; not under version control
OFFLINE_HINT = "No network? load_data('leaves-ultra') needs no files"


def stratified_split(labels: Tensor, fractions: Sequence[float], seed: int) -> list[Tensor]:
    """Split 0..N-1 into 1 + len(fractions) parts, class by class: the rest first, then one part a fraction.

    Every part gets round(fraction * n) of a class's n samples and at least one; so a class needs one sample
    for each part. Indices come back sorted. Raises AdapterError for fractions that do not sum to less than 1,
    or a class that is too small.
    """
    if not (all(f > 0 for f in fractions) and sum(fractions) < 1):
        raise AdapterError(f"split fractions {tuple(fractions)}: each must be above 0 and their sum below 1")
    generator = torch.Generator().manual_seed(seed)
    parts: list[list[Tensor]] = [[] for _ in range(len(fractions) + 1)]
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        if len(members) < len(parts):
            raise AdapterError(
                f"class {label} has {len(members)} images; splitting it {len(parts)} ways needs {len(parts)}"
            )
        members = members[torch.randperm(len(members), generator=generator)]
        sizes = [max(1, round(f * len(members))) for f in fractions]
        while sum(sizes) >= len(members):  # rounding up small classes may leave nothing for the first part
            sizes[sizes.index(max(sizes))] -= 1
        for part, chosen in zip(parts, members.split([len(members) - sum(sizes), *sizes]), strict=True):
            part.append(chosen)
    return [torch.cat(part).sort().values if part else torch.empty(0, dtype=torch.long) for part in parts]


def split_samples(samples: Sequence[Sample], fractions: Sequence[float], seed: int) -> list[list[Sample]]:
    """`stratified_split` for a list of (path, label)."""
    indices = stratified_split(torch.tensor([label for _, label in samples]), fractions, seed)
    return [[samples[i] for i in part.tolist()] for part in indices]


def check_counts(
    name: str, expected: dict[str, int], counts: dict[str, int], skipped: Skipped, strict: bool, where: Path
) -> None:
    """Compare counts, files left out in mind: a mismatch is one AdapterError that says it all, or one
    DataWarning when not `strict`."""
    wrong = [
        f"expected {expected[key]} {key}, found {counts[key]}"
        for key in expected
        if expected[key] != counts[key]
    ]
    if not wrong and not skipped:
        return
    unusable = [f"not usable: {_listing(skipped, where)}"] if skipped else []
    message = f"{name}: {'; '.join(wrong + unusable)} (in {where})"
    if wrong and strict:
        raise AdapterError(
            f"{message}. Complete the files, or pass strict=False to go on with what is there."
            f" {OFFLINE_HINT}."
        )
    warnings.warn(message, DataWarning, stacklevel=4)


def warn_skipped(name: str, skipped: Skipped, root: Path) -> None:
    """One DataWarning that counts what was left out and names the first five with their reasons; silent
    when nothing was."""
    if skipped:
        warnings.warn(
            f"{name}: left out {len(skipped)}: {_listing(skipped, root)}. All: task.info['skipped']",
            DataWarning,
            stacklevel=4,
        )


def _listing(skipped: Skipped, root: Path) -> str:
    rest = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    return "; ".join(f"{_short(path, root)} ({reason})" for path, reason in skipped[:5]) + rest


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def files_task(
    request: Request,
    classes: list[str],
    parts: dict[str, list[Sample]],
    *,
    config: dict[str, Any] | None = None,
    cache: bool = False,
    max_pixels: int = MAX_PIXELS,
    info: dict[str, Any],
) -> Task:
    """Build the Task of `parts` {"train", "val", "test": [(path, label)]} with transforms from `config`,
    by default the request's (see `image_transforms`)."""
    config, augment = config or request.config, request.augment
    train_view, eval_view = image_transforms(config, augment)
    data = {
        part: ImageFiles(
            [path for path, _ in samples],
            torch.tensor([label for _, label in samples], dtype=torch.long),
            train_view if part == "train" else eval_view,
            deterministic=part != "train" or augment is None,
            cache=cache,
            max_pixels=max_pixels,
        )
        for part, samples in parts.items()
    }
    if augment == "ultra":
        config = {**config, **ULTRA_CROP}
    return Task(request.name, classes, data["train"], data["val"], data["test"], config, info=info)
