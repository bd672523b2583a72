"""The ten ultra-fine-grained sets of cotton and soybean cultivars (Yu et al., ICCV 2021), from a local folder
or from lists.

Transforms follow the ILA paper (arXiv 2409.11051): square resize to 1.34 x size, random crop and mirror;
centre crop in testing.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import AdapterError
from ..request import Request
from ..scan import scan
from ..splits import (
    DEFAULT_ROOT,
    OFFLINE_HINT,
    Sample,
    Skipped,
    check_counts,
    files_task,
    split_samples,
)
from ..task import Task
from ..transforms import ULTRA_CROP
from .files import EXTENSIONS, MAX_PIXELS, check_files
from .folder import class_folders, part_folders
from .lists import read_list

__all__ = ["EXPECTED", "load"]

# name: classes, images in train + val, images in test
EXPECTED: dict[str, tuple[int, int, int]] = {
    "cotton80": (80, 240, 240),
    "soylocal": (200, 600, 600),
    "soyglobal": (1938, 5814, 5814),
    "soygene": (1110, 12763, 11143),
    "soyageing": (198, 4950, 4950),
    **{f"soyageing-r{stage}": (198, 990, 990) for stage in (1, 3, 4, 5, 6)},
}
LISTS = {
    "train": ("train.csv",),
    "val": ("val.csv",),
    "trainval": ("trainval.csv", "train_val.csv"),
    "test": ("test.csv",),
}


def load(
    request: Request,
    *,
    val_fraction: float = 0.2,
    strict: bool = True,
    verify: str = "auto",
    cache: bool = False,
    max_pixels: int = MAX_PIXELS,
    outside_root: bool = False,
) -> Task:
    """Load one of EXPECTED from `root` (or `root/<name>`), default data/real/<name>.

    There: train.csv and test.csv of `path,class` rows (val.csv is added to train; ids from 0), or folders
    train and test (and val) with one folder a class; lists may only name files in `root`, unless
    `outside_root`. Validation is drawn from train + val by `seed`, `val_fraction` of each class and at least
    one image.

    Raises AdapterError when nothing is there, or when counts or files differ from what is expected (a
    DataWarning if not `strict`).
    """
    classes, trainval_expected, test_expected = EXPECTED[request.name]
    root = _home(request.name, request.root)
    left_out: Skipped = []
    foreign: Skipped = []
    if (root / "test.csv").is_file():
        trainval, test, names = _from_lists(root, classes, outside_root)
    elif root.is_dir() and (folders := part_folders(root)):
        trainval, test, names = _from_folders(request.name, root, folders, left_out, foreign)
    else:
        raise AdapterError(
            f"{request.name}: expected {trainval_expected} training and {test_expected} test images"
            f" of {classes} classes in {root}, found none. Ask the authors (search"
            " 'Ultra-FGVC data set, Griffith University'), put the images there with train.csv and test.csv"
            f" (rows 'path,class', ids from 0) or as"
            f" train/<class>/ and test/<class>/, or pass root=<folder>. {OFFLINE_HINT}."
        )
    skipped = check_files([path for path, _ in trainval + test], verify, max_pixels)
    bad = {path for path, _ in skipped}
    trainval, test = ([sample for sample in part if sample[0] not in bad] for part in (trainval, test))
    counts = {
        "classes": len({label for _, label in trainval}),
        "images in train + val": len(trainval),
        "in test": len(test),
    }
    expected = {"classes": classes, "images in train + val": trainval_expected, "in test": test_expected}
    skipped += left_out
    check_counts(request.name, expected, counts, skipped, strict, root)
    train, val = split_samples(trainval, [val_fraction], request.seed)
    info = {
        "root": str(root),
        "split": f"val: {val_fraction:.0%} of train + val, stratified by seed",
        "found": counts,
    }
    info["skipped"] = [*skipped, *foreign]  # type: ignore[list-item]
    parts = {"train": train, "val": val, "test": test}
    return files_task(
        request,
        names,
        parts,
        config={**request.config, **ULTRA_CROP},
        cache=cache,
        max_pixels=max_pixels,
        info=info,
    )


def _home(name: str, root: Path | None) -> Path:
    """The set's own folder: `root/<name>` if there is one, else `root`."""
    if root is None:
        return DEFAULT_ROOT.absolute() / name
    inside = (
        [folder for folder in class_folders(root) if folder.name.lower() == name] if root.is_dir() else []
    )
    return inside[0] if inside else root


def _from_lists(root: Path, classes: int, outside_root: bool) -> tuple[list[Sample], list[Sample], list[str]]:
    lists = {part: root / file for part, files in LISTS.items() for file in files if (root / file).is_file()}
    training = (
        [lists[part] for part in ("train", "val") if part in lists]
        if "train" in lists
        else [*filter(None, [lists.get("trainval")])]
    )
    if not training:
        raise AdapterError(
            f"{root} has test.csv but no train.csv; add it: rows 'path,class', ids 0..{classes - 1}"
        )
    trainval = [sample for file in training for sample in read_list(file, root, classes, ",", outside_root)]
    return (
        trainval,
        read_list(lists["test"], root, classes, ",", outside_root),
        [str(label) for label in range(classes)],
    )


def _from_folders(
    name: str, root: Path, folders: dict[str, Path], left_out: Skipped, foreign: Skipped
) -> tuple[list[Sample], list[Sample], list[str]]:
    if "test" not in folders:
        raise AdapterError(
            f"{name}: {root} has no folder test; it holds"
            f" {', '.join(folder.name for folder in folders.values())}"
        )
    names = sorted(
        {group.name for folder in folders.values() for group in class_folders(folder)}, key=_numbers_first
    )
    ids = {label: i for i, label in enumerate(names)}
    parts: dict[str, list[Sample]] = {part: [] for part in folders}
    for part, folder in folders.items():
        for group in class_folders(folder):
            scanned = scan(group, EXTENSIONS)
            parts[part] += [(path, ids[group.name]) for path in scanned.files]
            left_out += scanned.left_out
            foreign += scanned.foreign
    return parts["train"] + parts.get("val", []), parts["test"], names


def _numbers_first(name: str) -> tuple[bool, int, str]:
    """Sort key: 2 before 10, as ids in the lists are numbers, then names."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
