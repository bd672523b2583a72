"""A notebook's ablation reads the stored runs, says how long they trained, and compares like with like."""

import numpy as np
import pandas as pd
import pytest
from made_up_tables import made_up, store

import adapters_lib as al
from adapters_lib.experiments import ILA_VARIANTS, Interval, paired_difference, paired_gains, said
from adapters_lib.figures import beside_paper
from adapters_lib.workbook import ablation

TASTE = {"taste": ("linear probe",), "recipe": al.Recipe(epochs=1), "options": {"n_train": 1, "n_test": 1}}


def _ablation(monkeypatch, tmp_path) -> pd.DataFrame:
    monkeypatch.setenv("ADAPTERS_OUT", str(tmp_path))
    return ablation(("ila", "methods"), ILA_VARIANTS, "leaves-ultra", **TASTE)


def test_an_ablation_holds_every_variant_of_its_tables_and_no_run_twice(monkeypatch, tmp_path) -> None:
    store(tmp_path / "data/results", "ila", "methods")
    rows = _ablation(monkeypatch, tmp_path)
    assert set(rows["variant"]) == set(ILA_VARIANTS)
    assert not rows["key"].duplicated().any()
    assert not rows.duplicated(["variant", "seed"]).any()


def test_without_tables_the_few_runs_are_made_here(monkeypatch, tmp_path) -> None:
    calls = []
    one = made_up("ila").query("method == 'linear' and seed == 0")
    monkeypatch.setattr(
        "adapters_lib.workbook.ablations.run_grid", lambda runs, path: calls.append((runs, path)) or one
    )
    rows = _ablation(monkeypatch, tmp_path)
    assert [(run.name, run.seed) for run in calls[0][0]] == [("linear", 0)]
    assert calls[0][1] == tmp_path / "runs/taste.csv"
    assert rows["variant"].tolist() == ["linear probe"]


def _runs(**top1: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"method": name, "seed": seed, "top1": value, "version": "1"}
            for name, values in top1.items()
            for seed, value in enumerate(values)
        ]
    )


def test_gains_are_paired_differences_over_the_seeds_that_both_ran() -> None:
    table = _runs(linear=[50.0, 52.0, 51.0], lora=[55.0, 56.0], vqt=[49.0, 53.0, 51.0])
    gains = paired_gains(table, "linear")
    assert list(gains) == ["lora", "vqt"]
    assert gains["lora"] == paired_difference(table[table["seed"] < 2], "lora", "linear")
    assert (gains["vqt"].mean, gains["vqt"].n) == (0.0, 3)


def test_runs_of_another_version_are_not_compared() -> None:
    table = _runs(linear=[50.0, 52.0], lora=[55.0, 56.0])
    table.loc[table["method"] == "lora", "version"] = "0"
    assert paired_gains(table, "linear") == {}


def test_runs_of_another_precision_are_compared_as_each_method_has_its_own() -> None:
    table = _runs(linear=[50.0, 52.0], lora=[55.0, 56.0])
    table["precision"] = ["no", "no", "bf16", "bf16"]
    assert paired_gains(table, "linear")["lora"].mean == 4.5


def test_a_reference_without_runs_is_refused() -> None:
    with pytest.raises(al.AdapterError, match="no row has method = 'full'; the table has linear"):
        paired_gains(_runs(linear=[50.0]), "full")


def test_a_difference_is_said_with_its_interval_and_with_what_it_does_not_show() -> None:
    assert said(Interval(2.44, 1.1, 3)) == "+2.4 ± 1.1 points (n = 3)"
    assert said(Interval(2.44, 3.1, 3), flip=True) == "-2.4 ± 3.1 points (n = 3), not shown by these seeds"
    assert said(Interval(2.44, np.nan, 1)) == "+2.4 points (one seed, so nothing is shown)"
    assert said(None) == "no runs to compare yet"


def test_a_paper_s_sets_and_our_means_stand_in_the_same_rows() -> None:
    table = made_up("ila")
    paper = pd.DataFrame({"Cotton": [30.0, 50.0], "Soy": [40.0, 60.0]}, index=["ViT-B/16", "ILA++"])
    names = {"ViT-B/16": "linear", "ILA": "ila", "ILA++": "ila++"}
    figure = beside_paper(paper, table, names, said="the paper")
    left, right = figure.axes
    dots = [line.get_xydata()[0].tolist() for line in left.lines if line.get_marker() == "o"]
    assert dots == [[35.0, 0.0], [55.0, 2.0]]
    means = table.groupby("method")["top1"].mean()
    drawn = [c.lines[0].get_xydata()[0].tolist() for c in right.containers]
    np.testing.assert_allclose(drawn, [[means[m], row] for row, m in enumerate(names.values())])
    assert [t.get_text() for t in left.get_yticklabels()] == list(names)
