"""Claims about costs: the published numbers, closed forms, and one number for one model on every path."""

from __future__ import annotations

import json

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn

import adapters_lib as al
from adapters_lib.backbones.create import meta_backbone
from adapters_lib.costs.cost import Cost, cost
from adapters_lib.costs.macs import count_macs
from adapters_lib.costs.memory import memory_use
from adapters_lib.methods import METHODS
from adapters_lib.methods.adapt import adapt
from adapters_lib.methods.dyn import ALONE

DEVICES = ["cpu", "meta"] + ["cuda"] * torch.cuda.is_available()


def tiny(**options):
    sizes = {"img_size": 32, "patch_size": 8, "depth": 4, "embed_dim": 32, "num_heads": 2, "num_classes": 10}
    return timm.create_model("vit_tiny_patch16_224", **{**sizes, **options})


def closed_form(width: int, depth: int, tokens: int, patch: int, classes: int) -> int:
    """Patch embedding; per block qkv, both attention products, projection, MLP and two norms; final norm;
    head."""
    block = 12 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width
    return (tokens - 1) * 3 * patch**2 * width + depth * block + tokens * width + width * classes


def adapted(method: str, image_size: int = 224) -> Cost:
    return cost(adapt(meta_backbone("vit_base_patch16_224", image_size=image_size), method, num_classes=198))


# ---- MACs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "giga"), [("base", 17.58), ("small", 4.61), ("tiny", 1.26)])
def test_plain_vits_at_224_cost_what_is_published_within_half_a_percent(size, giga):
    assert cost(meta_backbone(f"vit_{size}_patch16_224")).macs == pytest.approx(giga * 1e9, rel=0.005)


@pytest.mark.parametrize(
    ("method", "image_size", "giga"),
    [
        ("linear", 224, 17.57),
        ("ila", 224, 13.10),
        ("ila+", 224, 13.11),
        ("ila++", 224, 13.14),
        ("adpt", 224, 17.63),
        ("linear", 448, 78.5),
        ("ila", 448, 66.9),
        ("ila+", 448, 67.0),
        ("ila++", 448, 67.1),
    ],
)
def test_ila_family_costs_what_its_paper_implies(method, image_size, giga):
    digits = 2 if image_size == 224 else 1
    assert round(adapted(method, image_size).macs / 1e9, digits) == giga


@settings(max_examples=12, deadline=None)
@given(
    heads=st.sampled_from([1, 2, 3]),
    width=st.sampled_from([12, 24, 48]),
    depth=st.integers(1, 3),
    grid=st.integers(1, 5),
    classes=st.integers(1, 30),
)
def test_macs_equal_the_closed_form(heads, width, depth, grid, classes):
    vit = tiny(img_size=8 * grid, embed_dim=width, depth=depth, num_heads=heads, num_classes=classes)
    assert cost(vit).macs == closed_form(width, depth, grid**2 + 1, 8, classes)


def test_one_model_has_one_count_fused_or_not_on_cpu_or_meta_abstract_or_real():
    images = torch.zeros(1, 3, 32, 32)
    counts = set()
    for fused in (True, False):
        vit = tiny().eval()
        for block in vit.blocks:
            block.attn.fused_attn = fused
        with torch.no_grad():
            counts |= {cost(vit).macs, count_macs(vit, images), count_macs(vit.to("meta"), images.to("meta"))}
    assert counts == {closed_form(32, 4, 17, 8, 10)}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_count_does_not_depend_on_device_or_data_type(device, dtype):
    vit = tiny().eval().to(device, dtype)
    with torch.no_grad():
        assert (
            count_macs(vit, torch.zeros(1, 3, 32, 32, device=device, dtype=dtype))
            == cost(vit).macs
            == closed_form(32, 4, 17, 8, 10)
        )


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_operators_that_counters_forget_are_counted(mode):
    x, w, v = torch.zeros(5, 6), torch.zeros(7, 6), torch.zeros(6)
    q = torch.zeros(1, 2, 5, 8)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    z = torch.zeros(1, 5, 8)
    with mode():
        assert count_macs(F.linear, x, w) == count_macs(torch.matmul, x, w.T) == 5 * 6 * 7
        assert count_macs(torch.mv, x, v) == count_macs(torch.addmv, torch.zeros(5), x, v) == 5 * 6
        assert count_macs(torch.dot, v, v) == 6
        assert count_macs(torch.addbmm, torch.zeros(5, 7), x[None], w.T[None]) == 5 * 6 * 7
        assert count_macs(F.scaled_dot_product_attention, q, q, q) == 2 * (2 * 5 * 5 * 8)
        assert count_macs(torch.zeros(5, 7).addmm_, x, w.T) == 5 * 6 * 7
        assert count_macs(torch.zeros(5, 7).addbmm_, x[None], w.T[None]) == 5 * 6 * 7
        assert count_macs(torch.zeros(1, 5, 7).baddbmm_, x[None], w.T[None]) == 5 * 6 * 7
        assert count_macs(torch.zeros(5).addmv_, x, v) == 5 * 6
        assert count_macs(attention, z, z, z, need_weights=False) == 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8


def test_depthwise_convolution_counts_one_channel_per_filter():
    depthwise = nn.Conv2d(16, 16, 3, groups=16)
    assert count_macs(depthwise, torch.zeros(1, 16, 8, 8)) == 16 * 9 * 6 * 6


