"""The whole site is built from the tree, asks for nothing from a network, and can be searched.

Skipped where the packages of the extra `site` are not installed; the pages' sources are tested without them.
"""

import json
import re
from pathlib import Path

import nbformat
import pytest

import adapters_lib as al
from adapters_lib.methods import METHODS
from adapters_lib.workbook import page_tables, reference
from adapters_lib.workbook.mathml import on_page_content, to_mathml
from adapters_lib.workbook.page_methods import slug

ROOT = Path(__file__).parents[1]
needs_the_extra = pytest.mark.skipif(
    bool(reference.missing()), reason=f"the extra `site` is not installed: {', '.join(reference.missing())}"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    out.mkdir()
    (out / "old.html").write_text("of an earlier build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_tables, "BACKBONES", ())
        reference.build_reference(ROOT, out)
    return out


@needs_the_extra
def test_the_site_has_every_page_and_nothing_of_an_earlier_build(site: Path) -> None:
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    wanted = {"index.html", "glossary.html", "reference/main.html", "reference/methods.html"}
    wanted |= {f"notebooks/{path.stem}.html" for path in (ROOT / "notebooks").glob("*.ipynb")}
    wanted |= {f"methods/{slug(name)}.html" for name in METHODS}
    assert wanted <= pages
    assert "old.html" not in pages


@needs_the_extra
def test_no_page_fetches_anything_from_a_network(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe|source)[^>]+src=\"(https?:[^\"]+)", text)
        fetched += re.findall(r"<link(?![^>]+rel=\"canonical)[^>]+href=\"(https?:[^\"]+)", text)
        assert fetched == [], path


@needs_the_extra
def test_links_to_names_of_the_reference_find_their_place(site: Path) -> None:
    main = (site / "reference" / "main.html").read_text(encoding="utf-8")
    for page, anchor in set(re.findall(r'href="(\w+)\.html#(adapters_lib[\w.]+)"', main)):
        assert f'id="{anchor}"' in (site / "reference" / f"{page}.html").read_text(encoding="utf-8"), anchor


@needs_the_extra
def test_the_reference_shows_shapes_errors_and_signatures(site: Path) -> None:
    page = (site / "reference" / "exits.html").read_text(encoding="utf-8")
    section = page.partition('id="adapters_lib.exits.classify.classify"')[2].partition("<h2")[0]
    for words in ("Parameters:", "Raises:", "Returns:", "Examples:", "AdapterError", "max_pixels"):
        assert words in section, words


@needs_the_extra
def test_the_search_knows_notebooks_docstrings_and_the_glossary_without_a_server(site: Path) -> None:
    places = {
        entry["location"] for entry in json.loads((site / "search/search_index.json").read_text())["docs"]
    }
    for wanted in ("glossary.html#pareto-front", "reference/costs.html#adapters_lib.costs.cost.cost"):
        assert wanted in places
    assert any(place.startswith("notebooks/03_ila.html#") for place in places)
    assert (site / "search" / "search_index.js").read_text().startswith("var __index = ")
    assert 'src="assets/iframe-worker.js"' in (site / "index.html").read_text()
    assert (site / "assets" / "iframe-worker.js").exists()


@needs_the_extra
def test_every_equation_of_the_notebooks_becomes_mathml(site: Path) -> None:
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
        equations = [
            tex for cell in cells for tex in re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", cell.source, re.S)
        ]
        page = (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        assert page.count("<math") == len(equations)
        assert "arithmatex" not in page
        assert "$$" not in page


@needs_the_extra
def test_an_equation_is_drawn_and_one_that_cannot_be_read_is_named() -> None:
    html = on_page_content(r'a <span class="arithmatex">\(x &lt; y\)</span> b', page=None)
    assert "<math" in html
    assert "<mo>&#x0003C;</mo>" in html
    assert "arithmatex" not in html
    with pytest.raises(ValueError, match=r"the equation 'a\^' cannot be read"):
        to_mathml("a^")


@needs_the_extra
def test_what_mkdocs_finds_wrong_is_said_and_the_old_site_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = reference.Sources({"index.md": "[a](#nowhere) [b](gone.md)"}, {}, [{"Start": "index.md"}], {}, {})
    monkeypatch.setattr(reference, "make_sources", lambda root: good)
    old = tmp_path / "site" / "index.html"
    old.parent.mkdir()
    old.write_text("old")
    with pytest.raises(al.AdapterError, match=r"mkdocs built no site: .*gone\.md"):
        reference.build_reference(ROOT, tmp_path / "site")
    assert old.read_text() == "old"


def test_without_the_extra_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reference, "NEEDED", ("no_such_module",))
    monkeypatch.setattr(reference, "make_sources", lambda root: reference.Sources({}, {}, [], {}, {}))
    with pytest.raises(al.AdapterError, match=r'\(no_such_module\): pip install -e "\.\[site\]"'):
        reference.build_reference(ROOT, tmp_path / "site")
    assert not (tmp_path / "site").exists()
