"""ILA: the module by hand, the residual's start, positions, the class token's way, other backbones."""

import pytest
import torch
from conftest import make_tiny_vit
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.methods.ila import InterLayerAdapter
from adapters_lib.vit.layout import Layout

LAYOUT = Layout(prefix=1, prompts=0, grid=(4, 4))


def shaken(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.4)
    return module


def batch_norm(x: Tensor, norm: nn.Module, *dims: int) -> Tensor:
    """Training-mode batch norm of (…, C) over `dims`."""
    mean, var = x.mean(dims, keepdim=True), x.var(dims, unbiased=False, keepdim=True)
    return (x - mean) / torch.sqrt(var + norm.eps) * norm.weight + norm.bias


def windows(grid: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Depthwise 3×3 convolution of (B, h, w, C) with weight (C, 1, 3, 3), tap by tap."""
    grid = nn.functional.pad(grid, (0, 0, padding, padding, padding, padding))
    rows, columns = grid.shape[1] - 2, grid.shape[2] - 2
    taps = [grid[:, i : i + rows, j : j + columns] * weight[:, 0, i, j] for i in range(3) for j in range(3)]
    return torch.stack(taps).sum(0)


def by_hand(m: InterLayerAdapter, x: Tensor, padding: int, prefix_path: str) -> Tensor:
    gelu = nn.functional.gelu
    # Over batch and all tokens, class token included.
    u = gelu(batch_norm(x @ m.down.weight.T + m.down.bias, m.norm_down, 0, 1))
    grid = windows(u[:, 1:].reshape(2, 4, 4, 3), m.depthwise.weight, padding) + m.depthwise.bias
    pointwise = m.pointwise.weight[:, :, 0, 0]
    grid = gelu(batch_norm(grid, m.norm_map, 0, 1, 2)) @ pointwise.T + m.pointwise.bias
    token = u[:, :1]
    if prefix_path == "own":
        token = token @ m.prefix.weight.T + m.prefix.bias
    if prefix_path == "shared":
        token = token @ pointwise.T + m.pointwise.bias
    u = torch.cat((token, grid.flatten(1, 2)), dim=1)
    main = gelu(batch_norm(u, m.norm_up, 0, 1)) @ m.up.weight.T + m.up.bias
    if padding:
        return x + main
    patches = windows(x[:, 1:].reshape(2, 4, 4, 6), m.residual.weight, 0).flatten(1, 2)
    return torch.cat((x[:, :1], patches), dim=1) + main


@pytest.mark.parametrize("prefix_path", ["own", "shared", "identity"])
@pytest.mark.parametrize("down", [True, False])
def test_the_module_computes_the_papers_two_branches(down: bool, prefix_path: str) -> None:
    m = shaken(InterLayerAdapter(6, 3, down, prefix_path=prefix_path, dropout=0.0)).train()
    x = torch.randn(2, 17, 6, generator=torch.Generator().manual_seed(1))
    out, layout = m(x, LAYOUT)
    torch.testing.assert_close(out, by_hand(m, x, 0 if down else 1, prefix_path), atol=1e-5, rtol=1e-4)
    assert layout.grid == ((2, 2) if down else (4, 4))


def test_the_near_one_residual_makes_a_constant_map_nine_times_larger_and_keeps_the_class_token() -> None:
    m = InterLayerAdapter(64, 3, True).eval()
    nn.init.zeros_(m.up.weight)
    assert m.residual.weight.mean().item() == pytest.approx(1, abs=1e-3)
    assert m.residual.weight.std().item() == pytest.approx(0.001, rel=0.2)
    assert m.residual.bias is None
    with torch.no_grad():
        out, _ = m(torch.full((1, 17, 64), 2.0), LAYOUT)
    assert torch.equal(out[:, 0], torch.full((1, 64), 2.0))
    torch.testing.assert_close(out[:, 1:], torch.full((1, 4, 64), 18.0), atol=0.2, rtol=0)


@pytest.mark.parametrize("options", [{"residual_scale": 1 / 9}, {"residual": "avgpool"}])
def test_a_ninth_and_the_average_pool_keep_a_constant_map(options: dict) -> None:
    m = InterLayerAdapter(64, 3, True, **options).eval()
    nn.init.zeros_(m.up.weight)
    with torch.no_grad():
        out, _ = m(torch.full((1, 17, 64), 2.0), LAYOUT)
    torch.testing.assert_close(out, torch.full((1, 5, 64), 2.0), atol=0.02, rtol=0)


def test_the_up_projection_is_xavier_so_the_module_is_not_the_identity_at_the_start(images: Tensor) -> None:
    m = InterLayerAdapter(64, 8, True)
    assert m.up.weight.abs().max().item() == pytest.approx((6 / 72) ** 0.5, rel=0.05)
    vit = make_tiny_vit()
    expected = vit(images)
    assert (al.adapt(vit, "ila").eval()(images) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("depth", [2, 3, 6, 9, 12, 24])
def test_down_samplings_are_spread_evenly_over_any_depth(depth: int) -> None:
    samplings = min(2, depth - 1)
    places = al.ILA(samplings=samplings).positions(depth)
    assert len(set(places)) == samplings
    assert all(0 < place < depth for place in places)
    if depth % 3 == 0:
        assert places == (depth // 3, 2 * depth // 3)


@pytest.mark.parametrize(
    "options",
    [
        {"class_token": False, "global_pool": "avg"},
        {"reg_tokens": 4},
        {"reg_tokens": 4, "class_token": False, "global_pool": "avg"},
        {"global_pool": "avg", "fc_norm": True},
        {"init_values": 1e-5},
    ],
)
@pytest.mark.parametrize(
    "method", ["ila", "ila+", "ila++", "ila:prefix_path=shared", "ila:prefix_path=identity"]
)
def test_ila_runs_on_pooled_models_and_with_register_tokens(
    options: dict, method: str, images: Tensor
) -> None:
    model = al.adapt(make_tiny_vit(**options), method, 5)
    model(images).sum().backward()
    prefix = model.first_layout().lead
    assert model.token_counts() == [prefix + 64, prefix + 36, prefix + 16]
    assert all(p.grad is not None for _, p in model.parameter_groups()["adapter"])


def test_the_class_token_trains_as_in_the_code_or_stays_frozen_as_in_the_figure() -> None:
    assert al.adapt(make_tiny_vit(), "ila", 5).backbone.cls_token.requires_grad
    assert not al.adapt(make_tiny_vit(), "ila:class_token=false", 5).backbone.cls_token.requires_grad


def test_a_larger_kernel_shrinks_the_grid_more() -> None:
    assert al.adapt(make_tiny_vit(), "ila:kernel=5,samplings=1", 5).token_counts() == [65, 17]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("ila", {"img_size": (32, 24)}, "8×6, but it must be square"),
        (
            "ila:after=1/2/3/4",
            {"img_size": 32},
            "2×2 patches cannot shrink by 2; use larger images or fewer down-samplings",
        ),
        ("ila:samplings=4", {}, "samplings=4, but the grid cannot shrink that often in 4 blocks"),
        ("ila:after=2/2", {}, "names a block twice"),
        ("ila:kernel=2", {}, "kernel=2, but it must be odd"),
        ("ila:prefix_path=mine", {}, "unknown ila prefix_path 'mine'"),
        ("ila:residual=near_two", {}, "did you mean 'near_one'"),
        ("ila:dropout=1", {}, "dropout=1.0, but a probability"),
    ],
)
def test_what_cannot_be_down_sampled_is_refused_with_the_remedy(
    method: str, options: dict, message: str, images: Tensor
) -> None:
    vit = make_tiny_vit(**options)
    layout = repr(vit)
    with pytest.raises(al.AdapterError, match=message):
        al.adapt(vit, method, 5)
    assert repr(vit) == layout
    al.adapt(vit, "linear", 5)
