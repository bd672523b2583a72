"""Claims about a reloaded adapter: it is the saved one, on the backbone it was trained on, and a file can
ask for nothing else."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from tiny_training import tiny_backbone, tiny_model

import adapters_lib as al
from adapters_lib.backbones import images as backbones
from adapters_lib.saving import checkpoint
from adapters_lib.saving.checkpoint import load_pretrained, save_pretrained
from adapters_lib.saving.header import WEIGHTS
from adapters_lib.saving.tensors import load_tensors, save_tensors
from adapters_lib.vit.architecture import describe, differences
from adapters_lib.vit.frozen import blocks_digest, frozen_digest, frozen_print

NAME = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with made-up weights of `NAME`, where they are found without a network."""
    torch.manual_seed(0)
    folder = tmp_path / "weights"
    folder.mkdir()
    save_file(timm.create_model(NAME).state_dict(), folder / f"{NAME}.safetensors")
    monkeypatch.setenv("ADAPTERS_WEIGHTS", str(folder))
    return folder


def by_hand(weights: Path, **options: object) -> torch.nn.Module:
    """timm's own model, with weights that timm loads from a file."""
    return timm.create_model(
        NAME,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(weights / f"{NAME}.safetensors")},
        **options,
    )


@pytest.mark.parametrize(
    "options",
    [{"img_size": 96}, {"global_pool": "avg", "fc_norm": False}, {"dynamic_img_size": True}, {"in_chans": 1}],
    ids=str,
)
def test_a_model_made_by_timm_with_options_comes_back_with_them_or_not_at_all(
    tmp_path: Path, weights: Path, options: dict
) -> None:
    model = al.adapt(by_hand(weights, **options), "lora", 3, seed=0).eval()
    size = options.get("img_size", 224)
    x = torch.randn(1, options.get("in_chans", 3), size, size)
    save_pretrained(model, tmp_path / "a")
    if "in_chans" in options:  # the file in the folder has three channels
        with pytest.raises(al.AdapterError, match="1 of another shape .*patch_embed.proj.weight"):
            load_pretrained(tmp_path / "a")
        return
    again = load_pretrained(tmp_path / "a")
    assert again.image_size == model.image_size
    assert torch.allclose(again(x), model(x), atol=1e-5)


def test_what_cannot_be_rebuilt_by_name_says_what_is_other_and_what_to_do(
    tmp_path: Path, weights: Path
) -> None:
    model = al.adapt(by_hand(weights, act_layer="relu"), "lora", 3).eval()
    save_pretrained(model, tmp_path / "a")
    with pytest.raises(al.AdapterError, match=r"made by hand .*mlp.act is 'ReLU\(\)'.*pass backbone=…"):
        load_pretrained(tmp_path / "a")
    with pytest.raises(al.AdapterError, match=r"built otherwise: layers.blocks.*mlp.act is 'ReLU\(\)' there"):
        load_pretrained(tmp_path / "a", backbone=by_hand(weights))
    x = torch.randn(1, 3, 224, 224)
    assert torch.equal(
        load_pretrained(tmp_path / "a", backbone=by_hand(weights, act_layer="relu"))(x), model(x)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda vit: vit.blocks[1].mlp.fc1.weight.view(-1)[7].add_(1e-3), "digest .* there, .* here"),
        (lambda vit: vit.norm.bias[0].add_(1e-3), "digest"),
        (lambda vit: vit.cls_token.view(-1)[0].add_(1e-3), "digest"),
        (lambda vit: vit.pos_embed.mul_(1.01), "the values of pos_embed differ"),
        (lambda vit: vit.patch_embed.proj.weight.mul_(1.01), "the values of patch_embed.proj.weight differ"),
    ],
)
def test_every_frozen_weight_counts(tmp_path: Path, change: Callable, message: str) -> None:
    save_pretrained(tiny_model("lora"), tmp_path)
    vit = tiny_backbone()
    with torch.no_grad():
        change(vit)
    with pytest.raises(al.AdapterError, match=f"frozen weights of this backbone are not those.*{message}"):
        load_pretrained(tmp_path, backbone=vit)


def test_resampled_weights_may_differ_by_rounding(tmp_path: Path) -> None:
    model = tiny_model("lora")
    save_pretrained(model, tmp_path)
    vit = tiny_backbone()
    with torch.no_grad():
        vit.pos_embed.mul_(1 + 1e-6)
    load_pretrained(tmp_path, backbone=vit)


def test_another_image_size_is_another_model(tmp_path: Path) -> None:
    save_pretrained(al.adapt(al.create_backbone(image_size=48), "lora", 3), tmp_path)
    assert load_pretrained(tmp_path).image_size == 48
    with pytest.raises(al.AdapterError, match=r"patch_embed.img_size is \[48, 48\] there, \[96, 96\] here"):
        load_pretrained(tmp_path, backbone=al.create_backbone())


