"""Decoded clips on disk, up to a size: what was used least recently goes first. Several processes may
share a folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import AcquireReturnProxy, FileLock

from ...errors import AdapterError
from ..task import DataWarning

__all__ = ["ClipCache"]

LOW_WATER = 0.9  # a full cache is emptied to this share, so that not every new entry makes room for itself
STALE = 3600.0  # seconds after which an unfinished file was left by a process that died


class ClipCache:
    """Arrays by key, one .npy file each.

    Args:
        folder: is created.
        limit: bytes that all entries together may take. An entry larger than that is not kept.

    A hit renews an entry's time stamp; when a new entry would exceed the limit, the oldest go until a tenth
    is free. The sum of all sizes stands in a file of its own, changed under a lock together with the entries,
    so processes see one bound. Entries appear whole or not at all; one that does not read back is dropped and
    made again.

    The cache only saves time: where it cannot be read or written (a full disk, a folder of somebody else),
    one DataWarning says so and every array is made as if there were none. Raises AdapterError for a limit
    below 1.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: int) -> None:
        if limit < 1:
            raise AdapterError(f"clip cache of {limit} bytes; give at least 1, or leave the cache off")
        self.folder, self.limit = Path(folder), int(limit)
        self._warned = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._tell(error)

    def get(self, key: object, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array kept under `key` (anything whose repr tells it apart), or `make()`, kept from now on."""
        path = self._path(key)
        try:
            if (kept := self._kept(path)) is not None:
                return kept
        except OSError as error:
            self._tell(error)
        value = np.ascontiguousarray(make())
        try:
            self._put(path, value)
        except OSError as error:
            self._tell(error)
        return value

    def mapped(self, key: object, make: Callable[[], np.ndarray]) -> np.ndarray:
        """As `get`, but the array stays on the disk, its pages shared by all processes that ask for it;
        writing changes a copy.

        For large arrays that are dear to make: of several processes that ask at the same time one makes it,
        the others wait.
        """
        path, made = self._path(key), None
        try:
            path.parent.mkdir(exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if (kept := self._kept(path, "c")) is None:
                    made = np.ascontiguousarray(make())
                    self._put(path, made)
                    kept = self._kept(path, "c")
            if kept is not None:
                return kept
        except OSError as error:
            self._tell(error)
        return np.ascontiguousarray(make()) if made is None else made

    def _kept(self, path: Path, mmap_mode: Literal["c"] | None = None) -> np.ndarray | None:
        """The array in a file; None when there is none, or none that reads back. mmap_mode: "c" leaves it
        on the disk."""
        try:
            kept: np.ndarray = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
        except FileNotFoundError:
            return None
        except (ValueError, EOFError):  # cut short by a full disk or a crash of the machine
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):  # a cache that may only be read is still good for that
            os.utime(path)
        return kept

    def _tell(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            why = error.strerror or error
            message = (
                f"the cache in {self.folder} is not used ({why}); free some space, or load clips with"
                " cache_gib=0"
            )
            warnings.warn(message, DataWarning, stacklevel=4)

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        with self._lock():
            return self._total()

    def clear(self) -> None:
        """Delete all entries."""
        with self._lock():
            for path in self.folder.glob("*/*.npy"):
                path.unlink(missing_ok=True)
            self._write_total(0)

    @property
    def _ledger(self) -> Path:
        return self.folder / "bytes.txt"

    def _lock(self) -> AcquireReturnProxy:
        return FileLock(self.folder / "lock").acquire(poll_interval=0.002)  # held for about a millisecond

    def _path(self, key: object) -> Path:
        name = hashlib.sha256(repr(key).encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:34]}.npy"

    def _put(self, path: Path, value: np.ndarray) -> None:
        path.parent.mkdir(exist_ok=True)
        handle, part = tempfile.mkstemp(suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                np.save(stream, value, allow_pickle=False)
            size = os.path.getsize(part)
            if size > self.limit:
                return
            with self._lock():
                total = self._total() - (path.stat().st_size if path.exists() else 0) + size
                if total > self.limit:
                    total = self._evict(self.limit * LOW_WATER - size) + size
                # Before the entry: a crash between the two leaves the sum too high, never too low.
                self._write_total(total)
                os.replace(part, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)

    def _write_total(self, total: int) -> None:
        """Through a file of our own: a link that lies at the ledger's place is replaced, not written
        through."""
        handle, part = tempfile.mkstemp(suffix=".part", dir=self.folder)
        try:
            with os.fdopen(handle, "w") as stream:
                stream.write(str(total))
            os.replace(part, self._ledger)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)

    def _total(self) -> int:
        try:
            return int(self._ledger.read_text())
        except (FileNotFoundError, ValueError):
            return self._evict(float("inf"))

    def _evict(self, room: float) -> int:
        """Delete the entries used least recently until the others take no more than `room` bytes; return
        what those take."""
        entries = []
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                about = path.stat()
                if path.suffix == ".npy":
                    entries.append((about.st_mtime_ns, about.st_size, path))
                elif time.time() - about.st_mtime > STALE:
                    path.unlink()
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= room:
                break
            path.unlink(missing_ok=True)
            total -= size
        return total
