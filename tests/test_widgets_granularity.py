"""The dial shows leaves at once, and beside them what stored runs made of that granularity; without runs
it says how to make them."""

import json
from pathlib import Path

import pandas as pd
import pytest

import adapters_lib as al
from adapters_lib.datasets.leaves.task import KINDS
from adapters_lib.widgets.granularity import (
    COMMAND,
    GranularityDial,
    accuracy_by_granularity,
    granularity_runs,
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two methods at two granularities, the default one left unsaid as in the grid, and a run on another
    task."""
    rows = []
    for method, top1 in (("linear", 40.0), ("adpt", 50.0)):
        for options, more in (({}, 0.0), ({"granularity": 0.25}, 30.0)):
            configuration = json.dumps({"data_options": {"augment": None, **options}})
            rows += [
                {
                    "method": method,
                    "data": "leaves-ultra",
                    "seed": seed,
                    "top1": top1 + more + seed,
                    "configuration": configuration,
                }
                for seed in (0, 1, 2)
            ]
    rows.append({**rows[0], "data": "leaves-coarse"})
    path = tmp_path / "granularity.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_the_granularity_is_that_of_the_configuration_and_the_default_if_unsaid(table: Path) -> None:
    runs = granularity_runs(table)
    assert len(runs) == 12
    assert set(runs["granularity"]) == {KINDS["ultra"].granularity, 0.25}


def test_every_method_is_a_line_of_means_and_the_dial_stands_in_the_figure(table: Path) -> None:
    figure = accuracy_by_granularity(granularity_runs(table), now=0.3)
    (ax,) = figure.axes
    lines = {container.get_label(): container[0] for container in ax.containers}
    assert list(lines["adpt"].get_ydata()) == [51, 81]
    assert list(lines["linear"].get_xdata()) == [KINDS["ultra"].granularity, 0.25]
    assert "n = 3" in ax.get_ylabel()
    assert {"guessing", "the dial"} <= {text.get_text() for text in figure.legends[0].get_texts()}
    with pytest.raises(al.AdapterError, match="no stored run"):
        accuracy_by_granularity(granularity_runs(table).iloc[:0])


def test_moving_the_dial_redraws_the_leaves_and_the_line(table: Path) -> None:
    widget = GranularityDial(cultivars=3, table=table)
    leaves, curve = bytes(widget.picture.value), bytes(widget.curve.value)
    assert leaves.startswith(b"\x89PNG")
    assert curve.startswith(b"\x89PNG")
    assert "12 stored runs" in widget.note.value
    widget.controls["granularity"].value = 0.9
    assert widget.picture.value != leaves
    assert widget.curve.value != curve
    widget.controls["granularity"].value = 0.12
    assert widget.picture.value == leaves


def test_without_stored_runs_the_sheet_stands_alone_and_says_which_command_makes_them(tmp_path: Path) -> None:
    widget = GranularityDial(cultivars=2, table=tmp_path / "none.csv")
    assert bytes(widget.picture.value).startswith(b"\x89PNG")
    assert widget.message.value == ""
    assert COMMAND in widget.note.value
    assert not widget.curve.value


def test_the_command_names_a_grid_that_exists() -> None:
    from adapters_lib.experiments.run_grids import GRIDS

    assert COMMAND == "python -m adapters_lib results run granularity"
    assert "granularity" in GRIDS


def test_a_damaged_table_is_said_in_the_widget(table: Path) -> None:
    rows = pd.read_csv(table)
    rows.loc[0, "configuration"] = "{"
    rows.to_csv(table, index=False)
    widget = GranularityDial(cultivars=2, table=table)
    assert "configuration cannot be read" in widget.message.value


def test_every_control_is_labelled_and_reachable_by_keyboard(tmp_path: Path) -> None:
    for control in GranularityDial(cultivars=2, table=tmp_path / "none.csv").controls.values():
        assert control.description
        assert control.tabbable is not False
