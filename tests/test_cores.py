"""As many threads as the process has cores, waiting passively, unless the user has said otherwise."""

import os
import subprocess
import sys

import nbformat
import pytest
import torch

from adapters_lib import cores
from adapters_lib.workbook import run as workbook

CHILD = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from adapters_lib.cores import available_cores, use_cores
use_cores()
import torch
print(available_cores(), torch.get_num_threads())
"""


def _environment(**given: str) -> dict[str, str]:
    """That of a process whose user has set nothing but what is given; OpenMP prints what it goes by."""
    ours = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")
    return {
        **{name: value for name, value in os.environ.items() if name not in ours},
        "OMP_DISPLAY_ENV": "true",
        **given,
    }


def _run(*command: str, **given: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command],
        env=_environment(**given),
        capture_output=True,
        text=True,
        timeout=3600,
        check=True,
    )


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_that_may_use_one_core_computes_with_one_thread_that_waits_passively() -> None:
    done = _run("-c", CHILD)
    assert done.stdout.split() == ["1", "1"]
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr


def test_what_the_user_set_stays() -> None:
    code = (
        "from adapters_lib.cores import use_cores; use_cores(); import torch; print(torch.get_num_threads())"
    )
    done = _run("-c", code, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="ACTIVE")
    assert done.stdout.split() == ["1"]
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in done.stderr


def test_the_command_line_waits_passively() -> None:
    done = _run("-m", "adapters_lib", "cost", "--method", "linear", "--json")
    assert done.stdout.startswith("{")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr


def test_threads_of_a_running_process_are_never_made_more(monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(cores, "available_cores", lambda: 64)
    before = torch.get_num_threads()
    cores.use_cores()
    assert torch.get_num_threads() == before


def test_importing_the_library_sets_nothing() -> None:
    code = (
        "import os, adapters_lib as al, adapters_lib.cores, adapters_lib.experiments.run_grids;"
        " print('OMP_WAIT_POLICY' in os.environ)"
    )
    assert _run("-c", code).stdout.split() == ["False"]


def test_a_kernel_of_the_workbook_gets_both_settings(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    names = '("OMP_NUM_THREADS", "OMP_WAIT_POLICY")'
    cell = nbformat.v4.new_code_cell(f"import os\nprint(*(os.environ.get(name) for name in {names}))")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    workbook.execute(tmp_path / "a.ipynb", tmp_path / "b.ipynb")
    printed = nbformat.read(tmp_path / "b.ipynb", as_version=4).cells[0].outputs[0].text
    assert printed.split() == [str(cores.available_cores()), "PASSIVE"]


def test_the_cores_that_a_notebook_is_said_to_take_are_those_it_computes_with(monkeypatch) -> None:
    monkeypatch.setattr(cores, "available_cores", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert cores.chosen_threads() == 2
    for given, threads in (("1", 1), ("3,1", 3)):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert cores.chosen_threads() == threads
