"""Methods, costs, memory, files, training, exits and attention work on clips as they do on images."""

import json

import pytest
import torch
from tiny_clips import MemoryClips, clip_model, clip_vit
from torch import Tensor
from torch.nn import functional as F

import adapters_lib as al
from adapters_lib import cli
from adapters_lib.analysis.attention import attention_layouts, capture_attention, mean_distance, query_rows
from adapters_lib.analysis.rollout import rollout_groups
from adapters_lib.backbones.create import meta_backbone
from adapters_lib.costs.memory import memory_use, peak_memory
from adapters_lib.methods import METHODS
from adapters_lib.vit.layout import Layout

METHOD_TEXT = {
    "dyn": ["padapter:position=a_m_p", "dyn:every=2"],
    "adaptformer": ["adaptformer:bottleneck=8"],
    "houlsby": ["houlsby:bottleneck=8"],
}


@pytest.fixture
def clips() -> Tensor:
    return torch.randn(3, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))


def _loss(model: al.AdaptedViT, x: Tensor) -> Tensor:
    outputs = model.objective.outputs(model, x) if model.objective else [model(x)]
    return sum((o.square().sum() for o in outputs), torch.zeros(()))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_clips_and_recomputing_blocks_changes_no_gradient(
    method: str, clips: Tensor
) -> None:
    passes = []
    for recompute in (False, True):
        model = clip_model(METHOD_TEXT.get(method, method), patch_size=4 if "ila" in method else 8).train()
        model.backbone.set_grad_checkpointing(recompute)
        torch.manual_seed(1)
        _loss(model, clips).backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        passes.append((gradients, dict(model.named_buffers())))
    (plain, plain_buffers), (recomputed, recomputed_buffers) = passes
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
    module = next(
        m for sites in model.sites for site in ("leave", "beside_mlp") for m in sites.modules_at(site)
    )
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
    assert [sites.modules_at("before")[0].prompts[0].shape[1] for sites in model.sites] == [784] * 4 + [
        576
    ] * 4 + [400] * 4


def test_a_prompt_of_another_token_count_is_refused() -> None:
    with pytest.raises(al.AdapterError, match="PAdapter: 197 prompts but the model has 256 tokens"):
        clip_model("padapter:num_tokens=197")


@pytest.mark.parametrize("position", ["a_m_p", "p_a_m", "a_p_m"])
@pytest.mark.parametrize("form", ["x_p", "p_x_p", "p_2x_p"])
def test_padapter_starts_as_the_identity_on_clips_and_its_prompts_learn(
    position: str, form: str, clips: Tensor
) -> None:
    expected = clip_vit()(clips)
    model = al.adapt(clip_vit(), f"padapter:form={form},position={position},bottleneck=4")
    assert torch.equal(model(clips), expected)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if "prompts" in name}
    for _ in range(2):  # in the first step only the up-projections leave zero
        optimizer.zero_grad()
        model(clips).square().sum().backward()
        optimizer.step()
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
    again = al.AdaptedViT.from_pretrained(
        tmp_path / "padapter", backbone=clip_vit(positions="sinusoid", patch_size=8)
    )
    assert al.evaluate(again, data)["top1"] == 100


def test_a_probe_trains_on_cached_features_of_clips() -> None:
    data = MemoryClips()
    run = al.fit(
        clip_model("linear", classes=2, patch_size=8),
        data,
        data,
        al.Recipe(epochs=2, batch_size=8),
        progress=False,
    )
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


# ---- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("recompute", [False, True])
def test_memory_worked_out_from_shapes_is_what_a_real_step_on_clips_holds(
    recompute: bool, clips: Tensor
) -> None:
    model = clip_model("padapter:position=a_m_p,bottleneck=4").train()
    model.backbone.set_grad_checkpointing(recompute)
    worked_out = memory_use(model, batch=3, optimizer_states=0)
    real = peak_memory(lambda: F.cross_entropy(model(clips), torch.arange(3)).backward())
    assert worked_out.training - worked_out.weights - clips.nbytes == pytest.approx(real, rel=0.02)


