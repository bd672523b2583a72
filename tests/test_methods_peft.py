"""LoRA adapters cross to peft and back with equal logits."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import peft
import pytest
import torch
from conftest import make_tiny_vit
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.saving.tensors import load_tensors, save_tensors


def fresh() -> nn.Module:
    torch.manual_seed(3)
    return make_tiny_vit()


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    return model.eval()(images)


def shaken(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p += 0.1 * torch.randn_like(p)
    return model


EXPORTS = [
    "lora",
    "lora:rank=4,alpha=16,targets=q/k/v",
    "lora:targets=qkv",
    "lora:targets=q/v/proj/fc1/fc2",
    "lora:targets=proj/fc2,alpha=1",
    ["lora:targets=k", "lora:targets=fc1,rank=2,alpha=7"],
]


@pytest.mark.parametrize("methods", EXPORTS, ids=str)
def test_peft_loads_our_export_and_we_read_it_back_bit_for_bit(
    methods: object, images: Tensor, tmp_path: Path
) -> None:
    model = shaken(al.adapt(fresh(), methods, 5))
    expected = logits(model, images)
    al.export_peft(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(fresh(), str(tmp_path))
    torch.testing.assert_close(logits(theirs, images), expected, atol=1e-5, rtol=1e-5)
    back = al.import_peft(tmp_path, fresh())
    assert back.methods == model.methods
    assert back.trainable_state_dict().keys() == model.trainable_state_dict().keys()
    assert all(
        torch.equal(value, back.trainable_state_dict()[key])
        for key, value in model.trainable_state_dict().items()
    )
    assert torch.equal(logits(back, images), expected)


def test_peft_merges_our_export_into_the_weights_that_we_merge(tmp_path: Path) -> None:
    model = shaken(al.adapt(fresh(), "lora", 5))
    al.export_peft(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(fresh(), str(tmp_path)).merge_and_unload()
    ours = model.merge().backbone.state_dict()
    assert set(ours) == set(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours[name], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["qkv"], "r": 8, "lora_alpha": 16},
        {
            "target_modules": ["qkv", "fc1", "fc2"],
            "r": 4,
            "lora_alpha": 8,
            "rank_pattern": {"fc1": 2},
            "alpha_pattern": {"mlp.fc2": 3},
        },
        {"target_modules": r".*attn\.proj", "r": 4, "use_rslora": True},
    ],
)
@pytest.mark.parametrize("with_head", [True, False])
def test_an_adapter_trained_with_peft_gives_the_same_logits_here(
    options: dict, with_head: bool, images: Tensor, tmp_path: Path
) -> None:
    config = peft.LoraConfig(**options, modules_to_save=["head"] if with_head else None)
    theirs = shaken(peft.get_peft_model(fresh(), config))
    theirs.save_pretrained(str(tmp_path))
    model = al.import_peft(tmp_path, fresh())
    torch.testing.assert_close(logits(model, images), logits(theirs, images), atol=1e-5, rtol=1e-5)


def test_the_exported_names_leave_the_patch_projection_alone(tmp_path: Path) -> None:
    al.export_peft(al.adapt(fresh(), "lora:targets=proj", 5), tmp_path)
    theirs = peft.PeftModel.from_pretrained(fresh(), str(tmp_path))
    adapted = [name for name, module in theirs.named_modules() if hasattr(module, "lora_A")]
    assert adapted == [f"base_model.model.blocks.{index}.attn.proj" for index in range(4)]


@pytest.mark.parametrize(
    ("methods", "head", "message"),
    [
        (["lora", "adpt"], "linear", "holds LoRA alone, but this model has adpt; use save_pretrained"),
        ("linear", "linear", "but this model has linear"),
        ("lora", "bn_linear", "no bn_linear head"),
        (["lora:targets=q", "lora:targets=v"], "linear", "name their targets in one LoRA"),
    ],
)
def test_what_peft_cannot_hold_is_refused_with_the_remedy(
    methods: object, head: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(al.AdapterError, match=message):
        al.export_peft(al.adapt(fresh(), methods, 5, head=head), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_merged_model_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(al.AdapterError, match="merged.*call unmerge"):
        al.export_peft(al.adapt(fresh(), "lora", 5).merge(), tmp_path)


def _edit(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embed_dim": 64}, "do not fit blocks.0.attn.qkv of shape .192, 64."),
        ({"depth": 6}, "not each of the 6 blocks alike"),
        ({"depth": 3}, "not each of the 3 blocks alike"),
    ],
)
def test_an_adapter_of_another_backbone_is_refused_and_the_backbone_unchanged(
    options: dict, message: str, tmp_path: Path
) -> None:
    al.export_peft(al.adapt(fresh(), "lora", 5), tmp_path)
    vit = make_tiny_vit(**options)
    layout = repr(vit)
    with pytest.raises(al.AdapterError, match=message):
        al.import_peft(tmp_path, vit)
    assert repr(vit) == layout
    al.adapt(vit, "linear", 5)


def trained_with_peft(folder: Path, **options: object) -> nn.Module:
    """peft's own model, its trained weights shaken, saved in `folder`."""
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["qkv"], **options})
    theirs = shaken(peft.get_peft_model(fresh(), config))
    theirs.save_pretrained(str(folder))
    return theirs


