"""The notebooks are fit to read on GitHub. That every cell of them runs is in tests/test_wheel.py."""

import io
import json
import os
import shutil
import subprocess
import sys
import tokenize
import venv
from pathlib import Path

import nbformat
import pytest

import adapters_lib as al
from adapters_lib import cli
from adapters_lib.files import output_folder
from adapters_lib.workbook import PICTURES, run as workbook

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def _code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks_and_they_are_in_order() -> None:
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert numbers[:3] == ["00", "01", "02"]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_committed_notebook_shows_its_figures_without_a_kernel(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in _code(notebook) for output in cell.outputs]
    assert path.stat().st_size <= workbook.LIMIT_MB * 1e6
    assert "widgets" not in notebook.metadata
    assert sum(bool(PICTURES.keys() & output.get("data", {}).keys()) for output in outputs) >= 2
    assert not [
        o
        for o in outputs
        if o.output_type == "error" or "application/vnd.jupyter.widget-view+json" in o.get("data", {})
    ]
    assert not [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"], (
        "warnings or logs in a cell"
    )
    assert all(cell.execution_count for cell in _code(notebook))


def _logical_lines(source: str) -> int:
    """Statements and comments: what is folded at 100 columns counts once."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    ends = (token for token in tokens if token.type in (tokenize.NEWLINE, tokenize.COMMENT))
    return len({token.start[0] for token in ends})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_opens_with_the_question_and_ends_with_three_exercises(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    opening = notebook.cells[0].source
    for promise in ("?**", "**You will learn**", "**You should see**", "**Time:**"):
        assert promise in opening, promise
    solutions = [cell for cell in _code(notebook) if "solution" in cell.metadata.get("tags", [])]
    assert len(solutions) == 3
    assert all(cell.metadata["jupyter"]["source_hidden"] for cell in solutions)
    assert not [cell.source.splitlines()[0] for cell in _code(notebook) if _logical_lines(cell.source) > 27]


def test_a_written_notebook_keeps_warnings_except_those_that_its_figures_say() -> None:
    known = "/tmp/x.py:1: OutdatedRows: made by another version than 2: lora 1; run the grid\n  draw(table)\n"
    other = "/tmp/x.py:2: UserWarning: look here\n  look()\n"
    ours = "/home/me/tree/adapters_lib/figures/x.py:2: UserWarning: look here\n"
    texts = (known, known + other, ours)
    streams = [nbformat.v4.new_output("stream", name="stderr", text=text) for text in texts]
    printed = nbformat.v4.new_output("stream", name="stdout", text=known)
    cell = nbformat.v4.new_code_cell("draw(table)", outputs=[*streams, printed])
    workbook._clean(nbformat.v4.new_notebook(cells=[cell]))
    kept = [other, ours.removeprefix("/home/me/tree/"), known]
    assert [output.text for output in cell.outputs] == kept


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_badge_opens_the_notebook_on_colab_from_the_one_address(path: Path) -> None:
    badge = workbook.colab_badge(ROOT, path.name)
    assert badge in nbformat.read(path, as_version=4).cells[0].source.splitlines()
    assert badge in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_first_cell_installs_on_colab_from_the_one_address(path: Path) -> None:
    first = _code(nbformat.read(path, as_version=4))[0].source
    assert first == workbook.first_cell(ROOT)


@pytest.mark.notebooks
def test_on_colab_the_first_cell_of_a_lone_notebook_makes_the_rest_run(tmp_path: Path) -> None:
    """As on Colab: torch and timm are there, this library is not, and the notebook was opened alone."""
    wheels, lone = tmp_path / "wheels", tmp_path / "content"
    lone.mkdir()
    copy = tmp_path / "source"
    shutil.copytree(
        ROOT / "adapters_lib", copy / "adapters_lib", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(wheels),
        str(copy),
    ]
    subprocess.run(build, check=True)
    (wheel,) = wheels.glob("*.whl")

    venv.create(tmp_path / "colab", with_pip=True)
    python = tmp_path / "colab" / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(
        subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    )
    installed = Path(next(p for p in sys.path if p.endswith("site-packages")))
    # What Colab brings; an editable install is not followed from here.
    (site / "preinstalled.pth").write_text(f"{installed}\n")
    (site / "google").mkdir()
    (site / "google" / "colab.py").write_text("")
    assert (
        subprocess.run([python, "-c", "import adapters_lib"], capture_output=True, cwd=lone).returncode != 0
    )

    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    code = [cell.source for cell in _code(notebook) if "solution" not in cell.metadata.get("tags", [])]
    script = lone / "notebook.py"
    script.write_text("import google.colab\n" + "\n\n".join(code) + "\nprint('came from', al.__file__)\n")
    environment = {
        **os.environ,
        "ADAPTERS_LIB_SOURCE": str(wheel),
        "ADAPTERS_QUICK": "1",
        "MPLBACKEND": "agg",
        "PYTHONPATH": "",
    }
    done = subprocess.run([python, script], capture_output=True, text=True, cwd=lone, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"came from {site}" in done.stdout


def _notebook(tmp_path: Path, *sources: str) -> Path:
    path = tmp_path / "n.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources], metadata=kernel), path
    )
    return path


def test_a_failing_notebook_is_left_as_it_was(tmp_path: Path) -> None:
    path = _notebook(tmp_path, "1 / 0")
    before = path.read_bytes()
    with pytest.raises(al.AdapterError, match="n.ipynb stopped at a failing cell(.|\n)*ZeroDivisionError"):
        workbook.execute(path, path)
    assert path.read_bytes() == before


def test_widget_views_and_state_are_taken_out_and_other_outputs_stay(tmp_path: Path) -> None:
    path = _notebook(tmp_path, "import ipywidgets\nipywidgets.IntSlider()", "print('kept')")
    workbook.execute(path, path)
    ran = json.loads(path.read_text())
    assert "widgets" not in ran["metadata"]
    assert ran["cells"][0]["outputs"] == []
    assert ran["cells"][1]["outputs"][0]["text"] == ["kept\n"]


def test_outputs_go_beside_the_notebooks_or_where_the_environment_says(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "notebooks").mkdir()
    monkeypatch.delenv("ADAPTERS_OUT", raising=False)
    monkeypatch.chdir(tmp_path / "notebooks")
    assert output_folder("figures") == tmp_path / "figures"
    monkeypatch.chdir(tmp_path)
    assert output_folder("figures") == tmp_path / "figures"
    monkeypatch.setenv("ADAPTERS_OUT", str(tmp_path / "x"))
    assert output_folder("data/results") == tmp_path / "x" / "data/results"


def test_no_match_is_said(tmp_path: Path, capsys) -> None:
    assert cli.main(["workbook", "77", "--root", str(tmp_path)]) == 2
    assert "matches ['77']" in capsys.readouterr().err
