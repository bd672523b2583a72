"""What stands around the modules is the authors' too: dropout, starts, what SSF scales on pooled models."""

import math

import pytest
import torch
from conftest import make_tiny_vit
from timm.models.vision_transformer import ResPostBlock
from torch import Tensor, nn
from torch.nn import functional as F

import adapters_lib as al
from adapters_lib.methods.ila import InterLayerAdapter
from adapters_lib.methods.ssf import ScaleShift
from adapters_lib.methods.sublayers import SublayerDropout

POOLED = {"class_token": False, "global_pool": "avg"}


def adapted(method: object, seed: int = 0, **options: object) -> al.AdaptedViT:
    torch.manual_seed(0)
    return al.adapt(make_tiny_vit(**options), method, 5, seed=seed)


def sublayer_drops(model: al.AdaptedViT) -> list[float]:
    return [m.dropout.p for m in model.modules() if isinstance(m, SublayerDropout)]


# ---- dropout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vpt-shallow", "vpt-deep"])
def test_every_image_has_a_prompt_mask_of_its_own(name: str, images: Tensor) -> None:
    copies = images[:1].expand(6, -1, -1, -1)
    with torch.no_grad():
        dropped = adapted(f"{name}:prompts=3,dropout=0.5").train()(copies)
        whole = adapted(f"{name}:prompts=3").train()(copies)
        evaluated = adapted(f"{name}:prompts=3,dropout=0.5").eval()(copies)
    assert (torch.pdist(dropped) > 1e-3).all()
    assert (torch.pdist(whole) < 1e-5).all()
    torch.testing.assert_close(evaluated, whole)


@pytest.mark.parametrize("name", ["adpt", "ila++"])
def test_adpt_drops_its_output_and_the_frozen_sublayers_as_published(name: str, images: Tensor) -> None:
    model = adapted(name).train()
    block, sites = model.backbone.blocks[1], model.sites[1]  # behind it ila++ has no module of its own
    beside_attention, beside_mlp = sites.at["beside_attention"][0], sites.at["beside_mlp"][0]
    with torch.no_grad():
        x, layout = model.run_block(0, *model.embed(images))
        torch.manual_seed(7)
        output, _ = model.run_block(1, x, layout)
        torch.manual_seed(7)
        h = block.norm1(x)
        x = x + F.dropout(block.attn(h), 0.1) + F.dropout(_bottleneck(beside_attention, h), 0.1)
        h = block.norm2(x)
        x = x + F.dropout(block.mlp(h), 0.1) + F.dropout(_bottleneck(beside_mlp, h), 0.1)
    torch.testing.assert_close(output, x)


def _bottleneck(adapter: nn.Module, h: Tensor) -> Tensor:
    return adapter.up(F.gelu(adapter.down(h)))


@pytest.mark.parametrize("name", ["adpt", "ila++", "ila"])
def test_dropout_changes_nothing_in_evaluation_and_is_gone_at_zero(name: str, images: Tensor) -> None:
    off = "sublayer_dropout=0,dropout=0" + (",adpt_dropout=0" if name == "ila++" else "")
    without, with_it = adapted(f"{name}:{off}").eval(), adapted(f"{name}:sublayer_dropout=0.3").eval()
    assert not sublayer_drops(without)
    assert sublayer_drops(with_it) == [0.3] * 8
    assert torch.equal(with_it(images), without(images))
    assert with_it.state_dict().keys() == without.state_dict().keys()
    assert len(list(with_it.adapters())) == len(list(without.adapters()))


def test_frozen_blocks_with_sublayer_dropout_are_not_computed_once_and_kept() -> None:
    kept = adapted("ila:class_token=false,after=3")
    assert kept.first_trainable_stage == 3
    assert kept.cacheable
    dropped = adapted("ila:class_token=false,after=3,sublayer_dropout=0.1")
    assert dropped.first_trainable_stage == 3
    assert not dropped.cacheable


def test_two_methods_that_drop_the_sublayers_do_not_drop_twice() -> None:
    for methods in (["ila:sublayer_dropout=0.3", "adpt"], ["adpt", "ila:sublayer_dropout=0.3"]):
        assert sublayer_drops(adapted(methods)) == [0.3] * 8


def test_sublayer_dropout_in_blocks_of_another_kind_is_refused_with_the_remedy() -> None:
    adapted("ila", block_fn=ResPostBlock)
    with pytest.raises(al.AdapterError, match="has ResPostBlock; choose sublayer_dropout=0"):
        adapted("ila:sublayer_dropout=0.1", block_fn=ResPostBlock)


# ---- starts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adpt", "ila++"])
def test_at_zero_adpt_leaves_the_hosts_features_as_they_are(name: str, images: Tensor) -> None:
    host = adapted("linear").eval()
    options = "samplings=0," if name == "ila++" else ""
    with torch.no_grad():
        expected = host.run_frozen(images)[0]
        for start in ("zero", "published"):
            model = adapted(f"{name}:{options}start={start}").eval()
            x, layout = model.embed(images)
            for index in range(4):
                x, layout = model.run_block(index, x, layout)
            x = model.backbone.norm(x)[:, 0]
            assert torch.equal(x, expected) == (start == "zero")


