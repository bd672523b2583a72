"""Rows of another version of the code are marked, and never averaged with those of this one in silence."""

import json

import pandas as pd
import pytest

import adapters_lib as al
from adapters_lib.statistics import paired_difference, pareto_front, summarise
from adapters_lib.versions import OutdatedRows, one_version, versions_of


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
        found = one_version(MIXED, ["method"], current="0.2.0")
    assert found[["method", "seed", "outdated"]].values.tolist() == [["a", 1, False], ["a", 2, False], ["b", 0, False], ["c", 1, True]]


def test_a_table_of_one_version_passes_as_it_is() -> None:
    same = MIXED.assign(version="0.2.0")
    found = one_version(same, ["method"], current="0.2.0")
    assert len(found) == len(same)
    assert not found["outdated"].any()


def test_the_version_is_in_the_configuration_of_older_tables() -> None:
    table = pd.DataFrame({"configuration": [json.dumps({"version": "0.1.0"}), "{}", None], "version": [None, None, "0.3.0"]})
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
