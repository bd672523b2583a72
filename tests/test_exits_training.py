"""Dyn-Adapter in training: heads, loss weights, and the two sparsities, each exact and each to be switched
off alone."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import adapters_lib as al
from adapters_lib.datasets.labelled import TensorImages
from adapters_lib.methods import DynExits, format_method, parse_method
from adapters_lib.methods.dyn import SCHEDULES, exit_weights
from adapters_lib.methods.sparsity import mask_gradients
from adapters_lib.vit.exits import exit_blocks, run_exits

PLAIN = DynExits(every=1, schedule="uniform", forward_sparsity=0, backward_sparsity=0)
HOSTS = [
    "lora",
    "adpt",
    "repadapter",
    "padapter:bottleneck=4",
    "ila",
    "ila++",
    "adaptformer:bottleneck=8",
    "convpass",
    "ssf",
    "vpt-deep",
    "full",
    "houlsby:bottleneck=8",
]


@pytest.fixture
def data() -> TensorImages:
    images = torch.randint(
        0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return TensorImages(images, torch.arange(12) % 5, (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize("host", HOSTS)
def test_exits_go_with_any_host_and_leave_its_logits_alone(host: str, tiny_vit, images) -> None:
    vit = tiny_vit()
    alone = al.adapt(copy.deepcopy(vit), host, 5, seed=3).eval()
    model = al.adapt(vit, [host, PLAIN], 5, seed=3).eval()
    *early, last = model.forward_exits(images)
    assert [z.shape for z in early] == [(3, 5)] * 3
    assert torch.equal(last, model(images))
    torch.testing.assert_close(last, alone(images))
    if model.first_trainable_stage:
        features = model.run_frozen(images)
        assert all(
            torch.equal(a, b)
            for a, b in zip(
                run_exits(model, *features, model.first_trainable_stage - 1), [*early, last], strict=True
            )
        )


def test_balanced_heads_on_vit_b_stand_behind_3_6_9_and_are_mlp_mlp_linear() -> None:
    with torch.device("meta"):
        model = al.adapt(
            al.create_backbone("vit_base_patch16_224", pretrained=False), [al.LoRA(), DynExits()], 20
        )
    assert exit_blocks(model) == (3, 6, 9, 12)
    sizes = [sum(p.numel() for p in head.parameters()) for head in model.exits.values()]
    mlp, linear = 2 * 768 + 768 * 64 + 64 + 64 * 20 + 20, 2 * 768 + 768 * 20 + 20
    assert sizes == [mlp, mlp, linear]
    counts = {role: sum(p.numel() for _, p in group) for role, group in model.parameter_groups().items()}
    assert counts["head"] == 2 * mlp + linear + 769 * 20
    assert counts["adapter"] == 12 * 2 * 8 * 2 * 768


@pytest.mark.parametrize(
    ("heads", "hidden"),
    [("balanced", [64, 64, None]), ("linear", [None] * 3), ("mlp", [64] * 3), ("reversed", [None, None, 64])],
)
def test_each_ablation_of_the_heads(heads: str, hidden: list, tiny_vit) -> None:
    model = al.adapt(tiny_vit(), replace(PLAIN, heads=heads), 5)
    assert [
        h.classifier[0].out_features if isinstance(h.classifier, nn.Sequential) else None
        for h in model.exits.values()
    ] == hidden


def test_a_head_reads_the_class_token_or_the_mean_of_the_patches_and_never_prompts(tiny_vit, images) -> None:
    pooled_backbone = {"class_token": False, "global_pool": "avg"}
    for options, pool, token in (
        ({}, "backbone", True),
        (pooled_backbone, "backbone", False),
        ({}, "avg", False),
    ):
        model = al.adapt(tiny_vit(**options), ["vpt-deep", replace(PLAIN, pool=pool)], 5).eval()
        x, layout = model.embed(images)
        x, layout = model.run_block(0, x, layout)
        assert layout.prompts > 0
        head = model.exits["1"]
        pooled = x[:, 0] if token else x[:, layout.lead :].mean(1)
        torch.testing.assert_close(head(x, layout), head.classifier(F.layer_norm(pooled, (32,))))


def test_only_heads_train_if_there_is_no_host_and_features_before_the_first_exit_can_be_kept(
    tiny_vit, images
) -> None:
    model = al.adapt(tiny_vit(), replace(PLAIN, at=(2, 3)), 5)
    assert model.first_trainable_stage == 3  # embedding, blocks 1 and 2
    assert {name.split(".")[0] for name in model.trainable_state_dict()} == {"exits", "backbone"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dyn:at=2/9", "block 9 does not exist"),
        ("dyn:at=0", "block 0 does not exist"),
        ("dyn:at=2/2", "names a block twice"),
        ("dyn:every=4", "every=4 leaves no exit in front of the last of 4 blocks"),
        ("dyn:at=4", "leaves no exit"),
        ("dyn:heads=balance", "did you mean 'balanced'"),
        ("dyn:schedule=up", "unknown dyn schedule 'up'"),
        ("dyn:backward_sparsity=1", r"backward_sparsity=1.0.*\[0, 1\)"),
        ("dyn:low=2", r"low=2.0, but it must lie in \[0, 1\]"),
        ("dyn:forward_sparsity=1", r"forward_sparsity=1.0.*\[0, 1\)"),
        ("dyn:temperature=0", "temperature=0.0"),
    ],
)
def test_bad_options_are_explained(spec: str, message: str, tiny_vit) -> None:
    with pytest.raises(al.AdapterError, match=message):
        al.adapt(tiny_vit(), ["lora", spec], 5)


def test_a_class_token_is_not_asked_of_a_backbone_without_one(tiny_vit) -> None:
    with pytest.raises(al.AdapterError, match='pool="avg"'):
        al.adapt(tiny_vit(class_token=False, global_pool="avg"), DynExits(every=2, pool="token"), 5)


def test_vqt_whose_head_reads_every_block_is_refused(tiny_vit) -> None:
    with pytest.raises(al.AdapterError, match="no image can leave early"):
        al.adapt(tiny_vit(), ["vqt", "dyn:every=2"], 5)


def test_the_text_form_round_trips() -> None:
    method = DynExits(at=(2, 5), heads="reversed", distil=0.5)
    assert format_method(method) == "dyn:at=2/5,heads=reversed,distil=0.5"
    assert parse_method(format_method(method)) == method


def test_the_four_schedules_of_lambda() -> None:
    blocks = (3, 6, 9, 12)
    assert exit_weights("uniform", blocks, 0.5) == [1, 1, 1, 1]
    assert exit_weights("depth_weighted", blocks, 0.5) == [0.25, 0.5, 0.75, 1]
    assert exit_weights("early_up", blocks, 0.0) == [0.1, 0.1, 0.1, 1]
    assert exit_weights("early_up", blocks, 0.5) == pytest.approx([0.55, 0.55, 0.55, 1])
    assert exit_weights("early_down", blocks, 0.0) == [1, 1, 1, 1]
    assert exit_weights("early_down", blocks, 1.0) == pytest.approx([0.1, 0.1, 0.1, 1])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_loss_is_the_weighted_mean_of_the_exits_losses(schedule: str, tiny_vit) -> None:
    model = al.adapt(tiny_vit(), replace(PLAIN, schedule=schedule), 5)
    logits = list(torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(1)))
    y = torch.arange(6) % 5
    got = model.objective.loss(model, logits, y, F.cross_entropy, 0.25)
    weights = exit_weights(schedule, (1, 2, 3, 4), 0.25)
    expected = sum(w * F.cross_entropy(z, y) for w, z in zip(weights, logits, strict=True)) / sum(weights)
    torch.testing.assert_close(got, expected)


def test_distillation_pulls_early_exits_to_the_last_and_leaves_the_last_alone(tiny_vit) -> None:
    model = al.adapt(tiny_vit(), replace(PLAIN, distil=1.0, temperature=2.0), 5)
    logits = [z.requires_grad_() for z in torch.randn(4, 6, 5)]
    y = torch.arange(6) % 5
    model.objective.loss(model, logits, y, F.cross_entropy, 0.0).backward()
    teacher = (logits[3].detach() / 2).softmax(1)
    # The gradient of τ² KL(q ‖ p) with respect to the student's logits is τ (p − q) / B; four exits share the
    # loss.
    torch.testing.assert_close(logits[0].grad, 2 * ((logits[0].detach() / 2).softmax(1) - teacher) / 6 / 4)
    torch.testing.assert_close(logits[3].grad, (logits[3].detach().softmax(1) - F.one_hot(y, 5)) / 6 / 4)


def test_gradient_masks_keep_the_mean_and_repeat_by_seed() -> None:
    parameter = nn.Parameter(torch.zeros(40_000))
    masks = []
    for seed in (1, 1, 2):
        parameter.grad = torch.ones(40_000)
        mask_gradients([parameter], 0.3, seed)
        masks.append(parameter.grad.clone())
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert masks[0].unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert masks[0].mean() == pytest.approx(1, abs=0.02)


def test_masks_fall_on_adapters_and_not_on_heads(tiny_vit, images) -> None:
    model = al.adapt(tiny_vit(), ["adpt:class_token=false", replace(PLAIN, backward_sparsity=0.5)], 5)
    sum(z.square().sum() for z in model.forward_exits(images)).backward()
    before = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.objective.before_update(model, 7)
    adapters = {name for name, _ in model.parameter_groups()["adapter"]}
    assert adapters
    for name, gradient in before.items():
        after = model.get_parameter(name).grad
        assert torch.equal(after, gradient) == (name not in adapters)


def test_forward_sparsity_falls_linearly_to_zero_and_is_off_in_evaluation(tiny_vit, images) -> None:
    model = al.adapt(tiny_vit(), ["lora", replace(PLAIN, forward_sparsity=0.3)], 5)
    drops = [getattr(block.attn.qkv.bottleneck_dropout, "p", 0.0) for block in model.backbone.blocks]
    assert drops == pytest.approx([0.3, 0.2, 0.1, 0.0])
    model.eval()
    assert torch.equal(model(images), model(images))


def _train(
    vit: nn.Module, data: TensorImages, method: DynExits, epochs: int = 2, seed: int = 0, **options
) -> al.AdaptedViT:
    model = al.adapt(copy.deepcopy(vit), ["adpt:class_token=false,bottleneck=4", method], 5, seed=0)
    al.fit(model, data, None, al.Recipe(epochs=epochs, batch_size=6, seed=seed), progress=False, **options)
    return model


def _same(a: al.AdaptedViT, b: al.AdaptedViT) -> bool:
    return all(
        torch.equal(x, y)
        for x, y in zip(a.trainable_state_dict().values(), b.trainable_state_dict().values(), strict=True)
    )


def test_each_component_changes_training_and_each_can_be_off_alone(tiny_vit, data) -> None:
    vit = tiny_vit()
    components = {"schedule": "early_up", "forward_sparsity": 0.2, "backward_sparsity": 0.3, "distil": 0.5}
    plain = _train(vit, data, PLAIN)
    assert _same(plain, _train(vit, data, PLAIN))
    for name, value in components.items():
        with_it = _train(vit, data, replace(PLAIN, **{name: value}))
        assert not _same(plain, with_it), name


def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(tiny_vit, data, tmp_path) -> None:
    vit, method = tiny_vit(), DynExits(every=2)
    whole = _train(vit, data, method, epochs=3)

    def killed(row: dict) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(vit, data, method, epochs=3, out=tmp_path / "run", on_epoch=killed)
    assert _same(whole, _train(vit, data, method, epochs=3, out=tmp_path / "run"))


def test_training_on_cached_features_gives_the_same_heads(tiny_vit, data) -> None:
    vit = tiny_vit()
    models = []
    for cache in (True, False):
        model = al.adapt(copy.deepcopy(vit), PLAIN, 5, seed=0)
        al.fit(model, data, data, al.Recipe(epochs=2, batch_size=6), progress=False, cache_features=cache)
        models.append(model)
    for a, b in zip(*(m.trainable_state_dict().values() for m in models), strict=True):
        torch.testing.assert_close(a, b)


def test_a_saved_model_brings_its_exits_and_thresholds_back(tiny_vit, images, tmp_path) -> None:
    vit = tiny_vit()
    bare = copy.deepcopy(vit)
    model = al.adapt(vit, ["lora", "dyn:every=2,pool=avg"], 5, seed=0).eval()
    model.extra["exits"] = {"thresholds": [0.5], "policy": "margin"}
    model.save_pretrained(tmp_path)
    again = al.AdaptedViT.from_pretrained(tmp_path, backbone=bare)
    assert again.extra == model.extra
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.forward_exits(images), model.forward_exits(images), strict=True)
    )


def test_merging_the_host_keeps_the_exits(tiny_vit, images) -> None:
    model = al.adapt(tiny_vit(), ["lora", "dyn:every=2"], 5, seed=0).eval()
    nn.init.normal_(model.backbone.blocks[0].attn.qkv.lora_b, std=0.1)
    before = model.forward_exits(images)
    model.merge()
    for a, b in zip(before, model.forward_exits(images), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
