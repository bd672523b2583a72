"""A table survives what happens to grids: two at a time, a kill in the middle of a write, Ctrl-C, and
workers of a Dask cluster."""

import subprocess
import sys
from pathlib import Path

import joblib
import pytest
from distributed import Client, LocalCluster
from run_two_grids import halves, pretend

import adapters_lib as al
from adapters_lib.experiments import run as experiments
from adapters_lib.experiments.run import Experiment, grid, read_table, run_grid


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    script = Path(__file__).parent / "run_two_grids.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=3600, check=True
    )
    assert done.stdout.splitlines() == ["grids: 0 0", "killed: -9"], done.stderr
    return folder


def test_two_grids_that_write_one_table_at_the_same_time_lose_and_tear_no_row(tables: Path) -> None:
    rows = read_table(tables / "shared.csv")
    expected = {run.key: pretend(run) for half in halves() for run in half}
    assert len(rows) == len(expected) == 36
    assert {row["key"]: row for row in rows.to_dict("records")} == expected


def test_a_grid_that_was_killed_while_it_wrote_goes_on_where_it_stood(tables: Path, monkeypatch) -> None:
    wanted = halves()[0]
    assert len(read_table(tables / "killed.csv")) == 3
    ran = []
    monkeypatch.setattr(
        experiments, "run_experiment", lambda run, progress=False: ran.append(run.key) or pretend(run)
    )
    rows = run_grid(wanted, tables / "killed.csv", progress=False)
    assert ran == [run.key for run in wanted[3:]]
    assert rows["key"].to_list() == [run.key for run in wanted]


def test_a_grid_that_was_stopped_by_the_user_goes_on_where_it_stood(tmp_path: Path, monkeypatch) -> None:
    ran: list[int] = []

    def stopped_once(run: Experiment, **_: object) -> dict:
        ran.append(run.seed)
        if ran == [0, 1, 2]:
            raise KeyboardInterrupt
        return pretend(run)

    monkeypatch.setattr(experiments, "run_experiment", stopped_once)
    wanted = grid(["linear"], "digits", range(5))
    with pytest.raises(KeyboardInterrupt):
        run_grid(wanted, tmp_path / "t.csv", progress=False)
    assert len(run_grid(wanted, tmp_path / "t.csv", progress=False)) == 5
    assert ran == [0, 1, 2, 2, 3, 4]


def test_a_failed_run_is_tried_again_and_the_others_are_not(tmp_path: Path, monkeypatch) -> None:
    ran: list[int] = []

    def fragile(run: Experiment, **_: object) -> dict:
        ran.append(run.seed)
        if ran.count(1) == 1 and run.seed == 1:
            raise RuntimeError("no luck")
        return pretend(run)

    monkeypatch.setattr(experiments, "run_experiment", fragile)
    wanted = grid(["linear"], "digits", range(3))
    with pytest.raises(
        al.AdapterError, match="1 of 3 runs failed.*linear on digits, seed 1: RuntimeError: no luck"
    ):
        run_grid(wanted, tmp_path / "t.csv", progress=False)
    assert run_grid(wanted, tmp_path / "t.csv", progress=False)["seed"].to_list() == [0, 1, 2]
    assert ran == [0, 1, 2, 1]


def test_a_run_that_another_grid_has_stored_meanwhile_is_not_run_again(tmp_path: Path, monkeypatch) -> None:
    wanted = grid(["linear"], "digits", range(3))
    ran: list[int] = []

    def meanwhile(run: Experiment, **_: object) -> dict:
        ran.append(run.seed)
        if run.seed == 0:  # the other grid is quicker with the next one
            experiments.store_row(pretend(wanted[1]), tmp_path / "t.csv")
        return pretend(run)

    monkeypatch.setattr(experiments, "run_experiment", meanwhile)
    assert run_grid(wanted, tmp_path / "t.csv", progress=False)["seed"].to_list() == [0, 1, 2]
    assert ran == [0, 2]


def test_backends_that_give_all_results_at_the_end_run_a_grid_too(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(experiments, "run_experiment", pretend)
    wanted = grid(["linear", "lora"], "digits", range(2))
    with joblib.parallel_config(backend="multiprocessing"):  # Ray's backend is made like this one
        rows = run_grid(wanted, tmp_path / "t.csv", jobs=2, progress=False)
    assert rows["key"].to_list() == [run.key for run in wanted]


def test_the_workers_of_a_dask_cluster_fill_the_same_table(tmp_path: Path) -> None:
    small = {"cultivars": 2, "n_train": 2, "n_val": 1, "n_test": 4}
    runs = grid(
        ["linear", "bitfit"],
        "leaves-ultra",
        (0,),
        data_options=small,
        recipe=al.Recipe(epochs=1, batch_size=4),
    )
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        rows = run_grid(runs, tmp_path / "dask.csv", progress=False)
    alone = run_grid(runs, tmp_path / "here.csv", progress=False)
    assert rows["method"].to_list() == ["linear", "bitfit"]
    for column in ("key", "hits", "trained", "macs"):
        assert rows[column].to_list() == alone[column].to_list()
