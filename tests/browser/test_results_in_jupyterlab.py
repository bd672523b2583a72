"""The results explorer, operated by keyboard in JupyterLab: another axis, fewer methods, none at all, and
an export."""

from pathlib import Path

import pytest
from lab import Notebook, Panel

CELL = "from adapters_lib.widgets import ResultsExplorer\n\nResultsExplorer()"

NAME = "results"
CELLS = [CELL]


@pytest.fixture(scope="module")
def panel(notebook: Notebook) -> Panel:
    assert notebook.state()["errors"] == []
    return notebook.panel("accuracy")


def test_another_cost_draws_another_figure(panel: Panel) -> None:
    panel.shoot("before")
    with panel.redraws():
        label = panel.choose("cost")
    panel.box.locator("th", has_text=label).wait_for()  # the numbers below follow the figure
    panel.shoot("other-cost")


def test_a_method_is_taken_out_and_back_by_keyboard(panel: Panel) -> None:
    rows = panel.box.locator("tbody tr")
    before = rows.count()
    with panel.redraws():
        panel.tick("linear")
    assert rows.count() == before - 1
    panel.shoot("without-linear")
    with panel.redraws():
        panel.tick("linear")
    assert rows.count() == before


def test_no_method_is_explained_in_the_widget(panel: Panel) -> None:
    panel.press("none")
    panel.wait_for_text("no method is selected")
    assert panel.box.locator("tbody tr").count() == 0
    panel.shoot("no-method")
    panel.press("all")
    panel.box.locator("tbody tr").first.wait_for()


@pytest.mark.parametrize(
    ("button", "ending"), [("PNG", "png"), ("PDF", "pdf"), ("CSV", "csv"), ("LaTeX", "tex")]
)
def test_a_button_writes_a_file_and_says_where(panel: Panel, copy: Path, button: str, ending: str) -> None:
    panel.press(button)
    panel.wait_for_text(f".{ending}")
    (written,) = (copy / "figures" / "explorer").glob(f"*.{ending}")
    assert str(written) in panel.text()
    panel.shoot(f"wrote-{ending}")


def test_another_table_offers_its_own_methods(panel: Panel, notebook: Notebook) -> None:
    with panel.redraws():
        panel.choose("table", "End")
    panel.shoot("other-table")
    assert panel.box.get_by_label("adpt", exact=True).count() == 0
    assert notebook.complaints == []
