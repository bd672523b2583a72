"""VTAB-1k (Zhai et al., arXiv 1910.04867): 19 tasks of 800 + 200 training images, in the list format that
adapter papers share."""

from __future__ import annotations

from typing import Any

from ...errors import AdapterError, unknown
from ..request import Request
from ..splits import DEFAULT_ROOT, OFFLINE_HINT, check_counts, files_task
from ..task import Task
from .files import MAX_PIXELS, check_files
from .lists import read_list

__all__ = ["CLASSES", "load"]

CLASSES = {
    "caltech101": 102,
    "cifar": 100,
    "dtd": 47,
    "oxford_flowers102": 102,
    "oxford_iiit_pet": 37,
    "sun397": 397,
    "svhn": 10,
    "patch_camelyon": 2,
    "eurosat": 10,
    "resisc45": 45,
    "diabetic_retinopathy": 5,
    "clevr_count": 8,
    "clevr_dist": 6,
    "dmlab": 6,
    "kitti": 4,
    "dsprites_loc": 16,
    "dsprites_ori": 16,
    "smallnorb_azi": 18,
    "smallnorb_ele": 9,
}
FILES = {"train": "train800.txt", "val": "val200.txt", "test": "test.txt"}
COUNTS = {"train": 800, "val": 200}


def load(
    request: Request,
    *,
    strict: bool = True,
    verify: str = "auto",
    cache: bool = False,
    max_pixels: int = MAX_PIXELS,
    outside_root: bool = False,
) -> Task:
    """Load `vtab:<task>` from train800.txt, val200.txt and test.txt (rows `path label`) in `root/<task>` or
    `root`.

    `root` defaults to data/real/vtab-1k. Images are resized to a square without cropping, as the benchmark
    does: several tasks ask where things are. Lists may only name files in their folder, unless
    `outside_root`. The split is the benchmark's, so `seed` changes nothing.

    Raises AdapterError for an unknown task, a missing list or image, a label out of range, or counts other
    than 800 and 200 (the last two kinds of count: a DataWarning if not `strict`).
    """
    task = request.name.removeprefix("vtab:")
    if task not in CLASSES:
        raise unknown("VTAB-1k task", task, CLASSES)
    root = request.folder(DEFAULT_ROOT.absolute() / "vtab-1k")
    home = root / task if (root / task).is_dir() else root
    if missing := [file for file in FILES.values() if not (home / file).is_file()]:
        raise AdapterError(
            f"{request.name}: expected {', '.join(FILES.values())} with 800 + 200 training images in {home},"
            f" {', '.join(missing)} not found. Fetch the VTAB-1k archive that the NOAH or SSF authors share,"
            f" unpack it there, or pass root=<folder>. {OFFLINE_HINT}."
        )
    parts = {
        part: read_list(home / file, home, CLASSES[task], " ", outside_root) for part, file in FILES.items()
    }
    skipped = check_files([path for samples in parts.values() for path, _ in samples], verify, max_pixels)
    bad = {path for path, _ in skipped}
    listed = {part: len(samples) for part, samples in parts.items()}
    parts = {part: [sample for sample in samples if sample[0] not in bad] for part, samples in parts.items()}
    counts = {part: len(samples) for part, samples in parts.items()}
    check_counts(request.name, {**COUNTS, "test": listed["test"]}, counts, skipped, strict, home)
    info = {"root": str(home), "split": "the benchmark's lists", "found": counts, "skipped": skipped}
    squash = {**request.config, "crop_pct": 1.0, "crop_mode": "squash"}
    shown: dict[str, Any] = {"cache": cache, "max_pixels": max_pixels}
    return files_task(
        request, [str(i) for i in range(CLASSES[task])], parts, config=squash, info=info, **shown
    )
