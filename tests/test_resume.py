"""Claims about runs that are killed: what is on the disk is always whole, and going on gives the same
weights, bit for bit."""

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from run_and_be_killed import METHOD, RECIPE, data
from tiny_training import striped_images, tiny_backbone, tiny_model

import adapters_lib as al
from adapters_lib.files import load_json, save_json
from adapters_lib.saving import tensors as checkpoint
from adapters_lib.training.fit import Run, fit
from adapters_lib.training.recipe import Recipe


def weights(model: al.AdaptedViT) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.trainable_state_dict().items()}


def identical(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, torch.Tensor]:
    model = tiny_model(METHOD)
    fit(model, data(), striped_images(12, seed=1), RECIPE, progress=False)
    return weights(model)


def resume(folder: Path) -> tuple[al.AdaptedViT, Run]:
    model = tiny_model(METHOD)
    with torch.no_grad():  # resuming must not depend on the initial weights of the new process
        for _, parameter in model.parameter_groups()["head"]:
            parameter.fill_(9.0)
    return model, fit(model, data(), striped_images(12, seed=1), RECIPE, out=folder, progress=False)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of three runs that were killed by SIGKILL: in an epoch's middle, in a save's middle, in the
    first epoch."""
    folder = tmp_path_factory.mktemp("killed")
    script = Path(__file__).parent / "run_and_be_killed.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["epoch:9", "save:9", "first:9"], done.stdout  # each died of signal 9
    return folder


@pytest.mark.parametrize(("where", "epochs_done"), [("epoch", 2), ("save", 1), ("first", 0)])
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(
    killed: Path, uninterrupted, where, epochs_done
):
    summary = json.loads((killed / where / "run.json").read_text())
    assert len(summary["history"]) == epochs_done
    model, run = resume(killed / where)
    assert identical(weights(model), uninterrupted)
    assert list(run.history["epoch"]) == [1, 2, 3, 4]


def test_a_run_stopped_after_every_epoch_ends_with_the_same_weights(tmp_path: Path, uninterrupted):
    for _ in range(RECIPE.epochs):
        model = tiny_model(METHOD)
        run = fit(
            model,
            data(),
            striped_images(12, seed=1),
            RECIPE,
            out=tmp_path,
            progress=False,
            stop=lambda row: True,
        )
    assert run.stopped is None
    assert identical(weights(model), uninterrupted)


def test_a_full_disk_at_a_checkpoint_loses_one_epoch_at_most(
    tmp_path: Path, uninterrupted, monkeypatch: pytest.MonkeyPatch
):
    save, saves = checkpoint.save_file, []

    def full_at_the_third(*args, **kwargs):
        saves.append(args)
        if len(saves) == 3:  # the initial state, epoch 1, and now epoch 2
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full_at_the_third)
        with pytest.raises(al.AdapterError, match=r"No space left on device.*unchanged"):
            fit(tiny_model(METHOD), data(), striped_images(12, seed=1), RECIPE, out=tmp_path, progress=False)
    assert len(json.loads((tmp_path / "run.json").read_text())["history"]) == 1
    assert identical(weights(resume(tmp_path)[0]), uninterrupted)


def test_a_finished_run_returns_its_history_and_weights_without_training(tmp_path: Path):
    recipe, calls = Recipe(epochs=2, batch_size=8), []
    first, second = tiny_model("lora"), tiny_model("lora")
    run = fit(first, striped_images(20), None, recipe, out=tmp_path, progress=False)
    again = fit(second, striped_images(20), None, recipe, out=tmp_path, progress=False, on_epoch=calls.append)
    assert not calls
    assert again.history.equals(run.history)
    assert again.final == pytest.approx(run.final, nan_ok=True)
    assert identical(weights(first), weights(second))


def test_resume_false_starts_the_same_run_again(tmp_path: Path):
    recipe, calls = Recipe(epochs=1, batch_size=8), []
    for _ in range(2):
        fit(
            tiny_model("linear"),
            striped_images(20),
            None,
            recipe,
            out=tmp_path,
            resume=False,
            progress=False,
            on_epoch=calls.append,
        )
    assert len(calls) == 2


@pytest.mark.parametrize("epochs_before", [1, 3])
def test_resume_false_begins_with_the_first_weights_whatever_the_model_has_learnt(
    tmp_path: Path, epochs_before
):
    """The cell of a notebook that is run twice, on a run that was finished or stopped."""
    model, recipe = tiny_model("ila:samplings=1"), Recipe(epochs=3, batch_size=8, lr=1e-2)
    fit(
        model,
        striped_images(20),
        None,
        recipe,
        out=tmp_path,
        progress=False,
        stop=lambda row: row["epoch"] == epochs_before,
    )
    first = weights(model)
    runs = [
        fit(model, striped_images(20), None, recipe, out=tmp_path, resume=False, progress=False)
        for _ in range(2)
    ]
    timeless = [run.history.drop(columns=["seconds", "images_per_second"]) for run in runs]
    assert timeless[0].equals(timeless[1])
    fresh = tiny_model("ila:samplings=1")
    fit(fresh, striped_images(20), None, recipe, progress=False)
    assert identical(weights(model), weights(fresh))
    assert identical(weights(model), first) == (epochs_before == 3)


def test_a_kill_right_after_going_back_leaves_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model, recipe = tiny_model("linear"), Recipe(epochs=2, batch_size=8, lr=1e-2)
    fit(model, striped_images(20), None, recipe, out=tmp_path, progress=False)
    want = weights(model)

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("adapters_lib.training.loop.Loop.epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(model, striped_images(20), None, recipe, out=tmp_path, resume=False, progress=False)
    assert json.loads((tmp_path / "run.json").read_text())["history"] == []
    again = tiny_model("linear")
    assert len(fit(again, striped_images(20), None, recipe, out=tmp_path, progress=False).history) == 2
    assert identical(weights(again), want)


def test_run_json_is_written_anew_when_a_kill_left_it_behind(tmp_path: Path):
    recipe = Recipe(epochs=2, batch_size=8)
    fit(tiny_model("linear"), striped_images(20), None, recipe, out=tmp_path, progress=False)
    whole = (tmp_path / "run.json").read_text()
    for left in ('{"history": []}', "{", None):
        (tmp_path / "run.json").unlink()
        if left is not None:
            (tmp_path / "run.json").write_text(left)
        fit(tiny_model("linear"), striped_images(20), None, recipe, out=tmp_path, progress=False)
        assert (tmp_path / "run.json").read_text() == whole


# ---- the one door for checkpoints ----------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs that was stopped after the second."""
    folder = tmp_path_factory.mktemp("stopped")
    fit(
        tiny_model("lora"),
        striped_images(20),
        None,
        THREE,
        out=folder,
        progress=False,
        stop=lambda row: row["epoch"] == 2,
    )
    return folder


