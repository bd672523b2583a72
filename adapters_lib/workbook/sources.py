"""The sources of the site: every page in Markdown and every file that it shows, made from what the repository
holds. Pure text; what makes HTML of it is in `reference`.

A page that is written by hand stands in `workbook/pages` with links that work on GitHub; here they are turned
to the places that pages have on the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import AdapterError
from ..methods import METHODS
from .page_methods import method_page, methods_index, slug
from .page_notebooks import notebook_page
from .page_reference import main_page, package_pages
from .page_tables import costs_page, recipes_text, results_text

__all__ = ["Sources", "broken_links", "make_sources"]

PAGES = Path(__file__).parent / "pages"
_HERE = "adapters_lib/workbook/pages"

ORDER = ("commands", "library", "pictures", "video", "exits", "inside", "sharing", "trust")
"""Pages of the part "Using it", in order; other pages have places of their own."""

_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_FENCE = re.compile(r"(^(`{3,})[^\n]*\n.*?^\2[ ]*$)", re.MULTILINE | re.DOTALL)
_WEB = re.compile(r"[a-z]+:")
_BADGE = re.compile(r"!\[([^\]]+)\]\(https?:[^)]+\.svg\)")


class Sources(NamedTuple):
    """pages: place on the site → Markdown. files: place → content. nav: as mkdocs takes it. figures: of all
    notebooks, by name."""

    pages: dict[str, str]
    files: dict[str, bytes]
    nav: list[dict[str, Any]]
    figures: dict[str, int]
    titles: dict[str, str]


def make_sources(root: str | Path) -> Sources:
    """All pages of the repository `root`.

    Raises:
        AdapterError: no notebook, one that has nothing to show, or a link that leads nowhere.
    """
    root = Path(root).resolve()
    paths = sorted((root / "notebooks").glob("*.ipynb"))
    if not paths:
        raise AdapterError(f"no notebook in {root / 'notebooks'}; give the repository as root=")
    pages: dict[str, str] = {}
    files: dict[str, bytes] = {}
    neighbours = {path.stem[:2]: path.stem for path in paths}
    notebooks = {path.stem: notebook_page(path, neighbours) for path in paths}
    for stem, page in notebooks.items():
        pages[f"notebooks/{stem}.md"] = page.markdown.replace(".ipynb)", ".md)")
        files |= {f"notebooks/{stem}/{name}": content for name, content in page.figures.items()}
    _add_written(root, pages, files)
    for name in METHODS:
        place = f"methods/{slug(name)}.md"
        pages[place], shown = method_page(root, name)
        files |= {path.relative_to(root).as_posix(): path.read_bytes() for path in shown}
    pages |= {"methods.md": methods_index(), "costs.md": costs_page(), "reference/main.md": main_page()}
    pages |= package_pages()
    sources = Sources(
        {place: _without_badges(text) for place, text in pages.items()},
        files,
        _nav(pages, {stem: page.title for stem, page in notebooks.items()}),
        {stem: len(page.figures) for stem, page in notebooks.items()},
        {stem: page.title for stem, page in notebooks.items()},
    )
    if broken := broken_links(sources):
        raise AdapterError(
            f"links that lead nowhere: {'; '.join(broken[:5])}; mend them in the files named, or add what"
            " they point to"
        )
    return sources


def _add_written(root: Path, pages: dict[str, str], files: dict[str, bytes]) -> None:
    """The pages that people write: the README, `workbook/pages`, how to contribute."""
    places = {f"{_HERE}/{path.name}": path.name for path in PAGES.glob("*.md")}
    places |= {"README.md": "index.md", ".github/CONTRIBUTING.md": "contributing.md"}
    places |= {f"notebooks/{Path(place).stem}.ipynb": place for place in pages}
    made = {"recipes": recipes_text, "results": lambda: results_text(root / "data" / "results")}
    for source, place in places.items():
        if source.endswith(".ipynb"):
            continue
        path = PAGES / Path(source).name if source.startswith(_HERE) else root / source
        if not path.exists():
            raise AdapterError(f"{path} is missing, from which the site's page {place} is made")
        text = path.read_text(encoding="utf-8")
        for name, write in made.items():
            if (mark := f"<!-- made: {name} -->") in text:
                text = text.replace(mark, write())
        pages[place] = _relinked(text, root, source, place, places, files)


def _relinked(
    text: str, root: Path, source: str, place: str, places: dict[str, str], files: dict[str, bytes]
) -> str:
    """Links between files of the repository as links between places of the site; a linked file that is no
    page is taken along in `files`."""

    def turned(match: re.Match[str]) -> str:
        target, hash_, anchor = match[2].partition("#")
        if not target or _WEB.match(match[2]):
            return match[0]
        full = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        goal = places.get(full)
        if goal is None and (root / full).is_file() and not full.startswith("../"):
            goal = full
            files[full] = (root / full).read_bytes()
        if goal is None:
            return match[0]  # `broken_links` names it
        return (
            f"{match[1]}{posixpath.relpath(goal, posixpath.dirname(place) or '.')}{hash_}{anchor}{match[3]}"
        )

    return _outside_code(text, lambda prose: _LINK.sub(turned, prose))


def _without_badges(text: str) -> str:
    """A badge is a picture from a network; on the site its words stand there instead."""
    return _outside_code(text, lambda prose: _BADGE.sub(r"\1", prose))


def _outside_code(text: str, change: Any) -> str:
    pieces = _FENCE.split(text)  # prose, block, its fence, prose, …
    return "".join(
        change(piece) if index % 3 == 0 else piece for index, piece in enumerate(pieces) if index % 3 != 2
    )


def broken_links(sources: Sources) -> list[str]:
    """ "page: link" of every link, outside code, to a page or file that is not there."""
    known = {*sources.pages, *sources.files}
    broken: list[str] = []
    for place, text in sources.pages.items():

        def look(prose: str, place: str = place) -> str:
            for match in _LINK.finditer(re.sub(r"`[^`\n]*`(?!\])", "", prose)):
                target = match[2].partition("#")[0]
                if not target or _WEB.match(match[2]):
                    continue
                if posixpath.normpath(posixpath.join(posixpath.dirname(place), target)) not in known:
                    broken.append(f"{place}: {match[2]}")
            return prose

        _outside_code(text, look)
    return broken


def _nav(pages: dict[str, str], titles: dict[str, str]) -> list[dict[str, Any]]:
    reference = sorted(p for p in pages if p.startswith("reference/") and p != "reference/main.md")
    written = {Path(place).stem: place for place in pages if "/" not in place}
    return [
        {"Start": "index.md"},
        {"Notebooks": [{title: f"notebooks/{stem}.md"} for stem, title in titles.items()]},
        {"Using it": [written[name] for name in ORDER]},
        {
            "Methods": [
                {"All methods": "methods.md"},
                *({name: f"methods/{slug(name)}.md"} for name in METHODS),
                {"Add one": "contributing.md"},
            ]
        },
        {"Recipes": "recipes.md"},
        {"Costs": "costs.md"},
        {"Results": ["results.md", "offline.md"]},
        {
            "Reference": [
                {"The main names": "reference/main.md"},
                *({Path(place).stem: place} for place in reference),
            ]
        },
        {"More": ["glossary.md", "changelog.md", "papers.md"]},
    ]
