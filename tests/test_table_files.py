"""Claims about tables of runs: what is written once keeps its digits, and what is not a sound row is named
and never added to."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

import adapters_lib as al
from adapters_lib.experiments import side_by_side
from adapters_lib.experiments.run import (
    Experiment,
    arrange_rows,
    pack_hits,
    read_table,
    store_row,
    unpack_hits,
)


def row(key: str, **more: object) -> dict:
    return {"key": key, "method": "lora", "seed": 0, "top1": 62.5, "macs": 410_712_345, **more}


def test_storing_a_row_rewrites_no_digit_of_another(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    store_row(row("a", loss=0.1234567890123, note="1e3", hits="00"), path)
    before = path.read_text().splitlines()[1]
    # No macs, no seed: pandas makes such columns floats.
    store_row({"key": "b", "method": "linear", "top1": 1 / 3}, path)
    store_row({"key": "c", "extra": True}, path)
    assert path.read_text().splitlines()[1] == before + ","
    assert "410712345" in before
    table = read_table(path).set_index("key")
    assert table.loc["a", "macs"] == 410_712_345
    assert table.loc["a", "loss"] == 0.1234567890123
    assert table.loc["b", "top1"] == 1 / 3
    assert table.loc["a", "hits"] == "00"


def test_the_stored_tables_keep_every_byte_when_a_row_is_added(tmp_path: Path) -> None:
    tables = [
        path
        for path in sorted((Path(__file__).parents[1] / "data" / "results").glob("*.csv"))
        if "key" in read_table(path)
    ]
    assert tables
    for path in tables:
        copy, old = tmp_path / path.name, path.read_text()
        copy.write_text(old)
        store_row({"key": "new"}, copy)
        assert copy.read_text().startswith(old)


def test_rows_of_another_grid_are_borrowed_with_all_their_digits(tmp_path: Path, monkeypatch) -> None:
    grids = {"methods": lambda: [SimpleNamespace(key="a")], "ila": lambda: []}
    monkeypatch.setattr(side_by_side, "GRIDS", grids)
    store_row(row("a", loss=0.12345678901234), tmp_path / "ila.csv")
    store_row(row("b", macs=None), tmp_path / "ila.csv")
    side_by_side.copy_shared_runs(["methods"], tmp_path)
    assert (tmp_path / "methods.csv").read_text().splitlines() == (
        tmp_path / "ila.csv"
    ).read_text().splitlines()[:2]


def test_rows_are_arranged_without_a_changed_digit(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for key in "abc":
        store_row(row(key, loss=0.1234567890123), path)
    lines = path.read_text().splitlines()
    assert arrange_rows(["c", "a"], path) == 1
    assert path.read_text().splitlines() == [lines[0], lines[3], lines[1], lines[2]]
    assert arrange_rows(["c"], path, drop=True) == 2
    assert path.read_text().splitlines() == [lines[0], lines[3]]


RUN = Experiment(("lora",), "digits")
CONFIGURATION = json.dumps(RUN.configuration(), sort_keys=True)
SOUND = {
    "key": RUN.key,
    "seed": 0,
    "top1": 62.5,
    "n_test": 8,
    "hits": pack_hits(torch.arange(8) < 5),
    "configuration": CONFIGURATION,
}


def _cells(**changes: object) -> str:
    return pd.DataFrame([{**SOUND, **changes}]).to_csv(index=False)


BROKEN = {
    "cut short in a row": (_cells() + "abc,1\n", r"line 3: 2 cells for 6 columns, as of a row cut short"),
    "cut short at the end": (_cells().rstrip("\n"), "the last row has no end"),
    "a key twice": (_cells() + _cells().splitlines()[1] + "\n", "stands in line 2 already"),
    "no key": (_cells(key=""), "line 2: a row without a key"),
    "a word for a number": (_cells(top1="high"), "line 2: top1 is 'high', no finite number"),
    "no number at all": (_cells(loss="inf"), "line 2: loss is 'inf', no finite number"),
    "hits of NaN images": (_cells(n_test="nan"), "line 2: n_test is 'nan', no finite number"),
    "half an image": (_cells(n_test=8.5), "line 2: n_test is 8.5, no whole number from 0"),
    "a seed below 0": (_cells(seed=-1), "line 2: seed is -1, no whole number from 0"),
    "more than all": (_cells(top1=162.5), "line 2: top1 is 162.5, no percentage"),
    "hits of other images": (_cells(hits="f8ff"), "line 2: hits of 16 images at most, but n_test is 8"),
    "hits that are no digits": (_cells(hits="xy"), "line 2: hits 'xy' are no hexadecimal digits"),
    "hits of another accuracy": (_cells(hits="ff"), "line 2: top1 is 62.5, but its hits say 100"),
    "hits beyond the last image": (
        _cells(n_test=7, top1=100 * 5 / 7, hits="f9"),
        "hits beyond the last of 7 images",
    ),
    "a configuration that is not JSON": (_cells(configuration="{"), "line 2: the configuration is not JSON"),
    "a configuration without a bottom": (
        _cells(configuration="[" * 100_000),
        "the configuration is not JSON",
    ),
    "a row of another run": (
        _cells(configuration=CONFIGURATION.replace("lora", "ssf")),
        "is not that of its configuration",
    ),
    "another key": (
        _cells(key="0123456789abcdef"),
        "the key 0123456789abcdef is not that of its configuration",
    ),
    "nothing at all": ("", "is empty, without even the names of columns"),
    "two columns alike": ("key,top1,top1\na,1,2\n", "two columns 'top1'"),
    "no text": (b"\xff\xfe\x00", "no table of text"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_table_is_named_and_neither_read_nor_added_to(tmp_path: Path, what: str) -> None:
    path, (content, message) = tmp_path / "t.csv", BROKEN[what]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = path.read_bytes()
    for call in (
        lambda: read_table(path),
        lambda: store_row(row("new"), path),
        lambda: arrange_rows(["new"], path, drop=True),
    ):
        with pytest.raises(al.AdapterError, match=message):
            call()
    assert path.read_bytes() == before


def test_a_sound_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(_cells())
    assert read_table(tmp_path / "t.csv")["key"].tolist() == [RUN.key]


def test_a_table_of_something_else_is_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    path.write_text("method,ratio\nlora,1.5\n")
    assert read_table(path)["ratio"].tolist() == [1.5]
    with pytest.raises(al.AdapterError, match="no table of runs: it has no column 'key'"):
        store_row(row("a"), path)
    assert path.read_text() == "method,ratio\nlora,1.5\n"


@pytest.mark.parametrize(
    ("text", "n"), [("9ac0", 20), ("zz", 8), ("9 a", 8), (None, 8), (3.0, 8), ("ff", 7), ("9ac", 12)]
)
def test_hits_that_do_not_decode_are_an_error(text: object, n: int) -> None:
    with pytest.raises(al.AdapterError, match=r"hits .*run it again"):
        unpack_hits(text, n)


def test_columns_come_back_as_numbers_truths_or_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("key,a,b,c,d,e\nx,1,1.5,True,one,\ny,2,,False,,\n")
    table = read_table(tmp_path / "t.csv")
    assert table["a"].tolist() == [1, 2]
    assert table["a"].dtype == "int64"
    assert table["b"].isna().tolist() == [False, True]
    assert table["c"].tolist() == [True, False]
    assert table["d"].isna().tolist() == [False, True]
    assert table["e"].isna().all()
