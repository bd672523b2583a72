"""The first cell of a notebook tries the variable, an installed package, the package index, the repository,
in this order, and ends in one sentence. pip is pretended: what it is asked for is what is tested."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adapters_lib.workbook import run as workbook

ROOT = Path(__file__).parents[1]
REPOSITORY = f"git+{workbook.repository(ROOT)}"
PACKAGE = workbook._project(ROOT)["name"]


def first_cell(
    monkeypatch: pytest.MonkeyPatch, *, given: str | None, installed: bool, works: tuple[str, ...]
) -> list[str]:
    """Run the cell; return what pip was asked for. installed: the library is there; works: sources that pip
    can install."""
    asked: list[str] = []
    state = {"installed": installed}

    def pip(command: list[str]) -> subprocess.CompletedProcess:
        assert command[:4] == [sys.executable, "-m", "pip", "install"]
        asked.append(command[-1])
        state["installed"] |= command[-1] in works
        return subprocess.CompletedProcess(command, 0 if command[-1] in works else 1)

    monkeypatch.setattr("subprocess.run", pip)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if state["installed"] else None)
    monkeypatch.setattr("adapters_lib.cores.use_cores", lambda: None)
    monkeypatch.delenv("ADAPTERS_LIB_SOURCE", raising=False)
    if given:
        monkeypatch.setenv("ADAPTERS_LIB_SOURCE", given)
    exec(workbook.first_cell(ROOT), {})
    return asked


@pytest.mark.parametrize(
    ("given", "installed", "works", "asked"),
    [
        ("my.whl", True, ("my.whl",), ["my.whl"]),
        ("my.whl", True, (), ["my.whl"]),
        ("my.whl", False, ("my.whl", PACKAGE), ["my.whl"]),
        (None, True, (), []),
        (None, False, (PACKAGE, REPOSITORY), [PACKAGE]),
        (None, False, (REPOSITORY,), [PACKAGE, REPOSITORY]),
        ("my.whl", False, (REPOSITORY,), ["my.whl", PACKAGE, REPOSITORY]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_sources_are_tried_in_order_and_no_further_than_needed(
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    installed: bool,
    works: tuple[str, ...],
    asked: list[str],
) -> None:
    assert first_cell(monkeypatch, given=given, installed=installed, works=works) == asked


def test_at_the_end_one_sentence_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError) as raised:
        first_cell(monkeypatch, given="my.whl", installed=False, works=())
    assert str(raised.value) == (
        "adapters_lib is not installed; pip could not install it from my.whl or "
        f"{PACKAGE} or {REPOSITORY}; set ADAPTERS_LIB_SOURCE to a wheel, a folder or an address that pip can"
        " install."
    )


def test_name_and_address_come_from_the_one_place(tmp_path: Path) -> None:
    project = '[project]\nname = "mine"\n[project.urls]\nRepository = "https://example.org/mine"\n'
    (tmp_path / "pyproject.toml").write_text(project)
    assert 'tried += ["mine", "git+https://example.org/mine"]' in workbook.first_cell(tmp_path)


def test_writing_the_first_cell_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "00_start_here.ipynb"
    shutil.copy(ROOT / "notebooks" / path.name, path)
    before = path.read_bytes()
    workbook.write_first_cell(path, ROOT)
    assert path.read_bytes() == before
    notebook = json.loads(before)
    notebook["cells"][0]["source"] = ["# A title\n", "\n", "\n", "What it asks."]
    path.write_text(json.dumps(notebook))
    for _ in range(2):
        workbook.write_first_cell(path, ROOT)
        opening = "".join(json.loads(path.read_text())["cells"][0]["source"]).split("\n\n")
        assert (opening[0], opening[2:]) == ("# A title", ["What it asks."])
        assert opening[1].startswith("[![Open in Colab]")


def test_the_minutes_that_a_notebook_took_are_written_where_they_are_promised(tmp_path: Path) -> None:
    path, readme = tmp_path / "00_start_here.ipynb", tmp_path / "README.md"
    shutil.copy(ROOT / "notebooks" / path.name, path)
    shutil.copy(ROOT / "README.md", readme)
    promises = ((7.4, 2, "7 minutes on two CPU cores"), (0.2, 1, "1 minute on one CPU core"))
    for minutes, cores, said in promises:
        workbook.write_minutes(path, readme, minutes, cores)
        opening = "".join(json.loads(path.read_text())["cells"][0]["source"])
        assert f"**Time:** about {said}" in opening
        (row,) = [line for line in readme.read_text().splitlines() if f"(notebooks/{path.name})" in line]
        assert row.endswith(f"| {said.split()[0]} |")
    before = path.read_bytes()
    other = [line for line in readme.read_text().splitlines() if path.name not in line]
    assert other == [line for line in (ROOT / "README.md").read_text().splitlines() if path.name not in line]
    workbook.write_minutes(path, readme, 0.2, 1)
    assert path.read_bytes() == before
