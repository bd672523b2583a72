"""The tuner, operated by keyboard in JupyterLab: dropdowns, slider, a run that ends, a run that is stopped, an error that is seen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from lab import Notebook, Panel

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"

CELL = """\
from adapters_lib.tuner import default_calibration
from adapters_lib.widgets_tuner import BottleneckTuner

BottleneckTuner(default_calibration(repeats=2), epochs={epochs}, n_per_class=1)"""


@pytest.fixture(scope="module")
def notebook(browser: Any, address: str, copy: Path) -> Iterator[Notebook]:
    """Two tuners, of which one trains for two epochs and the other would train for a thousand."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cells = [nbformat.v4.new_code_cell(CELL.format(epochs=epochs)) for epochs in (2, 1000)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), copy / "notebooks" / "tuner.ipynb")
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    opened = Notebook(page, "tuner", SCREENSHOTS)
    opened.open(address.format("tuner"))
    opened.run_all()
    yield opened
    opened.close()


def tuner(notebook: Notebook, which: int) -> Panel:
    boxes = notebook.page.locator(".jp-OutputArea-output .widget-vbox")
    return Panel(notebook, boxes.filter(has=notebook.page.get_by_text("cost in the figure", exact=True)).nth(which))


def choose(panel: Panel, label: str, key: str) -> str:
    """Open a list with Space, move in it, take it with Enter: JupyterLab keeps the arrow keys from a list that is closed."""
    select = panel.control(label).locator("select").first
    select.focus()
    for press in ("Space", key, "Enter"):
        panel.page.keyboard.press(press)
    return select.evaluate("s => s.selectedOptions[0].textContent")


def test_every_knob_changes_the_numbers_and_the_figure(notebook: Notebook) -> None:
    assert notebook.state()["errors"] == []
    panel = tuner(notebook, 0)
    panel.shoot("before")
    panel.wait_for_text("padapter:bottleneck=8,position=p_a_m")
    with panel.redraws():
        panel.slide("bottleneck (channels)", "ArrowRight", 1)
    panel.wait_for_text("padapter:bottleneck=16,position=p_a_m")
    choose(panel, "position", "ArrowDown")  # costs the same, so the figure stays
    panel.wait_for_text("position=a_p_m")
    with panel.redraws():
        assert choose(panel, "method", "ArrowDown") == "LoRA"
    panel.wait_for_text("lora:rank=16,targets=q/v")
    with panel.redraws():
        panel.slide("rank", "ArrowLeft", 2)
    panel.wait_for_text("lora:rank=4")
    with panel.redraws():
        choose(panel, "cost in the figure", "ArrowDown")
    panel.shoot("knobs")


def test_a_run_is_drawn_and_leaves_a_point(notebook: Notebook) -> None:
    panel = tuner(notebook, 0)
    with panel.redraws():
        choose(panel, "image side (pixels)", "ArrowUp")
    with panel.redraws():
        panel.press("Train a small run")
    panel.wait_for_text("after 2 of 2 epochs", 300)
    panel.shoot("trained")


def test_an_error_is_read_in_the_widget(notebook: Notebook) -> None:
    panel = tuner(notebook, 0)
    assert choose(panel, "method", "End") == "ILA"
    choose(panel, "image side (pixels)", "Home")
    panel.wait_for_text("cannot shrink by 2")
    panel.shoot("error")


def test_a_long_run_is_stopped(notebook: Notebook) -> None:
    panel = tuner(notebook, 1)
    choose(panel, "image side (pixels)", "Home")
    panel.wait_for_text("(17 tokens)")
    with panel.redraws():
        panel.press("Train a small run")
    panel.shoot("running")
    panel.press("Stop")
    panel.wait_for_text("of 1000 epochs", 120)
    panel.shoot("stopped")
    assert notebook.complaints == []
