"""The notebooks as a small web site that needs no generator: `python -m adapters_lib site --notebooks-only`
turns the executed notebooks into HTML, with a table of contents.

nbconvert renders each notebook with the outputs that it holds; nothing is run, no kernel is needed, and a
figure is part of its page. A notebook that has no figure to show is refused, since a reader would take the
empty page for the result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape, unescape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ..errors import AdapterError
from .pictures import PICTURES

__all__ = ["Page", "build", "check_executed", "link_numbers", "render"]

LINKED = re.compile(r'href="(?:\./)?([\w.-]+)\.ipynb(#[^"]*)?"')
NUMBERED = re.compile(r"\bnotebook (\d\d)\b")
_TAG = re.compile(r"<[^>]*>")

_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; }
ol { padding-left: 0; list-style: none; } li { margin: 1.2rem 0; } li p { margin: 0.2rem 0; }
a { color: #0055a4; } small { color: #555; } ul { margin: 0.2rem 0; }
@media (prefers-color-scheme: dark) {
  body { background: #161616; color: #ddd; } a { color: #8ab8ff; } small { color: #aaa; }
}
"""
_SUMMARY = '<summary style="font-family: sans-serif">a solution</summary>'


class Page(NamedTuple):
    """One notebook as HTML. sections: anchor → heading. figures: images in it."""

    name: str
    title: str
    question: str
    sections: dict[str, str]
    figures: int
    html: str


def render(path: Path, neighbours: dict[str, str] | None = None) -> Page:
    """HTML of one executed notebook, with the figures inside and solutions folded.

    neighbours: number → name of the other notebooks; where the text says "notebook 04", it links there.

    Raises:
        AdapterError: the file is no notebook, was not executed, ended in an error, or shows no figure.
    """
    from nbconvert import HTMLExporter

    notebook = check_executed(path)
    title, question = title_and_question(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = link_numbers(cell.source, path.stem, neighbours or {})
    solutions = [
        index for index, cell in enumerate(_code(notebook)) if "solution" in cell.metadata.get("tags", [])
    ]
    exporter = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True, embed_images=True)
    html, _ = exporter.from_notebook_node(
        notebook, resources={"metadata": {"name": title, "path": str(path.parent)}}
    )
    html = _fold(LINKED.sub(r'href="\1.html\2"', html), solutions)
    home = '<p style="padding: 0 1rem; font-family: sans-serif"><a href="index.html">← all notebooks</a></p>'
    html = re.sub(r"(<body[^>]*>)", lambda match: match[1] + home, html, count=1)
    sections = dict(re.findall(r'<h2 id="([^"]+)">(.*?)<a class="anchor-link"', html, re.DOTALL))
    return Page(
        path.stem, title, question, sections, len(re.findall(r'<img[^>]+src="data:image/', html)), html
    )


def title_and_question(notebook: Any) -> tuple[str, str]:
    """What the first cell says: its heading, and the question in bold type, "" if there is none."""
    opening = notebook.cells[0].source
    title = opening.splitlines()[0].lstrip("# ").strip()
    question = next(iter(re.findall(r"\*\*(.+?\?)\*\*", opening, re.DOTALL)), "")
    return title, question.replace("\n", " ")


def check_executed(path: Path) -> Any:
    """The notebook, which has something to show.

    Raises:
        AdapterError: the file is no notebook, was not executed, ended in an error, or shows no figure.
    """
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:
        raise AdapterError(f"{path.name} cannot be read as a notebook: {error}") from error
    _check(path.name, notebook)
    return notebook


def link_numbers(text: str, own: str, neighbours: dict[str, str]) -> str:
    """Where the text of the notebook `own` says "notebook 04", a link to it; neighbours: number → name."""
    return NUMBERED.sub(lambda match: _link(match, own, neighbours), text)


def _code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _check(name: str, notebook: Any) -> None:
    outputs = [output for cell in _code(notebook) for output in cell.outputs]
    remedy = f"run `python -m adapters_lib workbook {name[:2]}`"
    if not notebook.cells or notebook.cells[0].cell_type != "markdown":
        raise AdapterError(
            f"{name} does not begin with a title in Markdown, so the table of contents has nothing to say"
            " about it"
        )
    if any(output.output_type == "error" for output in outputs):
        raise AdapterError(f"{name} holds an error in its outputs; {remedy}")
    if not any(PICTURES.keys() & output.get("data", {}).keys() for output in outputs):
        raise AdapterError(f"{name} holds no figure; it was not executed: {remedy}")


def _link(match: re.Match[str], own: str, neighbours: dict[str, str]) -> str:
    name = neighbours.get(match[1], own)
    return match[0] if name == own else f"[{match[0]}]({name}.ipynb)"


def _fold(html: str, solutions: Sequence[int]) -> str:
    """Put the code of solutions behind a line to click on, as JupyterLab folds it."""
    pieces = re.split(r'(?=<div class="jp-Cell jp-CodeCell)', html)
    for index in solutions:
        cell = pieces[index + 1]
        start = cell.find('<div class="jp-Cell-inputWrapper"')
        end = cell.find('<div class="jp-Cell-outputWrapper"')
        end = cell.rfind("</div>") if end < 0 else end
        pieces[index + 1] = f"{cell[:start]}<details>{_SUMMARY}{cell[start:end]}</details>{cell[end:]}"
    return "".join(pieces)


def build(root: str | Path, out: str | Path) -> list[Page]:
    """Write `<notebook>.html` for every notebook of `root`/notebooks and `index.html` into `out`; return the
    pages.

    Raises:
        AdapterError: no notebook, or one that `render` refuses.
    """
    paths = sorted((Path(root) / "notebooks").glob("*.ipynb"))
    if not paths:
        raise AdapterError(f"no notebook in {Path(root) / 'notebooks'}; give the repository as root=")
    neighbours = {path.stem[:2]: path.stem for path in paths}
    pages = [render(path, neighbours) for path in paths]
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    for page in pages:
        (target / f"{page.name}.html").write_text(page.html, encoding="utf-8")
    (target / "index.html").write_text(_index(pages), encoding="utf-8")
    return pages


def _address(name: str, anchor: str = "") -> str:
    """Relative address of a page, or of a section in it, for an attribute in quotation marks."""
    return quote(f"{name}.html") + (f"#{quote(anchor)}" if anchor else "")


def _index(pages: Sequence[Page]) -> str:
    items = []
    for page in pages:
        sections = "".join(
            '<li style="margin:0"><a'
            f' href="{_address(page.name, unescape(anchor))}">{escape(unescape(_TAG.sub("", text)))}</a></li>'
            for anchor, text in page.sections.items()
        )
        listed = (
            f"<details><summary><small>{len(page.sections)} sections, {page.figures}"
            f" figures</small></summary><ul>{sections}</ul></details>"
        )
        items.append(
            f'<li><b><a href="{_address(page.name)}">{escape(page.title)}</a></b>'
            f"<p>{escape(page.question)}</p>{listed}</li>"
        )
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    words = (
        "Every figure is in its page. To move the sliders, open the notebooks in JupyterLab: <code>make"
        " lab</code>."
    )
    return (
        f'<!DOCTYPE html><html lang="en"><head>{head}<title>Adapting frozen vision'
        f" transformers</title><style>{_STYLE}</style></head>"
        "<body><h1>Adapting frozen vision transformers: a"
        f" workbook</h1><p>{words}</p><ol>{''.join(items)}</ol></body></html>\n"
    )
