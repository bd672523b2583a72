"""An adapted model answers to timm's own names, and whoever looks at its blocks sees what passes there."""

import copy
import io
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from captum.attr import LayerActivation, LayerIntegratedGradients
from conftest import make_tiny_vit
from every_method import AT_SITES, MERGEABLE, NAMES, adapted, methods_of, some_images
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.analysis.attribution import token_attributions
from adapters_lib.vit.method import Method

# ---- features ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_head_on_forward_features_gives_the_models_logits(name: str) -> None:
    model, images = adapted(name), some_images()
    features = model.forward_features(images)
    assert features.shape[-1] == 32
    torch.testing.assert_close(model.forward_head(features), model(images))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_intermediates_are_the_stream_behind_every_block_without_its_prompts(name: str) -> None:
    model, images = adapted(name), some_images()
    final, taken = model.forward_intermediates(images, return_prefix_tokens=True, output_fmt="NLC")
    x, layout = model.embed(images)
    for index, (patches, prefix) in enumerate(taken):
        x, layout = model.run_block(index, x, layout)
        assert torch.equal(torch.cat((prefix, patches), 1), layout.strip_prompts(x)[0])
        assert patches.shape[1] == layout.grid[0] * layout.grid[1]
    assert torch.equal(final, model.forward_features(images))


@torch.no_grad()
def test_each_map_has_the_grid_that_ila_left_behind_its_block() -> None:
    model = al.adapt(make_tiny_vit(), ["ila", "vpt-deep:prompts=2"], 5).eval()
    maps = model.forward_intermediates(some_images(size=32), intermediates_only=True)
    sides = [layout.grid[0] for layout in model.layouts()[1:]]
    assert sides == [6, 6, 4, 4]
    assert [tuple(m.shape) for m in maps] == [(3, 32, side, side) for side in sides]


@pytest.mark.parametrize(
    "options", [{}, {"reg_tokens": 2}, {"class_token": False, "global_pool": "avg"}], ids=str
)
@pytest.mark.parametrize("indices", [None, 2, [0, -1], [1]], ids=str)
@torch.no_grad()
def test_without_adapters_every_form_of_the_intermediates_is_timms(options: dict, indices: object) -> None:
    vit = make_tiny_vit(**options)
    model, images = al.adapt(copy.deepcopy(vit)).eval(), some_images(size=32)
    assert torch.equal(model.forward_features(images), vit.forward_features(images))
    for asked in (
        {},
        {"return_prefix_tokens": True, "norm": True},
        {"output_fmt": "NLC", "stop_early": True},
        {"intermediates_only": True, "norm": True},
        {"output_dict": True, "return_prefix_tokens": True},
        {"output_dict": True, "intermediates_only": True},
    ):
        assert _same(
            model.forward_intermediates(images, indices, **asked),
            vit.forward_intermediates(images, indices, **asked),
        )
    for asked in ({}, {"reshape": True}, {"return_prefix_tokens": True, "norm": True}):
        wanted = 1 if indices is None else indices
        assert _same(
            model.get_intermediate_layers(images, wanted, **asked),
            vit.get_intermediate_layers(images, wanted, **asked),
        )


def _same(ours: object, expected: object) -> bool:
    if isinstance(expected, Tensor):
        return isinstance(ours, Tensor) and torch.equal(ours, expected)
    if isinstance(expected, dict):
        return ours.keys() == expected.keys() and all(_same(ours[key], expected[key]) for key in expected)
    return type(ours) is type(expected) and len(ours) == len(expected) and all(map(_same, ours, expected))


@torch.no_grad()
def test_the_maps_of_a_clip_have_slices() -> None:
    vit = al.create_backbone("micro_vit", pretrained=False, frames=4, tubelet=2, image_size=48)
    model = al.adapt(vit, "adpt", 5).eval()
    (last,) = model.get_intermediate_layers(torch.randn(1, 3, 4, 48, 48), reshape=True)
    assert last.shape == (1, 128, 2, 6, 6)


