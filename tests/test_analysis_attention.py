"""Attention is captured after the softmax, in every block and batch, and the model is handed back
untouched."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.analysis.attention import (
    attention_layouts,
    capture_attention,
    mean_distance,
    on_image,
    query_rows,
)
from adapters_lib.analysis.rollout import constant_groups, rollout, rollout_groups
from adapters_lib.vit.layout import Layout

TinyViT = Callable[..., nn.Module]


def _adapted(tiny_vit: TinyViT, method: str, **options: object) -> al.AdaptedViT:
    torch.manual_seed(0)
    return al.adapt(tiny_vit(**options), method, num_classes=5, seed=0).eval()


def _by_hand(vit: nn.Module, images: Tensor) -> Tensor:
    """Attention of block 1 from its own weights."""
    x = vit.norm_pre(vit._pos_embed(vit.patch_embed(images)))  # type: ignore[operator]
    block = vit.blocks[0]  # type: ignore[index]
    qkv = block.attn.qkv(block.norm1(x)).unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
    return (qkv[0] @ qkv[1].transpose(-2, -1) / 4).softmax(-1)


def test_a_map_is_the_softmax_of_queries_and_keys(tiny_vit: TinyViT, images: Tensor) -> None:
    vit = tiny_vit()
    with capture_attention(vit) as seen, torch.no_grad():
        vit(images)
    assert list(seen.maps) == [1, 2, 3, 4]
    assert seen[1].shape == (3, 2, 65, 65)
    torch.testing.assert_close(seen[1], _by_hand(vit, images).detach())
    torch.testing.assert_close(seen[4].sum(-1), torch.ones(3, 2, 65))


def test_the_model_comes_back_fused_and_without_hooks_even_after_an_error(
    tiny_vit: TinyViT, images: Tensor
) -> None:
    vit = tiny_vit()
    vit.blocks[1].attn.fused_attn = False  # type: ignore[index,union-attr]
    before = [block.attn.fused_attn for block in vit.blocks]  # type: ignore[union-attr]
    plain = vit(images)
    with capture_attention(vit):
        torch.testing.assert_close(vit(images), plain, atol=1e-5, rtol=1e-5)
    with pytest.raises(al.AdapterError, match="no image yet"), capture_attention(vit) as seen:
        seen[1]
    assert [block.attn.fused_attn for block in vit.blocks] == before  # type: ignore[union-attr]
    assert not any(m._forward_pre_hooks for m in vit.modules())
    assert torch.equal(vit(images), plain)


def test_blocks_that_are_not_asked_for_stay_fused(tiny_vit: TinyViT, images: Tensor) -> None:
    vit = tiny_vit()
    with capture_attention(vit, [2]) as seen:
        assert [block.attn.fused_attn for block in vit.blocks] == [True, False, True, True]  # type: ignore[union-attr]
        vit(images)
    assert list(seen.maps) == [2]
    with pytest.raises(al.AdapterError, match="block 3 is not captured; captured: 2"):
        seen[3]


def test_batches_are_kept_one_after_another_and_can_be_reduced(tiny_vit: TinyViT, images: Tensor) -> None:
    vit = tiny_vit()
    with capture_attention(vit, [3], reduce=lambda maps: maps.mean(1)) as seen, torch.no_grad():
        vit(images[:2])
        vit(images[2:])
    with capture_attention(vit, [3]) as whole, torch.no_grad():
        vit(images)
    torch.testing.assert_close(seen[3], whole[3].mean(1))
    whole.clear()
    with pytest.raises(al.AdapterError, match="block 3 has seen no image yet"):
        whole[3]


@pytest.mark.parametrize("method", ["ila", "ila++", "vpt-deep:prompts=5", "lora:rank=2", "vqt", "padapter"])
def test_adapted_models_show_the_tokens_that_their_layouts_promise(
    tiny_vit: TinyViT, images: Tensor, method: str
) -> None:
    model = _adapted(tiny_vit, method)
    plain = model(images)
    with capture_attention(model) as seen:
        torch.testing.assert_close(model(images), plain, atol=1e-4, rtol=1e-4)
    assert [m.shape[-1] for m in seen.maps.values()] == [layout.tokens for layout in attention_layouts(model)]
    assert all(block.attn.fused_attn for block in model.backbone.blocks)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([5], "block 5 does not exist.*numbered 1 to 4"),
        ([0], "block 0"),
        ([], "at least one"),
        ([2, 2], "twice"),
    ],
)
def test_a_layer_that_does_not_exist_is_named(tiny_vit: TinyViT, blocks: list[int], message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        capture_attention(tiny_vit(), blocks)


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(al.AdapterError, match="Linear has no patch_embed and blocks"):
        capture_attention(nn.Linear(2, 2))


def test_two_captures_of_one_block_do_not_get_into_each_others_way(tiny_vit: TinyViT) -> None:
    vit = tiny_vit()
    with capture_attention(vit, [1]):
        with pytest.raises(al.AdapterError, match="block 1 is being captured already"):
            capture_attention(vit).attach()
        with capture_attention(vit, [2]):
            pass
    assert all(block.attn.fused_attn for block in vit.blocks)  # type: ignore[union-attr]


def test_images_of_two_sizes_are_not_mixed(tiny_vit: TinyViT, images: Tensor) -> None:
    vit = tiny_vit(dynamic_img_size=True)
    with capture_attention(vit, [1]) as seen:
        vit(images)
        vit(images[..., :16, :16])
    with pytest.raises(al.AdapterError, match="different token counts"):
        seen[1]


def test_the_class_tokens_row_or_the_mean_of_the_patches_is_shown(tiny_vit: TinyViT) -> None:
    layout = Layout(prefix=1, prompts=1, grid=(1, 2))
    maps = torch.tensor([[[0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0.5, 0.5]]])
    torch.testing.assert_close(query_rows(maps, tiny_vit(), layout), torch.tensor([[[0.3, 0.4]]]))
    pooled = tiny_vit(global_pool="avg", class_token=False)
    torch.testing.assert_close(query_rows(maps, pooled, layout), torch.tensor([[[0.75, 0.25]]]))
    with pytest.raises(al.AdapterError, match="4 × 4 tokens, but the layout has 65"):
        query_rows(maps, pooled, Layout(1, 0, (8, 8)))


def test_a_shrunken_map_is_drawn_in_the_middle_not_stretched() -> None:
    seen = on_image(torch.ones(1, 2, 2), (4, 4), (8, 8))
    assert seen[0, 2:6, 2:6].min() == 1
    assert seen.sum() == 16
    with pytest.raises(al.AdapterError, match="do not fit a grid"):
        on_image(torch.ones(1, 3, 3), (4, 4), (8, 8))


def test_attention_distance_by_hand() -> None:
    layout = Layout(prefix=1, prompts=0, grid=(1, 3))  # three patches in a row, 4 pixels apart
    own = torch.eye(4)
    # Patch 1 looks at token 0 too.
    ends = torch.tensor([[1, 0, 0, 0], [0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 1, 0, 0]])
    distances = mean_distance(torch.stack([own, ends])[None], layout, 4)
    assert distances.tolist() == pytest.approx([0, (8 + 4 + 8) / 3])


def test_rollout_of_two_blocks_by_hand() -> None:
    first, second = torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # Â₁ = [[½, ½], [0, 1]], Â₂ = [[1, 0], [½, ½]], R = Â₂ Â₁
    rolled = rollout([first[None, None], second[None, None]])
    assert rolled[0].tolist() == [[0.5, 0.5], [0.25, 0.75]]
    # Mean [[0, 1], [½, ½]], + I, rows: [½, ½], [¼, ¾].
    heads = torch.stack([first, torch.tensor([[0.0, 1.0], [1.0, 0.0]])])[None]
    assert rollout([heads])[0].tolist() == [[0.5, 0.5], [0.25, 0.75]]


def test_the_rows_of_a_rollout_sum_to_one() -> None:
    maps = torch.rand(3, 2, 4, 7, 7, generator=torch.Generator().manual_seed(0)).softmax(-1)
    torch.testing.assert_close(rollout(list(maps)).sum(-1), torch.ones(2, 7, dtype=torch.float64))


def test_prompts_that_are_replaced_carry_nothing_on() -> None:
    layout = Layout(prefix=1, prompts=1, grid=(1, 1))
    to_patch = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 1]])[None]  # the prompt reads the patch
    # Then the class token reads the prompt.
    to_prompt = torch.tensor([[0, 1.0, 0], [0, 1, 0], [0, 0, 1]])[None]
    carried = rollout([to_patch, to_prompt], [True, False], layout)
    replaced = rollout([to_patch, to_prompt], [True, True], layout)
    assert carried[0, 0].tolist() == [0.5, 0.25, 0.25]
    assert replaced[0, 0].tolist() == [0.5, 0.5, 0]


def test_rollout_refuses_changing_token_counts_and_no_block() -> None:
    with pytest.raises(al.AdapterError, match=r"changing token counts \[5, 4\]"):
        rollout([torch.ones(1, 1, 5, 5), torch.ones(1, 1, 4, 4)])
    with pytest.raises(al.AdapterError, match="no block at all"):
        rollout([])


def test_ila_has_a_rollout_for_every_group_and_a_frozen_vit_has_one(
    tiny_vit: TinyViT, images: Tensor
) -> None:
    (frozen,) = rollout_groups(tiny_vit(), images)
    assert frozen.blocks == (1, 2, 3, 4)
    assert frozen.patches.shape == (3, 8, 8)
    model = _adapted(tiny_vit, "ila")
    groups = rollout_groups(model, images)
    assert [g.layout.tokens for g in groups] == model.token_counts()
    assert [b for g in groups for b in g.blocks] == [1, 2, 3, 4]
    assert groups[-1].patches.shape[1:] == groups[-1].layout.grid
    with pytest.raises(al.AdapterError, match="no image"):
        rollout_groups(model, images[:0])


def test_groups_are_runs_of_equal_layouts() -> None:
    a, b = Layout(1, 0, (4, 4)), Layout(1, 0, (2, 2))
    assert constant_groups([a, a, b, a]) == [(1, 2), (3,), (4,)]