def test_layer_norm_counts_its_scale_and_nothing_without_one():
    x = torch.zeros(4, 8)
    assert count_macs(nn.LayerNorm(8), x) == 32
    assert count_macs(nn.LayerNorm(8, elementwise_affine=False), x) == 0


def test_a_training_step_costs_the_same_with_fused_attention():
    counts = []
    for fused in (True, False):
        vit = tiny()
        for block in vit.blocks:
            block.attn.fused_attn = fused
        counts.append(count_macs(lambda vit=vit: vit(torch.zeros(2, 3, 32, 32)).sum().backward()))
    assert counts[0] == counts[1] > 5 * closed_form(32, 4, 17, 8, 10)


def test_lora_adds_two_thin_products_per_target_and_block():
    plain, lora = (
        cost(adapt(tiny(), "linear", 10)).macs,
        cost(adapt(tiny(), "lora:rank=4,targets=fc1", 10)).macs,
    )
    assert lora - plain == 4 * 17 * 4 * (32 + 128)


def test_padapter_adds_73728_macs_per_token_and_block():
    assert adapted("padapter").macs - adapted("linear").macs == 12 * 73_728 * 197


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_one_count_from_shapes_and_from_a_real_pass(method):
    model = adapt(tiny(patch_size=4, embed_dim=64), ALONE if method == "dyn" else method, 5).eval()
    counted = cost(model)
    with torch.no_grad():
        assert count_macs(model, torch.randn(1, 3, 32, 32)) == counted.macs
    assert cost(model.to("meta")) == counted
    assert counted.tokens == model.token_counts()
    assert counted.total == sum(p.numel() for p in model.parameters())


# ---- parameters, tokens, image size --------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "trained"), [("ila", 41_264), ("ila+", 174_624), ("ila++", 354_800), ("adpt", 314_304)]
)
def test_parameters_without_the_head_are_those_of_the_ila_paper(method, trained):
    parameters = adapted(method).trainable
    assert parameters["adapter"] + parameters["backbone"] == trained
    assert parameters["backbone"] == 768  # the class token
    assert parameters["head"] == 768 * 198 + 198


@pytest.mark.parametrize(("image_size", "tokens"), [(224, [197, 145, 101]), (448, [785, 677, 577])])
def test_ila_tokens_per_group(image_size, tokens):
    assert adapted("ila", image_size).tokens == tokens


def test_a_plain_timm_model_is_split_into_head_backbone_and_frozen():
    vit = tiny().requires_grad_(False)
    vit.head.requires_grad_(True)
    vit.blocks[0].norm1.requires_grad_(True)
    assert cost(vit).trainable == {"adapter": 0, "head": 330, "backbone": 64}
    assert cost(timm.create_model("deit_tiny_distilled_patch16_224", img_size=32)).trainable["head"] == 2 * (
        192 * 1000 + 1000
    )


def test_an_attention_pooled_vit_without_a_class_token_is_counted():
    counted = cost(timm.create_model("vit_base_patch16_siglip_224", img_size=32, depth=1))
    assert counted.tokens == [4]
    assert counted.trainable["head"] == 0


def test_a_dynamic_vit_can_be_costed_at_another_size():
    assert cost(tiny(dynamic_img_size=True), image_size=64).macs == closed_form(32, 4, 65, 8, 10)


@pytest.mark.parametrize("size", [64, 0, (32, 32, 3), (32, 40)])
def test_an_image_size_that_the_model_cannot_take_is_refused_with_the_remedy(size):
    with pytest.raises(
        al.AdapterError, match=r"built for 32×32; build it with create_backbone|positive numbers of pixels"
    ):
        cost(tiny(), image_size=size)


def test_a_dynamic_vit_refuses_a_size_that_does_not_divide_into_patches():
    with pytest.raises(al.AdapterError, match="30×30"):
        cost(tiny(dynamic_img_size=True), image_size=30)


def test_a_model_without_blocks_is_refused():
    with pytest.raises(al.AdapterError, match="Linear has no patch_embed"):
        cost(nn.Linear(2, 2))


def test_counting_changes_nothing_in_the_model():
    model = adapt(tiny(), ["ila:samplings=1"], 5)
    model.train()
    model.backbone.blocks[0].eval()  # a mode that must survive
    modes = [m.training for m in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    cost(model)
    memory_use(model)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(type(p.grad) is type(None) for p in model.parameters())
    assert not any(m._forward_pre_hooks for m in model.modules())
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_model_whose_path_depends_on_values_is_run_for_real():
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = tiny()

        def get_classifier(self) -> nn.Module:
            return self.backbone.head

        def forward(self, x):
            return self.backbone(x) if x.abs().max().item() >= 0 else x

    counted = cost(Picky())
    assert counted.macs == closed_form(32, 4, 17, 8, 10)
    assert counted.tokens == [17]


def test_cost_is_told_as_json_text_and_html():
    counted = cost(tiny())
    content = json.loads(json.dumps(counted.to_dict()))
    assert content["flops"] == 2 * content["macs"]
    assert content["image_size"] == [32, 32]
    assert Cost.from_dict(content) == counted
    assert "MMACs" in str(counted)
    assert "17" in counted._repr_html_()


def test_al_cost_stays_a_function_after_its_module_was_imported():
    assert al.cost is cost
