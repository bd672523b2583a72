"""A folder of images: one folder a class, or train / val / test folders of them. Whatever cannot be used
is left out and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import AdapterError
from ..request import Request
from ..scan import hidden, scan
from ..splits import Sample, Skipped, files_task, split_samples, warn_skipped
from ..task import Task
from .files import EXTENSIONS, MAX_PIXELS, check_files

__all__ = ["Check", "class_folders", "image_files", "load", "part_folders", "samples_of_folders"]

Check = Callable[[Sequence[Path]], Skipped]

PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def class_folders(root: Path) -> list[Path]:
    """Sub-folders of `root`, sorted by name, without hidden ones."""
    return sorted(entry for entry in root.iterdir() if not hidden(entry.name) and entry.is_dir())


def image_files(folder: Path, extensions: frozenset[str] = EXTENSIONS) -> list[Path]:
    """Files with an image's extension (or another of `extensions`) below `folder`, at any depth, sorted,
    without hidden ones."""
    return scan(folder, extensions).files


def part_folders(root: Path) -> dict[str, Path]:
    """{"train", "val", "test": folder} for those that `root` has; empty when it has no training folder."""
    parts = {
        PART_NAMES[folder.name.lower()]: folder
        for folder in class_folders(root)
        if folder.name.lower() in PART_NAMES
    }
    return parts if "train" in parts and len(parts) > 1 else {}


def load(
    request: Request,
    *,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    verify: str = "auto",
    cache: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Task:
    """Load `root/<class>/*.jpg`, or `root/{train,val,test}/<class>/*.jpg`; class ids follow the sorted folder
    names.

    Without train / val / test folders the images are split by `seed`, class by class (70/15/15 unless told
    otherwise); a class with fewer than three is left out. With only two of them, the missing validation part
    is drawn from train, and `val` serves as test if there is no `test`. Whatever is left out (broken, stray
    and foreign files, dangling links, linked folders inside a class, images of more than `max_pixels`,
    classes without enough images) lands in `info["skipped"]` with the reason and, but for files that are
    something else by their ending, in one DataWarning; hidden files and folders are passed over at every
    depth. A class folder may itself be a link.

    Raises AdapterError when `root` is missing or fewer than two classes remain.
    """
    fractions = (val_fraction, test_fraction)
    check: Check = lambda paths: check_files(paths, verify, max_pixels)  # noqa: E731
    classes, samples, info = samples_of_folders(
        request.name, request.root, request.seed, fractions, EXTENSIONS, check
    )
    return files_task(request, classes, samples, cache=cache, max_pixels=max_pixels, info=info)


def samples_of_folders(
    name: str,
    root: Path | None,
    seed: int,
    fractions: Sequence[float],
    extensions: frozenset[str],
    check: Check,
    what: str = "image",
) -> tuple[list[str], dict[str, list[Sample]], dict[str, Any]]:
    """(classes, {"train", "val", "test": samples}, info) of a folder, as `load` describes, for files of any
    kind.

    Args:
        fractions: of validation and of test.
        check: files -> (file, reason) for those that cannot be used.
        what: the files are, in the singular, for messages.
    """
    if root is None or not root.is_dir():
        given = "root=None" if root is None else f"{root} is not a folder"
        raise AdapterError(f"{name}: {given}; pass root=<a folder with one folder of {what}s a class>")
    foreign: Skipped = []
    skipped: Skipped = _stray(root, extensions, what, foreign)
    folders = part_folders(root)
    skipped += [
        (p, "class folder beside train, val and test")
        for p in class_folders(root)
        if folders and p not in folders.values()
    ]
    for folder in folders.values():
        skipped += _stray(folder, extensions, what, foreign)
    scanned = {
        part: _scan(folder, extensions, check, skipped, foreign, what) for part, folder in folders.items()
    }
    groups = scanned or {"all": _scan(root, extensions, check, skipped, foreign, what)}
    how = _name_parts(groups)
    classes = _usable_classes(groups, root, skipped, what)
    if len(classes) < 2:
        unused = [*skipped, *foreign]
        reasons = "; ".join(f"{path.relative_to(root)} ({why})" for path, why in unused[:10])
        left = f"left out: {reasons}" if reasons else "nothing else is there"
        raise AdapterError(
            f"{name}: {len(classes)} usable class(es) in {root}, at least 2 are needed, each a folder of"
            f" {what}s with the name of its class; {left}"
        )
    ids = {label: i for i, label in enumerate(classes)}
    parts = {
        part: [(path, ids[label]) for path, label in files if label in ids] for part, files in groups.items()
    }
    if "val" not in parts:
        whole, chosen = (parts.pop("all"), fractions) if "all" in parts else (parts["train"], fractions[:1])
        parts.update(zip(["train", "val", "test"], split_samples(whole, chosen, seed), strict=False))
    warn_skipped(name, skipped, root)
    samples: dict[str, list[Sample]] = {part: parts[part] for part in ("train", "val", "test")}
    return classes, samples, {"root": str(root), "split": how, "skipped": [*skipped, *foreign]}


def _stray(folder: Path, extensions: frozenset[str], what: str, foreign: Skipped) -> Skipped:
    """Files beside the class folders: usable ones too belong to no class."""
    scanned = scan(folder, extensions, what, depth=0)
    foreign.extend(scanned.foreign)
    return [*((path, "not in a class folder") for path in scanned.files), *scanned.left_out]


def _scan(
    folder: Path, extensions: frozenset[str], check: Check, skipped: Skipped, foreign: Skipped, what: str
) -> list[tuple[Path, str]]:
    """Sound files below `folder` with the name of their class; the others, and empty classes, go to
    `skipped`, notes to `foreign`."""
    files: list[tuple[Path, str]] = []
    for group in class_folders(folder):
        scanned = scan(group, extensions, what)
        files += [(path, group.name) for path in scanned.files]
        skipped.extend(scanned.left_out)
        foreign.extend(scanned.foreign)
    bad = dict(check([path for path, _ in files]))
    skipped.extend(bad.items())
    sound = [(path, label) for path, label in files if path not in bad]
    filled = {label for _, label in sound}
    skipped.extend(
        (group, f"class without a usable {what}")
        for group in class_folders(folder)
        if group.name not in filled
    )
    return sound


def _name_parts(groups: dict[str, list[tuple[Path, str]]]) -> str:
    """Say how the parts come about, and let `val` serve as the test part where there is no other."""
    if "all" in groups:
        return "stratified by seed into train, val and test"
    if "test" not in groups:
        groups["test"] = groups.pop("val")
        return "folder val serves as test; val drawn from train, stratified by seed"
    return "folders" if "val" in groups else "folders; val drawn from train, stratified by seed"


def _usable_classes(
    groups: dict[str, list[tuple[Path, str]]], root: Path, skipped: Skipped, what: str
) -> list[str]:
    """Sorted names of the classes with enough images to train on and to split; the others go to `skipped`."""
    source, parts = ("all", 3) if "all" in groups else ("train", 1 if "val" in groups else 2)
    counts = Counter(label for _, label in groups[source])
    for label, count in sorted(counts.items()):
        if count < parts:
            skipped.append(
                (root / label, f"class with {count} {what}(s); splitting it {parts} ways needs {parts}")
            )
    classes = sorted(label for label, count in counts.items() if count >= parts)
    for part, files in groups.items():
        for label in sorted({label for _, label in files} - counts.keys()):
            skipped.append((root / part / label, f"class in {part} that train does not have"))
    return classes
