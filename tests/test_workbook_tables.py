"""Notebooks read tables by one call, which says what it read and trains only what is not there."""

import json
from pathlib import Path

import pandas as pd
import pytest

from adapters_lib.experiments import Bootstrap, Interval, PairedComparison
from adapters_lib.training.offline_recipes import BUDGET
from adapters_lib.workbook import budget_note, comparable, method_runs, rates_tried, tables

ROOT = Path(__file__).parents[1]


def _rows(version: str, *runs: tuple[str, int]) -> pd.DataFrame:
    settings = {"data": "leaves-ultra", "data_options": {"n_train": 60}, "recipe": {"epochs": 3}}
    rows = pd.DataFrame(runs, columns=["method", "seed"])
    return rows.assign(
        key=[f"{version}-{name}-{seed}" for name, seed in runs],
        data="leaves-ultra",
        version=version,
        top1=50.0,
        configuration=json.dumps(settings),
    )


def test_only_rows_of_one_version_and_of_seeds_that_all_ran_are_compared(monkeypatch) -> None:
    new = _rows("0.2.0", ("linear", 0), ("lora", 0), ("linear", 1))
    rows = pd.concat([new, _rows("0.1.0", ("linear", 0))], ignore_index=True)
    monkeypatch.setattr(tables, "load", lambda name, folder: (rows, ["a note"]))
    lines: list[str] = []
    kept = comparable("methods", say=lines.append)
    assert list(zip(kept["method"], kept["seed"], strict=True)) == [("linear", 0), ("lora", 0)]
    assert lines == ["methods: 2 of 4 rows (version 0.2.0; seeds that all settings ran)\n  a note"]


def test_a_missing_table_is_said_with_the_command_that_makes_it(tmp_path: Path) -> None:
    lines: list[str] = []
    assert comparable("methods", tmp_path, say=lines.append) is None
    assert lines == ["methods: not there yet; `python -m adapters_lib results run methods` makes it"]


def test_stored_methods_are_read_and_not_trained(monkeypatch) -> None:
    monkeypatch.setattr(tables, "run_grid", lambda *_, **__: pytest.fail("it trained"))
    rows = method_runs(("lora", "linear"), ROOT / "data/results")
    assert set(rows["method"]) == {"lora", "linear"}


def test_missing_methods_are_trained_with_three_seeds_and_three_passes(tmp_path: Path, monkeypatch) -> None:
    asked = []

    def run_grid(runs, path, jobs):
        asked.extend(runs)
        return pd.DataFrame({"method": ["lora", "full"]})

    monkeypatch.delenv("ADAPTERS_QUICK", raising=False)
    monkeypatch.setattr(tables, "run_grid", run_grid)
    assert list(method_runs(("lora", "linear"), tmp_path)["method"]) == ["lora"]
    assert {(run.methods[0], run.seed) for run in asked} == {
        (name, seed) for name in ("lora", "linear") for seed in (0, 1, 2)
    }
    assert {run.recipe.epochs for run in asked} == {3}


def test_rates_are_shown_by_method_and_head_and_of_one_budget(tmp_path: Path) -> None:
    runs = [("lora", 0.01, 0.01, 50.0), ("lora", 0.01, 0.03, 60.0), ("lora", 0.1, 0.03, 40.0)]
    runs += [("lora", 0.03, 0.03, 45.0)]
    rows = _rows("0.2.0", *((name, 0) for name, *_ in runs))
    rows[["lr", "head_lr", "val_top1"]] = [values for _, *values in runs]
    longer = json.dumps({"data": "leaves-ultra", "data_options": {}, "recipe": {"epochs": 6}})
    rows["key"] = [f"run {index}" for index in range(len(rows))]
    other = rows[:1].assign(key="longer", val_top1=99.0, configuration=longer)
    pd.concat([rows, other]).to_csv(tmp_path / "tuning.csv", index=False)
    by_rate = rates_tried(("linear", "lora"), folder=tmp_path)
    assert by_rate.loc[("lora", "same rate"), 0.01] == 50.0
    assert by_rate.loc[("lora", "0.03")].to_list() == [60.0, 45.0, 40.0]
    rows[3:].assign(key="of the command", lr=0.3).to_csv(tmp_path / "rates.csv", index=False)
    rows[:1].assign(val_top1=0.0).to_csv(tmp_path / "more.csv", index=False)  # no table of rates
    tried = rates_tried(("linear", "lora"), folder=tmp_path)
    assert tried.loc[("lora", "0.03"), 0.3] == 45.0
    assert tried.loc[("lora", "same rate"), 0.01] == 50.0
    assert rates_tried(("adpt",), folder=tmp_path).empty
    assert rates_tried(("lora",), folder=tmp_path / "none").empty


def test_the_note_says_when_rows_are_of_another_budget_than_the_grids_ask_for() -> None:
    short = budget_note(_rows("0.2.0", ("linear", 0)))
    assert short.startswith("1 runs (1 seed) of 3 passes over 60 a class, made by version 0.2.0 of the code.")
    assert str(BUDGET) in short
    settings = {"data_options": {"n_train": BUDGET.images}, "recipe": {"epochs": BUDGET.passes}}
    assert "another budget" not in budget_note(
        _rows("0.3.0", ("linear", 0)).assign(configuration=json.dumps(settings))
    )


@pytest.mark.parametrize(
    ("mean", "low", "shown"),
    [(3.0, 1.0, "yes"), (3.0, -1.0, "not over images"), (1.0, 1.0, "not over seeds"), (1.0, -1.0, "no")],
)
def test_a_difference_is_shown_only_by_both_intervals(mean: float, low: float, shown: str) -> None:
    comparison = PairedComparison("a", "b", Interval(mean, 2.0, 3), Bootstrap(mean, low, 5.0, 800, 3))
    assert comparison.shown == shown
    single = comparison._replace(seeds=Interval(mean, float("nan"), 1))
    assert single.shown == {"yes": "not over seeds", "not over images": "no"}.get(shown, shown)
