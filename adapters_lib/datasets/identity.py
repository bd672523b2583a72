"""Which images a data set holds: a digest that tells one from another, and marks of single images that two
sets share.

`identity` goes into the folder of a run and into the rows of a grid: the same labels on other pixels are
another run. It covers pixels in memory, files, labels, transforms and sizes. Files are read where all of them
take at most `SMALL`; otherwise their names, sizes and times of
change stand for them. A data set of your own is walked attribute by attribute; it may say instead who it is,
by a method `identity()` that returns any plain value.

`marks` gives one number an image, from its content, wherever the file lies and whatever it is called. A run
keeps a `sketch` of those that it
trained on, and `shared` finds them again among images that are about to be tested.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import os
import random
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

from .labelled import TensorImages, View, labels_of

__all__ = ["SMALL", "identity", "marks", "names_of", "shared", "sketch"]

SMALL = 256 * 2**20  # bytes of all files of a data set together, up to which they are read
EDGE = 4096  # bytes at a file's start and end that mark it, with its size
KEPT = 4096  # marks in a sketch
MOST = 200_000  # images, beyond which their marks are not computed

# What decides the samples of our own classes; the rest of their attributes are caches and counters.
_FIELDS: dict[str, tuple[str, ...]] = {
    "TensorImages": ("images", "labels", "mean", "std", "augment", "size", "interpolation"),
    "View": ("data", "indices"),
    "Relabelled": ("data", "order"),
    "ImageFiles": ("paths", "labels", "transform", "deterministic"),
    "VideoClips": ("paths", "labels", "size", "mean", "std", "sampler", "augment"),
    "ClipViews": ("clips", "temporal", "spatial"),
    "Features": ("tokens", "labels", "layout", "first_stage"),
}
_VIEWS = ("mean", "std", "augment", "size", "interpolation", "transform", "deterministic", "sampler")
_MARKED = ("part", "origin")  # what a `Task` writes on its data sets
_COUNTERS = (bool, int)  # of a subclass of ours: likelier a counter than what decides a pixel


def identity(data: Dataset, views: bool = True) -> str:
    """32 hexadecimal digits that change with the images, their order, their labels and how they are prepared.

    views: False leaves out how they are prepared (augmentation, size, normalisation).
    """
    walk = _Walk(views)
    walk.add(data)
    return walk.result()


class _Walk:
    """A digest of a nested value; files are collected on the way and added at the end, when their common
    folder and size are known."""

    def __init__(self, views: bool) -> None:
        self.digest, self.views = hashlib.sha256(), views
        self.files: list[Path] = []
        self.seen: dict[int, int] = {}
        self.held: list[Any] = []  # keeps what `seen` knows by its id alive

    def result(self) -> str:
        self._add_files()
        return self.digest.hexdigest()[:32]

    def say(self, *words: object) -> None:
        self.digest.update("\0".join(map(str, words)).encode("utf-8", "surrogatepass") + b"\1")

    def add(self, value: Any) -> None:
        if value is None or isinstance(value, bool | int | float | complex):
            self.say(type(value).__name__, repr(value))
        elif isinstance(value, str):
            self._add_text(value)
        elif isinstance(value, bytes | bytearray):
            self.say("bytes", hashlib.sha256(value).hexdigest())
        elif isinstance(value, os.PathLike):
            self._add_file(Path(value))
        elif isinstance(value, enum.Enum):
            self.say(type(value).__qualname__, value.name)
        elif isinstance(value, Tensor | np.ndarray):
            self._add_array(value)
        elif isinstance(value, np.generic):
            self.say(value.dtype, repr(value.item()))
        elif id(value) in self.seen:
            self.say("again", self.seen[id(value)])
        else:
            self.seen[id(value)] = len(self.seen)
            self.held.append(value)
            self._add_nested(value)

    def _add_nested(self, value: Any) -> None:
        if isinstance(value, list | tuple):
            self.say(type(value).__name__, len(value))
            for item in value:
                self.add(item)
        elif isinstance(value, dict):
            self.say("dict", len(value))
            for key in sorted(value, key=repr):
                self.add(key)
                self.add(value[key])
        elif isinstance(value, set | frozenset):
            self.say("set", *sorted(map(repr, value)))
        elif isinstance(value, Image.Image):
            self.say("image", value.mode, value.size, hashlib.sha256(value.tobytes()).hexdigest())
        elif isinstance(
            value,
            type
            | types.ModuleType
            | types.BuiltinFunctionType
            | torch.dtype
            | torch.device
            | np.dtype
            | np.ufunc,
        ):
            self.say(type(value).__name__, getattr(value, "__qualname__", value))
        elif isinstance(value, types.FunctionType):
            self._add_function(value)
        elif isinstance(value, types.MethodType):
            self.add(value.__func__)
            self.add(value.__self__)
        elif isinstance(value, functools.partial):
            self.say("partial")
            self.add((value.func, value.args, value.keywords))
        elif isinstance(value, torch.Generator):
            self.say("generator", value.initial_seed())
        elif isinstance(value, random.Random | np.random.Generator | np.random.RandomState):
            self.say(type(value).__qualname__)  # where it stands changes with every draw
        else:
            self._add_object(value)

    def _add_object(self, value: Any) -> None:
        self.say("object", type(value).__qualname__)
        own = getattr(type(value), "identity", None)
        if callable(own):
            self.add(own(value))
            return
        if isinstance(value, Subset):
            self.add((value.dataset, list(value.indices)))
            return
        fields = dict(getattr(value, "__dict__", {}))
        for kind in type(value).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, slot):
                    fields.setdefault(slot, getattr(value, slot))
        ours = next(
            (
                _FIELDS[kind.__name__]
                for kind in type(value).__mro__
                if _is_ours(kind) and kind.__name__ in _FIELDS
            ),
            None,
        )
        if ours is not None:
            more = {} if _is_ours(type(value)) else _content(fields, ours)
            fields = {name: getattr(value, name, None) for name in ours} | more
        if isinstance(value, Dataset) and not self.views:
            fields = {name: part for name, part in fields.items() if name not in _VIEWS}
        for name in sorted(fields):
            if name not in _MARKED:
                self.say(name)
                self.add(fields[name])

    def _add_text(self, text: str) -> None:
        if os.sep in text and len(text) < 4096 and "\0" not in text and os.path.isfile(text):
            self._add_file(Path(text))
        else:
            self.say("str", text)

    def _add_array(self, value: Tensor | np.ndarray) -> None:
        if isinstance(value, np.memmap) and value.filename is not None:
            self.say("memmap", value.shape, value.dtype, value.offset)
            self._add_file(Path(value.filename))
            return
        if isinstance(value, np.ndarray) and value.dtype == object:
            self.add(value.tolist())
            return
        self.say("array", tuple(value.shape), value.dtype)
        if isinstance(value, Tensor):
            flat = value.detach().to("cpu").contiguous().reshape(-1)
            self.digest.update(
                (flat.view(torch.uint8) if flat.numel() else flat.to(torch.uint8)).numpy().data
            )
        else:
            self.digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)

    def _add_function(self, value: types.FunctionType) -> None:
        code = value.__code__
        self.say("function", value.__qualname__, code.co_code.hex(), code.co_names)
        self.add([each for each in code.co_consts if not isinstance(each, types.CodeType)])
        cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
        self.add((value.__defaults__, value.__kwdefaults__, cells))

    def _add_file(self, path: Path) -> None:
        self.say("file", len(self.files))
        self.files.append(path)

    def _add_files(self) -> None:
        if not self.files:
            return
        paths = [path.absolute() for path in self.files]
        base = os.path.commonpath([path.parent for path in paths])
        stats = [_stat(path) for path in paths]
        small = sum(stat.st_size for stat in stats if stat) <= SMALL
        for path, stat in zip(paths, stats, strict=True):
            about = "missing" if stat is None else _content_digest(path, stat) if small else stat.st_mtime_ns
            self.say(path.relative_to(base).as_posix(), stat.st_size if stat else -1, about)


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith("adapters_lib.")


def _content(fields: dict[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    """What a subclass added to one of our data sets, without counters and what is private."""
    skipped = (*known, "pixels", "cache")
    return {
        n: v
        for n, v in fields.items()
        if n not in skipped and not n.startswith("_") and not isinstance(v, _COUNTERS)
    }


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _content_digest(path: Path, stat: os.stat_result) -> str:
    """Of the content; a file is read again only when its size or a time of change differ."""
    return _read_digest(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@functools.lru_cache(maxsize=20_000)
def _read_digest(path: Path, _version: tuple[int, ...]) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


def names_of(data: Dataset) -> list[str] | None:
    """The files of a data set by name, below the folder that all of them share, in the order of the
    samples; None if it has none."""
    paths = _paths(data)
    if not paths:
        return None
    base = os.path.commonpath([path.absolute().parent for path in paths])
    return [path.absolute().relative_to(base).as_posix() for path in paths]


def _paths(data: Any) -> list[Path] | None:
    if isinstance(data, View):
        inner = _paths(data.data)
        return None if inner is None else [inner[i] for i in data.indices.tolist()]
    paths: Any = getattr(data, "paths", None)
    # Torchvision's ImageFolder.
    if paths is None and isinstance(samples := getattr(data, "samples", None), list):
        paths = [sample[0] for sample in samples if isinstance(sample, tuple)]
    return (
        [Path(path) for path in paths] if isinstance(paths, Sequence) and not isinstance(paths, str) else None
    )


def marks(data: Any) -> Tensor | None:
    """int64 (N,), a number for the content of each sample; None where that cannot be told, or beyond
    `MOST` samples."""
    if len(data) > MOST:
        return None
    if isinstance(kept := getattr(data, "marks", None), Tensor):  # cached features know those of their images
        return kept
    if isinstance(data, View | Subset):
        inner, chosen = (
            (data.data, data.indices)
            if isinstance(data, View)
            else (data.dataset, torch.as_tensor(list(data.indices)))
        )
        below_marks = marks(inner)
        return None if below_marks is None else below_marks[chosen]
    if isinstance(data, ConcatDataset):
        parts = [marks(part) for part in data.datasets]
        return (
            None
            if any(part is None for part in parts)
            else torch.cat([part for part in parts if part is not None])
        )
    if isinstance(data, TensorImages):
        return _numbers(
            [
                hashlib.blake2b(image.data, digest_size=8).digest()
                for image in data.images.contiguous().numpy()
            ]
        )
    for name in ("clips", "data"):  # views of clips; samples under other labels
        below: Any = getattr(data, name, None)
        count = getattr(data, "count", 1)
        if isinstance(below, Dataset) and len(below) * count == len(data):  # type: ignore[arg-type]
            below_marks = marks(below)
            return None if below_marks is None else below_marks.repeat_interleave(count)
    paths = _paths(data)
    if paths is None or len(paths) != len(data):
        return None
    return _numbers([_mark(path) for path in paths])


def _mark(path: Path) -> bytes:
    """Of a file: its size, its first and its last bytes."""
    digest = hashlib.blake2b(digest_size=8)
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            for start in (0, max(0, size - EDGE)):
                file.seek(start)
                digest.update(file.read(EDGE))
    except OSError:
        digest.update(str(path).encode("utf-8", "surrogatepass"))
    return digest.digest()


def _numbers(digests: list[bytes]) -> Tensor:
    return torch.tensor([int.from_bytes(digest, "big") >> 1 for digest in digests], dtype=torch.int64)


def sketch(*marks_of: Tensor | None) -> Tensor | None:
    """The smallest `KEPT` distinct marks of all those given; None if nothing is known. As they are like
    random numbers, so is the choice."""
    known = [each for each in marks_of if each is not None]
    return torch.cat(known).unique()[:KEPT] if known else None


def shared(kept: Tensor, others: Tensor) -> int:
    """How many of the samples with marks `others` are among those of a `sketch`; if that is full, among
    those that it can know."""
    return int(torch.isin(others, kept).sum())


def labels_digest(data: Dataset) -> str:
    """16 hexadecimal digits of the labels in their order."""
    return hashlib.blake2b(labels_of(data).contiguous().numpy().data, digest_size=8).hexdigest()
