"""`pick`: one notebook, two sizes. In its small setting every cell runs in seconds, so that a test can run
them all."""

from __future__ import annotations

import os
from typing import TypeVar

__all__ = ["pick"]

T = TypeVar("T")


def pick(full: T, quick: T) -> T:
    """`full` in an ordinary run; `quick` where the environment sets ADAPTERS_QUICK (the tests do, to run
    every cell in seconds)."""
    return quick if os.environ.get("ADAPTERS_QUICK") else full