def test_a_mask_and_an_unknown_format_are_refused() -> None:
    model = adapted("adpt")
    with pytest.raises(al.AdapterError, match="takes no mask"):
        model.forward_features(some_images(), attn_mask=torch.ones(17, 17))
    with pytest.raises(al.AdapterError, match="unknown output_fmt 'NHWC'"):
        model.forward_intermediates(some_images(), output_fmt="NHWC")


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_backbones_own_call_agrees_or_says_what_to_call(name: str) -> None:
    model, images = adapted(name), some_images()
    vit = model.backbone
    calls = [vit, vit.forward_features, vit.forward_intermediates, vit.get_intermediate_layers]
    if name in AT_SITES:
        for call in calls:
            with pytest.raises(al.AdapterError, match=r"leave out the adapters.*model\.forward_features"):
                call(images)
    else:
        assert torch.equal(vit(images), model(images))
        assert torch.equal(vit.forward_features(images), model.forward_features(images))
        assert _same(vit.forward_intermediates(images), model.forward_intermediates(images))


# ---- hooks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_hook_on_a_block_sees_what_goes_in_and_out_adapters_inside_included(name: str) -> None:
    model, images = adapted(name), some_images()
    seen: list[tuple[Tensor, Tensor]] = []
    handles = [
        b.register_forward_hook(lambda _, inputs, out: seen.append((inputs[0], out)))
        for b in model.backbone.blocks
    ]
    model(images)
    for handle in handles:
        handle.remove()
    assert len(seen) == model.depth
    x, layout = model.embed(images)
    for sites, (into, out) in zip(model.sites, seen, strict=True):
        for module in sites.modules_at("enter"):
            x, layout = module(x, layout)
        for module in sites.modules_at("before"):
            x = module(x, layout)
        assert torch.equal(into, x)
        x = out
        for module in sites.modules_at("after"):
            x = module(x, layout)
        for module in sites.modules_at("leave"):
            x, layout = module(x, layout)
    if name != "vqt":  # whose head reads more than the stream
        assert torch.equal(model.forward_head(model.normalise(x, layout)[0]), model(images))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_what_a_hook_puts_in_a_blocks_place_is_what_goes_on(name: str) -> None:
    model, images = adapted(name), some_images()
    expected = model(images)
    handle = model.backbone.blocks[0].register_forward_hook(lambda _, inputs, out: 0 * out)
    assert not torch.allclose(model(images), expected)
    handle.remove()
    assert torch.equal(model(images), expected)


