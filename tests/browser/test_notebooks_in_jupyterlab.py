"""Every notebook opens in JupyterLab and runs, and every widget does what its controls say. Screenshots:
build/screenshots."""

from pathlib import Path

import pytest
from lab import Notebook

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def of(number: str) -> list[str]:
    """The notebook with this number."""
    return [name for name in NOTEBOOKS if name.startswith(number)]


@pytest.mark.parametrize("opened", NOTEBOOKS, indirect=True)
def test_a_notebook_runs_to_its_end_without_an_error(opened: Notebook) -> None:
    state = opened.state()
    assert state["errors"] == []
    assert state["done"] == state["cells"]
    assert state["stderr"] == []
    assert state["broken"] == 0
    assert state["figures"] >= 2
    assert opened.complaints == []


@pytest.mark.parametrize("opened", of("01"), indirect=True)
def test_the_granularity_dial_redraws_the_leaves(opened: Notebook) -> None:
    panel = opened.panel("granularity (0–1)")
    panel.shoot("dial-before")
    with panel.redraws():
        panel.slide("granularity (0–1)", "PageUp", 3)
    with panel.redraws():
        panel.slide("species (number)")
    panel.shoot("dial-after")
