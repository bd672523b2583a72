"""A grid makes one tidy table, runs nothing twice, and survives a failing run."""

import dataclasses
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import adapters_lib as al
from adapters_lib.costs.memory import memory_use
from adapters_lib.datasets.leaves import task as leaves
from adapters_lib.datasets.leaves.drawing import draw
from adapters_lib.experiments import run as experiments
from adapters_lib.experiments.clock import RunClock
from adapters_lib.experiments.run import Experiment, grid, read_table, run_grid

QUICK = al.Recipe(epochs=1, batch_size=64)


def _digits(*methods: str, seeds: tuple[int, ...] = (0,)) -> list[Experiment]:
    return grid(methods, "digits", seeds, backbone="micro_vit", data_options={"n_per_class": 2}, recipe=QUICK)


def test_a_grid_runs_every_method_with_every_seed_and_nothing_twice(tmp_path: Path, monkeypatch) -> None:
    ran = []

    def pretend(experiment: Experiment, **_: object) -> dict:
        ran.append((experiment.name, experiment.seed))
        return {"key": experiment.key, "method": experiment.name, "seed": experiment.seed, "top1": 50.0}

    monkeypatch.setattr(experiments, "run_experiment", pretend)
    wanted = grid(["linear", ("ila", "lora")], "digits", seeds=(0, 1))
    rows = run_grid(wanted[:1], tmp_path / "t.csv", progress=False)
    rows = run_grid(wanted, tmp_path / "t.csv", progress=False)
    assert ran == [("linear", 0), ("linear", 1), ("ila + lora", 0), ("ila + lora", 1)]
    assert rows["method"].to_list() == ["linear", "linear", "ila + lora", "ila + lora"]


def test_a_failing_run_is_named_after_the_others_have_run(tmp_path: Path, monkeypatch) -> None:
    def fragile(experiment: Experiment, **_: object) -> dict:
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


def test_a_field_that_recipes_get_later_changes_no_key_until_it_is_used(monkeypatch) -> None:
    old = Experiment(("lora",), "digits").key
    younger = dataclasses.make_dataclass("Recipe", [("centre", bool, False)], bases=(al.Recipe,), frozen=True)
    monkeypatch.setattr(experiments, "Recipe", younger)
    assert Experiment(("lora",), "digits", recipe=younger()).key == old
    assert Experiment(("lora",), "digits", recipe=younger(centre=True)).key != old


def test_rows_written_side_by_side_are_all_there(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: experiments.store_row({"key": f"k{i}", "top1": float(i)}, table), range(24)))
    assert sorted(read_table(table)["top1"]) == list(range(24))


def test_a_real_run_reports_accuracy_cost_and_configuration(tmp_path: Path) -> None:
    (row,) = run_grid(_digits("linear"), tmp_path / "t.csv", progress=False).to_dict("records")
    assert row["trained"] == row["head"] == 10 * 129
    assert 0 <= row["top1"] <= 100
    digest = hashlib.sha256(
        (Path(al.__file__).parent / "backbones" / "weights" / "micro_vit.safetensors").read_bytes()
    ).hexdigest()
    assert row["weights"] == f"micro_vit.safetensors {digest[:12]}"
    assert row["macs"] > 3e8
    assert '"n_per_class": 2' in row["configuration"]


SMALL = {"cultivars": 2, "n_train": 4, "n_val": 1, "n_test": 4, "augment": None}


def test_a_run_that_was_killed_goes_on_from_its_last_epoch_to_the_same_row(
    tmp_path: Path, monkeypatch
) -> None:
    run = Experiment(
        ("bitfit",), "leaves-ultra", data_options=SMALL, recipe=al.Recipe(epochs=3, batch_size=4)
    )
    whole = experiments.run_experiment(run)
    note, epochs = RunClock.note, []

    def killed_after_two(clock: RunClock, row: dict) -> None:
        note(clock)
        epochs.append(row["epoch"])
        if epochs == [1, 2]:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunClock, "note", killed_after_two)
    work = tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        run_grid([run], tmp_path / "t.csv", progress=False, work=work)
    spent = json.loads((experiments.run_folder(work, run) / "spent.json").read_text())
    (row,) = run_grid([run], tmp_path / "t.csv", progress=False, work=work).to_dict("records")
    assert epochs == [1, 2, 3]
    assert {c: row[c] for c in ("key", "top1", "val_top1", "hits")} == {
        c: whole[c] for c in ("key", "top1", "val_top1", "hits")
    }
    assert row["loss"] == pytest.approx(whole["loss"], rel=1e-5)  # a CSV keeps six digits
    assert row["updates"] == whole["updates"] == 6
    assert row["seconds"] > spent["seconds"] > 0
    assert not list((work / "runs").iterdir())  # the checkpoint goes when the row is stored


def test_runs_of_one_grid_share_the_images_of_a_seed(tmp_path: Path, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(leaves, "draw", lambda *given: drawn.append(len(given[0])) or draw(*given))
    leaves._images.cache_clear()
    for method in ("linear", "bitfit"):
        run = Experiment(
            (method,), "leaves-ultra", data_options=SMALL, recipe=al.Recipe(epochs=1, batch_size=4)
        )
        run_grid([run], tmp_path / "t.csv", progress=False, work=tmp_path / "work")
        leaves._images.cache_clear()  # as in another process
    assert drawn == [8, 2, 8]


def test_what_all_seeds_of_a_method_share_is_worked_out_once(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(
        experiments, "memory_use", lambda model, batch: asked.append(batch) or memory_use(model, batch)
    )
    monkeypatch.setattr(experiments, "_FACTS", {})
    options = {"data_options": {"n_per_class": 1}, "recipe": al.Recipe(epochs=1, batch_size=5)}
    first, second = (
        experiments.run_experiment(Experiment(("bitfit",), "digits", seed, **options)) for seed in (0, 1)
    )
    assert asked == [5]
    same = ("trained", "adapter", "head", "backbone", "macs", "memory_mib")
    assert {c: first[c] for c in same} == {c: second[c] for c in same}
    other = experiments.run_experiment(Experiment(("linear",), "digits", **options))
    assert asked == [5, 5]
    assert other["trained"] < first["trained"]


def test_balanced_accuracy_stands_beside_top1_only_where_test_classes_differ_in_size() -> None:
    options = {"data_options": {"n_per_class": 1}, "recipe": al.Recipe(epochs=1, batch_size=8)}
    uneven = experiments.run_experiment(Experiment(("linear",), "digits", **options))
    assert list(uneven)[4:6] == ["top1", "balanced"]
    assert 0 <= uneven["balanced"] <= 100
    assert uneven["balanced"] != uneven["top1"]
    small = {"cultivars": 2, "n_train": 1, "n_val": 1, "n_test": 4, "augment": None}
    recipe = al.Recipe(epochs=1, batch_size=2)
    assert "balanced" not in experiments.run_experiment(
        Experiment(("linear",), "leaves-ultra", data_options=small, recipe=recipe)
    )


def test_an_image_size_changes_the_key_and_none_leaves_those_of_stored_rows() -> None:
    run = Experiment(("lora",), "digits")
    assert "image_size" not in run.configuration()
    larger = dataclasses.replace(run, image_size=112)
    assert larger.configuration() == {**run.configuration(), "image_size": 112}
    assert larger.key != run.key
