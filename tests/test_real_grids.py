"""The grids of photographs: what they ask for, what they say where files are missing, and what they show."""

import dataclasses
import importlib
import json
import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file
from small_photographs import write_package

import adapters_lib as al
from adapters_lib import cli
from adapters_lib.cli import main
from adapters_lib.datasets.images import elpv
from adapters_lib.experiments import carry_over, grids, needs, run as experiments, run_grids, tune as tuning
from adapters_lib.experiments.plan import REAL_STEP, Pace, jobs_of
from adapters_lib.experiments.run import Experiment, read_table, run_grid
from adapters_lib.experiments.side_by_side import queue_of
from adapters_lib.training import offline_recipes
from adapters_lib.training.offline_recipes import REAL_BACKBONE, REAL_BUDGETS


@pytest.fixture
def nothing(tmp_path_factory, monkeypatch) -> None:
    """Neither photographs nor weights."""
    empty = tmp_path_factory.mktemp("empty")
    monkeypatch.setattr(elpv.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("ADAPTERS_DATA", str(empty))
    monkeypatch.delenv("ADAPTERS_WEIGHTS", raising=False)
    monkeypatch.setattr(needs, "_cached", lambda backbone: False)
    monkeypatch.setenv("ADAPTERS_CACHE", str(tmp_path_factory.mktemp("work")))


@pytest.fixture
def everything(monkeypatch) -> None:
    """As if all files lay here."""
    monkeypatch.setattr("adapters_lib.experiments.plan.lacking", lambda data, backbone: "")
    monkeypatch.setattr(needs, "_behind", lambda *_: {"files": "f" * 16, "weights": "w" * 16})


def _row(run: Experiment, top1: float = 50.0, **more: object) -> dict:
    settings = {"method": run.name, "data": run.data, "seed": run.seed, "version": al.__version__}
    numbers = {"top1": top1, "adapter": 1, "backbone": 0, "head": 2, "macs": 10**9, "step_ms": 500.0}
    configuration = json.dumps(run.configuration(), sort_keys=True)
    return {"key": run.key, **settings, **numbers, "configuration": configuration, "precision": "no", **more}


# --- what they ask for ---


def test_twelve_ways_on_two_sets_with_three_seeds_and_five_of_those_that_matter(everything) -> None:
    runs = grids.GRIDS["real"]()
    seeds = Counter((run.data, run.name) for run in runs)
    more = {name for (data, name), count in seeds.items() if count == 5 and data == "elpv"}
    assert more == {"linear", "lora", "ila++", "ila++:start=zero", "padapter", "adaptformer"}
    others = {name for (data, name), count in seeds.items() if count == 3 and data == "elpv"}
    assert others == {"full", "adpt", "adpt:start=zero", "ila", "vpt-deep", "lora + dyn"}
    assert {data for data, _ in seeds} == {"elpv", "apples"}
    for run in runs:
        assert (run.backbone, run.image_size) == (REAL_BACKBONE, 112)
        budget = REAL_BUDGETS[run.data]
        assert (run.recipe.epochs, run.data_options["n_train"]) == (budget.passes, budget.images)
        assert run.recipe.mixed_precision == "no"
    large = grids.GRIDS["real_224"]()
    assert {run.image_size for run in large} == {224}
    assert not {run.key for run in runs} & {run.key for run in large}


def test_few_images_get_as_many_updates_as_the_budget_and_share_its_runs(everything) -> None:
    runs = grids.GRIDS["real_images"]()
    sizes = {data: {run.data_options["n_train"] for run in runs if run.data == data} for data in REAL_BUDGETS}
    assert sizes == {"elpv": {10, 25, 50, None}, "apples": {5, 10, 27}}
    assert {run.name for run in runs} == {"linear", "lora", "adpt:start=zero", "ila++:start=zero"}
    for run in runs:
        budget, images = REAL_BUDGETS[run.data], run.data_options["n_train"]
        if images is not None:
            enough = budget.images * budget.passes
            assert images * run.recipe.epochs == pytest.approx(enough, rel=0.06)
        assert run.recipe.epochs >= grids.LEAST_PASSES
    shared = {run.key for run in runs} & {run.key for run in grids.GRIDS["real"]()}
    assert len(shared) == 4 * 2 * 3


def test_the_budget_of_photographs_changes_in_one_line(everything, monkeypatch) -> None:
    monkeypatch.setitem(REAL_BUDGETS, "elpv", offline_recipes.Budget(images=30, passes=7))
    of_cells = [run for run in grids.GRIDS["real"]() if run.data == "elpv"]
    assert {(run.recipe.epochs, run.data_options["n_train"]) for run in of_cells} == {(7, 30)}
    assert tuning._trial("lora", 1e-3, 100, "elpv", exits=False).recipe.epochs == 7


def test_every_method_of_the_grid_has_a_rate_from_which_tuning_starts(everything) -> None:
    with_rates = json.loads(
        (offline_recipes.resources.files("adapters_lib.training") / "offline_recipes.json").read_text()
    )
    assert set(with_rates["lr_real"]) == set(grids.tuned_methods("elpv"))
    for run in grids.GRIDS["real"]():
        name = run.methods[0]
        assert run.recipe.lr == with_rates["lr_real"][name]
        if len(run.methods) == 1:
            assert run.recipe.lr * run.recipe.head_lr_scale == pytest.approx(offline_recipes.REAL_HEAD_LR)


def test_rates_are_tried_on_validation_images_of_another_seed(everything, tmp_path) -> None:
    trial = tuning._trial("lora", 1e-3, 100, "elpv", exits=False)
    assert (trial.backbone, trial.image_size, trial.test) == (REAL_BACKBONE, 112, False)
    assert trial.data_options == {"augment": None, "n_train": 50, "n_val": 50}
    assert trial.outside == {"files": "f" * 16, "weights": "w" * 16}
    assert 100 not in {run.seed for run in grids.GRIDS["real"]()}
    bracket = tuning.brackets(["lora"], "elpv", tmp_path / "rates.csv")["lora"]
    assert bracket.missing == [(1e-3, 100), (3e-4, 100), (3e-3, 100)]


# --- where files are missing ---


def test_a_list_says_what_to_do_where_weights_and_photographs_are_missing(nothing, tmp_path, capsys) -> None:
    assert cli.main(["results", "list", "real", "real_images", "--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "real: 0 of 96 runs" in printed
    assert "to run it: elpv: the package elpv_dataset is not installed. pip install" in printed
    assert "git clone" in printed
    assert f"Put {REAL_BACKBONE}.safetensors into a folder and set ADAPTERS_WEIGHTS" in printed


def test_runs_that_lack_files_are_left_out_of_a_queue_and_alone_they_are_refused(
    nothing, tmp_path, capsys
) -> None:
    queue = queue_of(["tasks", "real"], tmp_path)
    assert {job.table for job in queue} == {"tasks"}
    assert "left out 48 runs of real. elpv: the package" in capsys.readouterr().out
    assert cli.main(["results", "run", "real", "--folder", str(tmp_path)]) == 2
    assert "none of the 96 runs can be made. elpv: the package" in capsys.readouterr().err
    assert cli.main(["results", "gpu", "real", "--folder", str(tmp_path), "--minutes", "0.1"]) == 2
    with pytest.raises(al.AdapterError, match="grid real: elpv: the package"):
        run_grids.results("real", tmp_path)


def test_stored_rows_are_shown_and_counted_where_the_files_are_not(
    everything, tmp_path, monkeypatch, request
) -> None:
    for run in grids.GRIDS["real"]():
        experiments.store_row(_row(run), tmp_path / "real.csv") if run.seed == 0 else None
    request.getfixturevalue("nothing")
    monkeypatch.setattr("adapters_lib.experiments.plan.lacking", needs.lacking)
    monkeypatch.setattr(
        needs, "_behind", lambda *_: {"files": "not readable: nothing there"}
    )  # as on a machine without them
    assert len(run_grids.stored("real", tmp_path)) == 24
    assert sum(job.done for job in jobs_of("real", tmp_path)) == 24
    rows = run_grids.results("real", tmp_path, seeds=(0,))
    assert len(rows) == 24


def test_of_two_files_of_weights_the_one_with_most_rows_is_shown(everything, tmp_path) -> None:
    runs = [run for run in grids.GRIDS["real"]() if run.seed == 0 and run.data == "elpv"]
    for index, run in enumerate(runs):
        other = dataclasses.replace(run, outside={"files": "f" * 16, "weights": "0" * 16})
        experiments.store_row(_row(run, weights="clip.safetensors 94cc"), tmp_path / "real.csv")
        if index < 3:
            experiments.store_row(_row(other, weights="hub 1234"), tmp_path / "real.csv")
    assert set(run_grids.stored("real", tmp_path)["weights"]) == {"clip.safetensors 94cc"}


def test_tuning_without_files_says_what_to_get_and_runs_nothing(
    nothing, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(experiments, "run_experiment", lambda *_, **__: pytest.fail("nothing can run"))
    command = ["tune", "lora", "--data", "elpv", "--until-bracketed", "--table", str(tmp_path / "rates.csv")]
    assert cli.main(command) == 2
    assert "elpv_dataset is not installed" in capsys.readouterr().err


def test_weights_and_photographs_that_are_there_lack_nothing(nothing, tmp_path, monkeypatch) -> None:
    monkeypatch.undo()
    write_package(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / f"{REAL_BACKBONE}.safetensors").write_bytes(b"")
    monkeypatch.setenv("ADAPTERS_WEIGHTS", str(tmp_path / "weights"))
    assert needs.lacking("elpv", REAL_BACKBONE) == ""
    assert needs.lacking("leaves-ultra", "micro_vit") == ""
    monkeypatch.setenv("ADAPTERS_WEIGHTS", str(tmp_path / "nowhere"))
    assert "is no folder" in needs.lacking("elpv", REAL_BACKBONE)


# --- a run ---


def test_a_run_on_cells_names_weights_and_size_and_reports_balanced_accuracy(
    tmp_path, tiny_vit, monkeypatch
) -> None:
    write_package(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    name = "vit_tiny_patch16_224"
    vit = al.create_backbone(name, pretrained=False)
    (tmp_path / "weights").mkdir()
    save_file(
        {k: v.contiguous() for k, v in vit.state_dict().items()}, tmp_path / "weights" / f"{name}.safetensors"
    )
    monkeypatch.setenv("ADAPTERS_WEIGHTS", str(tmp_path / "weights"))
    options = {"augment": None, "n_train": 1, "n_val": 1, "strict": False}
    run = Experiment(("linear",), "elpv", 0, name, options, al.Recipe(epochs=1, batch_size=4), image_size=32)
    monkeypatch.setattr(elpv, "COUNTS", (20, 8, 6, 12))
    (row,) = run_grid([run], tmp_path / "real.csv", progress=False).to_dict("records")
    assert row["weights"].startswith(f"{name}.safetensors ")
    settings = json.loads(row["configuration"])
    assert settings["image_size"] == 32
    assert len(settings["files"]) == len(settings["weights"]) == 16
    assert row["n_test"] == 46 - 8
    assert 0 <= row["balanced"] <= 100
    assert run_grid([run], tmp_path / "real.csv", progress=False)["key"].to_list() == [row["key"]]
    assert len(read_table(tmp_path / "real.csv")) == 1


def test_the_pace_of_photographs_is_not_that_of_leaves(everything, tmp_path) -> None:
    runs = [run for run in grids.GRIDS["real"]() if run.name == "lora" and run.data == "elpv"]
    leaves = _row(Experiment(("lora",), "leaves-ultra", recipe=al.Recipe())) | {"updates": 10, "seconds": 1.0}
    pd.DataFrame([leaves]).to_csv(tmp_path / "methods.csv", index=False)
    (job, *_) = [job for job in jobs_of("real", tmp_path) if job.method == "lora"]
    assert job.updates == 1000
    assert Pace(tmp_path).seconds(job) == pytest.approx(1000 * REAL_STEP)
    (large, *_) = [job for job in jobs_of("real_224", tmp_path) if job.method == "lora"]
    assert Pace(tmp_path).seconds(large) == pytest.approx(4000 * REAL_STEP)
    stored = _row(runs[0]) | {"updates": 1000, "seconds": 200.0}
    pd.DataFrame([stored]).to_csv(tmp_path / "real.csv", index=False)
    assert Pace(tmp_path).seconds(job) == pytest.approx(200)
    assert Pace(tmp_path).seconds(large) == pytest.approx(4000 * REAL_STEP)


# --- does the order carry over? ---


def _accuracies(order: list[float], spread: float = 0.0) -> dict[str, list[float]]:
    return {f"m{i}": [mean - spread, mean, mean + spread] for i, mean in enumerate(order)}


def test_an_equal_order_correlates_with_one_and_a_reversed_one_with_minus_one() -> None:
    up = _accuracies([10, 20, 30, 40, 50])
    correlation = carry_over.rank_correlation(up, _accuracies([1, 2, 3, 4, 5]))
    assert (correlation.rho, correlation.low, correlation.high) == pytest.approx((1, 1, 1))
    assert correlation.p < 0.01
    assert carry_over.rank_correlation(up, _accuracies([5, 4, 3, 2, 1])).rho == pytest.approx(-1)


def test_the_interval_widens_with_what_seeds_differ_in_and_holds_the_estimate() -> None:
    up = _accuracies([10, 11, 12, 13, 14, 15])
    still, moved = (carry_over.rank_correlation(up, _accuracies([10, 12, 11, 13, 15, 14], s)) for s in (0, 4))
    assert still.low == still.high == pytest.approx(still.rho)
    assert moved.rho == pytest.approx(still.rho)
    assert moved.low < moved.rho <= moved.high
    assert moved.high - moved.low > 0.2


def test_only_methods_of_both_sides_count_and_too_few_of_them_are_refused() -> None:
    left, right = _accuracies([1, 2, 3, 4, 5]), _accuracies([1, 2, 3, 4]) | {"other": [9.0]}
    assert carry_over.rank_correlation(left, right).methods == ["m0", "m1", "m2", "m3"]
    with pytest.raises(al.AdapterError, match="3 methods on both sides .*at least 4"):
        carry_over.rank_correlation(left, _accuracies([1, 2, 3]))
    with pytest.raises(al.AdapterError, match="not finite"):
        carry_over.rank_correlation(left, left | {"m1": [math.nan]})
    with pytest.raises(al.AdapterError, match="draws=3"):
        carry_over.rank_correlation(left, left, draws=3)


def test_the_report_compares_cells_by_balanced_accuracy_with_leaves_by_top1(
    everything, tmp_path, capsys
) -> None:
    rows = []
    for run in (run for run in grids.GRIDS["real"]() if run.seed < 3):
        place = [r.name for r in grids.GRIDS["real"]() if r.seed == 0 and r.data == run.data].index(run.name)
        uneven = {"balanced": 90.0 - place - 0.1 * run.seed} if run.data == "elpv" else {}
        rows.append(_row(run, 40.0 + place + 0.1 * run.seed, **uneven))
    pd.DataFrame(rows).to_csv(tmp_path / "real.csv", index=False)
    leaves = [_row(r, 50.0 + i % 31) for i, r in enumerate(grids.GRIDS["methods"]())]
    pd.DataFrame(leaves).to_csv(tmp_path / "methods.csv", index=False)
    assert main(["results", "real", "--folder", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    pairs = {(each["first"], each["second"]): each for each in report["correlations"]}
    assert set(pairs) == {("elpv", "apples"), ("elpv", "leaves-ultra"), ("apples", "leaves-ultra")}
    assert pairs["elpv", "apples"]["rho"] == pytest.approx(-1)  # by top-1 it would be 1
    assert len(pairs["elpv", "leaves-ultra"]["methods"]) == 11  # all but LoRA with exits
    assert "balanced (%)" in report["text"]
    cells = [row for row in report["rows"] if row["data"] == "elpv" and row["method"] == "linear"]
    assert cells[0]["balanced"] == pytest.approx(np.mean([90.0, 89.9, 89.8]))


def test_without_the_table_the_report_says_how_to_make_it(nothing, tmp_path, capsys) -> None:
    assert main(["results", "real", "--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "make them with `python -m adapters_lib results run real`" in printed
    assert "git clone" in printed
