r"""Equations of the site as MathML, which browsers draw by themselves: no script, no network.

mkdocs loads this file by its path as a hook. The Markdown extension arithmatex has marked equations as
`\(…\)` and `\[…\]`; here the TeX inside becomes MathML, before the search index is made.
"""

from __future__ import annotations

import html as entities
import re

__all__ = ["on_page_content", "to_mathml"]

_MARKED = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def to_mathml(tex: str, display: str = "inline") -> str:
    """TeX without its dollar signs → a `<math>` element; display: "inline" or "block".

    Raises:
        ValueError: TeX that cannot be read.
    """
    from latex2mathml.converter import convert

    try:
        return str(convert(tex.strip(), display=display))
    except Exception as error:
        raise ValueError(f"the equation {tex.strip()[:80]!r} cannot be read: {error!r}") from error


def on_page_content(html: str, **_about: object) -> str:
    """The hook of mkdocs: a page's HTML with its equations drawn; one that stands by itself is in a
    `<div class="equation">`, which scrolls where the page is narrower than it."""
    return _MARKED.sub(lambda match: _drawn(match[1], entities.unescape(match[2])), html)


def _drawn(element: str, tex: str) -> str:
    if element == "span":
        return to_mathml(tex)
    return f'<div class="equation">{to_mathml(tex, "block")}</div>'
