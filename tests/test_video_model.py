"""A timm image ViT as a model of clips: the same engine, methods, costs, files and exits."""

import math

import pytest
import timm
import torch
from conftest import make_tiny_vit
from torch import Tensor, nn
from torch.utils.data import Dataset

import adapters_lib as al
from adapters_lib.analysis.attention import attention_layouts, capture_attention, mean_distance, query_rows
from adapters_lib.analysis.rollout import rollout_groups
from adapters_lib.backbones import meta_backbone
from adapters_lib.methods import METHODS
from adapters_lib.tokens import Layout
from adapters_lib.video import TubeletEmbed, to_clip_model

METHOD_TEXT = {
    "dyn": ["padapter:position=a_m_p", "dyn:every=2"],
    "adaptformer": ["adaptformer:bottleneck=8"],
    "houlsby": ["houlsby:bottleneck=8"],
}


def clip_vit(frames: int = 8, tubelet: int = 2, positions: str = "separable", time_scale: float = 1.0, **options: object) -> nn.Module:
    """4 slices of 8 × 8 patches of 4 pixels, the same weights every time."""
    torch.manual_seed(0)
    return to_clip_model(make_tiny_vit(**options), frames, tubelet, positions, time_scale)


def clip_model(methods: object, classes: int = 5, **options: object) -> al.AdaptedViT:
    return al.adapt(clip_vit(**options), methods, classes, seed=0)


@pytest.fixture
def clips() -> Tensor:
    return torch.randn(3, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))


class MemoryClips(Dataset):
    """Noise clips; in class 1 the pictures get brighter, in class 0 darker."""

    deterministic = True

    def __init__(self, n: int = 16) -> None:
        self.labels = torch.arange(n) % 2
        ramp = torch.linspace(-2, 2, 8)[:, None, None] * (2 * self.labels - 1).view(-1, 1, 1, 1, 1)
        self.clips = 0.1 * torch.randn(n, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1)) + ramp

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.clips[index], int(self.labels[index])


# ---- the model ---------------------------------------------------------------------------------------------------


