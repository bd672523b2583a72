"""Backbones come by name; what cannot be had says so and names the offline default."""

import hashlib
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import adapters_lib as al
from adapters_lib.backbones import images as backbones
from adapters_lib.backbones.weight_files import find_weights


def test_the_embedded_backbone_is_twelve_blocks_on_144_patches_and_a_class_token() -> None:
    vit = al.create_backbone("micro_vit")
    assert len(vit.blocks) == 12
    assert al.adapt(vit, "ila", 20).token_counts() == [145, 101, 65]


def test_the_embedded_weights_are_the_trained_ones() -> None:
    trained, random = al.create_backbone(), al.create_backbone(pretrained=False)
    assert not torch.equal(trained.blocks[0].attn.qkv.weight, random.blocks[0].attn.qkv.weight)
    assert al.create_backbone().blocks[3].mlp.fc1.weight.equal(trained.blocks[3].mlp.fc1.weight)
    assert not trained.training


def test_the_embedded_backbone_resamples_its_positions_for_another_size() -> None:
    vit = al.create_backbone(image_size=64)
    assert vit.patch_embed.grid_size == (8, 8)
    assert vit(torch.zeros(1, 3, 64, 64)).shape[0] == 1


def test_the_embedded_weights_stay_under_8_mb_and_record_how_they_were_made() -> None:
    folder = backbones.resources.files("adapters_lib.backbones").joinpath("weights")
    assert len(folder.joinpath("micro_vit.safetensors").read_bytes()) <= 8_000_000
    info = backbones.embedded_info()
    assert "pretrain" in info["command"]
    assert len(info["curve"]) > 3
    assert info["upstream_top1"] >= 0.80


def test_an_unknown_backbone_suggests_the_nearest() -> None:
    with pytest.raises(
        al.AdapterError, match="unknown backbone 'vit_bse_patch16_224'; did you mean 'vit_base_patch16_224'"
    ):
        al.create_backbone("vit_bse_patch16_224")


def test_without_a_network_the_message_names_the_offline_default(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(al.AdapterError, match=r"could not be fetched.*micro_vit.*pretrained=False"):
        al.create_backbone("vit_tiny_patch16_224")


def test_an_impossible_image_size_is_named() -> None:
    for size, near in ((3, 16), (100, 96)):
        with pytest.raises(
            al.AdapterError, match=f"image_size={size} does not divide.*16-pixel.*take {near}"
        ):
            al.create_backbone("vit_tiny_patch16_224", pretrained=False, image_size=size)


def test_an_option_that_the_backbone_does_not_have_is_named() -> None:
    with pytest.raises(al.AdapterError, match="cannot be built with.*color"):
        al.create_backbone("vit_tiny_patch16_224", pretrained=False, color="green")


def test_the_source_remembers_name_and_options() -> None:
    vit = al.create_backbone("vit_tiny_patch16_224", pretrained=False, image_size=64, drop_path_rate=0.1)
    assert al.adapt(vit, "linear", 2).backbone_source == {
        "name": "vit_tiny_patch16_224",
        "kwargs": {"drop_path_rate": 0.1, "image_size": 64},
    }


# ---- weights from files --------------------------------------------------------------------------

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}


def tiny_state(seed: int = 0, **options: object) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return timm.create_model("vit_tiny_patch16_224", **{**TINY, **options}).state_dict()


