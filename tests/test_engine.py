"""The engine computes what timm computes, and adapters stand exactly where their site says."""

import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

import adapters_lib as al
from adapters_lib.vit.layout import Layout
from adapters_lib.vit.sites import SITES, Adapter

PLAIN = {
    "vit_tiny_patch16_224": {},
    "vit_small_patch16_224": {},
    "vit_base_patch16_224": {},
    "deit3_small_patch16_224": {},
    "deit_tiny_distilled_patch16_224": {},
    "vit_small_patch14_reg4_dinov2": {"img_size": 56},
    "vit_base_patch16_siglip_224": {"num_classes": 7},
    "vit_base_patch16_siglip_gap_224": {"num_classes": 7},
    "vit_base_patch16_clip_224": {},
    "vit_tiny_patch16_224+dynamic": {"dynamic_img_size": True},
}

OLD_TORCH = torch.__version__.startswith("2.6.")


@pytest.mark.parametrize("name", PLAIN)
def test_without_adapters_logits_equal_timms_bit_for_bit(name: str) -> None:
    options = PLAIN[name]
    if "dinov2" in name:
        options = {**options, "num_classes": 7}
    torch.manual_seed(0)
    vit = timm.create_model(name.partition("+")[0], **options).eval()
    size = 96 if "dynamic" in name else vit.patch_embed.img_size[0]
    x = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        expected = vit(x)
        model = al.adapt(vit).eval()
        for logits in (model(x), model.run_from(*model.run_frozen(x))):
            if torch.equal(logits, expected):
                continue
            # the oldest torch that is allowed rounds attention pooling otherwise in the last bit
            assert vit.attn_pool is not None
            assert OLD_TORCH
            torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["beit_base_patch16_224", "eva02_tiny_patch14_224", "swin_tiny_patch4_window7_224", "resnet18"]
)
def test_a_model_that_is_no_plain_vit_is_refused_with_what_is_missing(name: str) -> None:
    with torch.device("meta"):
        other = timm.create_model(name)
    with pytest.raises(al.AdapterError, match=r"cannot be adapted.*(lacks|own way).*micro_vit"):
        al.adapt(other, "linear", 3)


def test_patch_dropping_is_refused(tiny_vit) -> None:
    with pytest.raises(al.AdapterError, match="patch_drop_rate"):
        al.adapt(tiny_vit(patch_drop_rate=0.5), "linear", 3)


class _Probe(Adapter):
    """Doubles what it reads, or adds half of it, so that every site gives another result."""

    def __init__(self, changes_tokens: bool = False) -> None:
        super().__init__()
        self.changes_tokens = changes_tokens

    def forward(self, x: torch.Tensor, layout: Layout):
        return (1.5 * x, layout) if self.changes_tokens else 1.5 * x


def _by_hand(block: nn.Module, x: torch.Tensor, site: str) -> torch.Tensor:
    """The definition of each site in `adapters_lib.vit.sites`, written out once more."""
    if site in ("enter", "before"):
        x = 1.5 * x
    start = x
    h = block.norm1(x)
    a = block.attn(h)
    a = {"after_attention": 1.5 * a, "beside_attention": a + 1.5 * h, "around_attention": a + 1.5 * x}.get(
        site, a
    )
    x = x + a
    if site == "between":
        x = 1.5 * x
    h = block.norm2(x)
    m = block.mlp(h)
    x = x + {"after_mlp": 1.5 * m, "beside_mlp": m + 1.5 * h, "around_mlp": m + 1.5 * x}.get(site, m)
    if site == "around_block":
        x = x + 1.5 * start
    return 1.5 * x if site in ("after", "leave") else x


@pytest.mark.parametrize("site", SITES)
def test_a_module_acts_where_its_site_says(site: str, tiny_vit, images) -> None:
    model = al.adapt(tiny_vit(), [], 5)
    model.sites[2].add(site, _Probe(changes_tokens=site in ("enter", "leave")))
    x, layout = model.embed(images)
    got, _ = model.run_block(2, x, layout)
    torch.testing.assert_close(got, _by_hand(model.backbone.blocks[2], x, site))


def test_an_unknown_site_is_named_with_the_nearest(tiny_vit) -> None:
    model = al.adapt(tiny_vit(), [], 5)
    with pytest.raises(al.AdapterError, match="beside_atention.*did you mean 'beside_attention'"):
        model.sites[0].add("beside_atention", _Probe())


