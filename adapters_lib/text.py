"""Text from outside (class names, file names, cells of a table) made safe for where it goes.

Figures, HTML, LaTeX and CSV cells give some signs a meaning of their own: dollar signs begin mathematics in
Matplotlib and in notebooks, a leading underscore hides a legend's entry, a leading `=` makes a spreadsheet
compute. A name from outside must show as it is, whatever it holds. And what we print ourselves (arrows, ±,
Greek letters) must not end a command on a pipe whose encoding lacks it, as cp1252 on Windows and ASCII under
a bare POSIX locale do: see `printable`.
"""

from __future__ import annotations

import codecs
import contextlib
import html
import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

__all__ = ["csv_cell", "drawn", "latex", "markdown", "one_line", "printable", "web"]

LONGEST = 40
"""Characters of one line in a figure; of longer names the middle is left out."""

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?")
_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "÷": r"$\div$",
    "−": "$-$",
    "–": "--",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def one_line(text: object) -> str:
    """`text` on one line: control signs become spaces, lone surrogates (of odd file names) a replacement
    sign."""
    return " ".join(_visible(line) for line in str(text).splitlines())


def drawn(text: object) -> str:
    """`text` as Matplotlib draws it word for word: no mathematics, seen in legends, `LONGEST` characters a
    line.

    Use it once, where a name from outside becomes a label: `ax.set_title(drawn(name))`. Line breaks stay.
    """
    lines = [_shortened(_visible(line)).replace("$", r"\$") for line in str(text).split("\n")]
    shown = "\n".join(lines)
    # Matplotlib leaves labels with a leading underscore out of legends.
    return f"\u200b{shown}" if shown.startswith("_") else shown


def web(text: object) -> str:
    """`text` for HTML, as content or between quotation marks; notebooks must not read its dollars as
    mathematics."""
    return html.escape(one_line(text)).replace("$", "&#36;")


def latex(text: object) -> str:
    """`text` for the body of a LaTeX document: every sign with a meaning in TeX is written as a command."""
    return "".join(_TEX.get(sign, sign) for sign in one_line(text))


def markdown(text: object) -> str:
    """`text` as Markdown shows it word for word: no emphasis, links, HTML, cells or mathematics."""
    return re.sub(r"([\\`*_{}\[\]<>#|$~&])", r"\\\1", one_line(text))


def csv_cell(text: str) -> str:
    """`text` for a CSV cell that a spreadsheet may open: an apostrophe before what would begin a formula.

    Numbers in text form stay what they are.
    """
    formula = text[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{text}" if formula and not _NUMBER.fullmatch(text) else text


def _visible(line: str) -> str:
    return "".join(_sign(sign) for sign in line)


def _sign(sign: str) -> str:
    kind = unicodedata.category(sign)
    return " " if kind in ("Cc", "Zl", "Zp") else "\N{REPLACEMENT CHARACTER}" if kind == "Cs" else sign


def _shortened(line: str) -> str:
    if len(line) <= LONGEST:
        return line
    half = (LONGEST - 1) // 2
    return f"{line[:half]}…{line[half + 1 - LONGEST :]}"


PLAIN = {
    "→": "->", "←": "<-", "…": "...", "−": "-", "–": "-", "—": "-", "×": "x", "÷": "/", "·": "*", "±": "+-",
    "²": "^2", "³": "^3",
    "≤": "<=", "≥": ">=", "≈": "~", "µ": "u", "α": "alpha", "λ": "lambda", "τ": "tau", "δ": "delta",
    "‘": "'", "’": "'", "“": '"', "”": '"', "✗": "x", "✓": "ok",
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
