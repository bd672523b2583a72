"""Text from outside (class names, file names, cells of a table) made safe for where it goes.

Figures, HTML, LaTeX and CSV cells give some signs a meaning of their own: dollar signs begin mathematics in
Matplotlib and in notebooks, a leading underscore hides a legend's entry, a leading `=` makes a spreadsheet compute.
A name from outside must show as it is, whatever it holds.
"""

from __future__ import annotations

import html
import re
import unicodedata

__all__ = ["csv_cell", "drawn", "latex", "one_line", "web"]

LONGEST = 40
"""Characters of one line in a figure; of longer names the middle is left out."""

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?")
_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def one_line(text: object) -> str:
    """`text` on one line: control signs become spaces, lone surrogates (of odd file names) a replacement sign."""
    return " ".join(_visible(line) for line in str(text).splitlines())


def drawn(text: object) -> str:
    """`text` as Matplotlib draws it word for word: no mathematics, seen in legends, `LONGEST` characters a line.

    Use it once, where a name from outside becomes a label: `ax.set_title(drawn(name))`. Line breaks stay.
    """
    lines = [_shortened(_visible(line)).replace("$", r"\$") for line in str(text).split("\n")]
    shown = "\n".join(lines)
    # Matplotlib leaves labels with a leading underscore out of legends.
    return f"\u200b{shown}" if shown.startswith("_") else shown


def web(text: object) -> str:
    """`text` for HTML, as content or between quotation marks; notebooks must not read its dollars as mathematics."""
    return html.escape(one_line(text)).replace("$", "&#36;")


def latex(text: object) -> str:
    """`text` for the body of a LaTeX document: every sign with a meaning in TeX is written as a command."""
    return "".join(_TEX.get(sign, sign) for sign in one_line(text))


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
