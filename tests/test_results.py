"""The workbook's tables: which runs they hold, and that no run is done twice."""

from pathlib import Path

import numpy as np
import pytest
import torch

import adapters_lib as al
from adapters_lib import experiments, results
from adapters_lib.data_sets.leaves import KINDS
from adapters_lib.experiments import Experiment, pack_hits, read_table, unpack_hits
from adapters_lib.methods import METHODS


def _pretend(experiment: Experiment, progress: bool = False) -> dict:
    return {"key": experiment.key, "method": experiment.name, "seed": experiment.seed, "top1": 50.0, "hits": "00ff"}


def test_the_grid_of_methods_has_every_method_with_three_seeds() -> None:
    runs = results.GRIDS["methods"]()
    assert {run.name for run in runs} == set(METHODS) - {"dyn"}
    assert len(runs) == 3 * (len(METHODS) - 1)


def test_every_grid_is_made_of_methods_that_exist_and_of_different_runs() -> None:
    for name, make in results.GRIDS.items():
        runs = make()
        assert len({run.key for run in runs}) == len(runs), name
        for run in runs:
            assert all(al.parse_method(text) for text in run.methods)


def test_the_sweep_of_granularities_goes_through_the_default() -> None:
    assert KINDS["ultra"].granularity in results.GRANULARITIES
    shared = {run.key for run in results.GRIDS["methods"]()} & {run.key for run in results.GRIDS["granularity"]()}
    assert len(shared) == 12


def test_the_adapters_compared_on_clips_are_of_about_one_size() -> None:
    runs = results.GRIDS["video"]()
    assert len(runs) == 3 * len(results.VIDEO_VARIANTS)
    sizes = {}
    for name, text in results.VIDEO_VARIANTS.items():
        backbone = al.create_backbone("micro_vit_clips", pretrained=False)
        sizes[name] = al.cost(al.adapt(backbone, text, num_classes=16)).trainable["adapter"]
    adapters = [size for name, size in sizes.items() if name not in ("linear probe", "full")]
    assert len(adapters) == 9
    assert max(adapters) < 1.08 * min(adapters)


def test_a_run_of_another_table_is_taken_over_and_not_run_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(experiments, "run_experiment", _pretend)
    results.results("methods", tmp_path, seeds=(0,))
    ran = []
    monkeypatch.setattr(experiments, "run_experiment", lambda e, progress=False: ran.append(e.key) or _pretend(e))
    rows = results.results("granularity", tmp_path, seeds=(0,))
    assert len(rows) == 20
    assert len(ran) == 16
    assert set(read_table(tmp_path / "granularity.csv")["hits"]) == {"00ff"}  # text, not the number 255 or infinity


def test_an_unknown_grid_or_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(al.AdapterError, match="methods"):
        results.results("method", tmp_path)
    with pytest.raises(al.AdapterError, match=r"no run with seeds \(7,\)"):
        results.results("methods", tmp_path, seeds=(7,))


def test_the_command_lists_what_is_missing_and_runs_nothing(tmp_path: Path, capsys) -> None:
    assert results.main(["methods", "--folder", str(tmp_path), "--list"]) == 0
    assert "methods: 0 of 60 runs" in capsys.readouterr().out
    assert results.main(["nonsense", "--folder", str(tmp_path), "--list"]) == 1
    assert "nonsense" in capsys.readouterr().err


def test_rows_of_another_learning_rate_go_only_when_asked_to(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(experiments, "run_experiment", _pretend)
    results.results("methods", tmp_path, seeds=(0,))
    path = tmp_path / "methods.csv"
    before = path.read_bytes()
    assert results.main(["methods", "tasks", "--folder", str(tmp_path), "--prune"]) == 0
    assert path.read_bytes() == before
    monkeypatch.setattr(results, "offline_recipe", lambda methods, **_: al.offline_recipe(methods, lr=0.5 if "lora" in methods else 3e-3))
    wanted = {run.key for run in results.GRIDS["methods"]()}
    assert results.main(["methods", "--folder", str(tmp_path), "--list"]) == 0
    stale = 20 - sum(key in wanted for key in read_table(path)["key"])
    assert stale >= 1
    assert f"{stale} rows that it no longer asks for" in capsys.readouterr().out
    assert results.main(["methods", "--folder", str(tmp_path), "--prune"]) == 0
    assert f"{stale} rows dropped" in capsys.readouterr().out
    assert set(read_table(path)["key"]) <= wanted
    assert "lora" not in set(read_table(path)["method"])


def test_a_table_ends_in_the_order_of_its_grid(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(experiments, "run_experiment", _pretend)
    results.results("methods", tmp_path, seeds=(2,))
    experiments.store_row({"key": "mine", "method": "of another grid"}, tmp_path / "methods.csv")
    results.results("methods", tmp_path)
    assert [*read_table(tmp_path / "methods.csv")["key"]] == [*(run.key for run in results.GRIDS["methods"]()), "mine"]


def test_hits_come_back_as_they_were() -> None:
    hits = torch.tensor([1, 0, 0, 1, 1, 0, 1, 0, 1, 1], dtype=torch.bool)
    assert pack_hits(hits) == "9ac0"  # 1001 1010 11
    assert np.array_equal(unpack_hits("9ac0", 10), hits.numpy())
    with pytest.raises(al.AdapterError, match="n_test is 20"):
        unpack_hits("9ac0", 20)


def test_a_row_holds_the_hits_that_its_accuracy_counts(tmp_path: Path) -> None:
    run = Experiment(
        ("linear",), "digits", data_options={"n_per_class": 2}, recipe=al.Recipe(epochs=1, batch_size=16, mixed_precision="auto")
    )
    row = experiments.run_experiment(run)
    assert unpack_hits(row["hits"], row["n_test"]).mean() * 100 == pytest.approx(row["top1"])
    assert row["precision"] in ("no", "bf16")
    assert row["memory_mib"] > 0
    assert row["version"] == al.__version__
