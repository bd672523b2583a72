"""Photographs of solar cells by electroluminescence (Buerhop-Lukas et al., PVSEC 2018; Deitsch et al., Solar
Energy 185, 2019): 2,624 grey images of 300 × 300 pixels, four levels of defect, cells of single crystals and
of many.

They are read from the installed package `elpv-dataset` (optional extra `real`), whose code is not run, or
from a folder with the same `labels.csv` and `images/`.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import AdapterError
from ...options import whole_number
from ..labelled import View
from ..request import Request
from ..splits import OFFLINE_HINT, Skipped, check_counts, files_task
from ..task import Task
from .files import MAX_PIXELS, check_files

__all__ = ["CLASSES", "COUNTS", "LABELS_DIGEST", "LICENSE", "cell_types", "home_of", "load", "stated_split"]

PACKAGE = "elpv_dataset"
INSTALL = "pip install --no-deps elpv-dataset (the extra `real` of this project)"
LICENSE = (
    "CC BY-NC-SA 4.0 (name the authors, no commercial use, share alike);"
    " cite Deitsch et al., Solar Energy 185 (2019)"
)

CLASSES = ("functional", "defect 1/3 likely", "defect 2/3 likely", "defective")
"""By the probability of a defect that the experts' answers came to: 0, 1/3, 2/3, 1."""

COUNTS = (1508, 295, 106, 715)
"""Photographs of each class."""

LABELS_DIGEST = "0abe6fe7700aea571717d7d7dfec005a47c6207b4cde26a4556b6807a115483d"
"""SHA-256 of `labels.csv` in version 1.0.0.post1 of the package."""


