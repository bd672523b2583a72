"""`al.classify`: names for pictures that nobody labelled, prepared as in the training, with what could not be
read listed."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_tiny_vit
from every_method import MERGEABLE, NAMES, adapted
from PIL import Image
from tiny_clips import clip_model

import adapters_lib as al
from adapters_lib.datasets import TensorImages
from adapters_lib.datasets.load import DataWarning
from adapters_lib.datasets.transforms import image_transforms
from adapters_lib.datasets.unlabelled import preparation
from adapters_lib.saving.header import read_header
from adapters_lib.saving.tensors import load_tensors

TREES = ["oak", "ash", "elm", "fir", "yew"]


def _pixels(count: int = 5, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def _pictures(count: int = 5, size: int = 32) -> list[Image.Image]:
    return [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in _pixels(count, size)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five PNGs, two of them one level down; a text named .jpg, a HEIC file and a list, none of them read."""
    root = tmp_path / "mine"
    (root / "more").mkdir(parents=True)
    for number, picture in enumerate(_pictures(size=40)):
        picture.save((root if number < 3 else root / "more") / f"{number}.png")
    (root / "words.jpg").write_text("no image")
    (root / "phone.heic").write_bytes(b"x")
    (root / "list.txt").write_text("0.png oak")
    return root


def _model(method: object = "lora:rank=2", **options: object) -> al.AdaptedViT:
    torch.manual_seed(0)
    model = al.adapt(make_tiny_vit(**options), method, classes=TREES, seed=0)
    torch.nn.init.normal_(model.backbone.head.weight, std=0.5)
    for head in model.exits.values():
        torch.nn.init.normal_(
            head.classifier.weight
            if isinstance(head.classifier, torch.nn.Linear)
            else head.classifier[-1].weight,
            std=2.0,
        )
    return model.eval()


def _quiet(model: al.AdaptedViT, images: object, *args: object, **options: object) -> pd.DataFrame:
    """Where pictures are expected to be left out."""
    with pytest.warns(DataWarning):
        return al.classify(model, images, *args, **options)


def test_the_names_and_probabilities_are_those_of_the_models_logits(folder: Path) -> None:
    model = _model()
    _, transform = image_transforms(model.data_config, None)
    paths = sorted(folder.rglob("*.png"))
    with torch.no_grad():
        wanted = torch.stack([model(transform(Image.open(path))[None])[0].softmax(0) for path in paths])
    table = al.classify(model, paths, top=3, batch_size=2)
    assert list(table["file"]) == list(map(str, paths))
    best = wanted.topk(3)
    for rank in range(3):
        assert list(table[f"class_{rank + 1}"]) == [TREES[i] for i in best.indices[:, rank]]
        assert np.allclose(table[f"probability_{rank + 1}"], best.values[:, rank], atol=1e-5)
    assert "class_4" not in table
    assert len(al.classify(model, paths, top=99).columns) == 1 + 2 * len(TREES)


def test_a_folder_a_list_paths_as_text_and_open_images_say_the_same(folder: Path) -> None:
    model, paths = _model(), sorted(folder.rglob("*.png"))
    wanted = al.classify(model, paths).drop(columns="file")
    for given in (list(map(str, paths)), [*paths[:3], folder / "more"], [Image.open(p) for p in paths]):
        pd.testing.assert_frame_equal(al.classify(model, given).drop(columns="file"), wanted)
    named = _quiet(model, str(folder))
    assert list(named["file"]) == list(map(str, paths))
    pd.testing.assert_frame_equal(named.drop(columns="file"), wanted)
    one = al.classify(model, Image.open(paths[0])).drop(columns="file")
    pd.testing.assert_frame_equal(one, wanted[:1], rtol=1e-4)


def test_pixels_in_memory_are_prepared_as_files_are(folder: Path) -> None:
    model = _model()
    from_files = al.classify(model, sorted(folder.rglob("*.png"))).drop(columns="file")
    table = al.classify(model, _pixels(size=40))
    assert list(table["file"]) == [f"image {n}" for n in range(5)]
    pd.testing.assert_frame_equal(table.drop(columns="file"), from_files)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "1"])
def test_a_picture_of_another_mode_is_read_as_rgb_open_or_in_a_file(mode: str, tmp_path: Path) -> None:
    model, picture = _model(), _pictures(1)[0].convert(mode)
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    picture.save(path)
    pd.testing.assert_frame_equal(
        al.classify(model, path).drop(columns="file"), al.classify(model, picture).drop(columns="file")
    )