@contextmanager
def untouched() -> Iterator[nn.Module]:
    """A backbone that the body fails to import into, and that is afterwards what it was."""
    vit = fresh()
    layout, weights = repr(vit), {name: tensor.clone() for name, tensor in vit.state_dict().items()}
    yield vit
    assert repr(vit) == layout
    assert all(torch.equal(tensor, weights[name]) for name, tensor in vit.state_dict().items())
    assert all(p.requires_grad for p in vit.parameters())
    al.adapt(vit, "linear", 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"alpha_pattern": {"blocks.3.attn.qkv": 64}},
            "scale 16 in blocks.3.attn.qkv, but 4 and 2 in another block",
        ),
        ({"rank_pattern": {"blocks.3.attn.qkv": 2}}, "rank 2 and scale 4 in blocks.3.attn.qkv"),
        (
            {"rank_pattern": {r"blocks\.[01]\.attn\.qkv": 2}, "use_rslora": True},
            "rank 4 and scale 4 in blocks.2.attn.qkv",
        ),
        ({"layers_to_transform": [0, 1], "layers_pattern": "blocks"}, "layers_"),
        ({"exclude_modules": ["blocks.2.attn.qkv"]}, "not each of the 4 blocks alike"),
        ({"use_dora": True}, "use_dora=True"),
        ({"bias": "lora_only"}, "bias='lora_only'"),
        ({"bias": "all"}, "bias='all'"),
        ({"lora_bias": True}, "lora_bias=True"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"init_lora_weights": "olora"}, "init_lora_weights='olora'"),
        ({"modules_to_save": ["norm"]}, "modules_to_save=.'norm'."),
        ({"target_modules": ["qkv", "head"]}, "'base_model.model.head.lora_A.weight' is neither an update"),
    ],
    ids=str,
)
def test_variants_that_are_not_one_plain_update_of_all_blocks_are_refused(
    options: dict, message: str, tmp_path: Path
) -> None:
    try:
        trained_with_peft(tmp_path, **options)
    except ValueError as error:  # an older peft does not find layers that a name begins with
        if "layers_pattern" in options and "layers_pattern" in str(error):
            pytest.skip(f"this peft cannot train such a model: {error}")
        raise
    with untouched() as vit, pytest.raises(al.AdapterError, match=message):
        al.import_peft(tmp_path, vit)


@pytest.mark.parametrize(
    "options",
    [
        {"alpha_pattern": {"attn.qkv": 64}},
        {"alpha_pattern": {r"blocks\.\d+\.attn\.qkv": 3, "qkv": 100}},
        {"rank_pattern": {".*qkv": 2}, "use_rslora": True},
        {"target_modules": ["qkv", "fc1"], "rank_pattern": {"fc1": 2}, "alpha_pattern": {"fc1": 1, "qkv": 5}},
        {"init_lora_weights": "gaussian"},
        {"target_modules": r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.fc2)", "exclude_modules": ["proj"]},
    ],
    ids=str,
)
def test_patterns_that_treat_all_blocks_alike_give_the_logits_of_peft(
    options: dict, images: Tensor, tmp_path: Path
) -> None:
    theirs = trained_with_peft(tmp_path, **options)
    torch.testing.assert_close(
        logits(al.import_peft(tmp_path, fresh()), images), logits(theirs, images), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type='IA3'"),
        ({"use_qalora": True}, "use_qalora=True"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out=True"),
        ({"corda_config": {"x": 1}}, "corda_config"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"use_a_variant_of_next_year": True}, "use_a_variant_of_next_year=True"),
        ({"lora_alpha": "16"}, "lora_alpha='16'"),
        ({"lora_alpha": float("nan")}, "lora_alpha=nan"),
        ({"r": 0}, "r=0"),
        ({"r": 7}, "has rank 16 in the file, but r and rank_pattern say 7"),
        ({"lora_alpha": 1}, "stand for another update than its tensors"),
        ({"use_rslora": True}, "stand for another update"),
        ({"rank_pattern": {"qkv": 3}}, "rank_pattern say 3"),
        ({"alpha_pattern": {"(": 3}}, "no regular expression"),
        ({"alpha_pattern": ["qkv"]}, "alpha_pattern="),
        (
            {"target_modules": ["proj"]},
            "target_modules names blocks.0.attn.proj, but the file has no update of it",
        ),
        (
            {"target_modules": ["blocks.0.attn.qkv"]},
            "update of blocks.1.attn.qkv, but target_modules does not name it",
        ),
        ({"target_modules": "all-linear"}, "does not say which layers"),
        ({"modules_to_save": None}, "modules_to_save is .., but the file holds .'head.bias', 'head.weight'."),
        ({"lora_dropout": 1.5}, "lora_dropout=1.5"),
        ({"modules_to_save": "head"}, "modules_to_save='head'"),
    ],
    ids=str,
)
def test_every_field_of_the_configuration_is_read_or_refused(
    changes: dict, message: str, tmp_path: Path
) -> None:
    al.export_peft(shaken(al.adapt(fresh(), "lora", 5)), tmp_path)
    _edit(tmp_path, **changes)
    with untouched() as vit, pytest.raises(al.AdapterError, match=message):
        al.import_peft(tmp_path, vit)


