"""Learning rates are chosen on validation images, never on test images."""

import json
import math

import pandas as pd

import adapters_lib as al
from adapters_lib import experiments, tuning


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


def test_a_list_gets_its_smallest_rate_and_heads_of_exits_that_of_their_host(tmp_path, monkeypatch) -> None:
    (tmp_path / tuning._FILE).write_text('{"lr": {"lora": 0.5, "ila": 0.25, "linear": 0.75}}')
    monkeypatch.setattr(tuning.resources, "files", lambda package: tmp_path)
    rates = [tuning.offline_recipe(m).lr for m in (["lora:rank=2", "ila"], ["ila", "dyn"], ["dyn"], [], "dyn", ["lora", "adpt"])]
    assert rates == [0.25, 0.25, 0.75, 0.75, 0.75, tuning.BASE.lr]


def test_a_method_with_options_gets_the_rate_of_its_name() -> None:
    assert tuning.offline_recipe("lora:rank=2", seed=3).lr == tuning.offline_recipe("lora").lr
    assert tuning.offline_recipe("lora", seed=3).seed == 3