def test_what_cannot_be_read_is_listed_and_the_rest_is_named(folder: Path) -> None:
    with pytest.warns(DataWarning, match=r"2 left out: .*phone\.heic: HEIC .*words\.jpg: not an image"):
        table = al.classify(_model(), folder, batch_size=2)
    assert len(table) == 5
    skipped = {Path(row["file"]).name: row["why"] for row in table.attrs["skipped"]}
    assert skipped.keys() == {"words.jpg", "phone.heic", "list.txt"}
    assert skipped["words.jpg"] == "not an image"
    with pytest.warns(DataWarning, match=r"1 left out: .*gone\.png: no such file"):
        assert len(al.classify(_model(), [folder / "0.png", folder / "gone.png"])) == 1


def test_nothing_left_out_warns_of_nothing(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert al.classify(_model(), folder / "more").attrs["skipped"] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_method_names_pictures_and_merging_changes_no_name(name: str) -> None:
    model = adapted(name)
    model.classes = TREES
    table = al.classify(model, _pixels(size=16))
    assert len(table) == 5
    if name in MERGEABLE:
        merged = al.classify(model.merge(), _pixels(size=16))
        costs = ["macs"] if "macs" in table else []  # a merged host is cheaper
        pd.testing.assert_frame_equal(merged.drop(columns=costs), table.drop(columns=costs), rtol=1e-3)


def test_the_mode_of_every_module_is_left_as_it_was() -> None:
    model = _model().train()
    before = {name: module.training for name, module in model.named_modules()}
    al.classify(model, _pixels())
    assert {name: module.training for name, module in model.named_modules()} == before


# ---- prepared as in the training


def test_images_are_prepared_as_in_the_training_also_after_saving(tmp_path: Path) -> None:
    parts = [TensorImages(_pixels(10, 24), torch.arange(10) % 5, (0.1, 0.2, 0.3), (0.5,) * 3, size=32)] * 3
    config = {"input_size": (3, 32, 32), "mean": (0.1, 0.2, 0.3), "std": (0.5,) * 3}
    task = al.Task("trees", TREES, *parts, data_config=config)
    torch.manual_seed(0)
    model = al.adapt(make_tiny_vit(), "linear", classes=TREES)
    assert preparation(model)["crop_pct"] == 0.9  # timm's, as long as nobody has trained
    al.fit(model, task.train, None, al.Recipe(epochs=1), progress=False)
    model.save_pretrained(tmp_path)
    torch.manual_seed(0)
    again = al.load_pretrained(tmp_path, backbone=make_tiny_vit())
    prepared = preparation(again)
    assert (prepared["mean"], prepared["crop_pct"], prepared["crop_mode"]) == ([0.1, 0.2, 0.3], 1.0, "squash")
    with torch.no_grad():
        wanted = again(parts[0].__getitems__(range(10))[0]).softmax(1).amax(1)
    table = al.classify(again, _pixels(10, 24))
    assert np.allclose(table["probability_1"], wanted, atol=0.02)  # Pillow's bicubic, not torch's


def test_a_preparation_that_makes_no_sense_is_refused_by_its_word(tmp_path: Path) -> None:
    model = _model()
    model.trained_on = {"prepared": {"std": [0.0, 1.0, 1.0]}}
    with pytest.raises(al.AdapterError, match=r"prepared with std='\[0\.0, 1\.0, 1\.0\]'.*copy"):
        al.classify(model, _pixels())
    model.trained_on = {"prepared": "square"}
    model.save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    with pytest.raises(al.AdapterError, match="prepared in its header is 'square'"):
        read_header(file, load_tensors(file)[1])


# ---- exits


def _with_exits() -> al.AdaptedViT:
    return _model(["lora:rank=2", al.DynExits(every=1, forward_sparsity=0, backward_sparsity=0)])


def test_exits_are_taken_by_the_stored_policy_and_paid_for() -> None:
    model = _with_exits()
    model.extra["exits"] = {"thresholds": [0.9, 0.5, 0.5], "policy": "margin"}
    table = al.classify(model, _pixels(24), batch_size=7)
    _, transform = image_transforms(model.data_config, None)
    images = torch.stack([transform(picture) for picture in _pictures(24)])
    wanted = al.predict(model, images)
    assert list(table["exit"]) == [wanted.blocks[i] for i in wanted.exit_index]
    assert list(table["macs"]) == wanted.macs.tolist()
    assert list(table["class_1"]) == [TREES[i] for i in wanted.labels]
    assert len(set(table["exit"])) > 1
    all_first = al.classify(model, _pixels(24), thresholds=[0, 0, 0], policy="max_softmax")
    assert set(all_first["exit"]) == {1}


def test_full_depth_and_a_model_that_was_not_calibrated_use_no_exit() -> None:
    model = _with_exits()
    plain = al.classify(model, _pixels())
    assert set(plain["exit"]) == {4}
    assert set(plain["macs"]) == {al.exit_costs(model).full}
    model.extra["exits"] = {"thresholds": [0, 0, 0], "policy": "max_softmax"}
    pd.testing.assert_frame_equal(al.classify(model, _pixels(), full_depth=True), plain)
    assert not al.classify(model, _pixels()).equals(plain)


# ---- clips


def test_a_clip_model_names_videos_of_a_folder_and_clips_in_memory(film: Path, tmp_path: Path) -> None:
    model = clip_model("linear")
    model.classes = TREES
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(film.read_bytes())
    (tmp_path / "c.mp4").write_bytes(film.read_bytes()[:100])
    table = _quiet(model, tmp_path)
    assert [Path(file).name for file in table["file"]] == ["a.mp4", "b.mp4"]
    assert [Path(row["file"]).name for row in table.attrs["skipped"]] == ["c.mp4"]
    assert table["probability_1"][0] == table["probability_1"][1]
    clips = torch.randint(0, 256, (3, 3, 8, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        wanted = model((clips.float() / 255 - 0.5) / 0.5).softmax(1).amax(1)
    assert np.allclose(al.classify(model, clips)["probability_1"], wanted, atol=1e-5)
    with pytest.raises(al.AdapterError, match="clips of 5 frames, but the model takes 8"):
        al.classify(model, clips[:, :, :5])
    with pytest.raises(al.AdapterError, match=r"Image.* to classify; give a video file, a folder of them"):
        al.classify(model, _pictures(1))


# ---- bad input


def test_a_model_without_names_is_refused_with_the_remedy() -> None:
    model = al.adapt(make_tiny_vit(), "linear", 5)
    with pytest.raises(al.AdapterError, match=r"what its 5 outputs are called; set model\.classes = "):
        al.classify(model, _pixels())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(2, 1, 32, 32, dtype=torch.uint8), "images of 1 channels .* the model takes 3"),
        (torch.zeros(2, 4, 32, 32, dtype=torch.uint8), "images of 4 channels .* the model takes 3"),
        (torch.zeros(3, 32, 32, dtype=torch.uint8), r"for a single one x\[None\]"),
        (torch.zeros(0, 3, 32, 32, dtype=torch.uint8), "at least one"),
        (torch.zeros(2, 3, 32, 32), "a tensor of torch.float32: whether and how it is normalised"),
        ([], "the list is empty"),
        ([3], "a int to classify; give an image file"),
        (np.zeros((4, 4, 3)), "a numpy.ndarray to classify"),
        ({"a": 1}, "a dict to classify"),
        ("no/such/file.jpg", r"nothing could be read: no.such.file\.jpg: no such file"),
    ],
)
def test_what_is_no_image_is_refused_with_the_remedy(given: object, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        al.classify(_model(), given)


def test_a_model_of_another_number_of_channels_takes_no_pictures(folder: Path) -> None:
    model = _model(in_chans=1)
    with pytest.raises(al.AdapterError, match="takes images of 1 channels, but pictures are read as RGB"):
        al.classify(model, folder)


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(al.AdapterError, match=r"no image in the folder .*; it holds notes\.txt"):
        al.classify(_model(), tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "top=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"temperature": 0}, "temperature=0"),
        ({"precision": "half"}, "unknown precision 'half'"),
        ({"precision": "fp16"}, "needs a GPU"),
        ({"thresholds": [0.5]}, "this model has no early exits"),
        ({"thresholds": [0.5], "full_depth": True}, "thresholds have no meaning"),
        ({"max_pixels": 0}, "max_pixels=0"),
    ],
)
def test_an_option_out_of_its_bounds_is_named(options: dict, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        al.classify(_model(), _pixels(), **options)


def test_weights_that_give_no_number_are_found_and_the_picture_is_named() -> None:
    model = _model()
    torch.nn.init.constant_(model.backbone.head.bias, float("nan"))
    with pytest.raises(al.AdapterError, match="image 0: the model's logits are NaN"):
        al.classify(model, _pixels())


def test_bfloat16_says_about_the_same_and_the_list_of_what_was_left_out_is_plain_json() -> None:
    model = _model()
    exact, short = al.classify(model, _pixels()), al.classify(model, _pixels(), precision="bf16")
    assert np.allclose(exact["probability_1"], short["probability_1"], atol=0.05)
    json.dumps(short.attrs["skipped"])
