"""Long class names as labels: broken into lines, and of what is too long the middle left out."""

from __future__ import annotations

import textwrap

from ..text import drawn

__all__ = ["LINES", "WIDTH", "wrapped"]

WIDTH = 22
"""Characters of a line beside a bar or a row."""
LINES = 3


def wrapped(name: str, width: int = WIDTH, lines: int = LINES) -> str:
    """A class name for a label: at most `lines` lines of `width` characters, broken at spaces, underscores
    and hyphens where there are some; of what is longer the middle is left out, since names differ at their
    ends."""
    most = width * lines
    words = " ".join(name.split()) or name
    broken = _lines(words, width)
    while len(broken) > lines:
        most -= 1
        half = most // 2
        broken = _lines(f"{words[: most - half - 1]}…{words[len(words) - half :]}", width)
    return "\n".join(drawn(line) for line in broken)


def _lines(text: str, width: int) -> list[str]:
    softened = text.replace("_", "_\u200b").replace("-", "-\u200b").replace("\u200b", " \u200b")
    pieces = textwrap.wrap(softened, width, break_on_hyphens=False, drop_whitespace=True) or [text]
    return [piece.replace(" \u200b", "").replace("\u200b", "") for piece in pieces]
