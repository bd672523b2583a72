"""The pages of the site: all there, all links lead somewhere, every method and every package has its page."""

import ast
import dataclasses
import re
from pathlib import Path

import pytest

import adapters_lib as al
from adapters_lib import cli
from adapters_lib.experiments.report import render, stored_table
from adapters_lib.methods import METHODS
from adapters_lib.training.published_recipes import PRESETS
from adapters_lib.workbook import page_tables
from adapters_lib.workbook.main_names import MAIN
from adapters_lib.workbook.page_methods import cost_table, diagram_of, method_page, slug
from adapters_lib.workbook.page_notebooks import notebook_page
from adapters_lib.workbook.page_reference import public_modules
from adapters_lib.workbook.sources import PAGES, Sources, broken_links, make_sources

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def sources() -> Sources:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_tables, "BACKBONES", ())  # counting takes half a minute; tested by itself below
        return make_sources(ROOT)


def test_every_page_that_a_reader_was_promised_is_there(sources: Sources) -> None:
    promised = {"index", "recipes", "costs", "results", "contributing", "glossary", "changelog", "methods"}
    promised |= {f"notebooks/{path.stem}" for path in NOTEBOOKS} | {"reference/main"}
    promised |= {path.stem for path in PAGES.glob("*.md")}
    assert {f"{name}.md" for name in promised} <= set(sources.pages)


def test_every_page_is_in_the_menu_once(sources: Sources) -> None:
    listed = re.findall(r"'([\w/+-]+\.md)'", str(sources.nav))
    assert sorted(listed) == sorted(sources.pages)