@pytest.mark.parametrize("method", ["linear", "adpt", "lora", "ila", "ila+", "ila++", "full"])
def test_frozen_prefix_then_rest_equals_the_whole(method: str, tiny_vit, images) -> None:
    options = ":class_token=false" if method not in ("linear", "lora", "full") else ""
    model = al.adapt(tiny_vit(), method + options, 5, seed=1).eval()
    if method == "full":
        assert model.first_trainable_stage == 0
        with pytest.raises(al.AdapterError, match="embedding is trainable"):
            model.run_frozen(images)
        return
    features = model.run_frozen(images)
    assert not features[0].requires_grad
    assert torch.equal(model.run_from(*features), model(images))


def test_the_cut_stands_before_the_first_trainable_module(tiny_vit) -> None:
    stages = {
        m: al.adapt(tiny_vit(), m, 5).first_trainable_stage
        for m in ("full", "adpt", "adpt:class_token=false", "ila:class_token=false", "linear")
    }
    assert stages == {
        "full": 0,
        "adpt": 0,
        "adpt:class_token=false": 1,
        "ila:class_token=false": 1,
        "linear": 6,
    }
    late = al.adapt(tiny_vit(depth=12), "ila:class_token=false,after=8", 5)
    assert late.first_trainable_stage == 8


def test_a_noisy_frozen_prefix_is_not_cacheable(tiny_vit) -> None:
    assert al.adapt(tiny_vit(), "linear", 5).cacheable
    assert not al.adapt(tiny_vit(drop_path_rate=0.2), "linear", 5).cacheable
    assert not al.adapt(tiny_vit(pos_drop_rate=0.2), "linear", 5).cacheable


def test_fused_attention_stays_on(tiny_vit, images, monkeypatch) -> None:
    calls = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or fused(*a, **k))
    al.adapt(tiny_vit(), ["ila++", "lora"], 5)(images)
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({}, 65),
        ({"class_token": False, "global_pool": "avg"}, 64),
        ({"reg_tokens": 4}, 69),
        ({"class_token": False, "global_pool": "map"}, 64),
    ],
)
def test_the_grid_shrinks_whatever_stands_in_front_of_it(options: dict, first: int, tiny_vit, images) -> None:
    model = al.adapt(tiny_vit(**options), ["ila", "adpt", "lora"], 5)
    prefix = first - 64
    assert model.token_counts() == [prefix + 64, prefix + 36, prefix + 16]
    model(images).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_ila_shrinks_197_tokens_to_145_then_101_and_785_to_577() -> None:
    for size, counts in ((224, [197, 145, 101]), (448, [785, 677, 577])):
        with torch.device("meta"):
            model = al.adapt(timm.create_model("vit_base_patch16_224", img_size=size), "ila", 198)
            assert model.token_counts() == counts
            assert model(torch.zeros(1, 3, size, size)).shape == (1, 198)


def test_a_distilled_model_keeps_both_heads_trainable(images) -> None:
    vit = timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=32, patch_size=4, depth=4, embed_dim=32, num_heads=2
    )
    model = al.adapt(vit, "ila", 5)
    assert model.token_counts() == [66, 38, 18]
    assert {name for name, _ in model.parameter_groups()["head"]} == {
        "backbone.head.weight",
        "backbone.head.bias",
        "backbone.head_dist.weight",
        "backbone.head_dist.bias",
    }
    assert model(images).shape == (3, 5)


def test_dynamic_image_sizes_run_through_ila(tiny_vit) -> None:
    model = al.adapt(tiny_vit(dynamic_img_size=True), "ila", 5).eval()
    for size in (32, 48):
        assert model(torch.randn(2, 3, size, size)).shape == (2, 5)


def test_a_wrong_image_size_is_named(tiny_vit) -> None:
    with pytest.raises(al.AdapterError, match=r"\(48, 48\).*\(32, 32\).*image_size"):
        al.adapt(tiny_vit(), "linear", 5)(torch.randn(1, 3, 48, 48))


