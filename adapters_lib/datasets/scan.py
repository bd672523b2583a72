"""Which files of a folder are data, and why each of the others is not: one walk for images and for videos.

Programs keep copies and notes of their own in hidden folders at any depth (`.ipynb_checkpoints`, `__MACOSX`,
`@eaDir`); these are passed over in silence. Everything else that is not used is named with its reason.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["Scanned", "hidden", "scan"]

CLUTTER = frozenset(
    {
        "__macosx",
        "__pycache__",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "lost+found",
        "thumbs.db",
        "desktop.ini",
    }
    | {"system volume information", "icon\r", "ehthumbs.db"}
)
"""What systems leave behind without a leading dot, in lower case."""

UNREADABLE = {
    ".heic": "HEIC",
    ".heif": "HEIF",
    ".avif": "AVIF",
    ".webp": "WebP",
    ".jp2": "JPEG 2000",
    ".jxl": "JPEG XL",
}
"""Photographs that are none of the formats read here; the remedy is another than for a text file."""


class Scanned(NamedTuple):
    """What a folder holds, hidden things aside; each list is sorted.

    files: what is to be read. left_out: (path, reason) of what one would have expected to be read. foreign:
    (path, reason) of what is something else by its name, such as notes and lists.
    """

    files: list[Path]
    left_out: list[tuple[Path, str]]
    foreign: list[tuple[Path, str]]


def hidden(name: str) -> bool:
    """Whether a file or folder of this name belongs to a program: a leading dot or double underscore, or
    known clutter."""
    return name.startswith((".", "__")) or name.lower() in CLUTTER


def scan(folder: Path, extensions: Iterable[str], what: str = "image", depth: int | None = None) -> Scanned:
    """Walk `folder` without following linked folders.

    Args:
        extensions: endings of the files that are data, in lower case, with the dot.
        what: a file is, in the singular, for the reasons.
        depth: how many levels of folders are entered; None: all, 0: the folder's own files only, and no word
            on folders.
    """
    known = frozenset(extensions)
    files: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    foreign: list[tuple[Path, str]] = []
    named_like_files: list[Path] = []
    waiting = [(folder, 0)]
    while waiting:
        place, level = waiting.pop()
        try:
            with os.scandir(place) as entries:
                paths = [Path(entry.path) for entry in entries]
        except OSError as error:
            left_out.append((place, f"the folder cannot be read ({error.strerror})"))
            continue
        for path in paths:
            if path.name.lower() in CLUTTER or path.name.startswith("."):
                continue
            if not _is_folder(path):
                if other := _other(path, known, what):
                    foreign.append((path, other))
                elif reason := _unread(path, known) or _defect(path):
                    left_out.append((path, reason))
                else:
                    files.append(path)
            elif depth is not None and level >= depth:
                continue
            elif hidden(path.name):
                left_out.append((path, "hidden: its name begins with __"))
            elif path.is_symlink():
                left_out.append(
                    (path, f"a linked folder; copy its {what}s here, or link the class folder itself")
                )
            else:
                waiting.append((path, level + 1))
                named_like_files += [path] if path.suffix.lower() in known else []
    used = {parent for path in files for parent in path.parents}
    left_out += [(path, f"a folder, not {_an(what)}") for path in named_like_files if path not in used]
    return Scanned(sorted(files), sorted(left_out), sorted(foreign))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a link that leads in circles, a name that the system refuses
        return False


def _other(path: Path, known: frozenset[str], what: str) -> str | None:
    """Why a file's name says that it is something else, or None."""
    ending = path.suffix.lower()
    if hidden(path.name):
        return "hidden: its name begins with __"
    if ending in known or (what == "image" and ending in UNREADABLE):
        return None
    return (
        f"{path.suffix} is no ending of {_an(what)}"
        if ending
        else f"a name without the ending of {_an(what)}"
    )


def _unread(path: Path, known: frozenset[str]) -> str | None:
    kind = UNREADABLE.get(path.suffix.lower()) if path.suffix.lower() not in known else None
    return f"{kind} is not read here; convert it to JPEG or PNG" if kind else None


def _defect(path: Path) -> str | None:
    """Why a file cannot be read, from what the file system says of it."""
    try:
        about = path.stat()
    except FileNotFoundError:
        return f"a link to nothing ({os.readlink(path)})" if path.is_symlink() else "no such file"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not stat.S_ISREG(about.st_mode):
        return "not a regular file"
    return "an empty file" if about.st_size == 0 else None


def _an(what: str) -> str:
    return f"{'an' if what[:1] in 'aeiou' else 'a'} {what}"