def test_every_slice_of_a_still_clip_is_embedded_as_the_image_is(images: Tensor) -> None:
    image_embed = make_tiny_vit().patch_embed
    for frames, tubelet in ((8, 2), (8, 1), (6, 3)):
        embed = TubeletEmbed(image_embed, frames, tubelet)
        tokens = embed(images[:, :, None].expand(-1, -1, frames, -1, -1)).unflatten(1, (frames // tubelet, 64))
        for slice_ in tokens.unbind(1):
            torch.testing.assert_close(slice_, image_embed(images))


def test_a_still_clip_gives_what_the_image_gives(images: Tensor) -> None:
    vit = make_tiny_vit(class_token=False, global_pool="avg")
    expected = vit(images)
    clip = to_clip_model(vit, time_scale=0.0)
    torch.testing.assert_close(clip(images[:, :, None].expand(-1, -1, 8, -1, -1)), expected)


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_base_patch16_siglip_224", "deit3_small_patch16_224"]
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
        assert float(position[0, token, channel]) == pytest.approx(math.cos(angle) if channel % 2 else math.sin(angle), abs=1e-6)


def test_positions_stay_fixed_when_everything_else_trains() -> None:
    model = clip_model("full")
    assert "backbone.pos_embed" not in dict(model.named_parameters())
    assert model.cut == 0


def test_the_norm_behind_the_pooling_trains_with_the_head() -> None:
    groups = clip_model("linear").parameter_groups()
    assert [name for name, _ in groups["backbone"]] == ["backbone.fc_norm.weight", "backbone.fc_norm.bias"]
    assert not groups["adapter"]


@pytest.mark.parametrize(
    ("form", "parameters", "macs"), [("x_p", 1_195_404, 73_728), ("p_x_p", 1_791_372, 98_304), ("p_2x_p", 2_381_580, 147_456)]
)
def test_padapter_on_vit_b_with_784_tokens_has_the_papers_parameters_and_macs(form: str, parameters: int, macs: int) -> None:
    def found(methods: str) -> al.Cost:
        return al.cost(al.adapt(meta_backbone("vit_base_patch16_224", frames=8), methods, 174))

    bare, adapted = found("linear"), found(f"padapter:form={form},position=a_m_p")
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
    distilled = timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, patch_size=4, depth=2, embed_dim=32, num_heads=2)
    with pytest.raises(al.AdapterError, match="tokens of its own"):
        to_clip_model(distilled)
    with pytest.raises(al.AdapterError, match="clip model already"):
        to_clip_model(clip_vit())
    with pytest.raises(al.AdapterError, match="keeps its size"):
        clip_vit().set_input_size(img_size=64)


# ---- everything else works on clips --------------------------------------------------------------------------------


def _loss(model: al.AdaptedViT, x: Tensor) -> Tensor:
    outputs = model.objective.outputs(model, x) if model.objective else [model(x)]
    return sum((o.square().sum() for o in outputs), torch.zeros(()))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_clips_and_recomputing_blocks_changes_no_gradient(method: str, clips: Tensor) -> None:
    found = []
    for recompute in (False, True):
        model = clip_model(METHOD_TEXT.get(method, method), patch_size=4 if "ila" in method else 8).train()
        model.backbone.set_grad_checkpointing(recompute)
        torch.manual_seed(1)
        _loss(model, clips).backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        found.append((gradients, dict(model.named_buffers())))
    (plain, plain_buffers), (recomputed, recomputed_buffers) = found
    assert all(gradient is not None for gradient in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient)
    for name, buffer in plain_buffers.items():  # batch-norm statistics of ILA: every batch counts once
        assert torch.equal(recomputed_buffers[name], buffer)
    model.eval()
    assert al.cost(model).tokens[0] == model.token_counts()[0]


@pytest.mark.parametrize("method", ["ila", "convpass"])
def test_convolutions_stay_within_their_time_slice(method: str, clips: Tensor) -> None:
    model = clip_model(method).eval()
    layout = model.first_layout()
    module = next(m for sites in model.sites for site in ("leave", "beside_mlp") for m in sites.modules_at(site))
    with torch.no_grad():
        for p in module.parameters():
            p.normal_(generator=torch.Generator().manual_seed(2))
    x = torch.randn(2, layout.tokens, 32)
    image_layout = Layout(prefix=0, prompts=0, grid=layout.grid)
    out = module(x, layout)
    got = out[0] if method == "ila" else out
    slices = []
    for part in x.chunk(4, dim=1):
        one = module(part, image_layout)
        slices.append(one[0] if method == "ila" else one)
    torch.testing.assert_close(got, torch.cat(slices, dim=1))


def test_ila_shrinks_every_slice_of_784_tokens_to_576_then_400() -> None:
    model = al.adapt(meta_backbone("vit_small_patch16_224", frames=8), ["ila", "padapter"], 5)
    assert model.token_counts() == [784, 576, 400]
    assert [sites.modules_at("before")[0].prompts[0].shape[1] for sites in model.sites] == [784] * 4 + [576] * 4 + [400] * 4


def test_a_prompt_of_another_token_count_is_refused() -> None:
    with pytest.raises(al.AdapterError, match="PAdapter: 197 prompts but the model has 256 tokens"):
        clip_model("padapter:num_tokens=197")


@pytest.mark.parametrize("position", ["a_m_p", "p_a_m", "a_p_m"])
@pytest.mark.parametrize("form", ["x_p", "p_x_p", "p_2x_p"])
def test_padapter_starts_as_the_identity_on_clips_and_its_prompts_learn(position: str, form: str, clips: Tensor) -> None:
    expected = clip_vit()(clips)
    model = al.adapt(clip_vit(), f"padapter:form={form},position={position},bottleneck=4")
    assert torch.equal(model(clips), expected)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if "prompts" in name}
    for _ in range(2):  # in the first step only the up-projections leave zero
        optimiser.zero_grad()
        model(clips).square().sum().backward()
        optimiser.step()
    assert len(before) == 4 * (1 if form == "x_p" else 2)
    assert all(not torch.equal(before[name], dict(model.named_parameters())[name]) for name in before)


def test_the_engine_computes_what_timm_computes_and_features_can_be_kept(clips: Tensor) -> None:
    vit = clip_vit()
    expected = vit(clips)
    model = al.adapt(vit).eval()
    assert torch.equal(model(clips), expected)
    probe = clip_model("linear").eval()
    assert probe.cacheable
    features, layout = probe.run_frozen(clips)
    assert features.shape == (3, 256, 32)
    assert torch.equal(probe.run_from(features, layout), probe(clips))