@pytest.mark.parametrize(
    ("methods", "classes", "message"),
    [
        ("lorra", 5, "unknown method 'lorra'; did you mean 'lora'"),
        ("lora:rnak=4", 5, "unknown option of lora 'rnak'; did you mean 'rank'"),
        ("lora:rank=0", 5, "rank=0, but it must be at least 1"),
        ("lora:rank", 5, "has no value"),
        ("lora:rank=two", 5, "not a valid int"),
        ("linear", 0, "num_classes=0"),
        ("ila:after=9", 5, "block 9 does not exist"),
        ("ila:samplings=4", 5, "cannot shrink"),
        (["lora", "ila:after=2/2/2/2"], 5, "cannot shrink"),
    ],
)
def test_bad_input_names_the_mistake_and_leaves_the_backbone_unchanged(
    methods, classes: int, message: str, tiny_vit, images
) -> None:
    vit = tiny_vit()
    before, layout, expected = copy.deepcopy(vit.state_dict()), repr(vit), vit(images)
    with pytest.raises(al.AdapterError, match=message):
        al.adapt(vit, methods, classes)
    assert repr(vit) == layout
    assert all(torch.equal(a, b) for a, b in zip(before.values(), vit.state_dict().values(), strict=True))
    assert all(p.requires_grad for p in vit.parameters())
    assert torch.equal(vit(images), expected)
    al.adapt(vit, "linear", 5)  # and it can still be adapted


def test_a_grid_that_is_not_square_is_refused(tiny_vit) -> None:
    with pytest.raises(al.AdapterError, match="8×6.*square"):
        al.adapt(tiny_vit(img_size=(32, 24)), "ila", 5)


def test_adapting_twice_is_refused(tiny_vit) -> None:
    vit = tiny_vit()
    model = al.adapt(vit, "lora", 5)
    for again in (vit, model):
        with pytest.raises(al.AdapterError, match="adapted already"):
            al.adapt(again, "adpt", 5)


def test_a_seed_fixes_the_start_and_leaves_the_global_generator_alone(tiny_vit) -> None:
    torch.manual_seed(5)
    first = torch.get_rng_state()
    vits = [tiny_vit(weight_init="skip") for _ in range(3)]
    torch.set_rng_state(first)
    a, b, c = (
        al.adapt(v, "adpt", 5, seed=s).trainable_state_dict() for v, s in zip(vits, (0, 0, 1), strict=True)
    )
    assert torch.equal(torch.get_rng_state(), first)
    names = [n for n in a if "down.weight" in n]
    assert all(torch.equal(a[n], b[n]) for n in names)
    assert not any(torch.equal(a[n], c[n]) for n in names)


def test_parameter_roles_add_up_and_wrapped_layers_stay_frozen(tiny_vit) -> None:
    vit = tiny_vit()
    bare = sum(p.numel() for p in vit.parameters())
    model = al.adapt(vit, ["lora:rank=2", "adpt:bottleneck=3"], 5)
    count = {role: sum(p.numel() for _, p in group) for role, group in model.parameter_groups().items()}
    lora, adpt = 4 * 2 * 2 * (32 + 32), 4 * 2 * (2 * 32 * 3 + 3 + 32)
    assert count == {"adapter": lora + adpt, "head": 5 * 33, "backbone": 32, "frozen": bare - 5 * 33 - 32}


def test_the_trainable_state_round_trips_and_a_wrong_one_changes_nothing(tiny_vit, images) -> None:
    vits = [tiny_vit() for _ in range(2)]
    vits[1].load_state_dict(vits[0].state_dict())
    a, b = (al.adapt(v, "ila", 5, seed=s) for v, s in zip(vits, (0, 1), strict=True))
    a.train()(images)  # moves the batch-norm statistics, which belong to the state
    state = {k: v.clone() for k, v in a.trainable_state_dict().items()}
    assert any("running_mean" in name for name in state)
    before = {k: v.clone() for k, v in b.trainable_state_dict().items()}
    short = dict(list(state.items())[1:])
    for wrong, message in (
        (short, "lacks 1 tensors"),
        ({**state, "x": torch.zeros(1)}, "'x'"),
        ({k: v[..., None] for k, v in state.items()}, "has shape"),
    ):
        with pytest.raises(al.AdapterError, match=message):
            b.load_trainable_state_dict(wrong)
        assert all(torch.equal(before[k], v) for k, v in b.trainable_state_dict().items())
    b.load_trainable_state_dict(state)
    a.eval(), b.eval()
    assert torch.equal(a(images), b(images))


def test_print_trainable_parameters_says_adapter_and_head(tiny_vit, capsys) -> None:
    al.adapt(tiny_vit(), "linear", 5).print_trainable_parameters()
    assert "trainable params: 165 (adapter 0, head 165, backbone 0)" in capsys.readouterr().out
