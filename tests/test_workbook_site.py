"""The site shows every figure of the executed notebooks without a kernel, and refuses notebooks that have
nothing to show."""

import base64
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import adapters_lib as al
from adapters_lib import cli
from adapters_lib.workbook import PICTURES, site as workbook_site

ROOT = Path(__file__).parents[1]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
FIGURE = new_output("display_data", {"image/png": PNG})


def write(root: Path, name: str, text: str, *cells: object) -> Path:
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=[new_markdown_cell(text), *cells]), path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    text = (
        "# 00 · Start\n\n**Does it\nwork?**\n\nSee notebook 01, [the same](01_next.ipynb#Two), and notebook"
        " 00.\n\n## One"
    )
    solution = new_code_cell("secret = 1", outputs=[FIGURE], metadata={"tags": ["solution"]})
    write(tmp_path, "00_start", text, new_code_cell("plot()", outputs=[FIGURE]), solution)
    write(tmp_path, "01_next", "# 01 · Next\n\n**Why?**\n\n## Two", new_code_cell("plot()", outputs=[FIGURE]))
    return tmp_path


def test_every_figure_of_every_notebook_is_inside_its_page(root: Path) -> None:
    pages = workbook_site.build(root, root / "site")
    assert [page.figures for page in pages] == [2, 1]
    for page in pages:
        html = (root / "site" / f"{page.name}.html").read_text()
        assert html.count(f"data:image/png;base64,{PNG}") == page.figures
        assert not re.findall(r'<img[^>]+src="(?!data:)', html)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb"))[:1], ids=lambda p: p.stem)
def test_a_notebook_of_the_workbook_shows_as_many_figures_as_it_holds(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    outputs = [o for cell in cells if cell.cell_type == "code" for o in cell.outputs]
    held = sum(bool(PICTURES.keys() & o.get("data", {}).keys()) for o in outputs)
    assert workbook_site.render(path).figures == held > 0


def test_the_table_of_contents_holds_titles_questions_and_sections(root: Path) -> None:
    workbook_site.build(root, root / "site")
    index = (root / "site" / "index.html").read_text()
    assert '<a href="00_start.html">00 · Start</a></b><p>Does it work?</p>' in index
    assert '<a href="01_next.html#Two">Two</a>' in index


def test_every_link_between_pages_leads_somewhere(root: Path) -> None:
    workbook_site.build(root, root / "site")
    for path in (root / "site").glob("*.html"):
        targets = re.findall(r'href="([\w.]+\.(?:html|ipynb))', path.read_text())
        assert targets
        assert not [target for target in targets if not (root / "site" / target).exists()]
    start = (root / "site" / "00_start.html").read_text()
    assert '<a href="01_next.html">notebook 01</a>' in start
    assert '<a href="01_next.html#Two">the same</a>' in start
    assert "and notebook 00" in start


def test_a_solution_is_folded_and_its_output_is_not(root: Path) -> None:
    html = workbook_site.render(root / "notebooks" / "00_start.ipynb").html
    before, folded = html.split("<details>")
    code, after = folded.split("</details>")
    assert "secret" in code
    assert "secret" not in before + after
    assert PNG in after


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            [new_code_cell("plot()")],
            "holds no figure; it was not executed: run `python -m adapters_lib workbook 07`",
        ),
        (
            [new_code_cell("1/0", outputs=[FIGURE, new_output("error", ename="E", evalue="", traceback=[])])],
            "holds an error",
        ),
    ],
)
def test_a_notebook_that_has_nothing_to_show_is_refused(
    tmp_path: Path, cells: list, message: str, capsys
) -> None:
    write(tmp_path, "07_x", "# 07", *cells)
    with pytest.raises(al.AdapterError, match=message):
        workbook_site.build(tmp_path, tmp_path / "site")
    assert cli.main(["site", "--root", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_files_that_are_no_notebooks_are_named(tmp_path: Path) -> None:
    with pytest.raises(al.AdapterError, match="no notebook in"):
        workbook_site.build(tmp_path, tmp_path / "site")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_broken.ipynb").write_text("{")
    with pytest.raises(al.AdapterError, match="00_broken.ipynb cannot be read"):
        workbook_site.build(tmp_path, tmp_path / "site")


def test_names_and_headings_in_the_table_of_contents_are_text(tmp_path: Path) -> None:
    name = '00_a"><b>'
    write(
        tmp_path,
        name,
        "# 00 · A <i>\n\n**Why?**\n\n## <script>x</script> & more",
        new_code_cell("plot()", outputs=[FIGURE]),
    )
    workbook_site.build(tmp_path, tmp_path / "site")
    index = (tmp_path / "site" / "index.html").read_text()
    assert "<script>" not in index
    assert 'href="00_a%22%3E%3Cb%3E.html"' in index
