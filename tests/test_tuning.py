"""Learning rates are chosen on validation images, never on test images."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

import adapters_lib as al
from adapters_lib import cli
from adapters_lib.experiments import run as experiments, tune as tuning
from adapters_lib.experiments.bracketing import Bracket, bracket, neighbours, on_ladder
from adapters_lib.experiments.grids import GRIDS, swept, tuned_methods
from adapters_lib.training import offline_recipes

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _work(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    monkeypatch.setenv("ADAPTERS_CACHE", str(tmp_path_factory.mktemp("work")))


def test_the_best_mean_on_validation_wins_and_ties_go_to_the_smaller_rate() -> None:
    rows = [
        ("a", 1e-3, 50),
        ("a", 1e-3, 60),
        ("a", 1e-2, 54),
        ("a", 1e-2, 55),
        ("b", 1e-3, 40),
        ("b", 1e-2, 40),
    ]
    table = pd.DataFrame(rows, columns=["method", "lr", "val_top1"])
    assert tuning.choose(table) == {"a": 1e-3, "b": 1e-3}


def test_tuning_never_evaluates_on_test_images(tmp_path, monkeypatch) -> None:
    seen = []
    real = experiments.evaluate
    monkeypatch.setattr(
        experiments, "evaluate", lambda model, data: seen.append(len(data)) or real(model, data)
    )
    monkeypatch.setattr(offline_recipes, "BASE", al.Recipe(epochs=1))
    few = {"n_per_class": 2}
    table = tuning.tune(
        ["linear"], "digits", tmp_path / "t.csv", rates=(1e-3,), seeds=(100,), data_options=few
    )
    assert seen == [359]  # the validation part of the digits, and no other
    assert math.isnan(table["top1"].iloc[0])
    assert table["val_top1"].iloc[0] > 0


def test_clips_have_rates_and_a_recipe_of_their_own() -> None:
    recipe = offline_recipes.offline_recipe("padapter:position=a_m_p", data="motion-leaves")
    assert recipe.epochs == offline_recipes.CLIPS.epochs == offline_recipes.CLIPS_BUDGET.passes
    assert recipe.lr in tuning.RATES
    assert recipe.lr != offline_recipes.offline_recipe("padapter:position=a_m_p").lr


def test_the_rates_of_clips_are_stored_beside_those_of_images(tmp_path, monkeypatch) -> None:
    (tmp_path / offline_recipes._FILE).write_text(
        '{"chosen_by": "us", "lr": {"lora": 0.5}, "lr_clips": {"full": 0.25}}'
    )
    monkeypatch.setattr(offline_recipes.resources, "files", lambda package: tmp_path)
    chosen = pd.DataFrame([("lora:rank=4", 1e-3, 50.0)], columns=["method", "lr", "val_top1"])
    monkeypatch.setattr(tuning, "tune", lambda *_, **__: chosen)
    assert cli.main(["tune", "lora:rank=4", "--data", "motion-leaves"]) == 0
    stored = json.loads((tmp_path / offline_recipes._FILE).read_text())
    chosen_at = {"lr_clips": {"lora": str(offline_recipes.CLIPS_BUDGET)}}
    assert stored == {
        "chosen_by": "us",
        "lr": {"lora": 0.5},
        "lr_clips": {"full": 0.25, "lora": 1e-3},
        "chosen_at": chosen_at,
    }


def test_options_tuned_as_written_have_a_rate_of_their_own(tmp_path, monkeypatch) -> None:
    (tmp_path / offline_recipes._FILE).write_text('{"lr": {"adpt": 0.25}}')
    monkeypatch.setattr(offline_recipes.resources, "files", lambda package: tmp_path)
    chosen = pd.DataFrame(
        [("adpt:bottleneck=64,dropout=0.5", 1e-3, 50.0)], columns=["method", "lr", "val_top1"]
    )
    monkeypatch.setattr(tuning, "tune", lambda *_, **__: chosen)
    assert cli.main(["tune", "adpt:bottleneck=64,dropout=0.5", "--as-written"]) == 0
    texts = ("adpt", "adpt:bottleneck=64", "adpt:bottleneck=64,dropout=0.5", "adpt:dropout=0.5,bottleneck=64")
    assert [offline_recipes.offline_recipe(text).lr for text in texts] == [0.25, 0.25, 1e-3, 1e-3]
    assert offline_recipes.offline_recipe(["adpt", "adpt:dropout=0.5,bottleneck=64"]).lr == 1e-3


def test_a_list_gets_its_smallest_rate_and_heads_of_exits_that_of_their_host(tmp_path, monkeypatch) -> None:
    stored = {
        "lr": {"lora": 0.5, "ila": 0.25, "linear": 0.03},
        "lr_exits": {"lora": 0.4, "ila": 0.2, "linear": 0.7},
    }
    (tmp_path / offline_recipes._FILE).write_text(json.dumps(stored))
    monkeypatch.setattr(offline_recipes.resources, "files", lambda package: tmp_path)
    rates = [
        offline_recipes.offline_recipe(m).lr
        for m in (["lora:rank=2", "ila"], ["ila", "dyn"], ["dyn"], [], "dyn", ["lora", "adpt"])
    ]
    assert rates == [0.25, 0.2, 0.7, 0.03, 0.7, offline_recipes.BASE.lr]
    assert offline_recipes.offline_recipe("lora", exits=True) == offline_recipes.offline_recipe(
        ["lora", "dyn"]
    )


def test_the_head_learns_at_the_rate_of_a_probe_beside_every_adapter() -> None:
    for method in ("linear", "full", "lora", "layernorm", ["ila", "lora"]):
        recipe = offline_recipes.offline_recipe(method)
        assert recipe.lr * recipe.head_lr_scale == pytest.approx(offline_recipes.HEAD_LR), method
    assert offline_recipes.offline_recipe("linear").head_lr_scale == 1
    assert offline_recipes.offline_recipe("lora", lr=0.5).head_lr_scale == pytest.approx(
        offline_recipes.HEAD_LR / 0.5
    )
    assert offline_recipes.offline_recipe("lora", head_lr_scale=2.0).head_lr_scale == 2


def test_exits_and_clips_have_one_rate_for_adapter_and_head() -> None:
    assert offline_recipes.offline_recipe(["lora", "dyn"]).head_lr_scale == 1
    assert offline_recipes.offline_recipe("lora", data="motion-leaves").head_lr_scale == 1


def test_a_probe_is_tuned_by_the_rate_of_its_head_and_an_adapter_beside_a_head_at_its_own(
    tmp_path, monkeypatch
) -> None:
    runs = []
    monkeypatch.setattr(tuning, "run_grid", lambda experiments, *_, **__: runs.extend(experiments))
    tuning.tune(["linear", "lora"], "leaves-ultra", tmp_path / "t.csv", rates=(1e-2,))
    tuning.tune(["lora"], "leaves-ultra", tmp_path / "t.csv", rates=(1e-2,), exits=True)
    assert [run.recipe.lr for run in runs] == [1e-2] * 3
    assert [run.recipe.head_lr_scale for run in runs] == [1, pytest.approx(offline_recipes.HEAD_LR / 1e-2), 1]


def test_a_method_with_options_gets_the_rate_of_its_name() -> None:
    assert (
        offline_recipes.offline_recipe("lora:rank=2", seed=3).lr == offline_recipes.offline_recipe("lora").lr
    )
    assert offline_recipes.offline_recipe("lora", seed=3).seed == 3


def test_rates_tried_before_take_part_in_the_choice(tmp_path, monkeypatch) -> None:
    def run(experiment, **_):
        lr = experiment.recipe.lr
        return {"key": experiment.key, "method": experiment.name, "lr": lr, "val_top1": 100 * lr}

    monkeypatch.setattr(experiments, "run_experiment", run)
    path = tmp_path / "t.csv"
    tuning.tune(["lora"], "leaves-ultra", path, rates=(0.5,), exits=True)
    tuning.tune(["lora"], "leaves-ultra", path, rates=(0.2,))
    # 0.5 belongs to another recipe.
    assert tuning.choose(tuning.tune(["lora"], "leaves-ultra", path, rates=(0.1,))) == {"lora": 0.2}


def test_every_rate_of_images_was_better_than_a_smaller_and_a_larger_one_that_were_tried() -> None:
    """Rates say at which budget they were chosen; those that do not, at that of the first tables."""
    known = json.loads((ROOT / "adapters_lib" / "training" / "offline_recipes.json").read_text())
    rates, later = known["lr"], known.get("chosen_at", {}).get("lr", {})
    table = pd.read_csv(ROOT / "data" / "results" / "tuning.csv")
    table = table[(table["data"] == "leaves-ultra") & (table["epochs"] == 3)]
    beside = table["head_lr"] == offline_recipes.HEAD_LR
    for method, rate in rates.items():
        if method not in later:
            tried = (
                table[(table["method"] == method) & (beside | (method == "linear"))]
                .groupby("lr")["val_top1"]
                .mean()
            )
            assert min(tried.index) < rate < max(tried.index), method
            assert tried[rate] == max(tried), method


KINDS = [
    ("lr", "leaves-ultra", False),
    ("lr_exits", "leaves-mixed", True),
    ("lr_clips", "motion-leaves", False),
    ("lr_real", "elpv", False),
]


@pytest.mark.parametrize(("kind", "data", "exits"), KINDS)
def test_every_rate_of_the_present_budget_is_bracketed_by_stored_runs(
    kind: str, data: str, exits: bool
) -> None:
    known = json.loads((ROOT / "adapters_lib" / "training" / "offline_recipes.json").read_text())
    present = str(offline_recipes.setting_of(data, exits).budget)
    methods = [
        method for method, budget in known.get("chosen_at", {}).get(kind, {}).items() if budget == present
    ]
    brackets = tuning.brackets(methods, data, ROOT / "data" / "results" / "rates.csv", exits)
    assert {method: brackets[method].rate for method in methods} == {
        method: known[kind][method] for method in methods
    }


LADDER = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def _tried(*accuracies: float, second: dict[float, float] | None = None) -> dict[float, dict[int, float]]:
    values = {rate: {100: accuracy} for rate, accuracy in zip(LADDER, accuracies, strict=False)}
    for rate, accuracy in (second or {}).items():
        values[rate][101] = accuracy
    return values


def _bracket(tried: dict[float, dict[int, float]]) -> Bracket:
    return bracket(tried, 1e-3, 2000, (100, 101))


def test_one_starts_between_two_neighbours_and_goes_on_at_the_open_end() -> None:
    assert _bracket({}) == (None, [(1e-3, 100), (3e-4, 100), (3e-3, 100)])
    assert _bracket(_tried(50, 55, 60)) == (None, [(1e-2, 100)])
    assert _bracket(_tried(60, 55, 50)) == (None, [(1e-4, 100)])


def test_a_rate_between_two_that_did_clearly_worse_is_the_choice() -> None:
    assert _bracket(_tried(50, 60, 50)) == (1e-3, [])


def test_a_second_seed_decides_between_two_within_one_standard_error() -> None:
    close = (50, 60, 59.5, 40)  # a standard error of 60 % on 2,000 images is 1.1 points
    assert _bracket(_tried(*close)) == (None, [(1e-3, 101), (3e-3, 101)])
    assert _bracket(_tried(*close, second={1e-3: 55, 3e-3: 57})) == (3e-3, [])
    assert _bracket(_tried(*close, second={1e-3: 55, 3e-3: 54})) == (1e-3, [])
    assert _bracket(_tried(*close, second={1e-3: 55, 3e-3: 55.5})) == (1e-3, [])  # of equal ones the smaller


def test_the_winner_of_the_second_seed_needs_neighbours_as_well() -> None:
    assert _bracket(_tried(50, 60, 59.5, second={1e-3: 55, 3e-3: 57})) == (None, [(1e-2, 100)])


def test_rates_are_those_of_a_ladder_of_ones_and_threes() -> None:
    assert neighbours(1e-3) == (3e-4, 3e-3)
    assert neighbours(3e-5) == (1e-5, 1e-4)
    assert [on_ladder(rate) for rate in (1e-3, 2.9e-3, 5e-3, 3e-2)] == [1e-3, 3e-3, 3e-3, 3e-2]


def _peak(method: str) -> float:
    return {"linear": 1e-2, "lora": 1e-4}[method]


def _run(experiment, **_) -> dict:
    """An accuracy that falls by ten points a factor of ten from the best rate."""
    lr = experiment.recipe.lr
    accuracy = 60 - 10 * abs(math.log10(lr / _peak(experiment.name)))
    return {
        "key": experiment.key,
        "method": experiment.name,
        "lr": lr,
        "seed": experiment.seed,
        "val_top1": accuracy,
    }


def test_just_the_missing_neighbours_run_until_every_rate_is_bracketed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(experiments, "run_experiment", _run)
    brackets = tuning.tune_until_bracketed(["linear", "lora"], "leaves-ultra", tmp_path / "rates.csv")
    assert {method: b.rate for method, b in brackets.items()} == {"linear": 1e-2, "lora": 1e-4}
    tried = pd.read_csv(tmp_path / "rates.csv").groupby("method")["lr"].apply(sorted).to_dict()
    assert tried["linear"] == [3e-3, 1e-2, 3e-2, 1e-1]  # from 0.03, two steps either way
    assert tried["lora"] == [3e-5, 1e-4, 3e-4, 1e-3, 3e-3]
    monkeypatch.setattr(experiments, "run_experiment", lambda *_, **__: pytest.fail("nothing is missing"))
    assert tuning.tune_until_bracketed(["lora"], "leaves-ultra", tmp_path / "rates.csv")["lora"].rate == 1e-4


def test_runs_of_the_learning_curve_at_this_budget_are_not_made_again(tmp_path, monkeypatch) -> None:
    ran = []
    monkeypatch.setattr(
        experiments, "run_experiment", lambda e, **_: ran.append((e.recipe.lr, e.seed)) or _run(e)
    )
    curve = [run for run in GRIDS["learning_curve"]() if run.name == "linear" and run.seed == 100]
    pd.DataFrame([_run(run) for run in curve]).to_csv(tmp_path / "learning_curve.csv", index=False)
    tuning.tune_until_bracketed(["linear"], "leaves-ultra", tmp_path / "rates.csv")
    assert (offline_recipes.offline_recipe("linear").lr, 100) not in ran
    assert len(pd.read_csv(tmp_path / "rates.csv")) == len(ran) + 1


def test_a_deadline_leaves_rates_to_try_and_the_command_says_which(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(experiments, "run_experiment", lambda *_, **__: pytest.fail("out of time"))
    table = tmp_path / "rates.csv"
    monkeypatch.setattr(
        offline_recipes, "store_rates", lambda setting, chosen: chosen and pytest.fail("nothing is chosen")
    )
    command = ["tune", "lora", "--until-bracketed", "--limit-minutes", "0", "--table", str(table)]
    assert cli.main(command) == 0
    assert (
        "lora: still to try: 0.001 (seed 100), 0.0003 (seed 100), 0.003 (seed 100)" in capsys.readouterr().out
    )
    assert not table.exists()


def test_a_chosen_rate_is_stored_with_the_budget_at_which_it_was_chosen(tmp_path, monkeypatch) -> None:
    (tmp_path / offline_recipes._FILE).write_text('{"lr": {"adpt": 0.25, "lora": 0.5}}')
    monkeypatch.setattr(offline_recipes.resources, "files", lambda package: tmp_path)
    monkeypatch.setattr(experiments, "run_experiment", _run)
    command = ["tune", "lora", "--until-bracketed", "--jobs", "1", "--table", str(tmp_path / "rates.csv")]
    assert cli.main(command) == 0
    stored = json.loads((tmp_path / offline_recipes._FILE).read_text())
    assert stored == {
        "lr": {"adpt": 0.25, "lora": 1e-4},
        "chosen_at": {"lr": {"lora": "6 passes over 120 a class"}},
    }


def test_rates_are_tried_in_float32_at_the_budget_of_the_grids_on_images_of_other_plants() -> None:
    trial = tuning._trial("lora", 1e-3, 100, "leaves-ultra", exits=False)
    assert trial.recipe.mixed_precision == "no"
    assert trial.recipe.epochs == offline_recipes.BUDGET.passes
    assert trial.data_options == {
        "plants": 1,
        "augment": None,
        "n_train": offline_recipes.BUDGET.images,
        "n_val": 100,
    }
    assert not trial.test
    clips = tuning._trial("lora", 1e-3, 100, "motion-leaves", exits=False)
    assert (clips.backbone, clips.data_options["n_train"]) == (
        "micro_vit_clips",
        offline_recipes.CLIPS_BUDGET.images,
    )


def test_every_method_of_the_grids_has_a_rate_of_its_own_to_be_chosen() -> None:
    for data, exits in (("leaves-ultra", False), ("motion-leaves", False), ("leaves-mixed", True)):
        methods = tuned_methods(data, exits)
        assert len(set(methods)) == len(methods)
    assert {run.name for run in GRIDS["methods"]()} | set(swept()) == set(tuned_methods())
    assert {run.name for run in GRIDS["video"]()} == set(tuned_methods("motion-leaves"))
