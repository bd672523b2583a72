"""The latency table times every method and the bare model in turn, merged adapters beside those that are
not."""

import json

import pandas as pd
import pytest

import adapters_lib as al
from adapters_lib import cli
from adapters_lib.benchmarks.latency import BARE, latency_table, step_table
from adapters_lib.cli.bench import show


def test_the_command_writes_a_row_a_method_and_batch_with_quartiles(tmp_path, capsys) -> None:
    out = tmp_path / "results" / "latency.csv"
    methods = ["--method", "linear", "--method", "lora", "--method", "ila"]
    assert (
        cli.main(
            ["bench", "latency", *methods, "--batch", "1", "2", "--rounds", "2", "--out", str(out), "--json"]
        )
        == 0
    )
    result = json.loads(capsys.readouterr().out)
    table = pd.read_csv(out)
    assert result["table"] == str(out)
    assert len(result["rows"]) == len(table) == 10
    first = table[table["batch"] == 1]
    assert list(zip(first["method"], first["merged"], strict=True)) == [
        (BARE, False),
        ("linear", False),  # it adds nothing, so there is nothing to merge
        ("lora", False),
        ("lora", True),
        ("ila", False),
    ]
    assert (table["q25_ms"] <= table["latency_ms"]).all()
    assert (table["latency_ms"] <= table["q75_ms"]).all()
    assert (first["ratio"].iloc[0], first["macs"].iloc[3]) == (1, first["macs"].iloc[0])
    assert first["macs"].iloc[4] < 0.75 * first["macs"].iloc[0]
    assert set(table["version"]) == {al.__version__}
    assert "batch   2  lora, merged" in show(result)


def test_steps_are_a_table_relative_to_full_fine_tuning(tmp_path, capsys) -> None:
    out = tmp_path / "steps.csv"
    methods = ["--method", "linear", "--method", "ila"]
    assert (
        cli.main(["bench", "steps", *methods, "--batch", "2", "--rounds", "2", "--out", str(out), "--json"])
        == 0
    )
    result = json.loads(capsys.readouterr().out)
    table = pd.read_csv(out).set_index("method")
    assert list(table.index) == ["full", "linear", "ila"]
    assert table.loc["full", ["ratio", "peak_ratio"]].tolist() == [1, 1]
    assert (table["ratio_q25"] <= table["ratio"]).all()
    assert (table["ratio"] <= table["ratio_q75"]).all()
    assert table.loc["linear", "peak_ratio"] < table.loc["ila", "peak_ratio"] < 1
    assert "linear" in show(result)
    with pytest.raises(al.AdapterError, match="a batch of at least 2"):
        step_table(["linear"], batch=1)


def test_nothing_to_time_is_an_error(capsys) -> None:
    with pytest.raises(al.AdapterError, match="at least one method"):
        latency_table([])
    with pytest.raises(al.AdapterError, match="batches of at least 1"):
        latency_table(["linear"], batches=[0])
    assert cli.main(["bench", "latency", "--threads", "0"]) == 2
    assert "threads=0" in capsys.readouterr().err
