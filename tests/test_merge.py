"""merge() leaves a plain timm model with the same logits; unmerge() brings every bit back."""

import copy

import pytest
import timm
import torch
from conftest import make_tiny_vit
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.vit.sites import Adapter

MERGEABLE = [
    "lora",
    "lora:targets=qkv/proj/fc1/fc2,alpha=16",
    "repadapter",
    "repadapter:groups=1,scale=0.5",
    "repadapter:groups=4",
    "ssf",
    "bitfit",
    "layernorm",
    "linear",
    "full",
    ["lora", "ssf"],
    ["ssf", "lora"],
    ["lora", "repadapter", "ssf", "bitfit", "layernorm"],
    ["lora:targets=q", "lora:targets=v,rank=2"],
]


def trained(
    methods: object, head: str = "linear", dtype: torch.dtype = torch.float32, **options: object
) -> al.AdaptedViT:
    """An adapted model whose trainable tensors are far from their start, in evaluation mode."""
    torch.manual_seed(0)
    model = al.adapt(make_tiny_vit(**options).to(dtype), methods, 5, head=head)
    with torch.no_grad():
        for _, p in model.named_parameters():
            if p.requires_grad:
                p += 0.05 * torch.randn_like(p)
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer += torch.rand_like(buffer)
    return model.eval()


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    return model(images)


@pytest.mark.parametrize("methods", MERGEABLE, ids=str)
@pytest.mark.parametrize("head", ["linear", "bn_linear"])
def test_merged_is_plain_timm_with_equal_logits_and_unmerged_is_bit_for_bit_the_same(
    methods: object, head: str, images: Tensor
) -> None:
    model = trained(methods, head)
    before, expected = {k: v.clone() for k, v in model.state_dict().items()}, logits(model, images)
    assert model.merge() is model
    assert model.merged
    assert (logits(model, images) - expected).abs().max() <= 1e-5
    assert not any(isinstance(module, Adapter) for module in model.modules())
    plain = make_tiny_vit()
    plain.load_state_dict(model.backbone.state_dict(), strict=True)
    assert repr(plain) == repr(model.backbone)
    assert torch.equal(logits(plain, images), logits(model, images))
    model.unmerge()
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert torch.equal(logits(model, images), expected)
    assert not model.merged


@pytest.mark.parametrize(
    "options",
    [
        {"class_token": False, "global_pool": "avg", "fc_norm": False},
        {"reg_tokens": 2, "init_values": 0.1},
        {"qk_norm": True},
        {"dynamic_img_size": True},
    ],
)
def test_other_backbones_merge_too(options: dict, images: Tensor) -> None:
    model = trained(["ssf", "lora", "repadapter"], **options)
    expected = logits(model, images)
    assert (logits(model.merge(), images) - expected).abs().max() <= 1e-5


def test_ssf_in_front_of_the_pooling_does_not_merge_and_behind_it_does(images: Tensor) -> None:
    pooled = {"class_token": False, "global_pool": "avg"}  # the last norm stands behind the pooling
    model = trained(["ssf", "lora"], **pooled)
    layout, expected = repr(model), logits(model, images)
    with pytest.raises(
        al.AdapterError, match="in front of the pooling.*unmerged, or train ssf:before_pooling=false"
    ):
        model.merge()
    assert repr(model) == layout
    assert torch.equal(logits(model, images), expected)
    model = trained(["ssf:before_pooling=false", "lora"], **pooled)
    expected = logits(model, images)
    assert (logits(model.merge(), images) - expected).abs().max() <= 1e-5


def test_a_model_as_large_as_the_embedded_one_stays_within_the_tolerance() -> None:
    torch.manual_seed(0)
    vit = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=96,
        patch_size=8,
        embed_dim=128,
        depth=12,
        num_heads=4,
        num_classes=20,
    )
    images = torch.randn(2, 3, 96, 96)
    model = al.adapt(vit.eval(), ["lora", "repadapter", "ssf"])
    with torch.no_grad():
        for _, p in model.named_parameters():
            if p.requires_grad:
                p += 0.02 * torch.randn_like(p)
    expected = logits(model.eval(), images)
    assert (logits(model.merge(), images) - expected).abs().max() <= 1e-5


