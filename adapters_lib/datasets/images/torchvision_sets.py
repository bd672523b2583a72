"""Eight public sets through torchvision. Official splits where there are some; otherwise drawn by seed, class
by class.

flowers102, fgvc-aircraft (variants) and dtd (partition 1) have official train, val and test parts.
oxford-pet, food101, cifar100 and svhn have train and test: val is drawn from train. eurosat has one part:
drawn 60/20/20. CIFAR-100 and SVHN come as arrays of 32 px images; they stay that small in memory and grow to
the model's size a batch at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from ...errors import AdapterError
from ..labelled import TensorImages
from ..request import Request
from ..splits import (
    DEFAULT_ROOT,
    OFFLINE_HINT,
    Sample,
    check_counts,
    files_task,
    split_samples,
    stratified_split,
)
from ..task import Task
from . import cifar
from .files import MAX_PIXELS, check_files
from .folder import image_files

__all__ = ["SETS", "TorchvisionSet", "load"]


@dataclass(frozen=True)
class TorchvisionSet:
    """What torchvision calls a set, the folder below `root`, its size, where it comes from, and its
    official parts."""

    make: Callable[..., Any]
    folder: str
    classes: int
    images: int
    page: str
    parts: tuple[str, ...]


OFFICIAL, TWO = ("train", "val", "test"), ("train", "test")
SETS = {
    "flowers102": TorchvisionSet(
        datasets.Flowers102,
        "flowers-102",
        102,
        8189,
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        OFFICIAL,
    ),
    "oxford-pet": TorchvisionSet(
        datasets.OxfordIIITPet,
        "oxford-iiit-pet",
        37,
        7349,
        "https://www.robots.ox.ac.uk/~vgg/data/pets/",
        ("trainval", "test"),
    ),
    "fgvc-aircraft": TorchvisionSet(
        datasets.FGVCAircraft,
        "fgvc-aircraft-2013b",
        100,
        10000,
        "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        OFFICIAL,
    ),
    "food101": TorchvisionSet(
        datasets.Food101,
        "food-101",
        101,
        101000,
        "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        TWO,
    ),
    "cifar100": TorchvisionSet(
        cifar.Cifar100,
        cifar.FOLDER,
        100,
        60000,
        "https://www.cs.toronto.edu/~kriz/cifar.html (binary version)",
        TWO,
    ),
    "svhn": TorchvisionSet(
        datasets.SVHN,
        "",
        10,
        99289,
        "http://ufldl.stanford.edu/housenumbers/ (train_32x32.mat, test_32x32.mat)",
        TWO,
    ),
    "dtd": TorchvisionSet(
        datasets.DTD, "dtd/dtd", 47, 5640, "https://www.robots.ox.ac.uk/~vgg/data/dtd/", OFFICIAL
    ),
    "eurosat": TorchvisionSet(
        datasets.EuroSAT, "eurosat/2750", 10, 27000, "https://github.com/phelber/eurosat (RGB)", ()
    ),
}


def load(
    request: Request,
    *,
    val_fraction: float = 0.1,
    strict: bool = True,
    verify: str = "off",
    cache: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Task:
    """Load one of SETS from `root` (default data/real); `download=True` lets torchvision fetch it first.

    `val_fraction` of train, at least one image a class, becomes val where the set has no official one.
    `strict`, `verify`, `max_pixels`: see `check_counts` and `check_files`. Raises AdapterError when files are
    missing: what to fetch, from where, to which folder.
    """
    known, root = SETS[request.name], request.folder(DEFAULT_ROOT.absolute())
    opened = [_open(request.name, known, root, part, request.download) for part in known.parts or (None,)]
    expected, how = {"classes": known.classes, "images": known.images}, _how(known, val_fraction)
    names = [str(label) for label in getattr(opened[0], "classes", range(known.classes))]
    if hasattr(opened[0], "data"):
        pieces = _split_arrays([_arrays(data) for data in opened], val_fraction, request.seed)
        counts = {"classes": len(names), "images": sum(len(labels) for _, labels in pieces)}
        check_counts(request.name, expected, counts, [], strict, root / known.folder)
        config = request.config
        size, mean, std, how_resized = (config[key] for key in ("input_size", "mean", "std", "interpolation"))
        train, val, test = (
            TensorImages(images, labels, mean, std, None if part else request.augment, size[-1], how_resized)
            for part, (images, labels) in enumerate(pieces)
        )
        about = {"root": str(root), "split": how, "found": counts}
        return Task(request.name, names, train, val, test, config, info=about)
    parts = _split_files([_samples(data) for data in opened], val_fraction, request.seed)
    skipped = check_files([path for part in parts for path, _ in part], verify, max_pixels)
    bad = {path for path, _ in skipped}
    parts = [[sample for sample in part if sample[0] not in bad] for part in parts]
    counts = {"classes": len(names), "images": sum(map(len, parts))}
    check_counts(request.name, expected, counts, skipped, strict, root / known.folder)
    info = {"root": str(root), "split": how, "found": counts, "skipped": skipped}
    named = dict(zip(OFFICIAL, parts, strict=True))
    return files_task(request, names, named, cache=cache, max_pixels=max_pixels, info=info)


def _open(name: str, known: TorchvisionSet, root: Path, part: str | None, download: bool) -> Any:
    """torchvision's data set of one part, or an AdapterError with expected and found counts."""
    new = [folder for folder in (root, *root.parents) if download and not folder.exists()]
    try:
        if download:
            root.mkdir(parents=True, exist_ok=True)
        return known.make(str(root), download=download, **({"split": part} if part else {}))
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        # Missing, damaged, or no network: torchvision has a class for each.
        for folder in new:  # innermost first
            with contextlib.suppress(OSError):  # something came after all
                folder.rmdir()
        place = root / known.folder
        files = image_files(place) if known.folder and place.is_dir() else list(place.glob("*_32x32.mat"))
        count = f"{len(files)} images" if known.folder else f"{len(files)} of 2 .mat files"
        step = (
            "the download failed; fetch it by hand" if download else "pass download=True, or fetch it by hand"
        )
        raise AdapterError(
            f"{name}: expected {known.images} images of {known.classes} classes in {place}, found {count}"
            f" ({error}). To get them, {step} from {known.page} and unpack it there, or pass root=<folder"
            f" that holds {known.folder or 'the files'}>. {OFFLINE_HINT}."
        ) from error