def test_a_model_cast_to_bfloat16_comes_back_as_such(tmp_path: Path) -> None:
    model = al.adapt(al.create_backbone(image_size=32).to(torch.bfloat16), "lora", 3).eval()
    save_pretrained(model, tmp_path)
    again, x = load_pretrained(tmp_path), torch.randn(1, 3, 32, 32, dtype=torch.bfloat16)
    assert torch.equal(again(x), model(x))
    with pytest.raises(
        al.AdapterError, match="is torch.bfloat16 in the state but torch.float32 in the model"
    ):
        load_pretrained(tmp_path, backbone=al.create_backbone(image_size=32))


def test_the_digest_is_kept_until_a_frozen_weight_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("lora")
    first, print_ = frozen_digest(model), frozen_print(model)
    assert frozen_print(tiny_model("lora")) == print_
    with monkeypatch.context() as patch:
        patch.setattr("adapters_lib.vit.frozen._add", lambda *_: pytest.fail("hashed again"))
        assert frozen_digest(model) == first
    with torch.no_grad():
        model.backbone.norm.weight.add_(1)
    assert frozen_digest(model) != first
    assert differences(describe(tiny_backbone()), describe(tiny_backbone(patch_size=4)))


# ---- files of earlier versions -------------------------------------------------------------------


def older(folder: Path, **changes: object) -> None:
    """Turn a saved adapter into one of version 0.2: no digest of the file, and of the backbone's weights
    that of the blocks alone."""
    tensors, metadata = load_tensors(folder / WEIGHTS)
    config = metadata["config"]
    for name in ("architecture", "frozen", "weights", "dtype", "by_hand"):
        config["backbone"].pop(name, None)
    config["backbone"] |= changes
    del config["trained_on"]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt", "config": json.dumps(config)})


def test_adapters_of_earlier_versions_still_load(tmp_path: Path) -> None:
    model = tiny_model("lora").eval()
    x = torch.randn(1, 3, 32, 32)
    for name, digest in (("with", {"frozen_digest": blocks_digest(model)}), ("without", {})):
        save_pretrained(model, tmp_path / name)
        older(tmp_path / name, **digest)
        assert torch.equal(load_pretrained(tmp_path / name, backbone=tiny_backbone())(x), model(x))
    with pytest.raises(al.AdapterError, match="frozen weights of this backbone are not those"):
        load_pretrained(tmp_path / "with", backbone=tiny_backbone(seed=5))


# ---- damage --------------------------------------------------------------------------------------


def test_a_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    model = tiny_model("lora").eval()
    save_pretrained(model, tmp_path)
    whole, dice = (tmp_path / WEIGHTS).read_bytes(), random.Random(0)
    for _ in range(60):
        content = bytearray(whole)
        place = dice.randrange(len(content))
        content[place] ^= 1 << dice.randrange(8)
        (tmp_path / WEIGHTS).write_bytes(content)
        with pytest.raises(al.AdapterError):
            load_tensors(tmp_path / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.fill_(float("nan")), "holds NaN or infinity"),
        (lambda t: t.fill_(float("inf")), "holds NaN or infinity"),
        (lambda t: t.to(torch.int8), "is torch.int8 in the state but torch.float32 in the model"),
        (lambda t: t.to(torch.float16), "is torch.float16 in the state but torch.float32"),
        (lambda t: t.double(), "is torch.float64 in the state but torch.float32"),
        (lambda t: t[:1], "has shape"),
        (lambda t: t.t(), "has shape"),
    ],
)
def test_tensors_of_another_kind_are_refused_and_the_backbone_is_as_it_was(
    tmp_path: Path, change: Callable, message: str
) -> None:
    save_pretrained(tiny_model("lora"), tmp_path)
    tensors, metadata = load_tensors(tmp_path / WEIGHTS)
    tensors["backbone.head.weight"] = change(tensors["backbone.head.weight"].clone())
    save_tensors(tmp_path / WEIGHTS, tensors, metadata)
    vit = tiny_backbone()
    layout = repr(vit)
    with pytest.raises(al.AdapterError, match=rf"'backbone.head.weight' {message}"):
        load_pretrained(tmp_path, backbone=vit)
    assert repr(vit) == layout
    al.adapt(vit, "lora", 4)


def test_a_model_with_nan_is_not_saved(tmp_path: Path) -> None:
    model = tiny_model("lora")
    with torch.no_grad():
        model.backbone.head.bias[0] = float("nan")
    with pytest.raises(al.AdapterError, match=r"cannot save: 'backbone.head.bias' holds NaN"):
        save_pretrained(model, tmp_path)
    assert not list(tmp_path.iterdir())


# ---- headers from strangers ----------------------------------------------------------------------


