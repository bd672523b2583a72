"""The workbook's tables: which runs they hold, and that no run is done twice."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import PartialState

import adapters_lib as al
from adapters_lib import cli
from adapters_lib.datasets.leaves.task import KINDS
from adapters_lib.experiments import grids, plan, run as experiments, run_grids as results, side_by_side
from adapters_lib.experiments.plan import Job
from adapters_lib.experiments.run import Experiment, pack_hits, read_table, unpack_hits
from adapters_lib.methods import METHODS
from adapters_lib.training import offline_recipes
from adapters_lib.vit.modes import device_name


@pytest.fixture(autouse=True)
def _work(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    monkeypatch.setenv("ADAPTERS_CACHE", str(tmp_path_factory.mktemp("work")))


def _pretend(experiment: Experiment, **_: object) -> dict:
    common = {
        "method": experiment.name,
        "data": experiment.data,
        "seed": experiment.seed,
        "version": al.__version__,
    }
    return {
        "key": experiment.key,
        **common,
        "top1": 50.0,
        "hits": "00ff",
        "configuration": json.dumps(experiment.configuration(), sort_keys=True),
    }


def test_the_grid_of_methods_has_every_method_with_five_seeds_and_ten_of_those_that_claims_compare() -> None:
    runs = results.GRIDS["methods"]()
    assert {run.name.partition(":")[0] for run in runs} == set(METHODS) - {"dyn"}
    seeds = Counter(run.name for run in runs)
    assert {name for name, count in seeds.items() if count == 10} == set(grids.CLAIMED)
    assert {count for name, count in seeds.items() if name not in grids.CLAIMED} == {5}


def test_every_grid_trains_at_the_one_budget_in_float32_and_tests_on_enough_images() -> None:
    for name in set(results.GRIDS) - {"learning_curve", *grids.PHOTOGRAPHS}:
        for run in results.GRIDS[name]():
            clips = run.data == "motion-leaves"
            budget = offline_recipes.CLIPS_BUDGET if clips else offline_recipes.BUDGET
            assert (run.recipe.epochs, run.data_options["n_train"]) == (budget.passes, budget.images), name
            assert run.recipe.mixed_precision == "no"
            assert run.data_options["n_test"] * (16 if clips else 20) >= (400 if clips else 2000)


def test_the_budget_of_all_grids_changes_in_one_place(monkeypatch) -> None:
    longer = offline_recipes.Budget(images=240, passes=5)
    monkeypatch.setattr(grids, "BUDGET", longer)
    monkeypatch.setattr(
        offline_recipes, "BASE", dataclasses.replace(offline_recipes.BASE, epochs=longer.passes)
    )
    for name in ("methods", "tasks", "bottleneck", "compose"):
        assert {(run.recipe.epochs, run.data_options["n_train"]) for run in results.GRIDS[name]()} == {
            (5, 240)
        }


def test_adapters_that_are_said_to_be_of_one_size_are(tmp_path: Path) -> None:
    sizes = {}
    for text in grids.EQUAL_SIZES:
        model = al.adapt(al.create_backbone("micro_vit", pretrained=False), text, num_classes=20)
        sizes[text] = al.cost(model).trainable["adapter"]
    assert max(sizes.values()) < 1.05 * min(sizes.values())
    assert {"adpt", "padapter:bottleneck=8"} < set(sizes)


def test_every_grid_is_made_of_methods_that_exist_and_of_different_runs() -> None:
    for name, make in results.GRIDS.items():
        runs = make()
        assert len({run.key for run in runs}) == len(runs), name
        for run in runs:
            assert all(al.parse_method(text) for text in run.methods)


def test_the_sweep_of_granularities_goes_through_the_default() -> None:
    assert KINDS["ultra"].granularity in grids.GRANULARITIES
    shared = {run.key for run in results.GRIDS["methods"]()} & {
        run.key for run in results.GRIDS["granularity"]()
    }
    assert len(shared) == 20


def test_the_adapters_compared_on_clips_are_of_about_one_size() -> None:
    runs = results.GRIDS["video"]()
    assert len(runs) == 5 * len(results.VIDEO_VARIANTS)
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
    # Text, not the number 255 or infinity.
    assert set(read_table(tmp_path / "granularity.csv")["hits"]) == {"00ff"}


def test_an_unknown_grid_or_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(al.AdapterError, match="methods"):
        results.results("method", tmp_path)
    with pytest.raises(al.AdapterError, match=r"no run with seeds \(11,\)"):
        results.results("methods", tmp_path, seeds=(11,))


def test_the_command_lists_what_is_missing_and_runs_nothing(tmp_path: Path, capsys) -> None:
    assert cli.main(["results", "list", "methods", "--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    number = len(results.GRIDS["methods"]())
    assert f"methods: 0 of {number} runs" in printed
    assert "next linear on leaves-ultra, seed 0" in printed
    assert f"in all {number} runs left" in printed
    assert cli.main(["results", "list", "nonsense", "--folder", str(tmp_path)]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_rows_of_another_learning_rate_go_only_when_asked_to_and_those_of_another_budget_never(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(experiments, "run_experiment", _pretend)
    results.results("methods", tmp_path, seeds=(0,))
    path = tmp_path / "methods.csv"
    old = Experiment(("lora",), "leaves-ultra", recipe=al.Recipe(epochs=3, batch_size=4))
    experiments.store_row(_pretend(old), path)
    before = path.read_bytes()
    assert cli.main(["results", "prune", "methods", "tasks", "--folder", str(tmp_path)]) == 0
    assert path.read_bytes() == before
    monkeypatch.setattr(
        grids,
        "offline_recipe",
        lambda m, **o: al.offline_recipe(m, **o, **({"lr": 0.5} if "lora" in m else {})),
    )
    wanted = {run.key for run in results.GRIDS["methods"]()}
    assert cli.main(["results", "list", "methods", "--folder", str(tmp_path)]) == 0
    assert "2 rows that it no longer asks for" in capsys.readouterr().out
    assert cli.main(["results", "prune", "methods", "--folder", str(tmp_path)]) == 0
    assert "1 rows dropped" in capsys.readouterr().out
    assert set(read_table(path)["key"]) - wanted == {old.key}
    assert cli.main(["results", "prune", "exits", "--folder", str(tmp_path)]) == 2
    assert "only tables of grids can be pruned" in capsys.readouterr().err


def test_a_table_ends_in_the_order_of_its_grid(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(experiments, "run_experiment", _pretend)
    monkeypatch.setitem(results.GRIDS, "methods", lambda: grids._runs(["linear", "lora"], seeds=(0, 1, 2)))
    results.results("methods", tmp_path, seeds=(2,))
    experiments.store_row({"key": "mine", "method": "of another grid"}, tmp_path / "methods.csv")
    results.results("methods", tmp_path)
    assert [*read_table(tmp_path / "methods.csv")["key"]] == [
        *(run.key for run in results.GRIDS["methods"]()),
        "mine",
    ]


def test_hits_come_back_as_they_were() -> None:
    hits = torch.tensor([1, 0, 0, 1, 1, 0, 1, 0, 1, 1], dtype=torch.bool)
    assert pack_hits(hits) == "9ac0"  # 1001 1010 11
    assert np.array_equal(unpack_hits("9ac0", 10), hits.numpy())
    with pytest.raises(al.AdapterError, match="n_test is 20"):
        unpack_hits("9ac0", 20)


def test_a_row_holds_the_hits_that_its_accuracy_counts(tmp_path: Path) -> None:
    run = Experiment(
        ("linear",),
        "digits",
        data_options={"n_per_class": 2},
        recipe=al.Recipe(epochs=1, batch_size=16, mixed_precision="auto"),
    )
    row = experiments.run_experiment(run)
    assert unpack_hits(row["hits"], row["n_test"]).mean() * 100 == pytest.approx(row["top1"])
    assert row["precision"] in ("no", "bf16")
    assert row["memory_mib"] > 0
    assert row["updates"] == 2  # 20 images, 16 at a time
    assert row["device"] == "cpu"
    assert row["cpu_seconds"] > 0
    assert row["version"] == al.__version__


def test_the_learning_curve_goes_through_its_budgets_without_a_test_image_the_short_ones_first() -> None:
    runs = results.GRIDS["learning_curve"]()
    classes = KINDS["ultra"].cultivars
    steps = [
        run.data_options["n_train"] * classes // run.recipe.batch_size * run.recipe.epochs for run in runs
    ]
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
    assert grids.both_starts("published:bottleneck=4") == [
        "published:bottleneck=4",
        "published:bottleneck=4,start=zero",
    ]
    assert grids.both_starts("zero") == ["zero"]
    assert grids.both_starts("none") == ["none"]


def _small(monkeypatch, methods: list[str], epochs: int = 2) -> list[Experiment]:
    """A grid of tiny real runs in the place of `methods`."""
    options = {"cultivars": 2, "n_train": 4, "n_val": 1, "n_test": 4, "augment": None}
    runs = experiments.grid(
        methods, "leaves-ultra", (0,), data_options=options, recipe=al.Recipe(epochs=epochs, batch_size=4)
    )
    monkeypatch.setitem(results.GRIDS, "methods", lambda: runs)
    return runs


def test_a_limit_in_minutes_leaves_what_does_not_fit_for_the_next_time(tmp_path: Path, monkeypatch) -> None:
    runs = _small(monkeypatch, ["linear", "bitfit"])
    command = ["results", "run", "methods", "--folder", str(tmp_path), "--jobs", "1"]
    assert cli.main([*command, "--limit-minutes", "0.00001"]) == 0
    assert not (tmp_path / "methods.csv").exists()
    assert cli.main([*command, "--only", "bit*"]) == 0
    assert read_table(tmp_path / "methods.csv")["key"].to_list() == [runs[1].key]


def test_a_run_that_the_limit_stops_after_an_epoch_goes_on_from_there(tmp_path: Path, monkeypatch) -> None:
    (run,) = _small(monkeypatch, ["bitfit"])
    whole = experiments.run_experiment(run)
    with pytest.raises(experiments.OutOfTime):
        experiments.run_experiment(run, work=tmp_path, deadline=0.0)  # long ago
    history = json.loads((experiments.run_folder(tmp_path, run) / "run.json").read_text())["history"]
    assert [row["epoch"] for row in history] == [1]
    assert experiments.run_experiment(run, work=tmp_path)["hits"] == whole["hits"]


def test_the_gpu_command_works_off_the_queue_side_by_side_and_its_rows_say_the_device(
    tmp_path: Path, monkeypatch
) -> None:
    runs = _small(monkeypatch, ["linear", "bitfit"], epochs=1)
    report = side_by_side.run_on_gpu(
        side_by_side.queue_of(["methods"], tmp_path), tmp_path, minutes=5, processes=2
    )
    rows = read_table(tmp_path / "methods.csv")
    assert rows["key"].to_list() == [run.key for run in runs]
    assert set(rows["device"]) == {device_name(PartialState().device)}
    assert set(rows["threads"]) == {1}
    assert report.startswith("2 of 2 runs in ")
    assert side_by_side.queue_of(["methods"], tmp_path) == []


def test_the_gpu_command_refuses_no_time_and_no_process(tmp_path: Path, capsys) -> None:
    with pytest.raises(al.AdapterError, match="minutes=0, processes=1"):
        side_by_side.run_on_gpu([], tmp_path, minutes=0, processes=1)
    assert cli.main(["results", "gpu", "methods", "--folder", str(tmp_path), "--minutes", "-1"]) == 2
    assert "give a time above 0" in capsys.readouterr().err


def _job(method: str, seed: int = 0, **more: object) -> Job:
    common = {
        "table": "methods",
        "title": "",
        "data": "leaves-ultra",
        "updates": 100,
        "done": False,
        "call": print,
        "arguments": (),
    }
    return Job(**{**common, "method": method, "seed": seed, "key": f"{method}-{seed}", **more})


def test_patterns_choose_methods_and_seeds_and_a_slash_may_belong_to_a_method() -> None:
    jobs = [_job(method, seed) for method in ("ila", "ila:after=2/6", "lora") for seed in (0, 1)]

    def chosen(*only: str, seeds: tuple[int, ...] | None = None) -> list[str]:
        return [job.key for job in plan.select(jobs, only, seeds)]

    assert chosen("ila*") == ["ila-0", "ila-1", "ila:after=2/6-0", "ila:after=2/6-1"]
    assert chosen("lora/1", "ila:after=2/6") == ["ila:after=2/6-0", "ila:after=2/6-1", "lora-1"]
    assert chosen("*/1", seeds=(1,)) == ["ila-1", "ila:after=2/6-1", "lora-1"]
    with pytest.raises(al.AdapterError, match="no run matches --only 'lroa'"):
        chosen("lroa")


def test_the_queue_can_go_table_by_table_seed_by_seed_or_short_runs_first(tmp_path: Path) -> None:
    rows = [
        {
            "key": "x",
            "method": "lora",
            "data": "leaves-ultra",
            "updates": 10,
            "seconds": 50.0,
            "cpu_seconds": 20.0,
            "device": "cpu",
        }
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "any.csv", index=False)
    pace = plan.Pace(tmp_path)
    jobs = [_job("lora", 0), _job("lora", 101), _job("ila", 100), _job("lora", 0, table="tasks")]
    assert pace.seconds(jobs[0]) == 100 * 20 / 10  # CPU seconds, as others may have used the cores too
    assert plan.Pace(tmp_path / "empty").seconds(jobs[0]) == 100 * plan.STEP
    # Lora-0 once.
    assert [job.key for job in plan.ordered(jobs, "wanted", pace)] == ["lora-0", "lora-101", "ila-100"]
    assert [job.key for job in plan.ordered(jobs, "seeds", pace)] == ["lora-0", "ila-100", "lora-101"]
    assert plan.ordered([_job("lora"), _job("linear", updates=10)], "short", pace)[0].method == "linear"
    with pytest.raises(al.AdapterError, match="unknown order 'size'"):
        plan.ordered(jobs, "size", pace)


def test_the_studies_of_exits_stand_in_the_same_queue(tmp_path: Path, monkeypatch) -> None:
    jobs = plan.jobs_of("exits", tmp_path)
    assert [job.method for job in jobs[:3]] == ["host", "naive", "all"]
    assert Counter(job.seed for job in jobs if job.method == "all") == Counter(range(10))
    assert {job.method for job in plan.jobs_of("video_exits", tmp_path)} == {"host", "naive", "all"}
    asked = []
    monkeypatch.setattr(plan, "run_study", lambda table, **options: asked.append((table.name, options)))
    job = jobs[1]
    job.call(*job.arguments, tmp_path / "work", None)
    ((table, options),) = asked
    assert table == "exits.csv"
    assert (options["settings"], options["seeds"], options["keep"]) == (["naive"], [0], 0)
    assert options["data_options"]["n_test"] * 20 == 2000
    assert options["precision"] == "no"


def test_a_table_that_is_being_made_anew_shows_its_older_rows_until_the_new_ones_have_caught_up(
    tmp_path: Path, monkeypatch
) -> None:
    runs = grids._runs(["linear", "lora"], seeds=(0, 1))
    monkeypatch.setitem(results.GRIDS, "methods", lambda: runs)
    recipe = al.Recipe(epochs=3, batch_size=4)
    old = [
        Experiment((m,), "leaves-ultra", seed, recipe=recipe) for m in ("linear", "lora") for seed in (0, 1)
    ]
    stale = dataclasses.replace(runs[1], recipe=dataclasses.replace(runs[1].recipe, lr=0.5))
    path = tmp_path / "methods.csv"

    def shown(*rows: Experiment) -> list[str]:
        pd.DataFrame([_pretend(row) for row in rows]).to_csv(path, index=False)
        return results.stored("methods", tmp_path)["key"].to_list()

    assert shown(*old, *runs[:2]) == [run.key for run in old]
    assert shown(*old, *runs, stale) == [run.key for run in runs]
    assert shown(stale) == []
    assert results.stored("methods", tmp_path / "nowhere").empty