def _how(known: TorchvisionSet, val_fraction: float) -> str:
    if not known.parts:
        return "60/20/20, stratified by seed"
    return (
        "official"
        if known.parts == OFFICIAL
        else f"official test; val: {val_fraction:.0%} of train, stratified by seed"
    )


def _samples(data: Any) -> list[Sample]:
    """(path, label) of a torchvision set without decoding an image; torchvision keeps these under three
    names."""
    if hasattr(data, "samples"):
        return [(Path(path), int(label)) for path, label in data.samples]
    paths = data._images if hasattr(data, "_images") else data._image_files
    return [(Path(path), int(label)) for path, label in zip(paths, data._labels, strict=True)]


def _arrays(data: Any) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(np.ascontiguousarray(data.data)), torch.from_numpy(np.asarray(data.labels)).long()


def _split_files(given: list[list[Sample]], val_fraction: float, seed: int) -> list[list[Sample]]:
    if len(given) == 3:
        return given
    if len(given) == 1:
        return split_samples(given[0], [0.2, 0.2], seed)
    return [*split_samples(given[0], [val_fraction], seed), given[1]]


def _split_arrays(
    given: list[tuple[Tensor, Tensor]], val_fraction: float, seed: int
) -> list[tuple[Tensor, Tensor]]:
    (images, labels), test = given
    return [*((images[part], labels[part]) for part in stratified_split(labels, [val_fraction], seed)), test]
