"""What a run has cost so far: seconds on the clock and of all threads of its process, across kills and
resumes."""

from __future__ import annotations

import time
from pathlib import Path

from ..files import load_json, save_json

__all__ = ["RunClock"]


class RunClock:
    """Starts at once, and with what an earlier process had noted in `folder` before it was killed.

    What was spent after the last `note` is lost with the work that it was spent on, so a resumed run costs
    what an unbroken one does.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = None if folder is None else folder / "spent.json"
        before = load_json(self._file) if self._file is not None and self._file.exists() else {}
        self._start = (
            time.perf_counter() - before.get("seconds", 0.0),
            time.process_time() - before.get("cpu_seconds", 0.0),
        )

    def read(self) -> dict[str, float]:
        """`seconds` and `cpu_seconds` until now."""
        return {
            "seconds": time.perf_counter() - self._start[0],
            "cpu_seconds": time.process_time() - self._start[1],
        }

    def note(self, *_: object) -> None:
        """Keep the two numbers in the folder, if there is one; arguments are passed over, so that `fit`
        can call it after every epoch."""
        if self._file is not None:
            save_json(self._file, self.read())