def test_the_bench_says_what_recomputing_saves(capsys) -> None:
    command = [
        "bench",
        "video",
        "--backbone",
        "micro_vit",
        "--image-size",
        "32",
        "--frames",
        "4",
        "--method",
        "full",
        "--method",
        "lora",
    ]
    assert cli.main([*command, "--batch", "4", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["clip"] == [4, 32, 32]
    assert result["tokens"] == [32]
    rows = {(row["method"], row["recompute"]): row for row in result["rows"]}
    for method in ("full", "lora"):
        assert rows[method, True]["step_bytes"] < rows[method, False]["step_bytes"]
        assert rows[method, True]["step_ms"] > 0
    assert rows["lora", False]["step_bytes"] < rows["full", False]["step_bytes"]
    assert cli.main([*command, "--rounds", "0"]) == 0
    text = capsys.readouterr().out
    assert "blocks recomputed" in text
    assert "ms" not in text.split("MiB")[1]
    assert cli.main([*command, "--batch", "0"]) == 2


@pytest.mark.parametrize("method", ["lora", "ssf:before_pooling=false", "repadapter"])
def test_a_merged_clip_model_computes_the_same_with_plain_layers(method: str, clips: Tensor) -> None:
    model = clip_model(method, patch_size=8).eval()
    with torch.no_grad():
        for _, p in model.parameter_groups()["adapter"]:
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(5)))
    expected = model(clips)
    model.merge()
    torch.testing.assert_close(model(clips), expected, atol=1e-5, rtol=1e-5)
    assert type(model.backbone.patch_embed.proj) is torch.nn.Conv3d
    assert torch.equal(model.unmerge()(clips), expected)


# ---- early exits ---------------------------------------------------------------------------------


def test_easy_clips_really_leave_early(clips: Tensor) -> None:
    model = clip_model(["padapter:position=a_m_p,bottleneck=4", "dyn:every=1"]).eval()
    ran: list[tuple[int, int]] = []
    for number, block in enumerate(model.backbone.blocks, 1):
        block.register_forward_pre_hook(
            lambda _m, inputs, number=number: ran.append((number, len(inputs[0])))
        )
    sure = model.forward_exits(clips)[0].softmax(1).amax(1)
    ran.clear()
    limit = sure.sort().values[1:].mean().item()  # one clip is surer than this, two are not
    prediction = al.predict(model, clips, thresholds=[limit, 0.0, 0.0])
    assert prediction.exit_index.sort().values.tolist() == [0, 1, 1]
    assert ran == [(1, 3), (2, 2)]
    costs = al.exit_costs(model)
    assert prediction.macs.tolist() == [costs.macs[i] for i in prediction.exit_index.tolist()]
    assert costs.full == al.cost(clip_model("padapter:position=a_m_p,bottleneck=4")).macs


def test_dyn_and_padapter_train_together_on_clips() -> None:
    data = MemoryClips()
    model = clip_model(
        ["padapter:position=a_m_p,bottleneck=4", "dyn:every=2,hidden=8"], classes=2, patch_size=8
    )
    run = al.fit(model, data, None, al.Recipe(epochs=4, lr=5e-3, batch_size=8), progress=False)
    assert run.history["train_loss"].iloc[-1] < run.history["train_loss"].iloc[0]
    prediction = al.predict(model, data.clips, thresholds=[0.5])
    assert set(prediction.exit_index.tolist()) == {0}


# ---- what attention sees -------------------------------------------------------------------------


def test_attention_of_clips_is_captured_over_time_and_space(clips: Tensor) -> None:
    model = clip_model("ila:after=2").eval()
    with capture_attention(model, blocks=[2, 4]) as seen, torch.no_grad():
        model(clips)
    layouts = attention_layouts(model)
    assert query_rows(seen[2], model, layouts[1]).shape == (3, 2, 4, 8, 8)
    assert query_rows(seen[4], model, layouts[3]).shape == (3, 2, 4, 6, 6)
    uniform = torch.full((1, 1, 256, 256), 1 / 256)
    still = torch.full((1, 1, 64, 64), 1 / 64)
    torch.testing.assert_close(
        mean_distance(uniform, layouts[0], 4), mean_distance(still, Layout(0, 0, (8, 8)), 4)
    )
    groups = rollout_groups(model, clips)
    assert [tuple(g.patches.shape) for g in groups] == [(3, 4, 8, 8), (3, 4, 6, 6)]


def test_commands_take_clips(capsys) -> None:
    assert (
        cli.main(
            [
                "cost",
                "--backbone",
                "vit_small_patch16_224",
                "--frames",
                "8",
                "--method",
                "padapter:position=a_m_p",
                "--json",
            ]
        )
        == 0
    )
    assert '"tokens": [784]' in capsys.readouterr().out
    assert cli.main(["train", "--frames", "4", "--data", "leaves-coarse"]) == 2
    assert "takes clips of 4 frames" in capsys.readouterr().err
    assert cli.main(["cost", "--frames", "9"]) == 2
    assert "take --frames 8" in capsys.readouterr().err
