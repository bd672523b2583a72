"""Who trains in a folder: a lock that the operating system takes back when its owner dies, and a note of
who that is."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import AdapterError
from ..files import is_alive, load_json, save_json, this_host

__all__ = ["TrainingLock"]

PATIENCE = 10.0
"""Seconds that we wait for the lock of a process that is dead: its own workers may take a moment longer to
go."""


class TrainingLock:
    """Held by the one process that writes into `folder`; a context manager.

    Raises:
        AdapterError: on entering: another one trains there; the message says which, where and since when.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.note = folder, folder / "training.json"
        self.lock = FileLock(folder / ".training.lock")

    def __enter__(self) -> TrainingLock:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._acquire()
        except OSError as error:
            raise AdapterError(
                f"cannot keep a run in {self.folder}: {error}; choose a folder that can be written"
            ) from error
        save_json(
            self.note,
            {"process": os.getpid(), "host": this_host(), "since": time.strftime("%Y-%m-%d %H:%M:%S")},
        )
        return self

    def _acquire(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.lock.acquire(timeout=0)
                return
            except Timeout:
                owner = self._owner()
                ended = owner.get("host") == this_host() and not is_alive(owner["process"])
                if not ended or time.monotonic() > deadline:
                    raise AdapterError(self._refusal(owner)) from None
            time.sleep(0.05)

    def _owner(self) -> dict[str, Any]:
        with contextlib.suppress(AdapterError):
            note = load_json(self.note)
            if isinstance(note, dict) and isinstance(note.get("process"), int):
                return note
        return {}

    def _refusal(self, owner: dict[str, Any]) -> str:
        who = (
            f"process {owner['process']} on {owner.get('host')}, since {owner.get('since')}"
            if owner
            else "another process"
        )
        return f"{self.folder} is in use: {who} trains there; wait for it, stop it, or give another folder"

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.note.unlink()
        self.lock.release()