def test_no_link_leads_nowhere_and_one_that_does_is_named(sources: Sources) -> None:
    assert broken_links(sources) == []
    pages = {
        "a.md": "[x](b.md) [y](c.md#z) [w](https://a.b) `[n](o.md)`\n\n```\n[n](o.md)\n```\n",
        "b.md": "",
    }
    assert broken_links(sources._replace(pages=pages)) == ["a.md: c.md#z"]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_page_with_its_source_equation_and_options(name: str, sources: Sources) -> None:
    page = sources.pages[f"methods/{slug(name)}.md"]
    assert f"(methods/{slug(name)}.md)" in sources.pages["methods.md"]
    assert METHODS[name].source in page
    assert len(page.partition("## Equation and shapes")[2].partition("## Options")[0]) > 200
    for option in dataclasses.fields(METHODS[name]):
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{option.name}` |")]
        assert row.split("|")[-2].strip(), f"no Args line says what {option.name} means"
    assert "\nArgs:" not in page


@pytest.mark.parametrize("name", ["ila", "ila+"])
def test_an_option_is_explained_in_the_words_of_the_docstring(name: str, sources: Sources) -> None:
    lines = sources.pages[f"methods/{slug(name)}.md"].splitlines()
    (row,) = [line for line in lines if line.startswith("| `kernel`")]
    assert row.endswith("| side of both convolutions; the grid shrinks by kernel − 1. |")


def test_a_method_shows_its_diagram_if_somebody_has_drawn_it(tmp_path: Path) -> None:
    folder = tmp_path / "figures" / "diagrams"
    folder.mkdir(parents=True)
    assert diagram_of(tmp_path, "ila++") is None
    assert method_page(tmp_path, "ila++")[1] == []
    drawn = folder / "ila-plus-plus.svg"
    drawn.write_text("<svg/>")
    page, shown = method_page(tmp_path, "ila++")
    assert shown == [drawn]
    assert "](../figures/diagrams/ila-plus-plus.svg)" in page


def test_every_module_with_public_names_stands_in_the_reference(sources: Sources) -> None:
    for package, modules in public_modules().items():
        assert re.findall(r"^::: (.+)$", sources.pages[f"reference/{package}.md"], re.MULTILINE) == modules
    homes = {
        getattr(al, name).__module__ for name in al.__all__ if hasattr(getattr(al, name), "__qualname__")
    }
    assert homes - {module for modules in public_modules().values() for module in modules} == set()


@pytest.mark.parametrize("name", MAIN)
def test_a_main_name_has_its_signature_and_its_example(name: str, sources: Sources) -> None:
    page = sources.pages["reference/main.md"]
    section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    (signature,) = re.findall(r"```python\n(.*?)\n```", section, re.DOTALL)
    ast.parse(signature.partition(") -> ")[0].partition("(")[0])
    assert signature.startswith(f"al.{name}")
    assert "'str" not in signature
    (example,) = re.findall(r"```pycon\n(.*?)\n```", section, re.DOTALL)
    assert example.startswith(">>> ")
    assert name in example


def test_recipes_and_tables_stand_on_their_pages(sources: Sources) -> None:
    for preset in PRESETS:
        assert f"\n### {preset}\n" in sources.pages["recipes.md"]
    assert render(stored_table("methods", ROOT / "data" / "results")) in sources.pages["results.md"]
    assert "## What the tables decide" in sources.pages["results.md"]
    assert "](data/results/methods.csv)" in sources.pages["results.md"]
    assert sources.files["data/results/methods.csv"] == (ROOT / "data/results/methods.csv").read_bytes()


def test_the_costs_are_those_that_the_library_counts() -> None:
    vit = al.create_backbone(pretrained=False)
    counted = al.cost(al.adapt(vit, "lora", num_classes=20))
    (row,) = [line for line in cost_table("micro_vit", ["lora"]).splitlines() if line.startswith("| `lora`")]
    assert f"| {counted.trainable['adapter']:,} |" in row
    assert f"| {counted.macs / 1e6:,.1f} |" in row
    assert "`lora + dyn`" in cost_table("micro_vit", ["dyn"])


def test_the_glossary_is_sorted_and_says_two_sentences_of_every_term() -> None:
    text = (PAGES / "glossary.md").read_text()
    terms = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert len(terms) >= 40
    assert terms == sorted(terms, key=str.casefold)
    for term, meaning in re.findall(r"^## (.+)\n\n(.+(?:\n.+)*)", text, re.MULTILINE):
        assert len(re.findall(r"[.?!](?=\s|$)", meaning)) == 2, term


def test_the_changelog_ends_at_the_version_that_is_here() -> None:
    versions = re.findall(r"^## (\d+\.\d+\.\d+)$", (PAGES / "changelog.md").read_text(), re.MULTILINE)
    assert versions == sorted(versions, reverse=True)
    assert {"0.1.0", "0.2.0", "0.3.0"} <= set(versions)
    assert al.__version__ in versions


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebooks_page_shows_its_figures_and_folds_its_solutions(path: Path, sources: Sources) -> None:
    page = sources.pages[f"notebooks/{path.stem}.md"]
    shown = re.findall(rf"!\[[^\]]*\]\(({path.stem}/[^)]+)\)", page)
    assert len(shown) == sources.figures[path.stem] >= 2
    assert {f"notebooks/{name}" for name in shown} <= set(sources.files)
    assert page.count("<summary>a solution</summary>") == 3
    assert ".ipynb)" not in re.sub(r"\]\(https?:[^)]*\)", "", page)


def test_badges_from_a_network_are_words_on_the_site_and_lead_to_colab_all_the_same(sources: Sources) -> None:
    for place in ("index.md", *(f"notebooks/{path.stem}.md" for path in NOTEBOOKS)):
        assert "[Open in Colab](https://" in sources.pages[place], place
        assert ".svg" not in sources.pages[place], place


def test_a_list_without_a_blank_line_before_it_is_one_all_the_same(tmp_path: Path) -> None:
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

    picture = new_output("display_data", {"image/png": "aGk="})
    text = "# 07 · A\n\nSee notebook 08:\n* one\n  * deeper\n* two\n\n```\n* code\n```"
    cells = [new_markdown_cell(text), new_code_cell("plot()", outputs=[picture])]
    nbformat.write(new_notebook(cells=cells), tmp_path / "07_a.ipynb")
    page = notebook_page(tmp_path / "07_a.ipynb", {"08": "08_b"})
    assert "See [notebook 08](08_b.ipynb):\n\n* one\n    * deeper\n* two\n\n```\n* code\n```" in page.markdown
    assert page.figures == {"figure_1.png": b"hi"}


@pytest.mark.parametrize(
    ("kind", "name"), [("image/jpeg", "figure_1.jpg"), ("image/svg+xml", "figure_1.svg")]
)
def test_photographs_and_drawings_are_pictures_too(kind: str, name: str, tmp_path: Path) -> None:
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

    picture = new_output("display_data", {kind: "aGk="})
    cells = [new_markdown_cell("# 07 · A\n\n**Why?**"), new_code_cell("plot()", outputs=[picture])]
    nbformat.write(new_notebook(cells=cells), tmp_path / "07_a.ipynb")
    assert notebook_page(tmp_path / "07_a.ipynb", {}).figures.keys() == {name}


def test_a_page_that_is_missing_and_a_dead_link_are_refused(tmp_path: Path, sources: Sources) -> None:
    with pytest.raises(al.AdapterError, match="no notebook in"):
        make_sources(tmp_path)
    assert cli.main(["site", "--root", str(tmp_path)]) == 2
