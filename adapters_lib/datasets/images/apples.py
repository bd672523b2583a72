"""Photographs of 30 apples on a turntable (Fruits-360, © 2017– Mihai Oltean), trained on one side and tested
on the other.

The rule, for a clone of the public repository: of the frames `r0_K_100.jpg`, or `K_100.jpg`, of each kind of
apple those whose K is divisible by 4; with M the kind's largest K, K < 0.35 M is for training, 0.40 M to
0.46 M for validation, 0.50 M to 0.90 M for testing. Kinds called rotten or wormy show fruits of other kinds
and are left out. A folder of that selection, `train|val|test/<kind>/<K>.jpg`, is read as it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from ...errors import AdapterError
from ...options import whole_number
from ..request import Request
from ..splits import DEFAULT_ROOT, OFFLINE_HINT, Sample, Skipped, check_counts, files_task
from ..task import Task
from .files import EXTENSIONS, MAX_PIXELS, check_files
from .folder import part_folders, samples_of_folders

__all__ = ["FOLDER_VARIABLE", "KINDS", "LICENSE", "home_of", "load"]

FOLDER_VARIABLE = "ADAPTERS_DATA"
REPOSITORY = "fruits-360-3-body-problem"
LICENSE = "CC BY-SA 4.0, © 2017– Mihai Oltean (Fruits-360)"
KINDS = 30
STEP = 4
SIDES = {"train": (0.0, 0.35), "val": (0.40, 0.46), "test": (0.50, 0.90)}
"""Shares of the turn, from and to below."""

_FRAME = re.compile(r"(r0_)?(\d{1,6})_100\.jpg", re.IGNORECASE)


def load(
    request: Request,
    *,
    n_train: int | None = None,
    strict: bool = True,
    verify: str = "auto",
    cache: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Task:
    """Thirty kinds of apple; the parts are sides of the fruit, the same for every seed.

    Args:
        root: the selection, a clone of the repository, or a folder that holds one of the two as `apples` or
            under the repository's name; None: the folder that the variable ADAPTERS_DATA names, else
            data/real.
        n_train: at most so many training images a kind, drawn by `seed` (a kind has 5 to 29 of them).
        strict: refuse another number of kinds than 30.

    Raises AdapterError when nothing is there (the message says what to clone) or, if strict, when kinds are
    missing.
    """
    if n_train is not None:
        whole_number(f"{request.name}: n_train", n_train, 1)
    home = home_of(request.name, request.root)
    left_out: Skipped = []
    if (home / "Training").is_dir() and not (home / "train").is_dir():
        classes, parts, left_out = _from_clone(request.name, home, verify, max_pixels)
        split = "by the angle: one side of the turntable for training, the other for testing"
    else:
        check = lambda paths: check_files(paths, verify, max_pixels)  # noqa: E731
        classes, parts, notes = samples_of_folders(
            request.name, home, request.seed, (0.15, 0.15), EXTENSIONS, check
        )
        left_out, split = notes["skipped"], notes["split"]
    expected = {"kinds of apple": KINDS if strict else len(classes)}
    check_counts(request.name, expected, {"kinds of apple": len(classes)}, [], strict, home)
    if n_train is not None:
        parts["train"] = _at_most(parts["train"], n_train, request.seed)
    info = {"root": str(home), "licence": LICENSE, "split": split, "n_train": n_train, "skipped": left_out}
    return files_task(request, classes, parts, cache=cache, max_pixels=max_pixels, info=info)


def home_of(name: str, root: Path | None = None) -> Path:
    """The folder of the selection or of the clone."""
    variable = os.environ.get(FOLDER_VARIABLE)
    base = root or (Path(variable).expanduser() if variable else DEFAULT_ROOT)
    for folder in (base, base / "apples", base / REPOSITORY):
        if folder.is_dir() and part_folders(folder):
            return folder
    raise AdapterError(
        f"{name}: no photographs of apples in {base}. Fetch them once: `git clone --depth 1"
        f" https://github.com/fruits-360/{REPOSITORY}` ({LICENSE}), and pass root=<that folder>, or set"
        f" {FOLDER_VARIABLE} to the folder that holds the clone. {OFFLINE_HINT}."
    )


def _from_clone(
    name: str, home: Path, verify: str, max_pixels: int
) -> tuple[list[str], dict[str, list[Sample]], Skipped]:
    """Kinds, samples of the three parts, and files that cannot be read, by the rule above."""
    kinds: dict[str, list[tuple[int, bool, Path]]] = {}
    for path in sorted(home.rglob("*_100.jpg")):
        kind, frame = path.parent.name.lower(), _FRAME.fullmatch(path.name)
        if frame and kind.startswith("apple") and "rotten" not in kind and "worm" not in kind:
            kinds.setdefault(re.sub(r"\W+", "_", kind), []).append((int(frame[2]), bool(frame[1]), path))
    if len(kinds) < 2:
        raise AdapterError(
            f"{name}: {home} has frames like r0_4_100.jpg of {len(kinds)} kind(s) of apple in folders like"
            f" 'Apple 10'; is the clone of {REPOSITORY} complete?"
        )
    classes = sorted(kinds)
    parts: dict[str, list[Sample]] = {part: [] for part in SIDES}
    for label, kind in enumerate(classes):
        turned = any(r0 for _, r0, _ in kinds[kind])  # both names in one folder: frames of two turns
        frames = sorted((number, path) for number, r0, path in kinds[kind] if r0 == turned)
        largest = frames[-1][0]
        for part, (low, high) in SIDES.items():
            parts[part] += [
                (path, label)
                for number, path in frames
                if number % STEP == 0 and low * largest <= number < high * largest
            ]
    skipped = check_files([path for samples in parts.values() for path, _ in samples], verify, max_pixels)
    bad = {path for path, _ in skipped}
    sound = {part: [sample for sample in samples if sample[0] not in bad] for part, samples in parts.items()}
    return classes, sound, skipped


def _at_most(samples: list[Sample], most: int, seed: int) -> list[Sample]:
    """So many of each class, or all that it has, in their order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([label for _, label in samples])
    chosen = [
        members[torch.randperm(len(members), generator=generator)[:most]]
        for label in labels.unique().tolist()
        for members in [(labels == label).nonzero().flatten()]
    ]
    return [samples[index] for index in torch.cat(chosen).sort().values.tolist()]
