"""The results explorer shows what the table holds, mixes nothing silently, and writes what it shows."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

import adapters_lib as al
from adapters_lib.figures import results_explorer as explorer
from adapters_lib.widgets.checkboxes import Checkboxes
from adapters_lib.widgets.results import ResultsExplorer


def row(
    method: str,
    seed: int,
    top1: float,
    *,
    version: str = al.__version__,
    trained: int = 1000,
    **options: object,
) -> dict:
    recipe = {"lr": options.pop("lr", 0.01), "seed": seed}
    configuration = {
        "methods": [method],
        "seed": seed,
        "version": version,
        "recipe": recipe,
        "data_options": options,
    }
    numbers = {"seed": seed, "top1": top1, "val_top1": top1 - 1, "trained": trained, "macs": 2.0e8}
    text = json.dumps(configuration, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"key": key, "method": method, "data": "leaves-ultra", **numbers, "configuration": text}


ROWS = [row("lora", s, 40.0 + 2 * s, trained=5000) for s in range(3)] + [
    row("ila", s, 50.0 + s, trained=9000) for s in range(3)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pd.DataFrame(ROWS).to_csv(tmp_path / "methods.csv", index=False)
    dialled = [row("lora", s, 30.0 + 100 * g, granularity=g) for g in (0.1, 0.4) for s in range(2)]
    pd.DataFrame(dialled).to_csv(tmp_path / "granularity.csv", index=False)
    pd.DataFrame({"step": [1], "loss": [2.0]}).to_csv(tmp_path / "unrelated.csv", index=False)
    return tmp_path


@pytest.fixture
def panel(folder: Path) -> ResultsExplorer:
    shown = ResultsExplorer(folder, folder / "out")
    shown.controls["table"].value = "methods"
    return shown


def labels(folder: Path, rows: list[dict]) -> list[str]:
    pd.DataFrame(rows).to_csv(folder / "t.csv", index=False)
    return explorer.read_labelled(folder / "t.csv")["label"].tolist()


# ---- tables --------------------------------------------------------------------------------------


def test_only_tables_of_runs_are_offered_and_an_empty_folder_says_which_command_fills_it(
    folder: Path,
) -> None:
    assert list(explorer.tables(folder)) == ["granularity", "methods"]
    with pytest.raises(al.AdapterError, match="make results"):
        explorer.tables(folder / "nowhere")


def test_settings_that_vary_become_part_of_the_label_and_constant_ones_do_not(folder: Path) -> None:
    assert labels(
        folder, [row("lora", 0, 1.0, lr=0.1), row("lora", 0, 1.0, lr=0.3), row("ila", 0, 1.0, lr=0.3)]
    ) == [
        "lora, lr 0.1",
        "lora, lr 0.3",
        "ila",
    ]


def test_options_of_the_data_that_vary_make_tasks_of_their_own(folder: Path) -> None:
    table = explorer.read_labelled(folder / "granularity.csv")
    assert sorted(set(table["task"])) == ["leaves-ultra, granularity 0.1", "leaves-ultra, granularity 0.4"]
    assert set(table["label"]) == {"lora"}


def test_rows_of_another_version_are_points_of_their_own_and_said(folder: Path) -> None:
    pd.DataFrame([*ROWS, row("lora", 0, 90.0, version="0.0.9")]).to_csv(folder / "methods.csv", index=False)
    table = explorer.read_labelled(folder / "methods.csv")
    assert sorted(set(table["label"])) == ["ila", "lora", "lora (version 0.0.9)"]
    rows = explorer.select(table, sorted(set(table["label"])), "leaves-ultra", "trained")
    assert explorer.summary(rows, "trained").set_index("method")["top1"]["lora"] == 42
    assert "1 of 7 rows come from another version" in explorer.versions_note(rows)
    assert explorer.versions_note(rows[~rows["other_version"]]) == ""


def test_a_study_of_exits_is_named_by_setting_and_operating_point(folder: Path) -> None:
    study = [
        {"setting": s, "point": p, "host": "lora", "seed": 0, "top1": 1.0, "macs": 1.0}
        for s in ("a", "b")
        for p in ("full", "half")
    ]
    assert labels(folder, study) == ["a, full", "a, half", "b, full", "b, half"]


def test_a_damaged_row_is_named(folder: Path) -> None:
    pd.DataFrame([{**ROWS[0], "configuration": "{"}]).to_csv(folder / "methods.csv", index=False)
    with pytest.raises(al.AdapterError, match="configuration is not JSON"):
        explorer.read_labelled(folder / "methods.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ()}, "no method is selected"),
        ({"labels": ("lorra",)}, "did you mean 'lora'"),
        ({"task": "leaves"}, "unknown task 'leaves'"),
        ({"cost": "latency_ms"}, "unknown cost axis 'latency_ms'"),
        ({"value": "top5"}, "unknown accuracy 'top5'"),
    ],
)
def test_a_selection_that_cannot_be_drawn_is_explained(folder: Path, change: dict, message: str) -> None:
    wanted = {"labels": ("lora",), "task": "leaves-ultra", "cost": "trained", "value": "top1", **change}
    with pytest.raises(al.AdapterError, match=message):
        explorer.select(explorer.read_labelled(folder / "methods.csv"), **wanted)


def test_two_rows_of_one_seed_are_not_averaged(folder: Path) -> None:
    pd.DataFrame([*ROWS, {**ROWS[0], "key": "again"}]).to_csv(folder / "methods.csv", index=False)
    with pytest.raises(al.AdapterError, match="'lora' has several rows of seed 0"):
        explorer.select(explorer.read_labelled(folder / "methods.csv"), ["lora"], "leaves-ultra", "trained")


# ---- the widget ----------------------------------------------------------------------------------


def test_the_figure_and_its_numbers_follow_every_control(panel: ResultsExplorer) -> None:
    seen = {panel.picture.value}
    for name, value in (("labels", ("lora",)), ("cost", "macs"), ("value", "val_top1")):
        panel.controls[name].value = value
        assert panel.message.value == ""
        seen.add(panel.picture.value)
    assert len(seen) == 4
    assert "41.0" in panel.numbers.value
    assert "ila" not in panel.numbers.value


def test_the_front_intervals_and_n_are_in_the_numbers(panel: ResultsExplorer) -> None:
    assert "<td>42.0</td>\n      <td>5.0</td>\n      <td>3</td>\n      <td>yes</td>" in panel.numbers.value
    assert "n = 3" in explorer.explore(panel.selection(), "trained").get_suptitle()


def test_another_table_offers_its_own_tasks_and_methods(panel: ResultsExplorer) -> None:
    panel.controls["table"].value = "granularity"
    assert panel.controls["task"].value == "leaves-ultra, granularity 0.1"
    assert panel.controls["labels"].value == ("lora",)
    panel.controls["task"].value = "leaves-ultra, granularity 0.4"
    assert "70.0" in panel.numbers.value
    assert panel.message.value == ""


def test_an_empty_selection_is_explained_in_the_widget_and_shows_no_old_numbers(
    panel: ResultsExplorer,
) -> None:
    panel.controls["labels"].value = ()
    assert "no method is selected" in panel.message.value
    assert panel.numbers.value == ""
    panel.buttons["CSV"].click()
    assert "no method is selected" in panel.message.value
    assert panel.status.value == "nothing written"
    panel.controls["labels"].value = ("lora",)
    assert panel.message.value == ""


def test_a_table_damaged_since_is_explained_in_the_widget(panel: ResultsExplorer, folder: Path) -> None:
    (folder / "granularity.csv").write_text("key,method\n")
    panel.controls["table"].value = "granularity"
    assert "holds no rows" in panel.message.value
    assert panel.numbers.value == ""


@pytest.mark.parametrize(
    ("kind", "starts"),
    [
        ("PNG", b"\x89PNG"),
        ("PDF", b"%PDF"),
        ("CSV", b"key,method"),
        ("LaTeX", b"% needs \\usepackage{booktabs}"),
    ],
)
def test_a_button_writes_what_is_shown_and_says_where(
    panel: ResultsExplorer, folder: Path, kind: str, starts: bytes
) -> None:
    panel.buttons[kind].click()
    (path,) = (folder / "out").iterdir()
    assert path.read_bytes().startswith(starts)
    assert str(path) in panel.status.value


def test_exports_go_where_the_workbook_writes(panel: ResultsExplorer, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ADAPTERS_OUT", str(tmp_path / "elsewhere"))
    panel.out = None
    panel.export("CSV")
    assert (tmp_path / "elsewhere/figures/explorer/methods-leaves-ultra-top1-trained.csv").exists()


def test_a_folder_that_cannot_be_written_is_said_in_the_widget(panel: ResultsExplorer, folder: Path) -> None:
    (folder / "out").write_text("a file where the folder should be")
    panel.export("PNG")
    assert "FileExistsError" in panel.message.value
    assert panel.status.value == "nothing written"


def test_the_latex_table_holds_the_interval_and_escapes_names(folder: Path) -> None:
    pd.DataFrame([row("a_b&c", s, 40.0 + 2 * s) for s in range(3)]).to_csv(
        folder / "methods.csv", index=False
    )
    rows = explorer.read_labelled(folder / "methods.csv")
    text = explorer.export(rows, "LaTeX", "x", "trained", folder=folder).read_text()
    assert r"a\_b\&c & 1,000 & 42.0 $\pm$ 5.0 & 3 & yes \\" in text


@pytest.mark.parametrize("name", ["table", "task", "labels", "cost", "value"])
def test_every_control_is_labelled_and_reachable_by_keyboard(panel: ResultsExplorer, name: str) -> None:
    assert panel.controls[name].description
    assert panel.controls[name].tabbable is not False


# ---- check boxes ---------------------------------------------------------------------------------


def test_check_boxes_say_what_is_ticked_in_the_order_of_the_options() -> None:
    several = Checkboxes("methods", ("a", "b", "c"))
    assert several.value == ("a", "b", "c")
    several.boxes["b"].value = False
    assert several.value == ("a", "c")
    several.value = ("c", "b", "unknown")
    assert several.value == ("b", "c")
    assert [box.value for box in several.boxes.values()] == [False, True, True]


def test_other_options_keep_what_is_still_there() -> None:
    several = Checkboxes("methods", ("a", "b"), ("b",))
    several.options = ("b", "c")
    assert several.value == ("b",)
    assert [box.value for box in several.boxes.values()] == [True, False]


def test_one_press_of_all_or_none_is_one_change() -> None:
    several, seen = Checkboxes("methods", ("a", "b", "c")), []
    several.observe(lambda change: seen.append(change["new"]), names="value")
    every, none = several.children[0].children[1:]
    none.click()
    every.click()
    assert seen == [(), ("a", "b", "c")]
