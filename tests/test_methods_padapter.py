"""PAdapter: forms, modes, positions, scale, prompts, start, head."""

import math

import pytest
import torch
from conftest import make_tiny_vit
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.methods.padapter import PromptedAdapter
from adapters_lib.vit.layout import Layout

LAYOUT = Layout(prefix=1, prompts=0, grid=(3, 3))
FORMS, MODES = ("x_p", "p_x_p", "p_2x_p"), ("add", "cat")
POSITIONS = ("p_a_m", "a_p_m", "a_m_p", "p+a_m", "a_p+m", "p+b")


def shaken(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
    return module


def by_hand(m: PromptedAdapter, x: Tensor, form: str, mode: str) -> Tensor:
    z = torch.einsum("bni,oi->bno", x, m.down.weight) + m.down.bias
    p = m.prompts[0] + torch.zeros(2, 10, 1)
    q = m.prompts[-1] + torch.zeros(2, 10, 1)
    table = {
        ("x_p", "add"): lambda: [z, z + p],
        ("x_p", "cat"): lambda: [z, p],
        ("p_x_p", "add"): lambda: [z + p, z, z + q],
        ("p_x_p", "cat"): lambda: [p, z, q],
        ("p_2x_p", "add"): lambda: [z[..., :3] + p, z, z[..., 3:] + q],
        ("p_2x_p", "cat"): lambda: [p, z, q],
    }
    joined = torch.cat(table[form, mode](), dim=-1).clamp(min=0)
    return m.scale * (torch.einsum("bni,oi->bno", joined, m.up.weight) + m.up.bias)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tokens", [10, 1])
@pytest.mark.parametrize("sequential", [True, False])
def test_the_module_computes_the_papers_table(form: str, mode: str, tokens: int, sequential: bool) -> None:
    m = shaken(PromptedAdapter(6, 3, tokens, form=form, mode=mode, sequential=sequential))
    x = torch.randn(2, 10, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(m(x, LAYOUT), by_hand(m, x, form, mode) + (x if sequential else 0))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("position", POSITIONS)
def test_the_model_starts_exactly_as_the_frozen_one(
    form: str, mode: str, position: str, images: Tensor
) -> None:
    vit = make_tiny_vit()
    expected = vit(images)
    model = al.adapt(vit, f"padapter:form={form},mode={mode},position={position}").eval()
    assert torch.equal(model(images), expected)


def test_every_position_gives_another_function(images: Tensor) -> None:
    outputs = []
    for position in POSITIONS:
        torch.manual_seed(0)
        model = al.adapt(make_tiny_vit(), al.PAdapter(position=position, bottleneck=4)).eval()
        shaken(model.sites)
        outputs.append(model(images))
    for i, one in enumerate(outputs):
        assert all((one - other).abs().max() > 1e-4 for other in outputs[:i])


def test_in_cat_mode_the_prompts_are_a_bias_for_each_position() -> None:
    m = shaken(PromptedAdapter(6, 3, 10, mode="cat", sequential=False))
    one, other = torch.randn(2, 1, 10, 6)
    with_prompt = m(one, LAYOUT) - m(other, LAYOUT)
    nn.init.zeros_(m.prompts[0])
    torch.testing.assert_close(with_prompt, m(one, LAYOUT) - m(other, LAYOUT))


def test_prompts_start_xavier_uniform_and_the_up_projection_at_zero() -> None:
    m = PromptedAdapter(768, 32, 197)
    bound = math.sqrt(6 / (32 * 198))
    assert bound == pytest.approx(0.03077, abs=1e-5)
    assert 0.99 * bound < m.prompts[0].abs().max() <= bound
    assert m.down.weight.abs().max() <= 1 / math.sqrt(768)
    assert not any(t.any() for t in (m.up.weight, m.up.bias, m.down.bias))
    assert m.scale.item() == 1


def test_a_fixed_scale_is_no_parameter(images: Tensor) -> None:
    learned = al.adapt(make_tiny_vit(), "padapter:scale=0.5")
    fixed = al.adapt(make_tiny_vit(), "padapter:scale=0.5,learn_scale=false")
    count = [sum(p.numel() for _, p in m.parameter_groups()["adapter"]) for m in (learned, fixed)]
    assert count[0] - count[1] == 4
    assert fixed.sites[0].at["before"][0].scale == learned.sites[0].at["before"][0].scale.item() == 0.5


def test_prompts_follow_the_tokens_that_other_methods_leave() -> None:
    model = al.adapt(make_tiny_vit(), ["padapter", "ila", "vpt-shallow:prompts=5"], 5)
    rows = [sites.at["before"][0].prompts[0].shape[1] for sites in model.sites]
    assert (
        rows
        == [layout.tokens for layout in model.block_layouts()]
        == [1 + 5 + 64, 1 + 5 + 36, 1 + 5 + 36, 1 + 5 + 16]
    )
    with torch.no_grad():
        assert model(torch.randn(2, 3, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize("methods", ["padapter:num_tokens=64", ["padapter:num_tokens=65", "ila"]])
def test_prompts_that_do_not_match_the_tokens_are_refused(methods: str, images: Tensor) -> None:
    vit = make_tiny_vit()
    expected, layout = vit(images), repr(vit)
    with pytest.raises(al.AdapterError, match="prompts but the model has .* tokens; leave num_tokens=None"):
        al.adapt(vit, methods, 5)
    assert repr(vit) == layout
    assert torch.equal(vit(images), expected)


def test_another_image_size_at_run_time_is_refused_with_the_remedy() -> None:
    model = al.adapt(make_tiny_vit(dynamic_img_size=True), "padapter", 5)
    with pytest.raises(al.AdapterError, match="65 prompts but the model has 37 tokens"):
        model(torch.randn(1, 3, 24, 24))
    shared = al.adapt(make_tiny_vit(dynamic_img_size=True), "padapter:num_tokens=1", 5)
    assert shared(torch.randn(1, 3, 24, 24)).shape == (1, 5)


def test_the_batch_norm_head_normalises_before_the_linear_layer(images: Tensor) -> None:
    model = al.adapt(make_tiny_vit(), "padapter", 7, head="bn_linear")
    norm, linear = model.backbone.head
    assert model.head_kind == "bn_linear"
    assert not norm.affine
    assert norm.eps == 1e-6
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.2)
    assert not linear.bias.any()
    with torch.no_grad():
        model.train()
        features = model.backbone.forward_head(model.normalise(*_tokens(model, images))[0], pre_logits=True)
        expected = (
            (features - features.mean(0))
            / torch.sqrt(features.var(0, unbiased=False) + 1e-6)
            @ linear.weight.T
        )
        torch.testing.assert_close(model(images), expected, atol=1e-4, rtol=1e-3)
    assert {"backbone.head.0.running_mean", "backbone.head.0.running_var"} <= set(
        model.trainable_state_dict()
    )


def _tokens(model: al.AdaptedViT, images: Tensor) -> tuple[Tensor, Layout]:
    x, layout = model.embed(images)
    for index in range(model.depth):
        x, layout = model.run_block(index, x, layout)
    return x, layout


def test_a_new_head_without_a_class_count_and_an_unknown_head_are_refused() -> None:
    with pytest.raises(al.AdapterError, match="num_classes"):
        al.adapt(make_tiny_vit(), "padapter", head="bn_linear")
    with pytest.raises(al.AdapterError, match="unknown head 'bnlinear'; did you mean 'bn_linear'"):
        al.adapt(make_tiny_vit(), "padapter", 5, head="bnlinear")


def test_a_prompt_that_does_not_train_starts_as_another_and_stays_so_and_is_saved(
    images: Tensor, tmp_path
) -> None:
    trained, fixed = (
        al.adapt(make_tiny_vit(), f"padapter:train_prompt={flag}", seed=3) for flag in ("true", "false")
    )
    prompts = [
        [module.prompts[0] for module in model.modules() if isinstance(module, PromptedAdapter)]
        for model in (trained, fixed)
    ]
    assert len(prompts[1]) == 4
    assert all(torch.equal(a, b) for a, b in zip(*prompts, strict=True))
    assert not any(prompt.requires_grad for prompt in prompts[1])
    difference = al.cost(trained).trainable["adapter"] - al.cost(fixed).trainable["adapter"]
    assert difference == sum(prompt.numel() for prompt in prompts[0])
    kept = {name for name in fixed.trainable_state_dict() if ".prompts." in name}
    assert len(kept) == 4
    with torch.no_grad():
        for _, parameter in fixed.parameter_groups()["adapter"]:
            parameter.add_(0.1)
    other = al.adapt(make_tiny_vit(), "padapter:train_prompt=false", seed=4)
    other.backbone.load_state_dict(fixed.backbone.state_dict())
    other.load_trainable_state_dict(fixed.trainable_state_dict())
    assert torch.equal(other.eval()(images), fixed.eval()(images))
