"""The workbook's tables: which runs they hold, and that no run is done twice."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import adapters_lib as al
from adapters_lib import experiments, grids, results
from adapters_lib.data_sets.leaves import KINDS
from adapters_lib.experiments import Experiment, pack_hits, read_table, unpack_hits
from adapters_lib.methods import METHODS


def _pretend(experiment: Experiment, **_: object) -> dict:
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
    assert KINDS["ultra"].granularity in grids.GRANULARITIES
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
    monkeypatch.setattr(experiments, "run_experiment", lambda e, **_: ran.append(e.key) or _pretend(e))
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
    monkeypatch.setattr(grids, "offline_recipe", lambda methods, **_: al.offline_recipe(methods, lr=0.5 if "lora" in methods else 3e-3))
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
    assert row["updates"] == 2  # 20 images, 16 at a time
    assert row["device"] == "cpu"
    assert row["cpu_seconds"] > 0
    assert row["version"] == al.__version__


def test_the_learning_curve_goes_through_its_budgets_without_a_test_image_the_short_ones_of_one_seed_first() -> None:
    runs = results.GRIDS["learning_curve"]()
    classes = KINDS["ultra"].cultivars
    steps = [run.data_options["n_train"] * classes // run.recipe.batch_size * run.recipe.epochs for run in runs]
    assert set(steps) == set(grids.CURVE_BUDGETS) == {450, 900, 1800, 3600, 7200}
    assert not any(run.test for run in runs)
    assert {run.data_options["n_val"] * classes for run in runs} == {2000}
    assert {run.recipe.mixed_precision for run in runs} == {"no"}
    methods = len(grids.CURVE_METHODS)
    assert len(runs) == methods * 5 * 2
    assert set(steps[: 4 * methods]) == {450, 900, 1800, 3600}
    assert {run.seed for run in runs[: 4 * methods]} == {100}
    assert set(steps[-2 * methods :]) == {7200}


def test_a_tenth_of_every_budget_warms_up() -> None:
    for run in results.GRIDS["learning_curve"]():
        steps = run.data_options["n_train"] * 20 // run.recipe.batch_size
        assert run.recipe.warmup_updates(steps) == run.recipe.epochs * steps // 10


def test_a_method_that_may_start_at_zero_stands_in_a_grid_with_both_starts(monkeypatch) -> None:
    published = dataclasses.make_dataclass("Published", [("bottleneck", int, 8), ("start", str, "published")])
    zero = dataclasses.make_dataclass("Zero", [("start", str, "zero")])
    monkeypatch.setattr(grids, "METHODS", {"published": published, "zero": zero, "none": al.LoRA})
    assert grids.both_starts("published") == ["published", "published:start=zero"]
    assert grids.both_starts("published:bottleneck=4") == ["published:bottleneck=4", "published:bottleneck=4,start=zero"]
    assert grids.both_starts("zero") == ["zero"]
    assert grids.both_starts("none") == ["none"]
