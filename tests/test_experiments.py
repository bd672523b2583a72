"""A grid makes one tidy table, runs nothing twice, and survives a failing run."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import adapters_lib as al
from adapters_lib import experiments
from adapters_lib.experiments import Experiment, grid, read_table, run_grid

QUICK = al.Recipe(epochs=1, batch_size=64)


def _digits(*methods: str, seeds: tuple[int, ...] = (0,)) -> list[Experiment]:
    return grid(methods, "digits", seeds, backbone="micro_vit", data_options={"n_per_class": 2}, recipe=QUICK)


def test_a_grid_runs_every_method_with_every_seed_and_nothing_twice(tmp_path: Path, monkeypatch) -> None:
    ran = []

    def pretend(experiment: Experiment, progress: bool = False) -> dict:
        ran.append((experiment.name, experiment.seed))
        return {"key": experiment.key, "method": experiment.name, "seed": experiment.seed, "top1": 50.0}

    monkeypatch.setattr(experiments, "run_experiment", pretend)
    wanted = grid(["linear", ("ila", "lora")], "digits", seeds=(0, 1))
    rows = run_grid(wanted[:1], tmp_path / "t.csv", progress=False)
    rows = run_grid(wanted, tmp_path / "t.csv", progress=False)
    assert ran == [("linear", 0), ("linear", 1), ("ila + lora", 0), ("ila + lora", 1)]
    assert rows["method"].to_list() == ["linear", "linear", "ila + lora", "ila + lora"]


def test_a_failing_run_is_named_after_the_others_have_run(tmp_path: Path, monkeypatch) -> None:
    def fragile(experiment: Experiment, progress: bool = False) -> dict:
        if experiment.seed == 0:
            raise RuntimeError("no luck")
        return {"key": experiment.key, "top1": 1.0}

    monkeypatch.setattr(experiments, "run_experiment", fragile)
    with pytest.raises(al.AdapterError, match="1 of 2 runs failed.*linear on digits, seed 0.*no luck"):
        run_grid(grid(["linear"], "digits", (0, 1)), tmp_path / "t.csv", progress=False)
    assert len(read_table(tmp_path / "t.csv")) == 1


def test_an_empty_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(al.AdapterError, match="no experiments"):
        run_grid([], tmp_path / "t.csv")


def test_the_key_changes_with_every_part_of_the_configuration() -> None:
    base = Experiment(("lora",), "digits")
    others = [
        Experiment(("lora:rank=4",), "digits"),
        Experiment(("lora",), "leaves-ultra"),
        Experiment(("lora",), "digits", seed=1),
        Experiment(("lora",), "digits", data_options={"n_per_class": 3}),
        Experiment(("lora",), "digits", recipe=al.Recipe(lr=0.5)),
    ]
    assert len({e.key for e in [base, *others]}) == 6
    assert base.key == Experiment(("lora",), "digits").key


def test_rows_written_side_by_side_are_all_there(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: experiments.store_row({"key": f"k{i}", "top1": float(i)}, table), range(24)))
    assert sorted(read_table(table)["top1"]) == list(range(24))


def test_a_real_run_reports_accuracy_cost_and_configuration(tmp_path: Path) -> None:
    (row,) = run_grid(_digits("linear"), tmp_path / "t.csv", progress=False).to_dict("records")
    assert row["trained"] == row["head"] == 10 * 129
    assert 0 <= row["top1"] <= 100
    assert row["macs"] > 3e8
    assert '"n_per_class": 2' in row["configuration"]
    digest = hashlib.sha256((Path(al.__file__).parent / "weights" / "micro_vit.safetensors").read_bytes()).hexdigest()
    assert row["weights"] == f"micro_vit.safetensors {digest[:12]}"
