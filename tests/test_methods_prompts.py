"""VPT and VQT: where prompts stand, what sees them, how they start."""

import math

import pytest
import torch
from conftest import make_tiny_vit
from torch import Tensor
from torch.nn import functional as F

import adapters_lib as al
from adapters_lib.vit.sites import first_outputs


def vpt_by_hand(model: al.AdaptedViT, images: Tensor, deep: bool) -> Tensor:
    x, _ = model.embed(images)
    for index, block in enumerate(model.backbone.blocks):
        if deep or index == 0:
            prompts = model.sites[index].at["enter"][0].prompts.expand(len(x), -1, -1)
            x = torch.cat((x[:, :1], prompts, x[:, -64:]), dim=1)
        x = block(x)
    return model.backbone.head(model.backbone.norm(x)[:, 0])


@pytest.mark.parametrize("name", ["vpt-shallow", "vpt-deep"])
def test_vpt_puts_prompts_between_class_token_and_patches(name: str, images: Tensor) -> None:
    model = al.adapt(make_tiny_vit(), f"{name}:prompts=3", 5).eval()
    torch.testing.assert_close(model(images), vpt_by_hand(model, images, name == "vpt-deep"))
    assert model.token_counts() == [68]


def test_vpt_starts_uniform_within_the_bound_of_the_patch_projection() -> None:
    model = al.adapt(make_tiny_vit(), "vpt-deep", 5)
    bound = math.sqrt(6 / (3 * 4 * 4 + 32))
    for sites in model.sites:
        (prompts,) = sites.at["enter"].parameters()
        assert prompts.shape == (1, 100, 32)
        assert 0.98 * bound < prompts.abs().max() <= bound


def test_prompts_on_a_pooled_model_are_not_pooled(images: Tensor) -> None:
    model = al.adapt(make_tiny_vit(class_token=False, global_pool="avg"), "vpt-shallow:prompts=3", 5).eval()
    x, layout = model.embed(images)
    for index in range(4):
        x, layout = model.run_block(index, x, layout)
    assert x.shape[1] == 67
    torch.testing.assert_close(
        model(images), model.backbone.head(model.backbone.fc_norm(model.backbone.norm(x[:, 3:]).mean(1)))
    )


def vqt_by_hand(model: al.AdaptedViT, images: Tensor) -> Tensor:
    """The paper's way: prompts are appended, and masked as keys, so that nobody but the head sees them."""
    vit = model.backbone
    x, _ = model.embed(images)
    parts = []
    for block, sites in zip(vit.blocks, model.sites, strict=True):
        prompts = sites.reader.prompts.expand(len(x), -1, -1)
        count = prompts.shape[1]
        mask = torch.ones(x.shape[1] + count, dtype=torch.bool)
        mask[-count:] = False
        y = torch.cat((x, prompts), dim=1)
        y = y + block.attn(block.norm1(y), attn_mask=mask.expand(len(mask), -1))
        y = y + block.mlp(block.norm2(y))
        x, answers = y[:, :-count], y[:, -count:]
        parts.append(answers.flatten(1))
    parts = [F.normalize(part, dim=1) for part in (vit.norm(x)[:, 0], *parts)]
    return vit.head.classifier(torch.cat(parts, dim=1))


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}, {"qkv_bias": False}])
def test_vqt_equals_masked_prompts(options: dict, images: Tensor) -> None:
    model = al.adapt(make_tiny_vit(**options), "vqt:prompts=2", 5).eval()
    torch.testing.assert_close(model(images), vqt_by_hand(model, images))


