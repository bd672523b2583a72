"""Claims about runs that are killed: what is on the disk is always whole, and going on gives the same weights, bit for bit."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from run_and_be_killed import METHOD, RECIPE, data
from tiny_training import striped_images, tiny_backbone, tiny_model

import adapters_lib as al
from adapters_lib import checkpoint
from adapters_lib.recipes import Recipe
from adapters_lib.training import Run, fit


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
    """Folders of three runs that were killed by SIGKILL: in an epoch's middle, in a save's middle, in the first epoch."""
    folder = tmp_path_factory.mktemp("killed")
    script = Path(__file__).parent / "run_and_be_killed.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["epoch:9", "save:9", "first:9"], done.stdout  # each died of signal 9
    return folder


@pytest.mark.parametrize(("where", "epochs_done"), [("epoch", 2), ("save", 1), ("first", 0)])
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(killed: Path, uninterrupted, where, epochs_done):
    summary = json.loads((killed / where / "run.json").read_text())
    assert len(summary["history"]) == epochs_done
    model, run = resume(killed / where)
    assert identical(weights(model), uninterrupted)
    assert list(run.history["epoch"]) == [1, 2, 3, 4]


def test_a_run_stopped_after_every_epoch_ends_with_the_same_weights(tmp_path: Path, uninterrupted):
    for _ in range(RECIPE.epochs):
        model = tiny_model(METHOD)
        run = fit(model, data(), striped_images(12, seed=1), RECIPE, out=tmp_path, progress=False, stop=lambda row: True)
    assert run.stopped is None
    assert identical(weights(model), uninterrupted)


def test_a_full_disk_at_a_checkpoint_loses_one_epoch_at_most(tmp_path: Path, uninterrupted, monkeypatch: pytest.MonkeyPatch):
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
        fit(tiny_model("linear"), striped_images(20), None, recipe, out=tmp_path, resume=False, progress=False, on_epoch=calls.append)
    assert len(calls) == 2


def test_a_run_folder_is_a_saved_adapter_too(tmp_path: Path):
    model = tiny_model("lora")
    fit(model, striped_images(20), None, Recipe(epochs=1), out=tmp_path, progress=False)
    loaded = al.AdaptedViT.from_pretrained(tmp_path, backbone=tiny_backbone())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(x), model(x))


ONE = Recipe(epochs=1)
OTHER_METHOD = r"methods is \['lora'\] there, \['lora:rank=2'\] here"
OTHER_RUNS = {
    "recipe": (lambda: tiny_model("lora"), Recipe(epochs=1, lr=0.5), striped_images(20), "recipe.lr is 0.001 there, 0.5 here"),
    "method": (lambda: tiny_model("lora:rank=2"), ONE, striped_images(20), OTHER_METHOD),
    "classes": (lambda: tiny_model("lora", classes=7), ONE, striped_images(20), "num_classes is 4 there, 7 here"),
    "backbone": (lambda: tiny_model("lora", backbone_seed=5), ONE, striped_images(20), "backbone.frozen_weights"),
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
    summary = checkpoint.load_json(folder / "run.json")
    for manifest in (header["manifest"], summary["manifest"]):
        for field in fields:
            del manifest["recipe"][field]
    checkpoint.save_tensors(folder / "checkpoint.safetensors", tensors, header)
    checkpoint.save_json(folder / "run.json", summary)


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
