"""The attention explorer and the granularity dial, operated by keyboard in JupyterLab: every control redraws, errors are read there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from lab import Notebook, Panel

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"

EXPLORER = """\
import adapters_lib as al
from adapters_lib.data_sets.leaves import load
from adapters_lib.widgets_attention import AttentionExplorer

models = {name: al.adapt(al.create_backbone(), name, num_classes=3, seed=0) for name in ("linear", "lora", "ila")}
AttentionExplorer(models, load("ultra", cultivars=3, n_train=1, n_val=1, n_test=2))"""
DIAL = """\
from adapters_lib.widgets_granularity import GranularityDial

GranularityDial(cultivars=4)"""


@pytest.fixture(scope="module")
def notebook(browser: Any, address: str, copy: Path) -> Iterator[Notebook]:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cells = [nbformat.v4.new_code_cell(text) for text in (EXPLORER, DIAL)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), copy / "notebooks" / "attention.ipynb")
    opened = Notebook(browser.new_page(viewport={"width": 1280, "height": 1400}), "attention", SCREENSHOTS)
    opened.open(address.format("attention"))
    opened.run_all()
    yield opened
    opened.close()


def choose(panel: Panel, label: str) -> str:
    """Open a list with Space, go one down, take it with Enter: JupyterLab keeps the arrow keys from a list that is closed."""
    select = panel.control(label).locator("select").first
    select.focus()
    for press in ("Space", "ArrowDown", "Enter"):
        panel.page.keyboard.press(press)
    return str(select.evaluate("s => s.selectedOptions[0].textContent")).replace("\N{NO-BREAK SPACE}", " ")


def test_every_control_of_the_explorer_redraws(notebook: Notebook) -> None:
    assert notebook.state()["errors"] == []
    panel = notebook.panel("image (number: class)")
    panel.shoot("explorer-before")
    with panel.redraws():
        panel.slide("block", "ArrowLeft")
    for label, says in (("head", "head 1"), ("image (number: class)", "cultivar 2"), ("what is shown", "rollout")):
        with panel.redraws():
            assert says in choose(panel, label)
    panel.shoot("explorer-after")


def test_without_a_model_the_explorer_says_so_and_keeps_its_picture(notebook: Notebook) -> None:
    panel = notebook.panel("image (number: class)")
    before = panel.pictures()
    models = panel.control("models").locator("select").first
    models.select_option([])
    panel.wait_for_text("no model is selected")
    assert panel.pictures() == before
    panel.shoot("explorer-nothing-selected")
    with panel.redraws():
        models.select_option(["ila"])


def test_the_dial_redraws_the_leaves_and_says_where_accuracies_come_from(notebook: Notebook) -> None:
    panel = notebook.panel("granularity (0–1)")
    with panel.redraws():
        panel.slide("granularity (0–1)", "PageUp", 3)
    panel.wait_for_text("stored runs")
    panel.shoot("dial")
    assert notebook.complaints == []
