"""Every method's module, computed a second time by hand from the equation of its paper."""

import math

import pytest
import torch
from conftest import make_tiny_vit
from torch import Tensor, nn
from torch.nn import functional as F

import adapters_lib as al
from adapters_lib.methods.adapter_plus import ChannelScaledAdapter
from adapters_lib.methods.adaptformer import ScaledAdapter
from adapters_lib.methods.adpt import ParallelAdapter
from adapters_lib.methods.convpass import ConvBypass
from adapters_lib.methods.lora import LoRALinear
from adapters_lib.methods.lora_shortcuts import may_fold
from adapters_lib.methods.repadapter import RepAdapterLinear
from adapters_lib.methods.sequential import SequentialAdapter, near_zero_
from adapters_lib.methods.ssf import ScaleShift
from adapters_lib.vit.layout import Layout

LAYOUT = Layout(prefix=1, prompts=0, grid=(3, 3))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 10, 6, generator=torch.Generator().manual_seed(1))


def shaken(module: nn.Module) -> nn.Module:
    """Random values everywhere, so that nothing is hidden behind a zero; evaluation mode."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.5)
    return module.eval()


def affine(x: Tensor, linear: nn.Linear) -> Tensor:
    return torch.einsum("bni,oi->bno", x, linear.weight) + linear.bias


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def test_adpt_is_up_gelu_down(x: Tensor) -> None:
    m = shaken(ParallelAdapter(6, 4))
    torch.testing.assert_close(m(x, LAYOUT), affine(gelu(affine(x, m.down)), m.up))


def test_houlsby_adds_its_own_residual_to_the_sublayers_output(x: Tensor) -> None:
    m = shaken(SequentialAdapter(6, 4, nn.GELU()))
    torch.testing.assert_close(m(x, LAYOUT), x + affine(gelu(affine(x, m.down)), m.up))


def test_adaptformer_scales_a_relu_bottleneck(x: Tensor) -> None:
    m = shaken(ScaledAdapter(6, 4, scale=0.1, dropout=0.1))
    torch.testing.assert_close(m(x, LAYOUT), 0.1 * affine(affine(x, m.down).clamp(min=0), m.up))


def test_adapter_plus_scales_every_channel(x: Tensor) -> None:
    m = shaken(ChannelScaledAdapter(6, 4, drop_path=0.1))
    torch.testing.assert_close(m(x, LAYOUT), x + m.scale * affine(gelu(affine(x, m.down)), m.up))


@pytest.mark.parametrize(
    "adapter", [ChannelScaledAdapter(768, 8, 0.1), near_zero_(SequentialAdapter(768, 8, nn.GELU()))]
)
def test_houlsbys_start_is_cut_off_at_two_standard_deviations(adapter: nn.Module) -> None:
    for linear in (adapter.down, adapter.up):
        assert linear.weight.abs().max() <= 0.02
        # A normal of std 0.01, cut off at 2 std.
        assert linear.weight.std().item() == pytest.approx(0.0088, abs=0.0004)
        assert not linear.bias.any()


def test_convpass_convolves_the_patches_as_a_map_and_the_class_token_alone(x: Tensor) -> None:
    m = shaken(ConvBypass(6, 4, scale=0.5, dropout=0.1))
    u = affine(x, m.down)
    u = u * torch.sigmoid(1.702 * u)
    padded = F.pad(u[:, 1:].reshape(2, 3, 3, 4), (0, 0, 1, 1, 1, 1))  # (B, 5, 5, r)
    patches = torch.stack(
        [
            torch.einsum("byxi,oiyx->bo", padded[:, row : row + 3, column : column + 3], m.conv.weight)
            + m.conv.bias
            for row in range(3)
            for column in range(3)
        ],
        dim=1,
    )
    alone = m.conv(u[:, :1].transpose(1, 2)[..., None])[..., 0].transpose(1, 2)  # really as a 1×1 map, padded
    u = torch.cat((alone, patches), dim=1)
    torch.testing.assert_close(m(x, LAYOUT), 0.5 * affine(u * torch.sigmoid(1.702 * u), m.up))


def test_convpass_starts_with_identity_convolutions() -> None:
    weight = ConvBypass(6, 4, 1.0, 0.1).conv.weight
    assert torch.equal(weight[:, :, 1, 1], torch.eye(4))
    assert weight.sum() == 4


def test_repadapter_adds_a_grouped_linear_bottleneck_to_the_layers_input(x: Tensor) -> None:
    m = shaken(RepAdapterLinear(nn.Linear(6, 5), 6, 4, groups=2, scale=0.5, dropout=0.1))
    z = affine(x, m.down)
    # Group 1: channels 1 to 3 from z's first half.
    first = torch.einsum("bni,oi->bno", z[..., :2], m.up_weight[:3])
    second = torch.einsum("bni,oi->bno", z[..., 2:], m.up_weight[3:])
    torch.testing.assert_close(
        m(x), affine(x + 0.5 * (torch.cat((first, second), dim=-1) + m.up_bias), m.base)
    )


def test_ssf_scales_and_shifts_the_output(x: Tensor) -> None:
    m = shaken(ScaleShift(nn.Linear(6, 5), 5))
    torch.testing.assert_close(m(x), m.scale * affine(x, m.base) + m.shift)


def test_ssf_starts_around_one_and_zero_with_the_papers_spread() -> None:
    m = ScaleShift(nn.Identity(), 20_000)
    assert m.scale.mean().item() == pytest.approx(1, abs=1e-3)
    assert m.shift.mean().item() == pytest.approx(0, abs=1e-3)
    assert m.scale.std().item() == pytest.approx(0.02, rel=0.05)
    assert m.shift.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("gradients", [True, False])
# Few tokens take the thin products, many fold the update into the weight.
@pytest.mark.parametrize("tokens", [3, 300])
def test_lora_updates_q_and_v_and_leaves_k(tokens: int, gradients: bool) -> None:
    m = shaken(LoRALinear(nn.Linear(6, 12), rank=2, alpha=3, slices=3, updated=(0, 2)))
    x = torch.randn(2, tokens, 6)
    expected = affine(x, m.base)
    for slot, part in enumerate((slice(0, 4), slice(8, 12))):
        expected[..., part] += 1.5 * torch.einsum("bni,ri,or->bno", x, m.lora_a[slot], m.lora_b[slot])
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(m(x), expected)


def frozen_lora(dtype: torch.dtype = torch.float64) -> LoRALinear:
    m = shaken(LoRALinear(nn.Linear(6, 12), rank=2, alpha=3, slices=3, updated=(0, 2))).to(dtype)
    m.base.requires_grad_(False)
    return m


@pytest.mark.parametrize("trains_bias", [False, True])
def test_folding_lora_gives_the_equations_gradients_and_their_gradients(trains_bias: bool) -> None:
    m = frozen_lora()
    m.base.bias.requires_grad_(trains_bias)
    names = [name for name, p in m.named_parameters() if p.requires_grad]
    x = torch.randn(3, 5, 6, dtype=torch.float64, requires_grad=True)
    assert may_fold(m, x)

    def run(x: Tensor, *tensors: Tensor) -> Tensor:
        return torch.func.functional_call(m, dict(zip(names, tensors, strict=True)), x)

    given = (x, *(m.get_parameter(name).detach().requires_grad_() for name in names))
    assert torch.autograd.gradcheck(run, given)
    assert torch.autograd.gradgradcheck(run, given)
    folded = torch.autograd.grad(run(*given).square().sum(), given)
    m.base.register_forward_hook(lambda *_: None)  # with a listener the layer itself is called
    assert not may_fold(m, x)
    for ours, expected in zip(folded, torch.autograd.grad(run(*given).square().sum(), given), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("gradients", [True, False])
def test_whoever_listens_to_the_layer_under_lora_hears_it(gradients: bool) -> None:
    m, x, heard = frozen_lora(), torch.randn(3, 50, 6, dtype=torch.float64), []
    with torch.set_grad_enabled(gradients):
        expected = m(x)
        m.base.register_forward_hook(lambda _, inputs, out: heard.append(out.clone()))
        torch.testing.assert_close(m(x), expected)
    assert torch.equal(heard[0], m.base(x))


def test_in_half_precision_training_a_small_update_is_not_rounded_away() -> None:
    m = LoRALinear(nn.Linear(6, 12, bias=False), rank=1, alpha=1).to(torch.bfloat16)
    with torch.no_grad():
        m.base.weight.fill_(1)
        m.lora_a.copy_(torch.tensor([1.0, 0, 0, 0, 0, 0]))
        m.lora_b.fill_(1e-3)  # 1 + 0.001 is 1 in bfloat16
    m.base.requires_grad_(False)
    x = torch.tensor([1.0, -1, 0, 0, 0, 0], dtype=torch.bfloat16).expand(2, 50, 6)
    torch.testing.assert_close(m(x), torch.full((2, 50, 12), 1e-3, dtype=torch.bfloat16))


@pytest.mark.parametrize("tokens", [3, 300])
def test_lora_runs_in_bfloat16_autocast(tokens: int) -> None:
    m = frozen_lora(torch.float32)
    x = torch.randn(2, tokens, 6)
    for gradients in (True, False):
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(gradients):
            torch.testing.assert_close(m(x).float(), m(x.float()).float(), atol=0.1, rtol=0.1)


def test_ssf_stands_behind_every_linear_layer_norm_and_the_patch_embedding() -> None:
    model = al.adapt(make_tiny_vit(), "ssf", 5)
    where = sorted(
        name.removeprefix("backbone.") for name, m in model.named_modules() if isinstance(m, ScaleShift)
    )
    inside = ["attn.proj", "attn.qkv", "mlp.fc1", "mlp.fc2", "norm1", "norm2"]
    assert where == sorted(
        [f"blocks.{i}.{part}" for i in range(4) for part in inside] + ["norm", "patch_embed.norm"]
    )


def test_bitfit_trains_exactly_the_biases_and_layernorm_exactly_the_norms() -> None:
    vit = make_tiny_vit()
    names = {name for name, _ in vit.named_parameters()}
    biases = {f"backbone.{name}" for name in names if name.endswith("bias")}
    norms = {f"backbone.{name}" for name in names if "norm" in name}
    head = {"backbone.head.weight", "backbone.head.bias"}
    assert {
        n for n, p in al.adapt(make_tiny_vit(), "bitfit", 5).named_parameters() if p.requires_grad
    } == biases | head
    assert {
        n for n, p in al.adapt(make_tiny_vit(), "layernorm", 5).named_parameters() if p.requires_grad
    } == norms | head


def test_bitfit_looks_through_adapters_that_stand_in_a_layers_place() -> None:
    model = al.adapt(make_tiny_vit(), ["lora", "ssf", "bitfit"], 5)
    qkv = model.backbone.blocks[0].attn.qkv
    assert qkv.base.base.bias.requires_grad
    assert not qkv.base.base.weight.requires_grad
