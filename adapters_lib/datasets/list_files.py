"""Lists that somebody else wrote: their text whatever the encoding, whole numbers only, and paths that
stay in the root."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path
from typing import Any

from ..errors import AdapterError

__all__ = ["Fence", "list_json", "list_text", "whole_number"]

LARGEST = 2**30  # bytes of a list; the largest published one has 40 MB
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def list_text(file: Path) -> str:
    """The text of a list in UTF-8, in UTF-16 or UTF-32 (as spreadsheets export), or else in Western
    Latin-1/cp1252.

    Raises AdapterError when it cannot be read, is larger than 1 GiB, or is no text at all.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise AdapterError(
                f"{file} has {file.stat().st_size:,} bytes; a list of files has at most {LARGEST:,}"
            )
        data = file.read_bytes()
    except OSError as error:
        raise AdapterError(f"{file} cannot be read ({error.strerror}); put the list there again") from error
    text = _decoded(data)
    if text is None or "\0" in text:
        raise AdapterError(f"{file} is no text; save the list as UTF-8")
    return text


def _decoded(data: bytes) -> str | None:
    marked = next((name for mark, name in MARKS if data.startswith(mark)), None)
    names = [marked] if marked else ["utf-8", "cp1252", "latin-1"]
    if marked is None:  # UTF-16 without a mark: every other byte of plain letters is 0
        start = data[:64]
        for odd, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            if len(start) >= 4 and start[odd::2].count(0) > 0.8 * len(start[odd::2]):
                names = [name]
    for name in names:
        try:
            return data.decode(name)
        except UnicodeDecodeError:
            continue
    return None


def list_json(file: Path, kind: type) -> Any:
    """The object in a JSON file. Raises AdapterError for what is not JSON, or holds something else than a
    `kind`."""
    try:
        content = json.loads(list_text(file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, AdapterError):
            raise
        raise AdapterError(f"{file} is not JSON ({error}); fetch it again") from error
    if not isinstance(content, kind):
        raise AdapterError(
            f"{file} holds a {type(content).__name__}; the published file is a {kind.__name__}"
        )
    return content


def whole_number(where: str, value: object, rule: str = "give a whole number") -> int:
    """`value`, a number or its text, as an int. Raises AdapterError for 1.7, true, infinity, words and
    monsters.

    where: file and line, for the message.
    """
    if isinstance(value, str):
        digits = value.strip().removeprefix("-").removeprefix("+")
        if digits.isascii() and digits.isdecimal() and len(digits) <= 18:
            return int(value)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return value
    shown = str(value) if len(str(value)) <= 40 else f"{str(value)[:40]}…"
    raise AdapterError(f"{where}: class {shown!r}; {rule}")


class Fence:
    """Keeps the paths of a list inside a root: call it with a path and where it stands in the list.

    A path may name a file through links and `..` as long as the file lies in the root. `outside_root`: the
    user said that lists may name files anywhere.
    """

    def __init__(self, root: Path, outside_root: bool = False) -> None:
        self.root, self.outside_root = root, outside_root
        self._home = os.path.realpath(root)
        self._folders: dict[str, str] = {}  # lists name the same few folders again and again

    def __call__(self, path: Path, where: str) -> Path:
        """`path` as it is. Raises AdapterError when it leaves the root, or is none that a file system can
        have."""
        name = str(path)
        if "\0" in name or len(name) > 4000 or any(len(os.fsencode(part)) > 255 for part in path.parts):
            raise AdapterError(f"{where}: {name[:60]!r} is no name of a file; correct the list")
        if self.outside_root:
            return path
        real = self._real(path)
        if real == self._home or real.startswith(self._home.rstrip(os.sep) + os.sep):
            return path
        shown = f"{path.name}, a link to {real}," if path.is_symlink() else os.path.relpath(path, self.root)
        raise AdapterError(
            f"{where}: {shown} lies outside {self.root}; a list may only name files in the root. "
            "Correct the list, or pass outside_root=True if you trust it"
        )

    def _real(self, path: Path) -> str:
        if path.name == ".." or path.is_symlink():
            return os.path.realpath(path)
        parent = str(path.parent)
        if parent not in self._folders:
            self._folders[parent] = os.path.realpath(parent)
        return os.path.join(self._folders[parent], path.name)
