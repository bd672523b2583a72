"""A committed notebook as a page of the site: its text, its code, its outputs. Nothing is run."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any, NamedTuple

from .pictures import PICTURES
from .site import check_executed, link_numbers, title_and_question

__all__ = ["NotebookPage", "notebook_page"]

_ITEM = re.compile(r"^(\s*)([*+-]|\d+\.)\s")


class NotebookPage(NamedTuple):
    """One notebook. figures: file name → content, beside the page in a folder of its name."""

    title: str
    question: str
    markdown: str
    figures: dict[str, bytes]


def notebook_page(path: Path, neighbours: dict[str, str]) -> NotebookPage:
    """The page of one executed notebook.

    neighbours: number → name of the notebooks; where the text says "notebook 04", it links there.

    Raises:
        AdapterError: the file is no notebook, was not executed, ended in an error, or shows no figure.
    """
    notebook = check_executed(path)
    title, question = title_and_question(notebook)
    parts: list[str] = []
    figures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(_python_markdown(link_numbers(cell.source, path.stem, neighbours)))
        elif cell.cell_type == "code":
            parts += _code(cell)
            for output in cell.outputs:
                parts.append(_output(output, path.stem, title, figures))
    return NotebookPage(title, question, "\n\n".join(filter(None, parts)) + "\n", figures)


def _code(cell: Any) -> list[str]:
    block = _fenced(cell.source, "python")
    if "solution" in cell.metadata.get("tags", []):
        return ['<details markdown="1">', "<summary>a solution</summary>", block, "</details>"]
    return [block] if cell.source.strip() else []


def _output(output: Any, stem: str, title: str, figures: dict[str, bytes]) -> str:
    """One output; a picture goes into `figures`."""
    if output.output_type == "stream":
        return _fenced(output.text.rstrip(), "text")
    data = output.get("data", {})
    for kind, ending in PICTURES.items():
        if kind in data:
            name = f"figure_{len(figures) + 1}.{ending}"
            figures[name] = data[kind].encode() if ending == "svg" else base64.b64decode(data[kind])
            return f"![Figure {len(figures)} of {title}]({stem}/{name})"
    if "text/html" in data:
        return _table(data["text/html"])
    return _fenced(data["text/plain"], "text") if "text/plain" in data else ""


def _table(html: str) -> str:
    """pandas' table without its own style, so that it looks as the site's tables do."""
    html = re.sub(r"<style scoped>.*?</style>", "", html, flags=re.DOTALL)
    html = html.replace(' border="1" class="dataframe"', "")
    return "\n".join(line for line in html.splitlines() if line.strip())


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _python_markdown(text: str) -> str:
    """Jupyter's Markdown as Python-Markdown reads it: a blank line before a list, four spaces a level."""
    lines: list[str] = []
    fenced = False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        item = None if fenced else _ITEM.match(line)
        if item:
            if lines and lines[-1].strip() and not _ITEM.match(lines[-1]) and not lines[-1].startswith(" "):
                lines.append("")
            level = (len(item[1]) + 1) // 2 if len(item[1]) < 4 else len(item[1]) // 4
            line = " " * (4 * level) + line.lstrip()
        lines.append(line)
    return "\n".join(lines)