@pytest.mark.parametrize(
    "other",
    [
        "lora",
        "lora:targets=k",
        "lora:targets=qkv,rank=2",
        "ssf",
        "repadapter",
        "bitfit",
        ["lora", "ssf"],
        ["repadapter", "lora"],
    ],
    ids=str,
)
@pytest.mark.parametrize("vqt_first", [True, False])
def test_adapters_in_the_qkv_layer_act_on_the_prompts_whatever_was_listed_first(
    other: object, vqt_first: bool, images: Tensor
) -> None:
    others = other if isinstance(other, list) else [other]
    torch.manual_seed(0)
    model = al.adapt(
        make_tiny_vit(), ["vqt:prompts=2", *others] if vqt_first else [*others, "vqt:prompts=2"], 5
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    torch.testing.assert_close(model(images), vqt_by_hand(model, images))


def test_of_the_prompts_vqt_computes_queries_only() -> None:
    depth, width, tokens, prompts, classes = 4, 32, 65, 3, 5
    added = (
        al.cost(al.adapt(make_tiny_vit(), f"vqt:prompts={prompts}", classes)).macs
        - al.cost(make_tiny_vit()).macs
    )
    norms, query, attention, projection, mlp = 2 * width, width**2, 2 * tokens * width, width**2, 8 * width**2
    block = prompts * (norms + query + attention + projection + mlp)
    assert added == depth * (block + prompts * width * classes)  # the head reads every answer


def test_the_first_outputs_of_a_layer_that_nobody_knows_are_cut_from_all() -> None:
    layer, x = torch.nn.Sequential(torch.nn.Linear(6, 9)), torch.randn(2, 6)
    assert torch.equal(first_outputs(layer, x, 4), layer(x)[:, :4])


def test_prompt_dropout_of_vqt_has_a_mask_for_every_image() -> None:
    model = al.adapt(make_tiny_vit(), "vqt:prompts=8,dropout=0.5", 5, seed=0).train()
    six = torch.randn(1, 3, 32, 32).expand(6, -1, -1, -1)
    assert model(six).std(0).min() > 1e-4
    model.eval()
    assert model(six).std(0).max() < 1e-6
    without = al.adapt(make_tiny_vit(), "vqt:prompts=8,dropout=0.0", 5, seed=0).train()
    assert without(six).std(0).max() < 1e-6


def test_the_class_token_of_vqt_trains_if_asked() -> None:
    frozen, trained = (al.adapt(make_tiny_vit(), text, 5) for text in ("vqt", "vqt:class_token=true"))
    assert not frozen.backbone.cls_token.requires_grad
    assert [name for name, _ in trained.parameter_groups()["backbone"]] == ["backbone.cls_token"]


def test_vqt_leaves_the_frozen_stream_without_gradients(images: Tensor) -> None:
    model = al.adapt(make_tiny_vit(), "vqt", 5)
    x, layout = model.embed(images)
    for index in range(4):
        x, layout = model.run_block(index, x, layout)
    assert not x.requires_grad
    model(images).sum().backward()
    assert all(sites.reader.prompts.grad.abs().sum() > 0 for sites in model.sites)


def test_vqt_keeps_the_heads_weights_for_the_pooled_token(images: Tensor) -> None:
    vit = make_tiny_vit()
    weight = vit.head.weight.clone()
    model = al.adapt(vit, "vqt:normalise=false")
    assert torch.equal(model.backbone.head.classifier.weight[:, :32], weight)
    torch.nn.init.zeros_(model.backbone.head.classifier.weight[:, 32:].data)
    torch.testing.assert_close(model.eval()(images), make_like(vit, weight)(images))


def make_like(vit: torch.nn.Module, weight: Tensor) -> torch.nn.Module:
    plain = make_tiny_vit()
    state = {key: value for key, value in vit.state_dict().items() if not key.startswith("head.")}
    plain.load_state_dict({**state, "head.weight": weight, "head.bias": vit.head.classifier.bias})
    return plain


def test_vqt_works_with_the_batch_norm_head_and_with_ila(images: Tensor) -> None:
    model = al.adapt(make_tiny_vit(), ["vqt:prompts=2", "ila"], 5, head="bn_linear")
    assert model(images).shape == (3, 5)
    assert model.token_counts() == [65, 37, 17]
    assert model.backbone.head.classifier[1].in_features == 32 * (1 + 4 * 2)


def test_vqt_refuses_two_classifiers_and_foreign_attention() -> None:
    import timm

    distilled = timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=32, patch_size=8, depth=2, embed_dim=32, num_heads=2
    )
    with pytest.raises(al.AdapterError, match="two classifiers"):
        al.adapt(distilled, "vqt", 5)
    with pytest.raises(al.AdapterError, match="plain Attention"):
        al.adapt(make_tiny_vit(attn_layer="diff"), "vqt", 5)


def test_a_vqt_head_called_without_the_blocks_says_so() -> None:
    model = al.adapt(make_tiny_vit(), "vqt", 5)
    with pytest.raises(al.AdapterError, match="call the whole model"):
        model.backbone.head(torch.zeros(1, 32))
