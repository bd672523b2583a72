"""Claims about files: whole or not at all, and an adapter comes back with equal logits or a clear refusal."""

import dataclasses
import errno
import json
from pathlib import Path

import pytest
import timm
import torch
from tiny_training import tiny_backbone, tiny_model

import adapters_lib as al
from adapters_lib import files as safe_files
from adapters_lib.files import save_json
from adapters_lib.methods import METHODS, parse_method
from adapters_lib.methods.dyn import ALONE
from adapters_lib.saving import tensors as checkpoint
from adapters_lib.saving.checkpoint import load_pretrained, save_pretrained
from adapters_lib.saving.tensors import load_tensors, save_tensors


def test_tensors_and_metadata_come_back_as_they_were(tmp_path: Path):
    shared = torch.arange(6.0).reshape(2, 3)
    tensors = {
        "a": shared,
        "view": shared.t(),
        "count": torch.tensor(3),
        "half": torch.ones(2, dtype=torch.bfloat16),
    }
    save_tensors(tmp_path / "new" / "file.safetensors", tensors, {"numbers": [1, 2.5, None], "text": "é"})
    loaded, metadata = load_tensors(tmp_path / "new" / "file.safetensors")
    assert metadata == {"numbers": [1, 2.5, None], "text": "é"}
    assert all(
        torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype
        for name, tensor in tensors.items()
    )


@pytest.mark.parametrize("step", ["save_file", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_valid_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step
):
    path = tmp_path / "file.safetensors"
    save_tensors(path, {"x": torch.zeros(3)})

    def full(*args, **kwargs):
        if step == "save_file":
            Path(args[1]).write_bytes(b"half a file")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint if step == "save_file" else safe_files.os, step, full)
    with pytest.raises(al.AdapterError, match=r"No space left on device.*unchanged; free some space"):
        save_tensors(path, {"x": torch.ones(3)})
    assert torch.equal(load_tensors(path)[0]["x"], torch.zeros(3))
    assert [p.name for p in tmp_path.iterdir()] == ["file.safetensors"]