def stored(path: Path, state: dict[str, torch.Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


@pytest.mark.parametrize("without", [(), ("head.weight", "head.bias")])
def test_weights_come_from_a_file_and_a_head_may_be_missing(tmp_path: Path, without: tuple[str, ...]) -> None:
    state = tiny_state()
    path = stored(
        tmp_path / "mine.safetensors", {name: tensor for name, tensor in state.items() if name not in without}
    )
    vit = al.create_backbone("vit_tiny_patch16_224", weights=path, **TINY)
    assert all(
        torch.equal(tensor, state[name]) for name, tensor in vit.state_dict().items() if name not in without
    )
    assert not vit.training
    about = al.adapt(vit, "linear", 2).weights
    assert about == {
        "source": "file",
        "file": "mine.safetensors",
        "digest": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_a_head_of_another_size_is_left_new(tmp_path: Path) -> None:
    path = stored(tmp_path / "w.safetensors", tiny_state())
    assert al.create_backbone(
        "vit_tiny_patch16_224", weights=path, num_classes=7, **TINY
    ).head.weight.shape == (7, 24)
    assert isinstance(
        al.create_backbone("vit_tiny_patch16_224", weights=path, num_classes=0, **TINY).head,
        torch.nn.Identity,
    )


def test_positions_are_resampled_as_timm_resamples_them(tmp_path: Path) -> None:
    path = stored(tmp_path / "w.safetensors", tiny_state())
    larger = {**TINY, "img_size": 48}
    ours = al.create_backbone("vit_tiny_patch16_224", weights=path, **larger)
    file = {"file": str(path), "custom_load": False}  # else older timm takes it for an archive of NumPy's
    timms = timm.create_model("vit_tiny_patch16_224", pretrained=True, pretrained_cfg_overlay=file, **larger)
    assert all(torch.equal(tensor, timms.state_dict()[name]) for name, tensor in ours.state_dict().items())


def test_layouts_that_timm_converts_are_converted(tmp_path: Path) -> None:
    state = {
        f"visual.trunk.{name}": tensor for name, tensor in tiny_state().items() if not name.startswith("head")
    }
    vit = al.create_backbone(
        "vit_tiny_patch16_224", weights=stored(tmp_path / "openclip.safetensors", state), **TINY
    )
    assert torch.equal(vit.norm.weight, state["visual.trunk.norm.weight"])


def _changed(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state = {**tiny_state(), **{name.replace("__", "."): value for name, value in changes.items()}}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (_changed(norm__weight=None, norm__bias=None), r"2 missing \(norm.weight, norm.bias\)"),
        (_changed(surprise=torch.ones(1)), r"1 unexpected \(surprise\)"),
        (_changed(norm__weight=torch.ones(25)), r"1 of another shape \(norm.weight \(25,\) for \(24,\)\)"),
        (_changed(norm__weight=torch.full((24,), float("nan"))), "norm.weight holds NaN or infinity"),
        (_changed(norm__weight=torch.ones(24, dtype=torch.int8)), "norm.weight is torch.int8"),
        (tiny_state(depth=3), r"12 unexpected \(blocks.2.attn.proj.bias, .*, …\)"),
        (tiny_state(embed_dim=32), r"of another shape \(cls_token \(1, 1, 32\) for \(1, 1, 24\)"),
        ({"x": torch.ones(1)}, r"missing .*1 unexpected \(x\)"),
    ],
)
def test_a_file_that_does_not_fit_says_which_tensors_do_not(
    tmp_path: Path, state: dict, message: str
) -> None:
    path = stored(tmp_path / "w.safetensors", state)
    with pytest.raises(al.AdapterError, match=message):
        al.create_backbone("vit_tiny_patch16_224", weights=path, **TINY)


def test_files_that_are_no_safetensors_are_not_unpickled(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "w.pth")
    (tmp_path / "w.safetensors").write_bytes(b"half")
    for name, message in (
        ("w.pth", "may run code when they are read"),
        ("w.safetensors", "cannot read"),
        ("none.safetensors", "cannot read"),
    ):
        with pytest.raises(al.AdapterError, match=message):
            al.create_backbone("vit_tiny_patch16_224", weights=tmp_path / name, **TINY)


def test_random_weights_and_a_file_are_not_asked_for_at_once(tmp_path: Path) -> None:
    with pytest.raises(al.AdapterError, match="pretrained=False asks for random weights, but weights="):
        al.create_backbone("vit_tiny_patch16_224", pretrained=False, weights=tmp_path / "w.safetensors")
    with pytest.raises(al.AdapterError, match="has weights of its own"):
        al.create_backbone("micro_vit_clips", weights=tmp_path / "w.safetensors")


def test_a_room_without_a_network_has_a_folder_of_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPTERS_WEIGHTS", str(tmp_path))
    tag = timm.get_pretrained_cfg("vit_tiny_patch16_224").tag
    own, tagged = tiny_state(1), tiny_state(2)
    stored(tmp_path / f"vit_tiny_patch16_224.{tag}" / "model.safetensors", tagged)
    for name in ("vit_tiny_patch16_224", f"vit_tiny_patch16_224.{tag}"):
        assert torch.equal(al.create_backbone(name, **TINY).norm.weight, tagged["norm.weight"])
    stored(tmp_path / "vit_tiny_patch16_224.safetensors", own)
    assert torch.equal(al.create_backbone("vit_tiny_patch16_224", **TINY).cls_token, own["cls_token"])
    assert torch.equal(
        al.create_backbone(f"vit_tiny_patch16_224.{tag}", **TINY).cls_token, tagged["cls_token"]
    )
    assert find_weights("vit_tiny_patch16_224.another_tag") is None
    assert find_weights("../vit_tiny_patch16_224") is None
    assert al.create_backbone().adapters_lib_weights["source"] == "embedded"
    monkeypatch.setenv("ADAPTERS_WEIGHTS", str(tmp_path / "no"))
    with pytest.raises(al.AdapterError, match="ADAPTERS_WEIGHTS=.*is no folder"):
        al.create_backbone("vit_tiny_patch16_224", **TINY)


def test_an_adapter_is_refused_on_other_weights_than_it_was_trained_on(tmp_path: Path) -> None:
    first, second = (
        stored(tmp_path / f"{name}.safetensors", tiny_state(seed))
        for seed, name in enumerate(("first", "second"))
    )
    model = al.adapt(al.create_backbone("vit_tiny_patch16_224", weights=first, **TINY), "lora", 3).eval()
    model.save_pretrained(tmp_path / "adapter")
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(al.AdaptedViT.from_pretrained(tmp_path / "adapter", weights=first)(x), model(x))
    with pytest.raises(al.AdapterError, match=r"weights first.safetensors \w{12}; here second.safetensors"):
        al.AdaptedViT.from_pretrained(tmp_path / "adapter", weights=second)
    with pytest.raises(al.AdapterError, match="trained on the weights first.safetensors; say where they are"):
        al.AdaptedViT.from_pretrained(tmp_path / "adapter")


def test_rows_and_keys_of_grids_know_the_weights_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapters_lib.experiments.run import Experiment

    run = Experiment(("linear",), "digits", backbone="vit_tiny_patch16_224")
    plain = run.key
    monkeypatch.setenv("ADAPTERS_WEIGHTS", str(tmp_path))
    assert run.key == plain
    keys = {plain}
    for seed in (1, 2):
        stored(tmp_path / "vit_tiny_patch16_224.safetensors", tiny_state(seed))
        keys.add(run.key)
    assert len(keys) == 3
