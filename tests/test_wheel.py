"""What is built from the tree is whole: the wheel has weights, notebooks and tables, the source archive all
that tests need; and a copy of the workbook works where nothing but the wheel is."""

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import nbformat
import pytest

import adapters_lib as al
from adapters_lib import cli
from adapters_lib.workbook.copying import copy_workbook
from adapters_lib.workbook.run import execute

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
TABLES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "data").glob("*.csv"))
BUILT = ("adapters_lib", "notebooks", "data", "tests", ".github", ".ci")


def run(*command: object, **options: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, so that the build leaves nothing behind in the repository."""
    copy = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("__pycache__", "*.lock", "real", "cache", ".ipynb_checkpoints")
    for name in BUILT:
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file() and (path.name == ".gitignore" or not path.name.startswith(".")):
            shutil.copy(path, copy)
    (copy / "figures").mkdir()
    shutil.copy(ROOT / "figures" / "02_accuracy_against_cost.png", copy / "figures")
    return copy


@pytest.fixture(scope="module")
def installed(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the wheel is installed, without any dependency."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip")
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, tree)
    (wheel,) = folder.glob("*.whl")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", "--target", folder / "site", wheel)
    return folder / "site"


def test_the_wheel_holds_weights_pages_notebooks_and_tables(installed: Path) -> None:
    (wheel,) = installed.parent.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    tracked = {path for path in (ROOT / "adapters_lib").rglob("*") if path.is_file()}
    package = {p.relative_to(ROOT).as_posix() for p in tracked if "__pycache__" not in p.parts}
    assert package - held == set()
    inside = "adapters_lib/workbook/files"
    assert {f"{inside}/notebooks/{name}" for name in NOTEBOOKS} <= held
    assert {f"{inside}/{name}" for name in TABLES} <= held
    results = [path.relative_to(ROOT).as_posix() for path in (ROOT / "data" / "results").rglob("*.csv")]
    assert {f"{inside}/{name}" for name in results} <= held
    assert not [name for name in held if name.startswith("tests/") or name.endswith(".lock")]


def test_the_wheel_says_whose_it_is_and_what_it_is_for(installed: Path) -> None:
    (metadata,) = installed.glob("adapters_lib-*.dist-info/METADATA")
    text = metadata.read_text(encoding="utf-8")
    assert "Author: the authors" in text
    for wanted in (
        "Keywords: ",
        "Classifier: Topic ::",
        "Project-URL: Repository, ",
        "Project-URL: Issues, ",
    ):
        assert wanted in text, wanted


def test_the_source_archive_holds_every_tracked_file_but_figures(tree: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this tree is no git repository, so what is tracked is not known")
    build = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    run(sys.executable, "-c", build, cwd=tree)
    (archive,) = (tree / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    listed = run("git", "ls-files", "-z", "--", ".", ":!figures", cwd=ROOT).split("\0")
    tracked = {name for name in listed if name and (ROOT / name).exists()}
    assert len(tracked) > 200
    assert tracked - held == set()
    assert {"README.md", "Makefile", "setup.py", "figures/02_accuracy_against_cost.png"} <= held


@pytest.fixture(scope="module")
def copied(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """(the workbook laid out by the wheel in an empty folder, an environment that knows only the wheel)."""
    empty = tmp_path_factory.mktemp("empty")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ADAPTERS_")},
        "PYTHONPATH": str(installed),
        "ADAPTERS_QUICK": "1",
        "MPLBACKEND": "agg",
    }
    copy = (sys.executable, "-m", "adapters_lib", "workbook", "--copy", "mine")
    assert "files written" in run(*copy, cwd=empty, env=environment)
    assert ": 0 files written; " in run(*copy, cwd=empty, env=environment)
    return empty / "mine", environment


def _code(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    return [c.source for c in cells if c.cell_type == "code" and "solution" not in c.metadata.get("tags", [])]


def _run_there(code: list[str], copied: tuple[Path, dict[str, str]]) -> str:
    """What the code prints as a notebook of the copy would, and where the library came from."""
    mine, environment = copied
    script = mine / "notebooks" / "script.py"
    where = "import adapters_lib\nprint('came from', adapters_lib.__file__)"
    script.write_text("\n\n".join([*code, where]) + "\n", encoding="utf-8")
    try:
        return run(sys.executable, script, cwd=script.parent, env=environment)
    finally:
        script.unlink()


def test_a_copy_made_by_the_wheel_alone_finds_its_tables(
    copied: tuple[Path, dict[str, str]], installed: Path
) -> None:
    mine, _ = copied
    assert sorted(path.name for path in (mine / "notebooks").iterdir()) == NOTEBOOKS
    cells = _code(mine / "notebooks" / "05_padapter.ipynb")
    (reads_what_papers_say,) = [cell for cell in cells if "published(" in cell]
    imports = [
        ast.unparse(node)
        for node in ast.parse(cells[1]).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    reads_runs = (
        "from adapters_lib.experiments import stored\nfrom adapters_lib.files import output_folder\n"
        "print('rows', len(stored('methods', output_folder('data/results'))))"
    )
    printed = _run_there([cells[0], *imports, reads_what_papers_say, reads_runs], copied)
    assert f"came from {installed}" in printed
    assert "rows 0" not in printed
    assert "rows " in printed


@pytest.mark.notebooks
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_of_the_copy_runs_in_its_small_setting(
    name: str, copied: tuple[Path, dict[str, str]], installed: Path, tmp_path: Path
) -> None:
    mine, environment = copied
    notebook = nbformat.read(mine / "notebooks" / name, as_version=4)
    where = "import adapters_lib\nprint('came from', adapters_lib.__file__)"
    notebook.cells.append(nbformat.v4.new_code_cell(where))
    path = mine / "notebooks" / f"ran_{name}"
    nbformat.write(notebook, path)
    settings = {"PYTHONPATH": environment["PYTHONPATH"], "ADAPTERS_QUICK": "1", "ADAPTERS_OUT": str(tmp_path)}
    try:
        execute(path, tmp_path / name, settings=settings)
    finally:
        path.unlink()
    outputs = [
        output
        for cell in nbformat.read(tmp_path / name, as_version=4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream"
    ]
    assert f"came from {installed}" in outputs[-1].text
    assert not [output.text for output in outputs if output.name == "stderr"]  # no warnings, no logs


def test_the_command_runs_a_notebook_of_a_copy_in_place_and_keeps_its_first_cell(
    copied: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    _, environment = copied
    path = tmp_path / "notebooks" / "00_short.ipynb"
    path.parent.mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cells = [nbformat.v4.new_markdown_cell("# Short"), nbformat.v4.new_code_cell("print(6 * 7)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    said = run(sys.executable, "-m", "adapters_lib", "workbook", "00", cwd=tmp_path, env=environment)
    assert "1 notebooks in" in said
    first, second = nbformat.read(path, as_version=4).cells
    assert (first.source, second.source) == ("# Short", "print(6 * 7)")
    assert second.outputs[0].text == "42\n"


def test_files_that_are_there_stay_unless_forced(tmp_path: Path) -> None:
    mine = tmp_path / "notebooks" / "02_first_adapters.ipynb"
    mine.parent.mkdir()
    mine.write_text("my notes")
    copied = copy_workbook(tmp_path, ["02", "03"])
    assert copied.kept == ["notebooks/02_first_adapters.ipynb"]
    assert mine.read_text() == "my notes"
    assert sorted(path.name for path in mine.parent.iterdir()) == NOTEBOOKS[2:4]
    assert (tmp_path / "data" / "results" / "methods.csv").exists()
    forced = copy_workbook(tmp_path, ["02"], force=True)
    assert forced.kept == []
    assert mine.read_bytes() == (ROOT / "notebooks" / "02_first_adapters.ipynb").read_bytes()


def test_copies_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(al.AdapterError, match="file is a file; name a folder"):
        copy_workbook(tmp_path / "file")
    with pytest.raises(al.AdapterError, match="is where the notebooks are; name another"):
        copy_workbook(ROOT)
    with pytest.raises(al.AdapterError, match=r"matches \['77'\]; give a part of a name"):
        copy_workbook(tmp_path / "new", ["77"])
    assert not (tmp_path / "new").exists()
    for options in (["--copy", "x", "--quick"], ["--force"], ["--copy", "x", "--out", "y"]):
        assert cli.main(["workbook", *options]) == 2
        assert "--copy" in capsys.readouterr().err
