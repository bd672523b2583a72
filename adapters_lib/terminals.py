"""Output that any terminal or pipe takes: signs that its encoding lacks are written in plain letters.

Windows' pipes are cp1252 and a bare POSIX locale is ASCII; an arrow in a table must not end a command.
"""

from __future__ import annotations

import codecs
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["printable"]

PLAIN = {
    "→": "->", "←": "<-", "…": "...", "−": "-", "–": "-", "—": "-", "×": "x", "÷": "/", "·": "*", "±": "+-", "²": "^2", "³": "^3",
    "≤": "<=", "≥": ">=", "≈": "~", "µ": "u", "α": "alpha", "λ": "lambda", "τ": "tau", "δ": "delta", "‘": "'", "’": "'", "“": '"',
    "”": '"', "✗": "x", "✓": "ok",
}  # fmt: skip
_HANDLER = "adapters_lib.plain"


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: known signs in plain letters, a question mark for any other."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


codecs.register_error(_HANDLER, _plain)


@contextlib.contextmanager
def printable() -> Iterator[None]:
    """Within the block (or the decorated function) nothing that is printed can fail for its signs.

    Streams keep their encoding: UTF-8 shows everything as it is, others what they have.
    """
    changed: list[tuple[Any, str]] = []
    for stream in (sys.stdout, sys.stderr):
        errors, encoding = getattr(stream, "errors", None), getattr(stream, "encoding", None) or ""
        fails = errors == "strict" or (errors == "surrogateescape" and "utf" not in encoding.lower())
        if fails and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_HANDLER)
            changed.append((stream, str(errors)))
    try:
        yield
    finally:
        for stream, errors in changed:
            with contextlib.suppress(ValueError, OSError):  # closed meanwhile, or its reader has gone
                stream.reconfigure(errors=errors)