def test_a_clip_model_is_saved_and_found_again_by_name(tmp_path) -> None:
    big = torch.randn(2, 3, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    source = al.create_clip_backbone("micro_vit", frames=4, image_size=64, time_scale=0.5)
    model = al.adapt(source, ["padapter:position=a_m_p", "dyn"], 3, seed=0)
    with torch.no_grad():
        for _, p in (*model.parameter_groups()["adapter"], *model.parameter_groups()["backbone"]):
            p.add_(0.01)
    model.eval().save_pretrained(tmp_path)
    again = al.AdaptedViT.from_pretrained(tmp_path)
    assert again.backbone_source == model.backbone_source
    assert torch.equal(again(big), model(big))
    assert model.data_config["input_size"] == (3, 4, 64, 64)


def test_padapter_learns_what_only_time_shows_and_a_probe_that_averages_does_not(tmp_path) -> None:
    data, top1 = MemoryClips(), {}
    for method in ("padapter:position=a_m_p,bottleneck=8", "linear"):
        model = clip_model(method, classes=2, positions="sinusoid", patch_size=8)
        al.fit(model, data, None, al.Recipe(epochs=10, lr=1e-2, batch_size=8), progress=False)
        top1[model.methods[0].name] = al.evaluate(model, data)["top1"]
        model.save_pretrained(tmp_path / model.methods[0].name)
    assert top1["padapter"] == 100
    assert top1["linear"] < 80
    again = al.AdaptedViT.from_pretrained(tmp_path / "padapter", backbone=clip_vit(positions="sinusoid", patch_size=8))
    assert al.evaluate(again, data)["top1"] == 100


def test_a_probe_trains_on_cached_features_of_clips() -> None:
    data = MemoryClips()
    run = al.fit(clip_model("linear", classes=2, patch_size=8), data, data, al.Recipe(epochs=2, batch_size=8), progress=False)
    assert "cached behind block 4 of 4" in run.cached["train"]


def test_cutmix_cuts_the_same_place_out_of_every_frame(monkeypatch) -> None:
    seen: list[Tensor] = []
    model = clip_model("linear", classes=2, patch_size=8)
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda x: seen.append(x.clone()) or forward(x))
    data = MemoryClips(2)
    data.clips = torch.ones_like(data.clips) * torch.tensor([1.0, 2.0]).view(2, 1, 1, 1, 1)
    al.fit(model, data, None, al.Recipe(epochs=1, batch_size=2, cutmix=1.0), progress=False)
    (mixed,) = seen
    assert mixed.shape == data.clips.shape
    assert len(mixed.unique()) == 2
    assert torch.equal(mixed, mixed[:, :1, :1].expand_as(mixed))


# ---- early exits -----------------------------------------------------------------------------------------------------


def test_easy_clips_really_leave_early(clips: Tensor) -> None:
    model = clip_model(["padapter:position=a_m_p,bottleneck=4", "dyn:every=1"]).eval()
    ran: list[tuple[int, int]] = []
    for number, block in enumerate(model.backbone.blocks, 1):
        block.register_forward_pre_hook(lambda _m, inputs, number=number: ran.append((number, len(inputs[0]))))
    sure = model.forward_exits(clips)[0].softmax(1).amax(1)
    ran.clear()
    limit = sure.sort().values[1:].mean().item()  # one clip is surer than this, two are not
    found = al.predict(model, clips, thresholds=[limit, 0.0, 0.0])
    assert found.exit_index.sort().values.tolist() == [0, 1, 1]
    assert ran == [(1, 3), (2, 2)]
    costs = al.exit_costs(model)
    assert found.macs.tolist() == [costs.macs[i] for i in found.exit_index.tolist()]
    assert costs.full == al.cost(clip_model("padapter:position=a_m_p,bottleneck=4")).macs


def test_dyn_and_padapter_train_together_on_clips() -> None:
    data = MemoryClips()
    model = clip_model(["padapter:position=a_m_p,bottleneck=4", "dyn:every=2,hidden=8"], classes=2, patch_size=8)
    run = al.fit(model, data, None, al.Recipe(epochs=4, lr=5e-3, batch_size=8), progress=False)
    assert run.history["train_loss"].iloc[-1] < run.history["train_loss"].iloc[0]
    found = al.predict(model, data.clips, thresholds=[0.5])
    assert set(found.exit_index.tolist()) == {0}


# ---- what attention sees ---------------------------------------------------------------------------------------------


def test_attention_of_clips_is_captured_over_time_and_space(clips: Tensor) -> None:
    model = clip_model("ila:after=2").eval()
    with capture_attention(model, blocks=[2, 4]) as seen, torch.no_grad():
        model(clips)
    layouts = attention_layouts(model)
    assert query_rows(seen[2], model, layouts[1]).shape == (3, 2, 4, 8, 8)
    assert query_rows(seen[4], model, layouts[3]).shape == (3, 2, 4, 6, 6)
    uniform = torch.full((1, 1, 256, 256), 1 / 256)
    still = torch.full((1, 1, 64, 64), 1 / 64)
    torch.testing.assert_close(mean_distance(uniform, layouts[0], 4), mean_distance(still, Layout(0, 0, (8, 8)), 4))
    groups = rollout_groups(model, clips)
    assert [tuple(g.patches.shape) for g in groups] == [(3, 4, 8, 8), (3, 4, 6, 6)]


def test_the_cost_command_takes_clips(capsys) -> None:
    from adapters_lib import cli

    assert cli.main(["cost", "--backbone", "vit_small_patch16_224", "--frames", "8", "--method", "padapter:position=a_m_p", "--json"]) == 0
    assert '"tokens": [784]' in capsys.readouterr().out
    assert cli.main(["cost", "--frames", "9"]) == 2
    assert "take frames=8" in capsys.readouterr().err