def test_merging_costs_what_the_bare_backbone_costs() -> None:
    bare = al.cost(make_tiny_vit())
    for methods in ("lora", "repadapter", "ssf"):
        model = trained(methods)
        assert al.cost(model).macs >= bare.macs
        merged = al.cost(model.merge())
        assert (merged.macs, merged.total) == (bare.macs, bare.total)


@pytest.mark.parametrize("methods", ["lora", "repadapter", "ssf"])
def test_bfloat16_weights_are_merged_in_float32_and_rounded_once(methods: str) -> None:
    model = trained(methods, dtype=torch.bfloat16)
    wide = copy.deepcopy(model).float()
    model.merge()
    wide.merge()
    for (name, p), (_, q) in zip(
        model.backbone.named_parameters(), wide.backbone.named_parameters(), strict=True
    ):
        assert p.dtype == torch.bfloat16
        assert torch.equal(p, q.to(torch.bfloat16)), name


def test_a_merged_bfloat16_model_stays_close_to_the_unmerged_one(images: Tensor) -> None:
    model = trained("lora", dtype=torch.bfloat16)
    expected = logits(copy.deepcopy(model).float(), images)
    rounding = (logits(model, images.bfloat16()).float() - expected).abs().max()
    assert (logits(model.merge(), images.bfloat16()).float() - expected).abs().max() <= 3 * rounding + 0.01
    model.unmerge()


@pytest.mark.parametrize(
    "methods", ["padapter", "ila", "vqt", ["lora", "adpt"], ["ssf", "vpt-deep"], "convpass"], ids=str
)
def test_what_cannot_merge_says_which_method_and_changes_nothing(methods: object, images: Tensor) -> None:
    model = trained(methods)
    layout, expected = repr(model), logits(model, images)
    with pytest.raises(
        al.AdapterError,
        match=r"(padapter|ila|vqt|adpt|vpt-deep|convpass) cannot be merged.*These merge: .*lora.*ssf",
    ):
        model.merge()
    assert repr(model) == layout
    assert not model.merged
    assert torch.equal(logits(model, images), expected)


def test_double_merge_and_unmerge_without_merge_are_refused(images: Tensor) -> None:
    model = trained("lora")
    expected = logits(model, images)
    with pytest.raises(al.AdapterError, match="not merged; call merge"):
        model.unmerge()
    merged = logits(model.merge(), images)
    with pytest.raises(al.AdapterError, match="merged already; call unmerge"):
        model.merge()
    assert torch.equal(logits(model, images), merged)
    assert torch.equal(logits(model.unmerge(), images), expected)


@pytest.mark.parametrize(
    ("method", "options"),
    # CLIP's patches.
    [
        ("repadapter", {"qkv_bias": False}),
        ("ssf", {"qkv_bias": False}),
        (["repadapter", "ssf"], {"pre_norm": True}),
    ],
)
def test_a_layer_without_bias_cannot_take_in_a_bias_and_nothing_changes(
    method: object, options: dict, images: Tensor
) -> None:
    model = trained(method, **options)
    layout, expected = repr(model), logits(model, images)
    with pytest.raises(al.AdapterError, match="without.*bias.*unmerged"):
        model.merge()
    assert repr(model) == layout
    assert torch.equal(logits(model, images), expected)


def test_unmerging_goes_on_in_the_mode_that_the_model_has_since() -> None:
    model = trained("repadapter").merge()
    model.train()
    model.unmerge()
    assert all(module.training for module in model.modules())


def test_merge_after_merge_and_unmerge_gives_the_same_model_again(images: Tensor) -> None:
    model = trained(["lora", "ssf"])
    first = logits(al.merge(model), images)
    assert torch.equal(logits(al.merge(al.unmerge(model)), images), first)


def test_of_two_methods_on_one_layer_the_later_acts_on_what_the_earlier_gives() -> None:
    x = torch.randn(2, 5, 32)
    qkv = trained(["ssf", "lora"]).backbone.blocks[0].attn.qkv  # LoRA adds to the scaled layer
    scaled = qkv.base(x)
    torch.testing.assert_close(qkv(x), scaled + x @ qkv.delta_weight().T)
    qkv = trained(["lora", "ssf"]).backbone.blocks[0].attn.qkv  # SSF scales the update as well
    torch.testing.assert_close(
        qkv(x), qkv.scale * (qkv.base.base(x) + x @ qkv.base.delta_weight().T) + qkv.shift
    )