def with_header(folder: Path, change: Callable[[dict], object]) -> None:
    tensors, metadata = load_tensors(folder / WEIGHTS)
    change(metadata["config"])
    save_tensors(folder / WEIGHTS, tensors, metadata)


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An adapter of the embedded backbone; whoever creates a backbone from its header from now on fails
    the test."""
    save_pretrained(al.adapt(al.create_backbone(image_size=32), "lora", 3), tmp_path)
    forbidden = lambda *a, **k: pytest.fail(f"create_backbone was called: {a} {k}")  # noqa: E731
    monkeypatch.setattr(checkpoint, "create_backbone", forbidden)
    monkeypatch.setattr(backbones.timm, "create_model", forbidden)
    return tmp_path


OPTIONS = {
    "checkpoint_path": "/etc/passwd",
    "pretrained_cfg": {"url": "http://example.org/x.pth"},
    "pretrained_cfg_overlay": {"hf_hub_id": "someone/else"},
    "pretrained": True,
    "cache_dir": "/tmp/x",
    "weights": "http://example.org/x.safetensors",
    "features_only": True,
    "scriptable": True,
    "block_fn": "os.system",
    "act_layer": "os:system",
    "norm_layer": {"a": 1},
    "img_size": 10**9,
    "embed_dim": 60000,
    "depth": -1,
    "num_heads": True,
    "drop_path_rate": float("inf"),
    "global_pool": "../../x",
    "frames": "8",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_header_may_not_give_options_that_are_no_plain_numbers_and_words(saved: Path, option: str) -> None:
    value = OPTIONS[option]
    change = {"embed_dim": value, "depth": 400} if option == "embed_dim" else {option: value}
    with_header(saved, lambda config: config["backbone"].update(kwargs=change))
    with pytest.raises(
        al.AdapterError,
        match=r"(which a file may not ask for|no value that a file may give|parameters|say where they are)",
    ):
        load_pretrained(saved)


NAMES = [
    "hf-hub:someone/model",
    "hf_hub:someone/model",
    "local-dir:/tmp/x",
    "http://example.org/m",
    "../x",
    "someone/model",
    "",
    "os.system",
]


@pytest.mark.parametrize(
    "name", [*NAMES, "vit_tiny_patch16_224.x/../y", "micro_vit ", "vit_tiny_patch16_224\n"]
)
def test_a_header_may_not_name_an_address_or_a_path(saved: Path, name: str) -> None:
    with_header(saved, lambda config: config["backbone"].update(name=name))
    with pytest.raises(al.AdapterError, match="no model of timm by its plain name"):
        load_pretrained(saved)


FIELDS: dict[str, Callable[[dict], object]] = {
    "backbone": lambda c: c.update(backbone=[]),
    "name": lambda c: c["backbone"].update(name=3),
    "kwargs": lambda c: c["backbone"].update(kwargs=None),
    "width": lambda c: c["backbone"].pop("width"),
    "depth": lambda c: c["backbone"].update(depth="12"),
    "frozen": lambda c: c["backbone"].update(frozen={"tensors": 1}),
    "architecture": lambda c: c["backbone"].update(architecture=[1]),
    "weights": lambda c: c["backbone"].update(weights={"file": 3}),
    "methods": lambda c: c.update(methods={}),
    "a method": lambda c: c.update(methods=[{"name": []}]),
    "a method's option": lambda c: c.update(methods=[{"name": "lora", "options": {"rank": {}}}]),
    "rank": lambda c: c.update(methods=[{"name": "lora", "options": {"rank": 10**9}}]),
    "another rank": lambda c: c.update(methods=[{"name": "lora", "options": {"rank": 2}}]),
    "num_classes": lambda c: c.update(num_classes=0),
    "more classes": lambda c: c.update(num_classes=10**9),
    "classes": lambda c: c.update(classes=["a"]),
    "names": lambda c: c.update(classes=[1, 2, 3]),
    "head": lambda c: c.update(head="pickle"),
    "trained_on": lambda c: c.update(trained_on={"seed": "3"}),
    "extra": lambda c: c.update(extra=[]),
}


@pytest.mark.parametrize("what", FIELDS)
def test_a_field_of_another_type_is_an_error_that_we_explain(tmp_path: Path, what: str) -> None:
    save_pretrained(tiny_model("lora", classes=3), tmp_path)
    with_header(tmp_path, FIELDS[what])
    vit = tiny_backbone()
    layout = repr(vit)
    with pytest.raises(al.AdapterError):
        load_pretrained(tmp_path, backbone=vit)
    assert repr(vit) == layout


def test_a_name_that_only_a_user_may_use_loads_with_the_users_backbone(tmp_path: Path) -> None:
    save_pretrained(tiny_model("lora"), tmp_path)
    with_header(tmp_path, lambda config: config["backbone"].update(name="hf-hub:someone/model"))
    assert load_pretrained(tmp_path, backbone=tiny_backbone()).num_classes == 4


def test_where_everything_was_trained_no_weights_are_fetched(tmp_path: Path) -> None:
    options = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 1, "num_heads": 2}
    model = al.adapt(
        al.create_backbone("vit_tiny_patch16_224", pretrained=False, **options), "full", 3
    ).eval()
    save_pretrained(model, tmp_path)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(load_pretrained(tmp_path)(x), model(x))


def test_random_weights_are_not_made_up_again(tmp_path: Path) -> None:
    model = al.adapt(al.create_backbone("vit_tiny_patch16_224", pretrained=False, image_size=32), "lora", 3)
    save_pretrained(model, tmp_path)
    with pytest.raises(
        al.AdapterError, match="trained on random weights, which are not kept; pass backbone="
    ):
        load_pretrained(tmp_path)
