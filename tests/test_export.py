"""`al.export`: one file that other programs run, equal to the model at any batch; what cannot be exported
says so."""

import importlib.util
import json
import logging
from pathlib import Path

import pytest
import torch
from every_method import MERGEABLE, NAMES, adapted, some_images
from tiny_clips import clip_model
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.saving import META
from adapters_lib.vit.sites import Adapter

BATCHES = (1, 5)
TREES = ["oak", "ash", "elm", "fir", "Bäume"]


def _loaded(path: Path) -> nn.Module:
    return torch.export.load(path).module()


def _onnx(path: Path, images: Tensor) -> Tensor:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_every_method_answers_from_its_file_as_in_the_model(name: str, tmp_path: Path) -> None:
    model, path = adapted(name), tmp_path / "model.pt2"
    about = al.export(model, path)
    assert about["format"] == "torch"
    assert about["checked"] < 1e-3
    assert about["bytes"] == path.stat().st_size
    again = _loaded(path)
    for batch in BATCHES:
        images = some_images(batch)
        torch.testing.assert_close(again(images), model(images))


@pytest.mark.parametrize("name", ["lora", "ila"])
@torch.no_grad()
def test_onnxruntime_answers_as_the_model_and_the_file_tells_the_names(name: str, tmp_path: Path) -> None:
    model, path = adapted(name), tmp_path / "model.onnx"
    model.classes = TREES
    assert al.export(model, path)["checked"] < 1e-3
    for batch in BATCHES:
        images = some_images(batch)
        torch.testing.assert_close(_onnx(path, images), model(images), atol=1e-4, rtol=1e-4)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]
    entries = {entry.key: entry.value for entry in pytest.importorskip("onnx").load(path).metadata_props}
    assert json.loads(entries[META])["classes"] == TREES


@pytest.mark.parametrize("ending", ["pt2", "onnx"])
@torch.no_grad()
def test_a_fixed_exit_is_exported_without_what_lies_behind_it(ending: str, tmp_path: Path) -> None:
    model = adapted("dyn")
    images = some_images(3)
    early, deep = tmp_path / f"early.{ending}", tmp_path / f"deep.{ending}"
    at_exit = al.export(model, early, exit=1)
    assert at_exit["exit"] == 1
    exported = _onnx(early, images) if ending == "onnx" else _loaded(early)(images)
    torch.testing.assert_close(exported, model.forward_exits(images)[0], atol=1e-4, rtol=1e-4)
    if ending == "pt2":
        whole = al.export(model, deep, exit=2)
        assert whole["exit"] is None
        torch.testing.assert_close(_loaded(deep)(images), model(images))


@torch.no_grad()
def test_a_merged_model_and_a_clip_model_are_exported_too(tmp_path: Path) -> None:
    assert "lora" in MERGEABLE
    model, path = adapted("lora").merge(), tmp_path / "x.pt2"
    al.export(model, path)
    torch.testing.assert_close(_loaded(path)(some_images()), model(some_images()))
    clips, model = torch.randn(2, 3, 8, 32, 32), clip_model("padapter:bottleneck=4").eval()
    assert al.export(model, path)["input"] == [-1, 3, 8, 32, 32]
    torch.testing.assert_close(_loaded(path)(clips), model(clips))


def test_names_and_preparation_travel_in_the_file(tmp_path: Path) -> None:
    model = adapted("linear")
    model.classes = TREES
    kept = {META: ""}
    al.export(model, tmp_path / "x.pt2")
    torch.export.load(tmp_path / "x.pt2", extra_files=kept)
    about = json.loads(kept[META])
    assert about["classes"] == TREES
    assert about["prepared"]["mean"] == [0.5, 0.5, 0.5]


def test_nothing_of_the_model_changes_and_loggers_keep_their_level(tmp_path: Path) -> None:
    model = adapted("lora").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    level = logging.getLogger("torch").level
    al.export(model, tmp_path / "x.pt2")
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert logging.getLogger("torch").level == level


# ---- what cannot be exported


class _Counting(Adapter):
    """An adapter whose path depends on the pixels, which no graph holds."""

    def forward(self, x: Tensor, layout: object) -> Tensor:
        return x if float(x.sum()) > 0 else -x


def test_a_path_that_depends_on_the_pixels_is_refused_with_the_reason(tmp_path: Path) -> None:
    model = adapted("linear")
    model.sites[0].add("enter", _Counting())
    with pytest.raises(
        al.AdapterError, match="cannot trace this model with a batch of any size: .+; export it"
    ):
        al.export(model, tmp_path / "x.pt2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "file", "options", "message"),
    [
        ("linear", "x.pth", {}, r"its ending names no format; end it in \.pt2 or \.onnx"),
        ("linear", "x", {"format": "onxx"}, "did you mean 'onnx'"),
        ("linear", "x.pt2", {"exit": 1}, "exits stand behind blocks 2; give one of them"),
        ("dyn", "x.pt2", {"exit": 3}, "behind blocks 1, 2"),
        ("dyn", "x.pt2", {"exit": "max_softmax"}, "decides image by image is no fixed graph"),
        ("dyn", "x.pt2", {"exit": True}, "exit=True"),
    ],
)
def test_a_format_or_an_exit_that_is_not_there_is_named(
    name: str, file: str, options: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises(al.AdapterError, match=message):
        al.export(adapted(name), tmp_path / file, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_way_out(tmp_path: Path, monkeypatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else find_spec(name))
    with pytest.raises(al.AdapterError, match=r'needs onnx, not installed here; .*or take format="torch"'):
        al.export(adapted("linear"), tmp_path / "x.onnx")


def test_a_file_that_answers_otherwise_is_not_left_behind(tmp_path: Path, monkeypatch) -> None:
    model, path = adapted("linear"), tmp_path / "x.pt2"
    path.write_text("the old one")
    torch.nn.init.constant_(model.backbone.head.bias, float("nan"))
    with pytest.raises(al.AdapterError, match="answers otherwise than the model .*nothing was written"):
        al.export(model, path)
    assert path.read_text() == "the old one"


def test_a_folder_is_no_file_and_weights_beyond_two_gib_are_no_onnx(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(al.AdapterError, match="is a folder; give the name of a file"):
        al.export(adapted("linear"), tmp_path, "torch")
    module = importlib.import_module("adapters_lib.saving.export")
    monkeypatch.setattr(module, "LIMIT", 1000)
    with pytest.raises(al.AdapterError, match='an ONNX file holds at most 2; export format="torch"'):
        al.export(adapted("linear"), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []
