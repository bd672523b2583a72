"""The tuner, operated by keyboard in JupyterLab: dropdowns, slider, a run that ends, a run that is
stopped, an error that is seen."""

from lab import Notebook, Panel

CELL = """\
from adapters_lib.figures import default_calibration
from adapters_lib.widgets import BottleneckTuner

BottleneckTuner(default_calibration(repeats=2), epochs={epochs}, n_per_class=1)"""

NAME = "tuner"
CELLS = [CELL.format(epochs=epochs) for epochs in (2, 1000)]  # one run ends, the other would train for long


def tuner(notebook: Notebook, which: int) -> Panel:
    boxes = notebook.page.locator(".jp-OutputArea-output .widget-vbox")
    return Panel(
        notebook, boxes.filter(has=notebook.page.get_by_text("cost in the figure", exact=True)).nth(which)
    )


def test_every_knob_changes_the_numbers_and_the_figure(notebook: Notebook) -> None:
    assert notebook.state()["errors"] == []
    panel = tuner(notebook, 0)
    panel.shoot("before")
    panel.wait_for_text("padapter:bottleneck=8,position=p_a_m")
    with panel.redraws():
        panel.slide("bottleneck (channels)", "ArrowRight", 1)
    panel.wait_for_text("padapter:bottleneck=16,position=p_a_m")
    panel.choose("position", "ArrowDown")  # costs the same, so the figure stays
    panel.wait_for_text("position=a_p_m")
    with panel.redraws():
        assert panel.choose("method", "ArrowDown") == "LoRA"
    panel.wait_for_text("lora:rank=16,targets=q/v")
    with panel.redraws():
        panel.slide("rank", "ArrowLeft", 2)
    panel.wait_for_text("lora:rank=4")
    with panel.redraws():
        panel.choose("cost in the figure", "ArrowDown")
    panel.shoot("knobs")


def test_a_run_is_drawn_and_leaves_a_point(notebook: Notebook) -> None:
    panel = tuner(notebook, 0)
    with panel.redraws():
        panel.choose("image side (pixels)", "ArrowUp")
    with panel.redraws():
        panel.press("Train a small run")
    panel.wait_for_text("after 2 of 2 epochs", 300)
    panel.shoot("trained")


def test_an_error_is_read_in_the_widget(notebook: Notebook) -> None:
    panel = tuner(notebook, 0)
    assert panel.choose("method", "End") == "ILA"
    panel.choose("image side (pixels)", "Home")
    panel.wait_for_text("cannot shrink by 2")
    panel.shoot("error")


def test_a_long_run_is_stopped(notebook: Notebook) -> None:
    panel = tuner(notebook, 1)
    panel.choose("image side (pixels)", "Home")
    panel.wait_for_text("(17 tokens)")
    with panel.redraws():
        panel.press("Train a small run")
    panel.shoot("running")
    panel.press("Stop")
    panel.wait_for_text("of 1000 epochs", 120)
    panel.shoot("stopped")
    assert notebook.complaints == []