THREE = Recipe(epochs=3, batch_size=8)
HEAD = "model/backbone.head.weight"
MOMENT = "optimizer/exp_avg_sq/backbone.head.weight"
DAMAGE = {
    "epoch": (lambda t, m: m.update(epoch=-1), "epoch is -1"),
    "epoch as text": (lambda t, m: m.update(epoch="2"), "epoch is '2'"),
    "no epoch": (lambda t, m: m.pop("epoch"), "epoch is Ellipsis"),
    "more epochs than the recipe": (
        lambda t, m: m.update(epoch=9, history=m["history"] * 9),
        "epoch 9 of a training of 3",
    ),
    "updates": (lambda t, m: m.update(updates=7), "7 updates after 2 epochs"),
    "updates below 0": (lambda t, m: m.update(updates=-6), "updates is -6"),
    "a row too few": (lambda t, m: m["history"].pop(), "the history has 1 rows after 2 epochs"),
    "rows out of order": (lambda t, m: m["history"].reverse(), "row 1 of the history"),
    "a row of text": (lambda t, m: m["history"][1].update(lr="fast"), "row 2 of the history"),
    "a loss that is NaN": (
        lambda t, m: m["history"][1].update(train_loss=float("nan")),
        "row 2 of the history lacks",
    ),
    "no loss": (lambda t, m: m["history"][1].pop("train_loss"), "row 2 of the history lacks"),
    "history": (lambda t, m: m.update(history={}), "the history has no rows"),
    "scaler": (lambda t, m: m.update(scaler=[1]), "gradient scaler"),
    "NaN in a weight": (lambda t, m: t[HEAD].fill_(float("nan")), "holds NaN or infinity"),
    "a weight of whole numbers": (lambda t, m: t.update({HEAD: t[HEAD].to(torch.int8)}), "is torch.int8"),
    "a weight of another shape": (lambda t, m: t.update({HEAD: t[HEAD][:2]}), "has shape"),
    "a weight less": (lambda t, m: t.pop(HEAD), "the state lacks 1 tensors"),
    "a weight more": (
        lambda t, m: t.update({"model/backbone.norm.weight": torch.ones(32)}),
        "does not train",
    ),
    "NaN in the optimiser": (lambda t, m: t[MOMENT].fill_(float("nan")), "holds NaN or infinity"),
    "squares below 0": (lambda t, m: t[MOMENT].fill_(-1), "squares below 0"),
    "the optimiser's shape": (lambda t, m: t.update({MOMENT: t[MOMENT][:2]}), "has shape"),
    "the optimiser's type": (lambda t, m: t.update({MOMENT: t[MOMENT].half()}), "is torch.float16"),
    "half of the optimiser": (lambda t, m: t.pop(MOMENT), "exp_avg_sq of 'backbone.head.weight' is missing"),
    "no optimiser": (
        lambda t, m: [t.pop(name) for name in list(t) if name.startswith("optimizer")],
        "optimiser's state is missing",
    ),
    "a stranger's tensor": (
        lambda t, m: t.update({"optimizer/exp_avg/x": torch.ones(1)}),
        "belongs to no parameter",
    ),
    "steps": (lambda t, m: t["optimizer/step/backbone.head.weight"].fill_(1e6), "after 6 updates"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_checkpoint_that_cannot_be_right_is_refused_before_anything_is_touched(
    stopped: Path, tmp_path: Path, what
):
    change, message = DAMAGE[what]
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    tensors, metadata = checkpoint.load_tensors(tmp_path / "checkpoint.safetensors")
    change(tensors, metadata)
    checkpoint.save_tensors(tmp_path / "checkpoint.safetensors", tensors, metadata)
    model = tiny_model("lora")
    before = weights(model)
    with pytest.raises(al.AdapterError, match=message):
        fit(model, striped_images(20), None, THREE, out=tmp_path, progress=False)
    assert identical(weights(model), before)


def test_a_flipped_bit_in_a_checkpoint_is_noticed(stopped: Path, tmp_path: Path):
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    content = bytearray((tmp_path / "checkpoint.safetensors").read_bytes())
    content[-3] ^= 4
    (tmp_path / "checkpoint.safetensors").write_bytes(content)
    with pytest.raises(al.AdapterError, match="is damaged: its content has another digest"):
        fit(tiny_model("lora"), striped_images(20), None, THREE, out=tmp_path, progress=False)


def test_a_run_of_an_earlier_version_goes_on_with_a_word(tmp_path: Path):
    fit(
        tiny_model("lora"),
        striped_images(20),
        None,
        THREE,
        out=tmp_path,
        progress=False,
        stop=lambda row: True,
    )
    tensors, metadata = checkpoint.load_tensors(tmp_path / "checkpoint.safetensors")
    manifest = metadata["manifest"]
    manifest["backbone"] = {
        "name": manifest["backbone"]["name"],
        "kwargs": {},
        "frozen_weights": "of the blocks",
    }
    manifest["train"] = {key: manifest["train"][key] for key in ("images", "labels")}
    del manifest["classes"]
    header = {"format": "pt", **{key: json.dumps(value) for key, value in metadata.items()}}
    checkpoint.save_file(tensors, tmp_path / "checkpoint.safetensors", metadata=header)
    (tmp_path / "start.safetensors").unlink()
    with pytest.warns(UserWarning, match="earlier version, which did not record its images"):
        run = fit(tiny_model("lora"), striped_images(20), None, THREE, out=tmp_path, progress=False)
    assert len(run.history) == 3
    checkpoint.save_file(tensors, tmp_path / "checkpoint.safetensors", metadata=header)
    with (
        pytest.warns(UserWarning, match="earlier version"),
        pytest.raises(al.AdapterError, match="did not keep the weights"),
    ):
        fit(tiny_model("lora"), striped_images(20), None, THREE, out=tmp_path, resume=False, progress=False)


def test_a_run_folder_is_a_saved_adapter_too(tmp_path: Path):
    model = tiny_model("lora")
    fit(model, striped_images(20), None, Recipe(epochs=1), out=tmp_path, progress=False)
    loaded = al.AdaptedViT.from_pretrained(tmp_path, backbone=tiny_backbone())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(x), model(x))


ONE = Recipe(epochs=1)
OTHER_METHOD = r"methods is \['lora'\] there, \['lora:rank=2'\] here"
OTHER_RUNS = {
    "recipe": (
        lambda: tiny_model("lora"),
        Recipe(epochs=1, lr=0.5),
        striped_images(20),
        "recipe.lr is 0.001 there, 0.5 here",
    ),
    "method": (lambda: tiny_model("lora:rank=2"), ONE, striped_images(20), OTHER_METHOD),
    "classes": (
        lambda: tiny_model("lora", classes=7),
        ONE,
        striped_images(20),
        "num_classes is 4 there, 7 here",
    ),
    "backbone": (
        lambda: tiny_model("lora", backbone_seed=5),
        ONE,
        striped_images(20),
        "backbone.frozen_weights",
    ),
    "data": (lambda: tiny_model("lora"), ONE, striped_images(24), "train.images is 20 there, 24 here"),
}


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("what", OTHER_RUNS)
def test_a_folder_with_another_run_is_refused_and_left_alone(tmp_path: Path, what, resume):
    fit(tiny_model("lora"), striped_images(20), None, Recipe(epochs=1), out=tmp_path, progress=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    make, recipe, images, message = OTHER_RUNS[what]
    with pytest.raises(al.AdapterError, match=message):
        fit(make(), images, None, recipe, out=tmp_path, resume=resume, progress=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


YOUNGER_FIELDS = ("warmup_lr", "warmup_prefix", "drop_path")


def forget(folder: Path, fields: tuple[str, ...]) -> None:
    """Make a run folder one from before `Recipe` had these fields."""
    tensors, header = checkpoint.load_tensors(folder / "checkpoint.safetensors")
    summary = load_json(folder / "run.json")
    for manifest in (header["manifest"], summary["manifest"]):
        for field in fields:
            del manifest["recipe"][field]
    checkpoint.save_tensors(folder / "checkpoint.safetensors", tensors, header)
    save_json(folder / "run.json", summary)


def test_a_run_from_before_a_recipes_field_resumes_at_the_fields_default(tmp_path: Path, uninterrupted):
    def stopped_after_one(row: dict) -> bool:
        return True

    data_ = data(), striped_images(12, seed=1)
    fit(tiny_model(METHOD), *data_, RECIPE, out=tmp_path, progress=False, stop=stopped_after_one)
    forget(tmp_path, YOUNGER_FIELDS)
    with pytest.raises(al.AdapterError, match=r"recipe.drop_path is 0.0 there, 0.1 here"):
        fit(tiny_model(METHOD), *data_, replace(RECIPE, drop_path=0.1), out=tmp_path, progress=False)
    model, run = resume(tmp_path)
    assert list(run.history["epoch"]) == [1, 2, 3, 4]
    assert identical(weights(model), uninterrupted)


def test_a_truncated_checkpoint_is_named_and_the_model_is_unchanged(tmp_path: Path):
    fit(tiny_model("lora"), striped_images(20), None, Recipe(epochs=1), out=tmp_path, progress=False)
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    model = tiny_model("lora")
    before = weights(model)
    with pytest.raises(al.AdapterError, match=r"checkpoint.safetensors .* is truncated"):
        fit(model, striped_images(20), None, Recipe(epochs=1), out=tmp_path, progress=False)
    assert identical(weights(model), before)


def test_a_checkpoint_holds_tensors_and_json_only(tmp_path: Path):
    fit(tiny_model("lora"), striped_images(20), None, Recipe(epochs=1), out=tmp_path, progress=False)
    left = {path.name for path in tmp_path.iterdir()} - {".training.lock", "README.md"}
    assert {Path(name).suffix for name in left} == {".safetensors", ".json"}
