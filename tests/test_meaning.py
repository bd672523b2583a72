"""Claims about what outputs mean: names travel with the model, and images that it was trained on are not
tested as if unseen."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_training import striped_images, tiny_backbone, tiny_model

import adapters_lib as al
from adapters_lib.analysis.image_report import report
from adapters_lib.cli import main
from adapters_lib.datasets.labelled import TensorImages
from adapters_lib.datasets.load import Task
from adapters_lib.exits.simulate import store_exits
from adapters_lib.saving.tensors import load_tensors
from adapters_lib.training.features import cache_features
from adapters_lib.training.fit import evaluate, fit
from adapters_lib.training.meaning import in_model_order
from adapters_lib.training.recipe import Recipe

NAMES = ["ash", "beech", "cedar", "elm"]
ONE = Recipe(epochs=1, batch_size=8, lr=1e-2)


def task(order: tuple[int, ...] = (0, 1, 2, 3), names: list[str] = NAMES) -> Task:
    """Stripes as trees; order: which number each of the names has in this task."""
    parts = []
    for seed in range(3):
        data = striped_images(16, seed=seed)
        data.labels = torch.tensor(order)[data.labels]
        parts.append(data)
    renamed = [names[order.index(number)] for number in range(4)]
    return Task("trees", renamed, *parts, data_config={"input_size": (3, 32, 32)})


# ---- names ---------------------------------------------------------------------------------------


def test_the_number_of_outputs_follows_from_their_names() -> None:
    model = al.adapt(tiny_backbone(), "linear", classes=NAMES)
    assert model.num_classes == 4
    assert model.classes == NAMES
    assert al.adapt(tiny_backbone(), "linear", 4, classes=NAMES).classes == NAMES
    assert al.adapt(tiny_backbone(), "linear", 4).classes is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_classes": 5, "classes": NAMES},
            "num_classes=5, but classes has 4 names; leave num_classes out",
        ),
        ({"classes": ["a", "b", "a"]}, "'a' stands there twice"),
        ({"classes": "abc"}, "give a list of texts"),
        ({"classes": [1, 2]}, "give a list of texts"),
        ({"classes": []}, "at least 1 class"),
    ],
)
def test_names_that_cannot_be_are_refused(options: dict, message: str) -> None:
    vit = tiny_backbone()
    with pytest.raises(al.AdapterError, match=message):
        al.adapt(vit, "lora", **options)
    al.adapt(vit, "lora", classes=NAMES)


def test_another_number_of_names_than_outputs_is_refused_wherever_they_are_given(tmp_path: Path) -> None:
    model = tiny_model("linear")
    with pytest.raises(al.AdapterError, match="2 class names for 4 outputs"):
        model.classes = ["a", "b"]
    with pytest.raises(al.AdapterError, match="2 class names for 4 outputs"):
        model.save_pretrained(tmp_path, classes=["a", "b"])
    assert not list(tmp_path.iterdir())


def test_fit_takes_names_and_split_over_and_every_file_keeps_them(tmp_path: Path) -> None:
    backbone = al.create_backbone(image_size=32)
    digits = al.load_data("digits", backbone=backbone, seed=3, n_per_class=2)
    model = al.adapt(backbone, "linear", digits.num_classes)
    fit(model, digits.train, None, ONE, out=tmp_path, progress=False)
    assert model.classes == digits.classes
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["classes"] == digits.classes
    assert config["trained_on"]["data"] == "digits"
    assert config["trained_on"]["seed"] == 3
    assert config["trained_on"]["images"] == 20
    manifest = json.loads((tmp_path / "run.json").read_text())["manifest"]
    assert manifest["classes"] == digits.classes
    assert manifest["train"]["split"]["seed"] == 3
    assert load_tensors(tmp_path / "checkpoint.safetensors")[1]["manifest"] == manifest
    again = al.AdaptedViT.from_pretrained(tmp_path)
    assert again.classes == digits.classes
    assert again.trained_on == model.trained_on
    assert torch.equal(again.trained_images, model.trained_images)
    assert "0. 0\n1. 1\n2. 2\n" in (tmp_path / "README.md").read_text()


def test_a_run_folder_of_the_same_names_in_another_order_is_another_run(tmp_path: Path) -> None:
    fit(tiny_model("linear"), task().train, None, ONE, out=tmp_path, progress=False)
    with pytest.raises(al.AdapterError, match="holds another run: classes is"):
        fit(tiny_model("linear"), task((1, 0, 2, 3)).train, None, ONE, out=tmp_path, progress=False)


def test_the_same_names_in_another_order_are_renumbered() -> None:
    sorted_task, shuffled = task(), task((2, 0, 3, 1))
    assert sorted_task.classes != shuffled.classes
    model = tiny_model("linear")
    fit(model, sorted_task.train, None, ONE, progress=False)
    want = evaluate(model, sorted_task.test, return_logits=True)
    # The same images and numbers, without names.
    wrong = TensorImages(shuffled.test.images, shuffled.test.labels, [0.5] * 3, [0.5] * 3)
    assert evaluate(model, wrong)["loss"] != pytest.approx(want["loss"], abs=1e-3)
    for data in (shuffled.test, cache_features(model, shuffled.test)):
        got = evaluate(model, data, return_logits=True)
        assert got["top1"] == want["top1"]
        assert got["loss"] == pytest.approx(want["loss"], abs=1e-6)
        assert torch.equal(got["labels"], want["labels"])
    seen = report(model, shuffled)
    assert np.array_equal(seen.seen.matrix, report(model, sorted_task).seen.matrix)


def test_training_goes_on_under_the_models_own_numbers() -> None:
    models = []
    for order in ((0, 1, 2, 3), (2, 0, 3, 1)):
        model = al.adapt(tiny_backbone(), "linear", classes=NAMES, seed=0)
        fit(model, task(order).train, task(order).val, ONE, progress=False)
        models.append(model)
    assert models[1].classes == NAMES
    a, b = (model.trainable_state_dict() for model in models)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_exits_are_stored_under_the_models_own_numbers() -> None:
    model = al.adapt(tiny_backbone(), ["lora", "dyn"], classes=NAMES, seed=0)
    as_trained, shuffled = (store_exits(model, each.test) for each in (task(), task((2, 0, 3, 1))))
    assert torch.equal(as_trained.labels, shuffled.labels)


@pytest.mark.parametrize("call", [evaluate, fit, store_exits])
def test_other_names_are_refused_and_named(call) -> None:
    model = al.adapt(tiny_backbone(), "dyn", classes=NAMES)
    other = task(names=["ash", "beech", "oak", "elm"])
    message = r"not those of the model: only the data have 'oak' and only the model knows 'cedar'"
    with pytest.raises(al.AdapterError, match=message):
        call(model, other.train if call is fit else other.test)


def test_data_or_models_without_names_are_taken_as_they_are() -> None:
    model = tiny_model("linear")
    assert in_model_order(model, task().test, "x") is not None
    model.classes = NAMES
    plain = striped_images(8)
    assert in_model_order(model, plain, "x") is plain


# ---- images that were trained on -----------------------------------------------------------------


def folder(root: Path, n: int = 12, names: tuple[str, ...] = ("ash", "elm")) -> Path:
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(n):
            path = root / name / f"{number}.png"
            if not path.exists():
                dice = np.random.default_rng([number, *name.encode()])
                Image.fromarray(dice.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(path)
    return root


@pytest.fixture
def trained(tmp_path: Path) -> tuple[al.AdaptedViT, Path]:
    root, vit = folder(tmp_path / "data"), al.create_backbone(image_size=32)
    model = al.adapt(vit, "linear", 2, seed=0)
    fit(model, al.load_data("folder", root=root, backbone=vit, seed=3).train, None, ONE, progress=False)
    return model, root


def test_test_images_of_another_seed_that_were_trained_on_are_refused(trained) -> None:
    model, root = trained
    own, other = (al.load_data("folder", root=root, backbone=model, seed=seed) for seed in (3, 0))
    both = len({*own.train.paths} & {*other.test.paths})
    assert both
    with pytest.raises(
        al.AdapterError,
        match=rf"trained on {both} of these 4 test images: .*seed 3, and this is that of seed 0",
    ):
        evaluate(model, other.test)
    assert evaluate(model, own.test)["n"] == 4
    assert evaluate(model, own.train)["n"] == len(own.train)  # who asks for training images gets them
    with pytest.raises(al.AdapterError, match="fit: val: the model was trained on"):
        fit(model, own.train, other.val, ONE, progress=False)


def test_the_same_seed_on_a_folder_that_has_grown_is_refused_too(trained) -> None:
    model, root = trained
    grown = al.load_data("folder", root=folder(root, n=20), backbone=model, seed=3)
    with pytest.raises(al.AdapterError, match="was trained on .* of these .* test images"):
        evaluate(model, grown.test)


def test_images_in_memory_are_recognised_after_saving_and_loading(tmp_path: Path) -> None:
    vit = al.create_backbone(image_size=32)
    model = al.adapt(vit, "linear", 10)
    fit(model, al.load_data("digits", backbone=vit, seed=1).train, None, ONE, progress=False)
    model.save_pretrained(tmp_path)
    again = al.AdaptedViT.from_pretrained(tmp_path)
    with pytest.raises(al.AdapterError, match="split of seed 1, and this is that of seed 2"):
        evaluate(again, al.load_data("digits", backbone=again, seed=2).test)
    assert evaluate(again, al.load_data("digits", backbone=again, seed=1, n_per_class=1).test)["n"] > 300


def test_drawn_leaves_of_another_seed_are_other_leaves(tmp_path: Path) -> None:
    vit, options = al.create_backbone(image_size=32), {"cultivars": 3, "n_train": 3, "n_val": 2, "n_test": 2}
    model = al.adapt(vit, "linear", 3)
    fit(model, al.load_data("leaves-ultra", backbone=vit, seed=1, **options).train, None, ONE, progress=False)
    other = al.load_data("leaves-ultra", backbone=vit, seed=2, **options)
    assert evaluate(model, other.test)["n"] == evaluate(model, other.val)["n"] == 6


def test_two_trainings_on_one_model_are_both_remembered() -> None:
    vit = al.create_backbone(image_size=32)
    model = al.adapt(vit, "linear", 10)
    for seed in (1, 2):
        fit(
            model,
            al.load_data("digits", backbone=vit, seed=seed, n_per_class=5).train,
            None,
            ONE,
            progress=False,
        )
    assert len(model.trained_images) in range(51, 101)


# ---- the command line ----------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture, *argv: str) -> tuple[int, dict | str]:
    code = main([*argv, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if code == 0 else err


def test_evaluate_takes_seed_and_options_from_the_run_and_refuses_another_split(
    tmp_path: Path, capsys
) -> None:
    root = folder(tmp_path / "data")
    data, out = ["--data", "folder", "--root", str(root)], str(tmp_path / "run")
    options = [
        "--data-option",
        "test_fraction=0.4",
        "--image-size",
        "32",
        "--method",
        "linear",
        "--epochs",
        "1",
    ]
    code, trained = run(capsys, "train", *data, "--seed", "3", *options, "--out", out)
    assert code == 0
    code, tested = run(capsys, "evaluate", *data, "--checkpoint", out)
    assert code == 0
    assert tested["seed"] == 3
    assert tested["classes"] == ["ash", "elm"]
    assert {key: tested[key] for key in trained["test"]} == pytest.approx(trained["test"])
    code, printed = run(capsys, "evaluate", *data, "--checkpoint", out, "--seed", "0")
    assert code == 2
    assert "it was trained on the split of seed 3, and this is that of seed 0" in printed
    other = folder(tmp_path / "other", names=("elm", "oak"))
    code, printed = run(capsys, "evaluate", "--data", "folder", "--root", str(other), "--checkpoint", out)
    assert code == 2
    assert "only the data have 'oak' and only the model knows 'ash'" in printed