@pytest.mark.parametrize("name", ["ila", "ila+", "ila++"])
def test_at_zero_ila_is_its_residual_path_and_where_the_grid_stays_nothing(name: str, images: Tensor) -> None:
    model = adapted(f"{name}:after=2/3,start=zero").eval()
    published = adapted(f"{name}:after=2/3").eval()
    with torch.no_grad():
        y, _ = model.embed(images)
        for block, sites in zip(adapted("linear").eval().backbone.blocks, model.sites, strict=True):
            y = block(y)  # timm's own, without adapters inside
            for module in sites.modules_at("leave"):
                if module.shrink:
                    side = math.isqrt(y.shape[1] - 1)
                    maps = module.residual(y[:, 1:].transpose(1, 2).unflatten(2, (side, side)))
                    y = torch.cat((y[:, :1], maps.flatten(2).transpose(1, 2)), dim=1)
        expected = model.backbone.head(model.backbone.norm(y)[:, 0])
        torch.testing.assert_close(model(images), expected)
        assert (published(images) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["adpt", "ila", "ila+", "ila++"])
def test_the_start_changes_the_up_projections_alone_and_all_still_train(name: str, images: Tensor) -> None:
    zero, published = adapted(f"{name}:start=zero"), adapted(name)
    before = published.state_dict()
    changed = {key for key, value in zero.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert all(key.endswith("up.weight") for key in changed)
    assert all(not zero.state_dict()[key].any() for key in zero.state_dict() if ".up." in key)
    optimizer = torch.optim.SGD([p for p in zero.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # at first a zero up-projection passes no gradient on
        optimizer.zero_grad()
        zero.train()(images).square().sum().backward()
        optimizer.step()
    assert all(p.grad.any() for _, p in zero.parameter_groups()["adapter"])


def test_an_unknown_start_is_refused() -> None:
    for name in ("adpt", "ila", "ila+", "ila++"):
        with pytest.raises(al.AdapterError, match=r"unknown .* start 'zeros'; did you mean 'zero'"):
            al.parse_method(f"{name}:start=zeros")


@pytest.mark.parametrize("down", [True, False])
def test_ilas_three_inner_convolutions_have_uniform_biases_and_its_linear_layers_none(down: bool) -> None:
    torch.manual_seed(0)
    m = InterLayerAdapter(64, 48, down)
    for layer, inputs in ((m.prefix, 48), (m.depthwise, 9), (m.pointwise, 48)):
        bound = 1 / math.sqrt(inputs)
        assert 0.8 * bound < layer.bias.abs().max() <= bound
        assert layer.bias.abs().mean().item() == pytest.approx(bound / 2, rel=0.3)
    assert not m.down.bias.any()
    assert not m.up.bias.any()


@pytest.mark.parametrize("name", ["vpt-shallow", "vpt-deep", "convpass"])
def test_the_class_token_trains_beside_the_ila_papers_rivals_if_asked_to(name: str) -> None:
    assert adapted(f"{name}:class_token=true").backbone.cls_token.requires_grad
    assert not adapted(name).backbone.cls_token.requires_grad


# ---- SSF on models that pool ---------------------------------------------------------------------


@pytest.mark.parametrize("options", [POOLED, {"fc_norm": True}], ids=["mean of the patches", "class token"])
def test_ssf_scales_the_tokens_in_front_of_the_pooling_as_published(options: dict, images: Tensor) -> None:
    model = adapted("ssf", **options).eval()
    vit = model.backbone
    assert isinstance(vit.norm, ScaleShift)
    assert isinstance(vit.fc_norm, nn.LayerNorm)
    with torch.no_grad():
        vit.norm.scale.normal_(1, 0.5)
        vit.norm.shift.normal_(0, 0.5)
        x, layout = model.embed(images)
        for index in range(4):
            x, layout = model.run_block(index, x, layout)
        x = x * vit.norm.scale + vit.norm.shift
        x = x[:, 0] if vit.has_class_token else x.mean(1)
        torch.testing.assert_close(model(images), vit.head(vit.fc_norm(x)))


def test_ssf_has_one_pair_for_the_last_norm_wherever_it_stands() -> None:
    def places(method: str, **options: object) -> set[str]:
        scaled = (
            name
            for name, m in adapted(method, **options).backbone.named_modules()
            if isinstance(m, ScaleShift)
        )
        return {name for name in scaled if "." not in name}

    assert places("ssf", **POOLED) == {"norm"}
    assert places("ssf:before_pooling=false", **POOLED) == {"fc_norm"}
    for text, options in (
        ("ssf", {**POOLED, "fc_norm": False}),
        ("ssf", {}),
        ("ssf:before_pooling=false", {}),
    ):
        assert places(text, **options) == {"norm"}
    sizes = [al.cost(adapted(text, **POOLED)).trainable for text in ("ssf", "ssf:before_pooling=false")]
    assert sizes[0] == sizes[1]
