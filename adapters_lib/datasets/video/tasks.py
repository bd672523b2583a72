"""Video tasks from published lists: files and counts are checked before training starts, validation is
drawn from training by group."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...errors import AdapterError
from ..list_files import Fence
from ..request import Request
from ..splits import DEFAULT_ROOT, Sample, Skipped, check_counts
from ..task import DataWarning, Task
from .clips import clip_cache, clips_task
from .decoding import check_videos
from .lists import READERS, Row
from .sampling import ClipSampler

__all__ = ["EXPECTED", "Published", "group_split", "load", "sound_samples"]

HINT = "No network? load_data('motion-leaves') needs no files"
NAMED = 20  # missing files that a message names


@dataclass(frozen=True)
class Published:
    """Published facts of a set: videos in training and test of each split, and what it is usually read
    with."""

    classes: int
    train: tuple[int, ...]
    test: tuple[int, ...]
    source: str
    sampling: str = "strided"


EXPECTED = {
    "ssv2": Published(
        174,
        (168_913,),
        (24_777,),
        "Something-Something v2 (Goyal et al. 2017), validation list as test part",
        "uniform",
    ),
    "hmdb51": Published(51, (3570,) * 3, (1530,) * 3, "HMDB-51 (Kuehne et al. 2011)"),
    "ucf101": Published(101, (9537, 9586, 9624), (3783, 3734, 3696), "UCF-101 (Soomro et al. 2012)"),
    "diving48": Published(48, (15_027,), (1970,), "Diving-48, labels V2 (Li et al. 2018)"),
}


def load(
    request: Request,
    *,
    split: int = 1,
    frames: int = 8,
    stride: int = 4,
    sampling: str | None = None,
    positions: int | None = None,
    val_fraction: float = 0.1,
    strict: bool = True,
    verify: str = "auto",
    cache_gib: float = 0.0,
    outside_root: bool = False,
) -> Task:
    """Load one of EXPECTED from `root` (default data/real/<name>), in the layout that `lists`
    describes.

    Args:
        split: 1, 2 or 3 of HMDB-51 and UCF-101.
        frames, stride, sampling, positions: see `ClipSampler`; by default SSv2 is sampled uniformly, the
            others strided.
        val_fraction: of the training videos, drawn by `seed`; clips of one film or recording stay together.
        strict: False goes on without missing files and with other counts than the published ones, with a
            DataWarning.
        verify: see `check_videos`; files that cannot be decoded are left out, named in a DataWarning and in
            `info["skipped"]`.
        cache_gib: bound of a cache of decoded clips in data/cache/clips, in GiB; 0: none. It pays for test
            clips, and for training clips with a small `positions`.
        outside_root: True lets the lists name videos outside `root`, which they otherwise may not.

    Raises AdapterError for a missing list, missing videos (the first 20 by name, and how many), a label out
    of range, or other counts.
    """
    facts = EXPECTED[request.name]
    if split not in range(1, len(facts.train) + 1) or isinstance(split, bool):
        raise AdapterError(
            f"{request.name}: split={split!r}; it has the splits"
            f" {', '.join(str(k + 1) for k in range(len(facts.train)))}"
        )
    sampler = ClipSampler(frames, stride, sampling or facts.sampling, positions)
    root = request.folder(DEFAULT_ROOT.absolute() / request.name)
    if not root.is_dir():
        raise AdapterError(
            f"{request.name}: no folder {root}; put the videos and the published lists there, or pass"
            f" root=<folder>. {HINT}"
        )
    listed = READERS[request.name](root, split, facts.classes, Fence(root, outside_root))
    counts = {"training videos": len(listed.train), "test videos": len(listed.test)}
    check_counts(
        request.name,
        {"training videos": facts.train[split - 1], "test videos": facts.test[split - 1]},
        counts,
        [],
        strict,
        root,
    )
    train, test, skipped = sound_samples(request.name, [listed.train, listed.test], root, strict, verify)
    parts: dict[str, list[Sample]] = {"test": [row[:2] for row in test]}
    parts["train"], parts["val"] = group_split(request.name, train, val_fraction, request.seed)
    info = {
        "source": facts.source,
        "root": str(root),
        "split": f"{split}; val: {val_fraction:.0%} of train by seed, groups kept whole",
        "found": counts,
        "skipped": skipped,
    }
    cache = clip_cache(cache_gib)
    return clips_task(request, listed.classes, parts, sampler=sampler, cache=cache, info=info)


def sound_samples(
    name: str, parts: Sequence[list[Row]], root: Path, strict: bool, verify: str
) -> tuple[list[Row], list[Row], Skipped]:
    """Rows of the two parts whose videos are there and can be decoded, and what was left out: [(path,
    reason)].

    Raises AdapterError when files are missing and `strict`: it names the first 20 and says how many.
    """
    paths = [row.path for part in parts for row in part]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        names = ", ".join(
            str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
            for path in missing[:NAMED]
        )
        message = f"{name}: {len(missing)} of {len(paths)} listed videos are not in {root}: {names}{more}"
        if strict:
            raise AdapterError(f"{message}. Add them, or pass strict=False to go on without them. {HINT}.")
        warnings.warn(message, DataWarning, stacklevel=4)
    absent = set(missing)
    defects = check_videos([path for path in paths if path not in absent], verify)
    if defects:
        more = f" and {len(defects) - NAMED} more" if len(defects) > NAMED else ""
        names = ", ".join(f"{path} ({reason})" for path, reason in defects[:NAMED])
        warnings.warn(
            f"{name}: left out {len(defects)} videos: {names}{more}. All: task.info['skipped']",
            DataWarning,
            stacklevel=4,
        )
    skipped: Skipped = [*((path, "no such file") for path in missing), *defects]
    bad = {path for path, _ in skipped}
    train, test = ([row for row in part if row.path not in bad] for part in parts)
    for what, part in (("training", train), ("test", test)):
        if not part:
            raise AdapterError(
                f"{name}: no {what} video in {root} can be used; {len(skipped)} were left out, see the"
                " warnings"
            )
    return train, test, skipped


def group_split(name: str, rows: list[Row], fraction: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """(train, val) samples: of each class about `fraction` goes to val, whole groups by `seed`, at least one
    group on either side.

    A class whose videos all belong to one group stays in train. Raises AdapterError for a fraction outside
    (0, 1).
    """
    if not 0 < fraction < 1:
        raise AdapterError(f"{name}: val_fraction={fraction}; give a share between 0 and 1")
    generator = torch.Generator().manual_seed(seed)
    by_class: dict[int, dict[str, list[Row]]] = {}
    for row in rows:
        by_class.setdefault(row.label, {}).setdefault(row.group, []).append(row)
    chosen: set[tuple[int, str]] = set()
    for label in sorted(by_class):
        groups = by_class[label]
        wanted, names = fraction * sum(map(len, groups.values())), sorted(groups)
        taken = 0
        for place in torch.randperm(len(names), generator=generator).tolist()[:-1]:
            if taken and taken + len(groups[names[place]]) > wanted:
                break
            chosen.add((label, names[place]))
            taken += len(groups[names[place]])
    val = [row[:2] for row in rows if (row.label, row.group) in chosen]
    return [row[:2] for row in rows if (row.label, row.group) not in chosen], val