@pytest.mark.parametrize("content", ["[]", "{", '{"peft_type": "LORA"}', "null"])
def test_a_configuration_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    al.export_peft(al.adapt(fresh(), "lora", 5), tmp_path)
    (tmp_path / "adapter_config.json").write_text(content)
    with untouched() as vit, pytest.raises(al.AdapterError, match="adapter_config.json"):
        al.import_peft(tmp_path, vit)
    with pytest.raises(al.AdapterError, match="cannot read"):
        al.import_peft(tmp_path / "nothing", fresh())


A = "base_model.model.blocks.1.attn.qkv.lora_A.weight"
TENSORS: list[tuple[Callable[[dict], object], str]] = [
    (lambda t: t.update({A: t[A].to(torch.int8)}), "is torch.int8"),
    (lambda t: t.update({A: t[A] * float("nan")}), "holds NaN"),
    (lambda t: t.update({A: t[A][:3]}), "do not fit blocks.1.attn.qkv"),
    (lambda t: t.update({A: t[A][0]}), "do not fit blocks.1.attn.qkv"),
    (lambda t: t.pop(A), "do not fit blocks.1.attn.qkv"),
    (lambda t: t.pop("base_model.model.head.bias"), "a head of .* does not fit"),
    (lambda t: t.pop("base_model.model.head.weight"), "a head of .* does not fit"),
    (lambda t: t.update({"base_model.model.head.weight": torch.ones(5, 31)}), "a head of .* does not fit"),
    (lambda t: t.update({"base_model.model.norm.weight": torch.ones(32)}), "is neither an update"),
    (
        lambda t: t.update({A.replace("lora_A", "lora_magnitude_vector"): torch.ones(96)}),
        "is neither an update",
    ),
    (
        lambda t: t.update({A.replace("lora_A", "lora_B"): torch.ones(96, 16)}),
        "stand for another update than its tensors",
    ),
]


@pytest.mark.parametrize(("change", "message"), TENSORS)
def test_tensors_that_do_not_fit_are_refused(change: Callable, message: str, tmp_path: Path) -> None:
    al.export_peft(shaken(al.adapt(fresh(), "lora", 5)), tmp_path)
    tensors, header = load_tensors(tmp_path / "adapter_model.safetensors")
    change(tensors)
    save_tensors(tmp_path / "adapter_model.safetensors", tensors, header)
    with untouched() as vit, pytest.raises(al.AdapterError, match=message):
        al.import_peft(tmp_path, vit)


@pytest.mark.parametrize(
    "lie",
    [
        [{"name": "ssf"}],
        [{"name": "lora", "options": {"targets": "proj"}}],
        [{"x": 1}],
        "lora",
        [{"name": "lora"}] * 2,
    ],
)
def test_a_header_that_lies_about_the_methods_is_refused(lie: object, tmp_path: Path) -> None:
    al.export_peft(shaken(al.adapt(fresh(), "lora:rank=4", 5)), tmp_path)
    tensors, _ = load_tensors(tmp_path / "adapter_model.safetensors")
    save_tensors(tmp_path / "adapter_model.safetensors", tensors, {"lora": lie})
    with untouched() as vit, pytest.raises(al.AdapterError, match=r"header|lora"):
        al.import_peft(tmp_path, vit)