@pytest.mark.parametrize("name", NAMES)
def test_captums_layer_methods_fire_on_a_block(name: str) -> None:
    model, images = adapted(name), some_images()
    block = model.backbone.blocks[0]
    kept: list[Tensor] = []
    handle = block.register_forward_hook(lambda _, inputs, out: kept.append(out))
    model(images)
    handle.remove()
    assert torch.equal(LayerActivation(model, block).attribute(images), kept[0])
    if name != "vqt":
        values = LayerIntegratedGradients(model, block).attribute(
            images, 0 * images, target=1, n_steps=4, method="gausslegendre"
        )
        assert values.shape == kept[0].shape
        if not any(module for site in ("after", "leave") for module in model.sites[0].modules_at(site)):
            ours = token_attributions(model, images, 1, block=1, steps=4)
            torch.testing.assert_close(values.sum(-1), ours.values, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_recomputed_blocks_give_the_same_gradients(name: str) -> None:
    model, images = adapted(name), some_images()
    model(images).square().sum().backward()
    expected = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.backbone.set_grad_checkpointing()
    model(images).square().sum().backward()
    for key, gradient in expected.items():
        torch.testing.assert_close(model.get_parameter(key).grad, gradient, rtol=1e-4, atol=1e-6)


# ---- the same names, copies, files -------------------------------------------------------------------------


@pytest.mark.parametrize("name", AT_SITES)
def test_modules_at_sites_rename_nothing_in_the_backbone(name: str) -> None:
    plain = {f"backbone.{key}" for key in make_tiny_vit(depth=2).state_dict() if not key.startswith("head.")}
    state = adapted(name).state_dict()
    assert {
        key for key in state if key.startswith("backbone.") and not key.startswith("backbone.head.")
    } == plain
    assert not any("_host" in key for key in state)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_copy_and_a_pickled_model_share_nothing_with_the_original(name: str) -> None:
    model, images = adapted(name), some_images()
    expected = model(images)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for twin in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert torch.equal(twin(images), expected)
        assert not {id(module) for module in twin.modules()} & {id(module) for module in model.modules()}
        assert [type(block) for block in twin.backbone.blocks] == [
            type(block) for block in model.backbone.blocks
        ]
        for parameter in twin.parameters():
            parameter.zero_()
        assert torch.equal(model(images), expected)
        assert not torch.equal(twin(images), expected)


@dataclass(frozen=True, kw_only=True)
class _Fails(Method):
    name: ClassVar[str] = "fails"

    @property
    def turn(self) -> int:
        return 9

    def attach(self, model: al.AdaptedViT) -> None:
        raise RuntimeError("it was the last one")


@pytest.mark.parametrize("name", ["vqt", "adpt", "vpt-deep", "lora"])
def test_an_adapt_that_fails_late_gives_back_timms_classes_and_takes_its_hooks_off(name: str) -> None:
    vit, images = make_tiny_vit(), some_images(size=32)
    expected = vit(images)
    with pytest.raises(RuntimeError, match="the last one"):
        al.adapt(vit, [name, _Fails()], 5)
    assert type(vit) is VisionTransformer
    assert {type(block) for block in vit.blocks} == {Block}
    assert not any(module._forward_hooks for module in vit.modules())
    assert torch.equal(vit(images), expected)


@pytest.mark.parametrize("name", MERGEABLE)
def test_merging_leaves_timms_own_classes(name: str) -> None:
    model = adapted(name).merge()
    assert type(model.backbone) is VisionTransformer
    assert {type(block) for block in model.backbone.blocks} == {Block}


# ---- models and data types that come otherwise -------------------------------------------------------------


def by_hand() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(
        img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2, num_classes=5
    ).eval()


@pytest.mark.parametrize("name", NAMES)
def test_a_vit_built_without_create_model_is_adapted_saved_and_loaded_again(name: str, tmp_path) -> None:
    model, images = al.adapt(by_hand(), methods_of(name), 5, seed=0).eval(), some_images()
    assert model.data_config["input_size"] == (3, 16, 16)
    assert model.backbone_name == ""
    assert al.cost(model).macs > 0
    model.print_trainable_parameters()
    model.save_pretrained(tmp_path)
    with pytest.raises(al.AdapterError, match=r"made by hand.*backbone="):
        al.AdaptedViT.from_pretrained(tmp_path)
    again = al.AdaptedViT.from_pretrained(tmp_path, backbone=by_hand())
    assert torch.equal(again(images), model(images))


HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", MERGEABLE)
@torch.no_grad()
def test_merge_cast_unmerge_mixes_no_types(name: str, dtype: torch.dtype) -> None:
    model, images = adapted(name), some_images()
    cast = copy.deepcopy(model).to(dtype)
    model.merge().to(dtype)
    assert model(images.to(dtype)).dtype == dtype
    model.unmerge()
    assert {t.dtype for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()} == {dtype}
    assert torch.equal(model(images.to(dtype)), cast(images.to(dtype)))
    model.merge().float().unmerge()
    assert model(images).dtype == torch.float32


@torch.no_grad()
def test_unmerging_where_nothing_was_cast_leaves_a_mixture_of_types_as_it_was() -> None:
    model = adapted("lora", torch.bfloat16)
    for _, adapter in model.adapters():
        adapter.lora_a.data = adapter.lora_a.data.float()
    before = {key: t.dtype for key, t in model.state_dict().items()}
    model.merge().unmerge()
    assert {key: t.dtype for key, t in model.state_dict().items()} == before


def _float32_head(vit: VisionTransformer, num_classes: int, global_pool: str | None = None) -> None:
    """What older versions of timm do, whatever the backbone's type."""
    vit.num_classes = num_classes
    vit.head = nn.Linear(vit.embed_dim, num_classes)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("head", ["linear", "bn_linear"])
def test_the_head_has_the_backbones_type_with_older_timm_too(
    dtype: torch.dtype, head: str, monkeypatch
) -> None:
    monkeypatch.setattr(VisionTransformer, "reset_classifier", _float32_head)
    for methods in ([], "vqt", ["lora", "dyn:every=2"]):
        model = al.adapt(make_tiny_vit().to(dtype), methods, 5, head=head)
        assert {t.dtype for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()} == {dtype}
