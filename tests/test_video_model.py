"""A timm image ViT as a model of clips: tubelets, positions, pooling, and what is refused."""

import math

import pytest
import timm
import torch
from conftest import make_tiny_vit
from tiny_clips import clip_model, clip_vit
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.backbones.clips import TubeletEmbed, to_clip_model
from adapters_lib.backbones.create import meta_backbone


def test_every_slice_of_a_still_clip_is_embedded_as_the_image_is(images: Tensor) -> None:
    image_embed = make_tiny_vit().patch_embed
    for frames, tubelet in ((8, 2), (8, 1), (6, 3)):
        embed = TubeletEmbed(image_embed, frames, tubelet)
        tokens = embed(images[:, :, None].expand(-1, -1, frames, -1, -1)).unflatten(
            1, (frames // tubelet, 64)
        )
        for slice_ in tokens.unbind(1):
            torch.testing.assert_close(slice_, image_embed(images))


def test_a_still_clip_gives_what_the_image_gives(images: Tensor) -> None:
    vit = make_tiny_vit(class_token=False, global_pool="avg")
    expected = vit(images)
    clip = to_clip_model(vit, time_scale=0.0)
    torch.testing.assert_close(clip(images[:, :, None].expand(-1, -1, 8, -1, -1)), expected)


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "vit_small_patch14_reg4_dinov2",
        "vit_base_patch16_siglip_224",
        "deit3_small_patch16_224",
    ],
)
def test_class_tokens_registers_and_attention_pooling_make_way_for_the_mean_and_a_norm(name: str) -> None:
    options = {"img_size": 56} if "14" in name else {"img_size": 64}
    clip = to_clip_model(timm.create_model(name, depth=2, num_classes=7, **options).eval())
    grid = 16
    assert clip.pos_embed.shape == (1, 4 * grid, clip.embed_dim)
    assert clip.cls_token is None
    assert isinstance(clip.norm, nn.Identity)
    x = torch.randn(1, 3, 8, *clip.patch_embed.img_size)
    model = al.adapt(clip, "padapter", 3, seed=0).eval()
    assert model.token_counts() == [4 * grid]
    tokens, layout = model.embed(x)
    for index in range(2):
        tokens, layout = model.run_block(index, tokens, layout)
    torch.testing.assert_close(model(x), model.backbone.head(model.backbone.fc_norm(tokens.mean(1))))


def test_separable_positions_are_the_images_plus_a_sinusoid_in_time() -> None:
    torch.manual_seed(0)
    image = make_tiny_vit()
    space = image.pos_embed.detach()[0, 1:].clone()  # without the class token's row
    position = to_clip_model(image).pos_embed[0].unflatten(0, (4, 64))
    in_time = position - space
    torch.testing.assert_close(in_time, in_time[:, :1].expand_as(in_time), atol=1e-6, rtol=1e-5)
    assert float(in_time.square().mean().sqrt() / space.square().mean().sqrt()) == pytest.approx(1, rel=1e-4)
    assert float((in_time[0] - in_time[3]).abs().max()) > 0


def test_sinusoid_positions_are_vaswanis_over_all_tokens() -> None:
    position = clip_vit(positions="sinusoid").pos_embed
    assert position.shape == (1, 256, 32)
    for token, channel in ((0, 0), (0, 1), (77, 6), (255, 31)):
        angle = token / 10000 ** (2 * (channel // 2) / 32)
        assert float(position[0, token, channel]) == pytest.approx(
            math.cos(angle) if channel % 2 else math.sin(angle), abs=1e-6
        )


def test_positions_stay_fixed_when_everything_else_trains() -> None:
    model = clip_model("full")
    assert "backbone.pos_embed" not in dict(model.named_parameters())
    assert model.first_trainable_stage == 0


def test_the_norm_behind_the_pooling_trains_with_the_head() -> None:
    groups = clip_model("linear").parameter_groups()
    assert [name for name, _ in groups["backbone"]] == ["backbone.fc_norm.weight", "backbone.fc_norm.bias"]
    assert not groups["adapter"]


@pytest.mark.parametrize("name", ["micro_vit", "micro_vit_clips"])
def test_a_fresh_norm_starts_at_one_and_nothing_else_changes(name: str, tmp_path) -> None:
    kept, fresh = (al.create_clip_backbone(name, image_size=48, fresh_norm=fresh) for fresh in (False, True))
    assert not torch.equal(kept.fc_norm.weight, torch.ones(128))
    assert torch.equal(fresh.fc_norm.weight, torch.ones(128))
    assert torch.equal(fresh.fc_norm.bias, torch.zeros(128))
    for (name, tensor), other in zip(kept.state_dict().items(), fresh.state_dict().values(), strict=True):
        assert name.startswith(("fc_norm.", "head.")) or torch.equal(tensor, other), name
    model = al.adapt(fresh, "padapter:position=a_m_p,bottleneck=4", 3, seed=0).eval()
    assert model.backbone_source["kwargs"]["fresh_norm"]
    assert "fresh_norm" not in kept.adapters_lib_source["kwargs"]  # as stored before there was the option
    model.save_pretrained(tmp_path)
    clips = torch.randn(2, 3, 8, 48, 48)
    assert torch.equal(al.AdaptedViT.from_pretrained(tmp_path)(clips), model(clips))


@pytest.mark.parametrize(
    ("form", "parameters", "macs"),
    [("x_p", 1_195_404, 73_728), ("p_x_p", 1_791_372, 98_304), ("p_2x_p", 2_381_580, 147_456)],
)
def test_padapter_on_vit_b_with_784_tokens_has_the_papers_parameters_and_macs(
    form: str, parameters: int, macs: int
) -> None:
    def cost_of(methods: str) -> al.Cost:
        return al.cost(al.adapt(meta_backbone("vit_base_patch16_224", frames=8), methods, 174))

    bare, adapted = cost_of("linear"), cost_of(f"padapter:form={form},position=a_m_p")
    assert adapted.tokens == [784]
    assert adapted.trainable["adapter"] == parameters
    assert adapted.macs - bare.macs == 12 * 784 * macs
    assert adapted.frames == 8
    assert "per clip of 8 frames of 224×224 pixels" in str(adapted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 7}, "frames=7 does not divide into tubelets of 2 frames; take frames=8"),
        ({"frames": 1}, "take frames=2"),
        ({"frames": 0}, "frames=0: a whole number, at least 1"),
        ({"tubelet": 2.0}, "tubelet=2.0"),
        ({"positions": "sinusiod"}, "did you mean 'sinusoid'"),
        ({"time_scale": -1.0}, "time_scale=-1.0"),
        ({"dynamic_img_size": True}, "dynamic_img_size"),
    ],
)
def test_impossible_clip_models_are_refused_with_the_remedy(options: dict, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        al.create_clip_backbone("micro_vit", pretrained=False, **options)


@pytest.mark.parametrize("shape", [(3, 32, 32), (8, 3, 32, 32), (3, 4, 32, 32), (3, 8, 16, 16)])
def test_input_that_is_no_such_clip_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(al.AdapterError, match=r"built for"):
        clip_model("linear")(torch.zeros(2, *shape))


def test_models_that_cannot_see_clips_are_refused() -> None:
    distilled = timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=32, patch_size=4, depth=2, embed_dim=32, num_heads=2
    )
    with pytest.raises(al.AdapterError, match="tokens of its own"):
        to_clip_model(distilled)
    with pytest.raises(al.AdapterError, match="clip model already"):
        to_clip_model(clip_vit())
    with pytest.raises(al.AdapterError, match="keeps its size"):
        clip_vit().set_input_size(img_size=64)
