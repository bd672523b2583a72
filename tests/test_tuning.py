"""Learning rates are chosen on validation images, never on test images."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

import adapters_lib as al
from adapters_lib import experiments, tuning

ROOT = Path(__file__).parents[1]


def test_the_best_mean_on_validation_wins_and_ties_go_to_the_smaller_rate() -> None:
    rows = [("a", 1e-3, 50), ("a", 1e-3, 60), ("a", 1e-2, 54), ("a", 1e-2, 55), ("b", 1e-3, 40), ("b", 1e-2, 40)]
    table = pd.DataFrame(rows, columns=["method", "lr", "val_top1"])
    assert tuning.choose(table) == {"a": 1e-3, "b": 1e-3}


def test_tuning_never_evaluates_on_test_images(tmp_path, monkeypatch) -> None:
    seen = []
    real = experiments.evaluate
    monkeypatch.setattr(experiments, "evaluate", lambda model, data: seen.append(len(data)) or real(model, data))
    monkeypatch.setattr(tuning, "BASE", al.Recipe(epochs=1))
    few = {"n_per_class": 2}
    table = tuning.tune(["linear"], "digits", tmp_path / "t.csv", rates=(1e-3,), seeds=(100,), data_options=few)
    assert seen == [359]  # the validation part of the digits, and no other
    assert math.isnan(table["top1"].iloc[0])
    assert table["val_top1"].iloc[0] > 0


def test_clips_have_rates_and_a_recipe_of_their_own() -> None:
    recipe = tuning.offline_recipe("padapter:position=a_m_p", data="motion-leaves")
    assert recipe.epochs == tuning.CLIPS.epochs != tuning.offline_recipe("padapter").epochs
    assert recipe.lr in tuning.RATES


def test_the_rates_of_clips_are_stored_beside_those_of_images(tmp_path, monkeypatch) -> None:
    (tmp_path / tuning._FILE).write_text('{"chosen_by": "us", "lr": {"lora": 0.5}, "lr_clips": {"full": 0.25}}')
    monkeypatch.setattr(tuning.resources, "files", lambda package: tmp_path)
    chosen = pd.DataFrame([("lora:rank=4", 1e-3, 50.0)], columns=["method", "lr", "val_top1"])
    monkeypatch.setattr(tuning, "tune", lambda *_, **__: chosen)
    tuning.main(["lora:rank=4", "--data", "motion-leaves"])
    stored = json.loads((tmp_path / tuning._FILE).read_text())
    assert stored == {"chosen_by": "us", "lr": {"lora": 0.5}, "lr_clips": {"full": 0.25, "lora": 1e-3}}


def test_options_tuned_as_written_have_a_rate_of_their_own(tmp_path, monkeypatch) -> None:
    (tmp_path / tuning._FILE).write_text('{"lr": {"adpt": 0.25}}')
    monkeypatch.setattr(tuning.resources, "files", lambda package: tmp_path)
    chosen = pd.DataFrame([("adpt:bottleneck=64,dropout=0.5", 1e-3, 50.0)], columns=["method", "lr", "val_top1"])
    monkeypatch.setattr(tuning, "tune", lambda *_, **__: chosen)
    tuning.main(["adpt:bottleneck=64,dropout=0.5", "--as-written"])
    texts = ("adpt", "adpt:bottleneck=64", "adpt:bottleneck=64,dropout=0.5", "adpt:dropout=0.5,bottleneck=64")
    assert [tuning.offline_recipe(text).lr for text in texts] == [0.25, 0.25, 1e-3, 1e-3]
    assert tuning.offline_recipe(["adpt", "adpt:dropout=0.5,bottleneck=64"]).lr == 1e-3


def test_a_list_gets_its_smallest_rate_and_heads_of_exits_that_of_their_host(tmp_path, monkeypatch) -> None:
    stored = {"lr": {"lora": 0.5, "ila": 0.25, "linear": 0.03}, "lr_exits": {"lora": 0.4, "ila": 0.2, "linear": 0.7}}
    (tmp_path / tuning._FILE).write_text(json.dumps(stored))
    monkeypatch.setattr(tuning.resources, "files", lambda package: tmp_path)
    rates = [tuning.offline_recipe(m).lr for m in (["lora:rank=2", "ila"], ["ila", "dyn"], ["dyn"], [], "dyn", ["lora", "adpt"])]
    assert rates == [0.25, 0.2, 0.7, 0.03, 0.7, tuning.BASE.lr]
    assert tuning.offline_recipe("lora", exits=True) == tuning.offline_recipe(["lora", "dyn"])


def test_the_head_learns_at_the_rate_of_a_probe_beside_every_adapter() -> None:
    for method in ("linear", "full", "lora", "layernorm", ["ila", "lora"]):
        recipe = tuning.offline_recipe(method)
        assert recipe.lr * recipe.head_lr_scale == pytest.approx(tuning.HEAD_LR), method
    assert tuning.offline_recipe("linear").head_lr_scale == 1
    assert tuning.offline_recipe("lora", lr=0.5).head_lr_scale == pytest.approx(tuning.HEAD_LR / 0.5)
    assert tuning.offline_recipe("lora", head_lr_scale=2.0).head_lr_scale == 2


def test_exits_and_clips_have_one_rate_for_adapter_and_head() -> None:
    assert tuning.offline_recipe(["lora", "dyn"]).head_lr_scale == 1
    assert tuning.offline_recipe("lora", data="motion-leaves").head_lr_scale == 1


def test_a_probe_is_tuned_by_the_rate_of_its_head_and_an_adapter_beside_a_head_at_its_own(tmp_path, monkeypatch) -> None:
    runs = []
    monkeypatch.setattr(tuning, "run_grid", lambda experiments, *_, **__: runs.extend(experiments))
    tuning.tune(["linear", "lora"], "leaves-ultra", tmp_path / "t.csv", rates=(1e-2,))
    tuning.tune(["lora"], "leaves-ultra", tmp_path / "t.csv", rates=(1e-2,), exits=True)
    assert [run.recipe.lr for run in runs] == [1e-2] * 3
    assert [run.recipe.head_lr_scale for run in runs] == [1, pytest.approx(tuning.HEAD_LR / 1e-2), 1]


def test_a_method_with_options_gets_the_rate_of_its_name() -> None:
    assert tuning.offline_recipe("lora:rank=2", seed=3).lr == tuning.offline_recipe("lora").lr
    assert tuning.offline_recipe("lora", seed=3).seed == 3


def test_rates_tried_before_take_part_in_the_choice(tmp_path, monkeypatch) -> None:
    def run(experiment, **_):
        lr = experiment.recipe.lr
        return {"key": experiment.key, "method": experiment.name, "lr": lr, "val_top1": 100 * lr}

    monkeypatch.setattr(experiments, "run_experiment", run)
    path = tmp_path / "t.csv"
    tuning.tune(["lora"], "leaves-ultra", path, rates=(0.5,), exits=True)
    tuning.tune(["lora"], "leaves-ultra", path, rates=(0.2,))
    assert tuning.choose(tuning.tune(["lora"], "leaves-ultra", path, rates=(0.1,))) == {"lora": 0.2}  # 0.5 belongs to another recipe


def test_every_rate_of_images_was_better_than_a_smaller_and_a_larger_one_that_were_tried() -> None:
    rates = json.loads((ROOT / "adapters_lib" / "offline_recipes.json").read_text())["lr"]
    table = pd.read_csv(ROOT / "data" / "results" / "tuning.csv")
    table = table[(table["data"] == "leaves-ultra") & (table["epochs"] == tuning.BASE.epochs)]
    beside = table["head_lr"] == tuning.HEAD_LR
    for method, rate in rates.items():
        tried = table[(table["method"] == method) & (beside | (method == "linear"))].groupby("lr")["val_top1"].mean()
        assert min(tried.index) < rate < max(tried.index), method
        assert tried[rate] == max(tried), method
