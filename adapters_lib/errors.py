"""The errors of this library: one class, so that one `except` catches every mistake we can explain."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable

__all__ = ["AdapterError", "OptionWarning", "outside_level", "unknown"]

MOST = 40
"""Names that a message lists; of more than that, only the nearest."""

LONGEST = 80
"""Characters of a value that a message repeats."""


class AdapterError(ValueError):
    """A value we cannot work with. The message names the value, the rule it breaks and the remedy."""


class OptionWarning(UserWarning):
    """An option that does nothing on this model, or not what its name says; a backbone or a recipe that is
    not made for these images."""


def outside_level() -> int:
    """The `stacklevel` with which a warning of the calling function points at the line outside this library
    that led to it."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "adapters_lib":
        frame, level = frame.f_back, level + 1
    return level


def unknown(kind: str, value: object, known: Iterable[object]) -> AdapterError:
    """Return (not raise) the error for a name outside `known`, with the nearest known name suggested.

    >>> raise unknown("method", "lorra", ["lora", "ila"])
    AdapterError: unknown method 'lorra'; did you mean 'lora'? Known: ila, lora
    """
    names = sorted({str(name) for name in known})
    value = str(value) if len(str(value)) <= LONGEST else f"{str(value)[:LONGEST]}…"
    if not names:
        return AdapterError(f"unknown {kind} {value!r}; there is none to choose from, leave it out")
    lowered = {name.lower(): name for name in names}
    near = [
        lowered[name] for name in difflib.get_close_matches(value.lower(), list(lowered), n=6, cutoff=0.5)
    ]
    hint = f"did you mean {near[0]!r}? " if near else ""
    if len(names) > MOST:
        return AdapterError(
            f"unknown {kind} {value!r}; {hint}{len(names)} are known, for example"
            f" {', '.join(near[1:] or names[:5])}"
        )
    return AdapterError(f"unknown {kind} {value!r}; {hint}Known: {', '.join(names)}")