def test_what_a_killed_save_left_behind_is_overwritten_by_the_next(tmp_path: Path):
    (tmp_path / ".config.json.tmp").write_text("half")
    save_json(tmp_path / "config.json", {"a": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_a_truncated_file_is_named_with_its_size(tmp_path: Path, keep):
    path = tmp_path / "file.safetensors"
    save_tensors(path, {"x": torch.zeros(30)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        al.AdapterError, match=rf"file.safetensors \({path.stat().st_size} bytes\) is truncated"
    ):
        load_tensors(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(al.AdapterError, match="no file .*nowhere"):
        load_tensors(tmp_path / "nowhere")


@pytest.mark.parametrize("method", sorted(METHODS))
def test_saved_adapters_come_back_with_equal_logits(tmp_path: Path, method):
    narrow = (
        {"bottleneck": 8}
        if "bottleneck" in {field.name for field in dataclasses.fields(METHODS[method])}
        else {}
    )
    chosen = parse_method(ALONE) if method == "dyn" else METHODS[method](**narrow)
    model = al.adapt(tiny_backbone(patch_size=4), chosen, 4)
    with torch.no_grad():
        for group in ("adapter", "head", "backbone"):
            for _, parameter in model.parameter_groups()[group]:
                parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(4, 3, 32, 32)
    model.train()(x)  # moves batch-norm statistics, if there are any
    model.eval()
    model.classes = ["a", "b", "c", "d"]
    model.save_pretrained(tmp_path)
    loaded = al.AdaptedViT.from_pretrained(tmp_path, backbone=tiny_backbone(patch_size=4))
    assert torch.equal(loaded(x), model(x))
    assert loaded.methods == model.methods
    assert loaded.classes == ["a", "b", "c", "d"]
    assert not loaded.training


def test_the_configuration_is_readable_and_names_everything(tmp_path: Path):
    save_pretrained(tiny_model("lora:rank=2"), tmp_path, classes=["a", "b", "c", "d"])
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["methods"][0]["name"] == "lora"
    assert config["methods"][0]["options"]["rank"] == 2
    assert config["num_classes"] == 4
    assert config["image_size"] == 32
    assert config["backbone"]["width"] == 32
    assert {"library_version", "data_config", "head", "classes"} <= config.keys()
    assert config == load_tensors(tmp_path / "adapter_model.safetensors")[1]["config"]


def test_the_head_comes_back_with_its_batch_norm(tmp_path: Path):
    model = al.adapt(tiny_backbone(), "adpt", 4, head="bn_linear")
    x = torch.randn(4, 3, 32, 32)
    model.train()(x)
    save_pretrained(model.eval(), tmp_path)
    assert torch.equal(load_pretrained(tmp_path, backbone=tiny_backbone())(x), model(x))


def test_a_merged_model_is_not_saved_as_if_it_had_adapters(tmp_path: Path):
    with pytest.raises(al.AdapterError, match="unmerge"):
        save_pretrained(tiny_model("lora").merge(), tmp_path)


def test_only_what_was_trained_is_saved(tmp_path: Path):
    model = tiny_model("lora")
    save_pretrained(model, tmp_path)
    tensors, _ = load_tensors(tmp_path / "adapter_model.safetensors")
    trained = sum(p.numel() for role in ("adapter", "head") for _, p in model.parameter_groups()[role])
    assert sum(t.numel() for t in tensors.values()) == trained


def test_a_named_backbone_is_created_again_by_name(tmp_path: Path):
    name, options = (
        "vit_tiny_patch16_224",
        {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 1, "num_heads": 2},
    )
    torch.manual_seed(0)
    model = al.adapt(al.create_backbone(name, pretrained=False, **options), "full", 3).eval()
    save_pretrained(model, tmp_path)
    assert load_tensors(tmp_path / "adapter_model.safetensors")[1]["config"]["backbone"]["name"] == name
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(
        load_pretrained(tmp_path, backbone=al.create_backbone(name, pretrained=False, **options))(x), model(x)
    )


WRONG_BACKBONES = {
    "width": ({"embed_dim": 48}, "width 32 and 4 blocks, but this backbone has width 48"),
    "depth": ({"depth": 3}, "but this backbone has width 32 and 3 blocks"),
    "weights": ({}, "frozen weights of this backbone are not those"),
}


@pytest.mark.parametrize("what", WRONG_BACKBONES)
def test_an_adapter_of_another_backbone_is_refused_and_the_backbone_unchanged(tmp_path: Path, what):
    save_pretrained(tiny_model("lora"), tmp_path)
    options, message = WRONG_BACKBONES[what]
    torch.manual_seed(7)
    shape = {"img_size": 32, "patch_size": 8, "depth": 4, "embed_dim": 32, "num_heads": 2, **options}
    vit = timm.create_model("vit_tiny_patch16_224", **shape).eval()
    x, names = torch.randn(2, 3, 32, 32), [name for name, _ in vit.named_modules()]
    before = vit(x)
    with pytest.raises(al.AdapterError, match=message):
        load_pretrained(tmp_path, backbone=vit)
    assert torch.equal(vit(x), before)
    assert [name for name, _ in vit.named_modules()] == names
    assert all(p.requires_grad for p in vit.parameters())
    al.adapt(vit, "lora", 4)  # and it can still be adapted


def test_weights_of_another_number_of_classes_are_refused_and_nothing_is_loaded(tmp_path: Path):
    save_pretrained(tiny_model("lora", classes=7), tmp_path)
    model = tiny_model("lora", classes=4)
    before = {name: tensor.clone() for name, tensor in model.trainable_state_dict().items()}
    with pytest.raises(al.AdapterError, match="classes"):
        model.load_trainable_state_dict(load_tensors(tmp_path / "adapter_model.safetensors")[0])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.trainable_state_dict().items())


def test_a_full_disk_while_sharing_keeps_the_adapter_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = tiny_model("lora")
    save_pretrained(first, tmp_path)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(al.AdapterError, match="No space left"):
        save_pretrained(tiny_model("adpt"), tmp_path)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(load_pretrained(tmp_path, backbone=tiny_backbone())(x), first.eval()(x))


def test_a_file_of_another_program_is_refused(tmp_path: Path):
    save_tensors(tmp_path / "adapter_model.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(al.AdapterError, match="not written by save_pretrained"):
        load_pretrained(tmp_path)
