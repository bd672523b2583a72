"""Rows of another version of the code are marked, and never averaged with those of this one in silence."""

import json
import warnings

import pandas as pd
import pytest

import adapters_lib as al
from adapters_lib.experiments.statistics import paired_difference, pareto_front, summarise
from adapters_lib.experiments.versions import OutdatedRows, budgets_of, one_version, versions_of


def _row(method: str, seed: int, version: str, top1: float = 50.0) -> dict:
    return {"method": method, "seed": seed, "top1": top1, "macs": 1, "version": version}


MIXED = pd.DataFrame(
    [
        _row("a", 0, "0.1.0"),
        _row("a", 1, "0.2.0", 60),
        _row("a", 2, "0.2.0", 70),
        _row("b", 0, "0.2.0"),
        _row("c", 0, "0.0.9"),
        _row("c", 1, "0.0.10", 40),
    ]
)


def test_rows_of_the_current_version_are_used_where_there_are_any_and_others_are_marked() -> None:
    with pytest.warns(OutdatedRows, match=r"another version than 0.2.0: c 0.0.10; 2 older rows left out"):
        rows = one_version(MIXED, ["method"], current="0.2.0")
    assert rows[["method", "seed", "outdated"]].values.tolist() == [
        ["a", 1, False],
        ["a", 2, False],
        ["b", 0, False],
        ["c", 1, True],
    ]


def test_a_table_of_one_version_passes_as_it_is() -> None:
    same = MIXED.assign(version="0.2.0")
    rows = one_version(same, ["method"], current="0.2.0")
    assert len(rows) == len(same)
    assert not rows["outdated"].any()


def test_the_version_is_in_the_configuration_of_older_tables() -> None:
    table = pd.DataFrame(
        {"configuration": [json.dumps({"version": "0.1.0"}), "{}", None], "version": [None, None, "0.3.0"]}
    )
    assert versions_of(table).tolist() == ["0.1.0", "unknown", "0.3.0"]
    assert versions_of(pd.DataFrame({"top1": [1.0]})).tolist() == ["unknown"]


@pytest.mark.parametrize(
    "average",
    [
        lambda rows: summarise(rows, ["method"]),
        lambda rows: pareto_front(rows, "macs"),
        lambda rows: paired_difference(rows[rows["seed"] == 0], "a", "b"),
    ],
)
def test_no_mean_is_taken_over_two_versions(average) -> None:
    with pytest.raises(al.AdapterError, match=r"rows of versions 0.* would be averaged together"):
        average(MIXED)


def test_two_versions_of_different_methods_can_stand_in_one_summary() -> None:
    rows = pd.DataFrame([_row("a", 0, "0.1.0"), _row("b", 0, "0.2.0")])
    assert len(summarise(rows, ["method"])) == 2


def test_a_missing_column_is_named() -> None:
    with pytest.raises(al.AdapterError, match="no column 'setting'"):
        one_version(MIXED, ["setting"])


def _trained(
    method: str,
    seed: int,
    passes: int,
    images: int | None = None,
    precision: str = "no",
    data: str = "leaves-ultra",
) -> dict:
    options = {} if images is None else {"n_train": images}
    made = {"data": data, "data_options": options, "recipe": {"epochs": passes}, "version": al.__version__}
    row = {**_row(method, seed, al.__version__, 50.0 + passes), "data": data, "precision": precision}
    return {**row, "configuration": json.dumps(made)}


SHORT = [_trained(method, seed, 3) for method in "ab" for seed in range(3)]


def test_a_budget_is_passes_and_images_a_class_those_of_the_kind_unless_said() -> None:
    table = pd.DataFrame(
        [_trained("a", 0, 3), _trained("a", 0, 6, 120), _trained("a", 0, 5, data="digits"), {"method": "b"}]
    )
    expected = ["3 passes over 60 a class", "6 passes over 120 a class", "5 passes", "unknown"]
    assert budgets_of(table).tolist() == expected
    assert budgets_of(pd.DataFrame({"top1": [1.0]})).tolist() == ["unknown"]


def test_a_table_shows_its_old_budget_until_the_new_one_has_caught_up() -> None:
    begun = pd.DataFrame([*SHORT, *(_trained("a", seed, 6, 120) for seed in range(5))])
    with pytest.warns(
        OutdatedRows,
        match=r"^5 rows of other budgets \(6 passes over 120 a class\) left out beside 3 passes over 60",
    ):
        assert len(one_version(begun, ["method"])) == 6
    caught_up = pd.DataFrame(
        [*SHORT, *(_trained(method, seed, 6, 120) for method in "ab" for seed in range(2))]
    )
    with pytest.warns(OutdatedRows, match="6 rows of other budgets"):
        rows = one_version(caught_up, ["method"])
    assert rows["top1"].tolist() == [56.0] * 4
    assert not rows["outdated"].any()


def test_every_data_set_has_a_budget_of_its_own() -> None:
    rows = [_trained(method, seed, 6, 120, data="leaves-coarse") for method in "ab" for seed in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(one_version(pd.DataFrame([*SHORT, *rows]), ["data", "method"])) == 10


def test_a_learning_curve_keeps_all_its_budgets() -> None:
    rows = pd.DataFrame([_trained("a", 0, passes, 60) | {"updates": 300 * passes} for passes in (3, 6)])
    assert len(one_version(rows, ["method", "updates"])) == 2
    assert len(summarise(rows, ["method", "updates"])) == 2


def test_of_several_precisions_the_usual_one_is_kept_and_float32_when_in_doubt() -> None:
    rows = pd.DataFrame(
        [
            _trained("a", 0, 6),
            _trained("a", 1, 6, None, "bf16"),
            _trained("a", 2, 6, None, "bf16"),
            _trained("b", 0, 6),
        ]
    )
    with pytest.warns(OutdatedRows, match="1 rows of another precision left out"):
        kept = one_version(rows, ["method"])
    assert kept["precision"].tolist() == ["bf16", "bf16", "no"]
    with pytest.warns(OutdatedRows, match="1 rows of another precision"):
        assert one_version(rows[:2], ["method"])["precision"].tolist() == ["no"]


@pytest.mark.parametrize(("other", "kind"), [((6, 120), "budgets"), ((3, None, "bf16"), "precisions")])
def test_no_mean_is_taken_over_two_budgets_or_precisions(other: tuple, kind: str) -> None:
    rows = pd.DataFrame([*SHORT, _trained("a", 3, *other)])
    with pytest.raises(al.AdapterError, match=f"a: rows of {kind} .* would be averaged together"):
        summarise(rows, ["method"])


def test_methods_of_two_budgets_are_not_compared_but_those_of_two_precisions_are() -> None:
    longer = pd.DataFrame([*SHORT[:3], *(_trained("b", seed, 6, 120) for seed in range(3))])
    with pytest.raises(al.AdapterError, match="rows of budgets"):
        paired_difference(longer, "a", "b")
    other = pd.DataFrame([*SHORT[:3], *(_trained("b", seed, 3, None, "bf16") for seed in range(3))])
    assert paired_difference(other, "a", "b").n == 3
