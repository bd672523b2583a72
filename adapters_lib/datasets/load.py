"""Data sets by name: `load_data("leaves-ultra", backbone=model)` returns a Task with train, val and test
parts."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import AdapterError, unknown
from ..options import check_seed, described, fits, whole_number
from .images.files import ImageFiles
from .images.vtab import CLASSES as VTAB_CLASSES
from .labelled import TensorImages, View
from .request import Request
from .task import DataWarning, Task, make_loader, subset
from .transforms import resolve_config

__all__ = [
    "DATA_SETS",
    "DataWarning",
    "ImageFiles",
    "Task",
    "TensorImages",
    "View",
    "files_digest",
    "load_data",
    "make_loader",
    "subset",
]


@dataclass(frozen=True)
class Entry:
    """Where a set's `load` lives, how its training images are augmented unless told otherwise, and what
    `load_data` may pass on.

    clips: it yields clips (C, T, H, W). synthetic: what it is, of a set that this library draws. keeps: its
    `load` can keep what it drew, in the folder `drawn`. image_size: side in pixels where neither a model nor
    the caller says. whole: options with which every file is seen, where seed and options choose among the
    same files, so that one digest stands for all of them; None where they decide which files there are.
    """

    module: str
    augment: str | None
    files: bool = True
    download: bool = False
    clips: bool = False
    synthetic: str = ""
    keeps: bool = False
    image_size: int | None = None
    whole: Mapping[str, Any] | None = None


DATA_SETS: dict[str, Entry] = {
    **{
        f"leaves-{kind}": Entry("leaves.task", "leaf", files=False, synthetic="synthetic leaves", keeps=True)
        for kind in ("coarse", "ultra", "mixed")
    },
    "digits": Entry("images.digits", "shift", files=False),
    **{
        name: Entry("images.torchvision_sets", "crop", download=True)
        for name in ("flowers102", "oxford-pet", "fgvc-aircraft", "food101", "dtd", "eurosat")
    },
    "cifar100": Entry("images.torchvision_sets", "flip-shift", download=True),
    "svhn": Entry("images.torchvision_sets", "shift", download=True),
    "folder": Entry("images.folder", "crop"),
    "elpv": Entry("images.elpv", "flip", whole={"n_train": 1, "n_val": 1}),
    "apples": Entry("images.apples", "crop", whole={}),
    **{
        name: Entry("images.ultra_fgvc", "ultra")
        for name in ("cotton80", "soylocal", "soygene", "soyglobal", "soyageing")
    },
    **{f"soyageing-r{stage}": Entry("images.ultra_fgvc", "ultra") for stage in (1, 3, 4, 5, 6)},
    **{f"vtab:{task}": Entry("images.vtab", None) for task in VTAB_CLASSES},
    "motion-leaves": Entry(
        "video.motion_leaves", "crop", files=False, clips=True, image_size=64, synthetic="synthetic clips"
    ),
    # Not mirrored: left and right are in the labels.
    "ssv2": Entry("video.tasks", "crop", clips=True, image_size=224),
    **{
        name: Entry("video.tasks", "crop-flip", clips=True, image_size=224)
        for name in ("hmdb51", "ucf101", "diving48")
    },
    "video-folder": Entry("video.folder", "crop", clips=True, image_size=224),
}


def load_data(
    name: str,
    *,
    backbone: Any = None,
    image_size: int | None = None,
    seed: int = 0,
    n_per_class: int | None = None,
    root: str | os.PathLike[str] | None = None,
    augment: str | None = "default",
    download: bool = False,
    **options: Any,
) -> Task:
    """Load a data set for a model: its image size, normalisation, interpolation and crop come from the
    model's timm data config.

    Args:
        name: a key of DATA_SETS; "leaves-..." and "digits" need no files.
        backbone: an adapted model or a timm model; None means 96 px (clips: 64 drawn, 224 real) and mean =
            std = 0.5. A clip model also sets the number of frames of a set of clips.
        image_size: side in pixels, if other than the model's.
        seed: of the synthetic images or of a split that is not official.
        n_per_class: keep so many training images of each class (validation and test stay whole; see
            `subset`).
        root: folder of the files; a relative default below data/real.
        augment: views of training images: "default" is the data set's own choice, None makes training images
            deterministic.
        download: let torchvision fetch its sets.
        options: the data set's own: `val_fraction`, `strict`, `verify`, `cache` and others, see its `load`.

    Raises AdapterError for an unknown name or option, a value of the wrong kind or out of its bounds, a size
    that the model cannot take, and missing or unusable files.

    Examples:
        >>> task = al.load_data("leaves-ultra", image_size=32, cultivars=2, n_train=4, n_val=2, n_test=2)
        >>> len(task.train), tuple(task.test[0][0].shape)
        (8, (3, 32, 32))
    """
    if not isinstance(name, str) or name not in DATA_SETS:
        raise unknown("data set", name, DATA_SETS)
    entry = DATA_SETS[name]
    check_seed(seed, f"{name}: seed")
    if n_per_class is not None:
        whole_number(f"{name}: n_per_class", n_per_class, 1)
    given: dict[str, tuple[Any, Any]] = {
        "root": (root, str | os.PathLike | None),
        "augment": (augment, str | None),
    }
    for what, (value, kind) in {**given, "download": (download, bool)}.items():
        _check_kind(name, what, value, kind)
    config = resolve_config(
        backbone, image_size if image_size is not None or backbone is not None else entry.image_size
    )
    options = _with_frames(name, entry, backbone, options)
    load = importlib.import_module(f"adapters_lib.datasets.{entry.module}").load
    views = entry.augment if augment == "default" else augment
    if not entry.files and (root is not None or download):
        raise AdapterError(f"{name} needs no files: leave out root and download")
    if download and not entry.download:
        raise AdapterError(
            f"{name} cannot be downloaded from here: put the files in a folder and pass root=<that folder>"
        )
    _check_options(name, load, options)
    folder = Path(root).expanduser() if root is not None else None
    task: Task = load(Request(name, config, seed, folder, views, download), **options)
    loaded = {"seed": seed, "options": json.loads(json.dumps(options, default=str))}
    task = replace(task, data_config={**config, **task.data_config}, loaded=loaded)
    if n_per_class is None:
        return task
    return replace(
        task, train=subset(task.train, n_per_class, seed), info={**task.info, "n_per_class": n_per_class}
    )


def files_digest(name: str, seed: int, options: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of the images behind a data set that lies in files; "" for one that is drawn or
    ships with a package.

    options: as for `load_data`. No image is decoded for it (unless the set keeps arrays); the digest says
    nothing of sizes and augmentation.
    Raises AdapterError as `load_data`.
    """
    from .identity import identity

    if name not in DATA_SETS or not DATA_SETS[name].files:
        return ""
    load = importlib.import_module(f"adapters_lib.datasets.{DATA_SETS[name].module}").load
    if (whole := DATA_SETS[name].whole) is not None:
        seed, options = 0, {**{key: options[key] for key in ("root", "strict") if key in options}, **whole}
    quick = {"verify": "off", "cache": False, "cache_gib": 0.0}
    known = inspect.signature(load).parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # those who load it to train on it are told
        task = load_data(
            name, seed=seed, **{**options, **{key: value for key, value in quick.items() if key in known}}
        )
    parts = "".join(identity(data, views=False) for data in task.parts().values())
    return hashlib.sha256(f"{parts}{task.classes}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _with_frames(name: str, entry: Entry, backbone: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options, with the frames that a clip model takes. Raises AdapterError where model and data set
    do not fit."""
    frames = getattr(getattr(getattr(backbone, "backbone", backbone), "patch_embed", None), "frames", None)
    if frames is None:
        return options
    if not entry.clips:
        raise AdapterError(
            f"{name} is a set of images, but the model takes clips of {frames} frames; use motion-leaves or a"
            " set of videos"
        )
    if options.get("frames", frames) != frames:
        raise AdapterError(
            f"{name}: frames={options['frames']}, but the model takes clips of {frames}; leave frames out"
        )
    return {**options, "frames": frames}


def _check_options(name: str, load: Any, options: dict[str, Any]) -> None:
    """Raise AdapterError for an option that `load` has no parameter for, or whose value is of another kind
    than it declares."""
    parameters = inspect.signature(load).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    kinds = typing.get_type_hints(load)
    for option, value in options.items():
        if option not in known:
            raise unknown(f"option of data set {name!r}:", option, known)
        _check_kind(name, option, value, kinds[option])


def _check_kind(name: str, option: str, value: Any, kind: Any) -> None:
    if not fits(value, kind):
        shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}…"
        raise AdapterError(f"{name}: {option}={shown}; give {described(kind)}")