def load(
    request: Request,
    *,
    n_train: int | None = 50,
    n_val: int = 10,
    test_fraction: float | None = None,
    strict: bool = True,
    verify: str = "auto",
    cache: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Task:
    """Four levels of defect, split by `seed`, class by class: validation, training, the rest for testing.

    Grey images are given three equal channels. A cell is seen whole, without the model's usual crop, as
    defects lie at its border, too.

    Args:
        root: a folder with labels.csv and images/; None: that of the installed package.
        n_train, n_val: photographs a class. n_train=None takes all that are not held out, and needs a
            test_fraction.
        test_fraction: hold out this share of each class for testing, the same one whatever n_train is; what
            then remains is not used. None: all that is left.
        strict: refuse labels or numbers other than those of the published set.

    Raises AdapterError when the package is not installed or the folder has no labels, when a class is too
    small for the split, and (if strict) when labels or files are not the published ones.
    """
    _check_numbers(request.name, n_train, n_val, test_fraction)
    home = home_of(request.name, request.root)
    paths, labels, kinds = _read_labels(request.name, home, strict)
    skipped: Skipped = check_files(paths, verify, max_pixels)
    bad = {path for path, _ in skipped}
    keep = [index for index, path in enumerate(paths) if path not in bad]
    paths, kinds, labels = [paths[i] for i in keep], [kinds[i] for i in keep], labels[keep]
    counts = labels.bincount(minlength=len(CLASSES)).tolist()
    expected = {f"of {CLASSES[label]!r}": count for label, count in enumerate(COUNTS)}
    images = {f"of {CLASSES[label]!r}": count for label, count in enumerate(counts)}
    check_counts(request.name, expected if strict else images, images, skipped, strict, home)
    parts = stated_split(request.name, labels, CLASSES, request.seed, n_train, n_val, test_fraction)
    samples = {part: [(paths[i], int(labels[i])) for i in chosen.tolist()] for part, chosen in parts.items()}
    _name_license(request.name)
    info = {
        "source": f"package {PACKAGE}" if request.root is None else str(request.root),
        "licence": LICENSE,
        "split": f"{n_train or 'all'} training and {n_val} validation images a class, stratified by seed",
        "of each class": dict(zip(CLASSES, counts, strict=True)),
        "cells": dict(sorted(Counter(kinds).items())),
        "skipped": skipped,
    }
    whole = {**request.config, "crop_pct": 1.0, "crop_mode": "squash"}
    shown: dict[str, Any] = {"config": whole, "cache": cache, "max_pixels": max_pixels}
    return files_task(request, list(CLASSES), samples, info=info, **shown)


def cell_types(data: Any) -> list[str]:
    """ "mono" or "poly" for every image of a part of the task, in its order.

    Raises AdapterError when these images do not lie beside a labels.csv that names them.
    """
    if isinstance(data, View):
        types = cell_types(data.data)
        return [types[index] for index in data.indices.tolist()]
    paths: list[Path] = list(getattr(data, "paths", ()))
    if not paths:
        raise AdapterError("cell_types: these are no images in files; give a part of load_data('elpv')")
    every, _, kinds = _read_labels("elpv", paths[0].parents[1], strict=False)
    kind_of = dict(zip(every, kinds, strict=True))
    if strange := [path for path in paths if path not in kind_of]:
        raise AdapterError(f"cell_types: labels.csv does not name {strange[0]}; give a part of the set elpv")
    return [kind_of[path] for path in paths]


def stated_split(
    name: str,
    labels: Tensor,
    classes: tuple[str, ...],
    seed: int,
    n_train: int | None,
    n_val: int,
    test_fraction: float | None,
) -> dict[str, Tensor]:
    """Sorted indices of "train", "val" and "test": so many of each class.

    Of one seed, validation and (with a test_fraction) test are the same whatever n_train is, and a smaller
    training part lies in a larger one. Raises AdapterError naming the class that is too small.
    """
    generator = torch.Generator().manual_seed(seed)
    parts: dict[str, list[Tensor]] = {"train": [], "val": [], "test": []}
    for label, level in enumerate(classes):
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        held = 1 if test_fraction is None else max(1, round(test_fraction * len(members)))
        least = n_val + held + (n_train or 1)
        if len(members) < least:
            raise AdapterError(
                f"{name}: class {level!r} has {len(members)} images, but {n_train or 1} for training, {n_val}"
                f" for validation and {held} for testing need {least}; lower n_train, n_val or test_fraction"
            )
        val, rest = members[:n_val], members[n_val:]
        test = rest[n_train:] if test_fraction is None else rest[-held:]
        train = rest[: len(rest) - held if n_train is None else n_train]
        for part, chosen in (("train", train), ("val", val), ("test", test)):
            parts[part].append(chosen)
    return {part: torch.cat(chosen).sort().values for part, chosen in parts.items()}


def _check_numbers(name: str, n_train: int | None, n_val: int, test_fraction: float | None) -> None:
    if n_train is not None:
        whole_number(f"{name}: n_train", n_train, 1)
    whole_number(f"{name}: n_val", n_val, 1)
    if test_fraction is not None and not 0 < test_fraction < 1:
        rule = "give a share above 0 and below 1, or None"
        raise AdapterError(f"{name}: test_fraction={test_fraction}; {rule}")
    if n_train is None and test_fraction is None:
        raise AdapterError(
            f"{name}: n_train=None takes all that is not held out, but nothing is held out for testing; give"
            " test_fraction=0.4, for example"
        )


def home_of(name: str, root: Path | None = None) -> Path:
    """The folder that holds labels.csv."""
    if root is not None:
        if not (root / "labels.csv").is_file():
            raise AdapterError(
                f"{name}: no labels.csv in {root}; pass the folder with labels.csv and images/, or leave root"
                f" out and install the package: {INSTALL}"
            )
        return root
    try:
        spec = importlib.util.find_spec(PACKAGE)
    except ValueError:  # a module of this name that someone made by hand
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise AdapterError(
            f"{name}: the package {PACKAGE} is not installed. {INSTALL}, 91 MB, {LICENSE}. {OFFLINE_HINT}."
        )
    home = Path(next(iter(spec.submodule_search_locations))) / "data"
    if not (home / "labels.csv").is_file():
        raise AdapterError(f"{name}: {home} has no labels.csv; install the package again: {INSTALL}")
    return home


def _read_labels(name: str, home: Path, strict: bool) -> tuple[list[Path], Tensor, list[str]]:
    """Files, labels (N,) and "mono" or "poly", in the order of labels.csv: rows `path probability kind`."""
    table = home / "labels.csv"
    content = table.read_bytes()
    if strict and (digest := hashlib.sha256(content).hexdigest()) != LABELS_DIGEST:
        raise AdapterError(
            f"{name}: {table} is not that of version 1.0.0.post1 (SHA-256 {digest[:12]}…, expected"
            f" {LABELS_DIGEST[:12]}…); install the package again: {INSTALL}, or pass strict=False to use"
            " these labels"
        )
    paths, labels, kinds = [], [], []
    for line, text in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        if not (cells := text.split()):
            continue
        try:
            file, probability, kind = cells
            level = 3 * float(probability)
            if not abs(level - round(level)) < 0.01 or not 0 <= round(level) <= 3:
                raise ValueError(f"probability {probability}")
        except ValueError as error:
            raise AdapterError(
                f"{table}, line {line}: {text[:60]!r} is no 'path probability kind' with a probability of 0,"
                f" 1/3, 2/3 or 1 ({error}); install the package again: {INSTALL}"
            ) from error
        path = home / file
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise AdapterError(f"{table}, line {line}: {file[:60]!r} lies outside {home}; remove that line")
        paths.append(path)
        labels.append(round(level))
        kinds.append(kind)
    return paths, torch.tensor(labels, dtype=torch.long), kinds


@lru_cache(maxsize=4)
def _name_license(name: str) -> None:
    """Once a process."""
    print(f"{name}: photographs of solar cells, {LICENSE}")
