"""Attributions are exact for linear models, agree with captum's own layer method, and cost no more memory
than asked."""

from collections.abc import Callable

import pytest
import torch
from captum.attr import LayerIntegratedGradients
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.analysis.attribution import (
    exit_forward,
    integrated_gradients,
    occlusion,
    token_attributions,
)

TinyViT = Callable[..., nn.Module]


class Weighted(nn.Module):
    """Two logits: Σ w·x and 0. It remembers its largest batch."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights, self.largest = weights, 0

    def forward(self, x: Tensor) -> Tensor:
        self.largest = max(self.largest, len(x))
        score = (self.weights * x).flatten(1).sum(1)
        return torch.stack((score, torch.zeros_like(score)), 1)


def _with_exits(tiny_vit: TinyViT, methods: object = ("lora:rank=2", "dyn:at=2")) -> al.AdaptedViT:
    torch.manual_seed(0)
    return al.adapt(tiny_vit(), methods, num_classes=5, seed=0).eval()  # type: ignore[arg-type]


def test_integrated_gradients_of_a_linear_model_are_weight_times_difference() -> None:
    w = torch.tensor([1.0, -2, 0, 3]).view(1, 1, 2, 2)
    x = torch.tensor([1.0, 1, 5, 2]).view(1, 1, 2, 2)
    gradients = integrated_gradients(Weighted(w), x, 0, baseline=1.0, steps=4)
    torch.testing.assert_close(gradients.values, torch.tensor([0.0, 0, 0, 3]).view(1, 1, 2, 2))
    assert gradients.delta.abs().max() < 1e-5
    assert gradients.pixels.shape == (1, 2, 2)


def test_attributions_sum_to_the_change_of_the_logit(tiny_vit: TinyViT, images: Tensor) -> None:
    model = _with_exits(tiny_vit).train()
    gradients = integrated_gradients(model, images, torch.tensor([0, 1, 4]), steps=64)
    assert model.training  # put back
    model.eval()
    with torch.no_grad():
        change = (model(images) - model(torch.zeros_like(images)))[torch.arange(3), torch.tensor([0, 1, 4])]
    torch.testing.assert_close(gradients.values.sum((1, 2, 3)), change, atol=0.02, rtol=0.02)


def test_no_more_images_are_in_memory_than_asked() -> None:
    images = torch.rand(10, 1, 8, 8)
    for ask in (integrated_gradients, occlusion):
        model = Weighted(torch.ones(1, 1, 8, 8))
        ask(model, images, 0, internal_batch_size=4)  # type: ignore[operator]
        assert model.largest <= 4


def test_the_result_does_not_depend_on_the_chunks() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.GELU(), nn.Linear(8, 3))
    images, target = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    for ask in (lambda n: integrated_gradients(model, images, target, internal_batch_size=n).values, lambda n: occlusion(model, images, target, window=4, internal_batch_size=n)):  # fmt: skip  # noqa: E501
        torch.testing.assert_close(ask(2), ask(100))


def test_occlusion_of_a_linear_model_is_what_stands_in_the_window() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4).repeat(1, 3, 1, 1)
    falls = occlusion(Weighted(torch.ones(1, 3, 4, 4)), x, 0, window=2)
    assert falls.shape == (1, 4, 4)
    assert falls[0, ::2, ::2].tolist() == [
        [3 * (0 + 1 + 4 + 5), 3 * (2 + 3 + 6 + 7)],
        [3 * (8 + 9 + 12 + 13), 3 * (10 + 11 + 14 + 15)],
    ]


@pytest.mark.parametrize("block", [1, 3])
def test_token_attributions_are_captums_layer_integrated_gradients(
    tiny_vit: TinyViT, images: Tensor, block: int
) -> None:
    vit = tiny_vit()
    ours = token_attributions(vit, images, 2, block, steps=8)
    reference = LayerIntegratedGradients(vit, vit.blocks[block - 1]).attribute(
        images, torch.zeros_like(images), 2, n_steps=8
    )  # type: ignore[index]
    torch.testing.assert_close(ours.values, reference.sum(-1), atol=1e-5, rtol=1e-4)
    assert ours.patches.shape == (3, 8, 8)


@pytest.mark.parametrize("method", ["ila", "vpt-deep:prompts=3", "padapter"])
def test_tokens_of_adapted_models_explain_the_logit_completely(
    tiny_vit: TinyViT, images: Tensor, method: str
) -> None:
    model = _with_exits(tiny_vit, method)
    for block in (0, 2, 4):
        ours = token_attributions(model, images, 1, block, steps=64)
        assert ours.values.shape[1] == ours.layout.tokens == model.layouts()[block].tokens
        with torch.no_grad():
            change = (model(images) - model(torch.zeros_like(images)))[:, 1]
        torch.testing.assert_close(ours.values.sum(1), change, atol=0.02, rtol=0.02)


def test_every_exit_has_its_own_attribution(tiny_vit: TinyViT, images: Tensor) -> None:
    model = _with_exits(tiny_vit)
    early, late = exit_forward(model, 2), exit_forward(model, 4)
    for ask, logits in zip((early, late), model.forward_exits(images), strict=True):
        torch.testing.assert_close(ask(images), logits)
    pixels = [integrated_gradients(ask, images, 0, steps=4).pixels for ask in (early, late)]
    assert not torch.allclose(*pixels)
    tokens = token_attributions(model, images, 0, 1, exit_block=2, steps=32)
    with torch.no_grad():
        change = (early(images) - early(torch.zeros_like(images)))[:, 0]
    torch.testing.assert_close(tokens.values.sum(1), change, atol=0.02, rtol=0.02)
    with pytest.raises(
        al.AdapterError, match=r"no exit behind block 3; there is one behind 2, 4 \(of 4 blocks\)"
    ):
        exit_forward(model, 3)
    with pytest.raises(al.AdapterError, match="block 3 does not exist.*0 to 2"):
        token_attributions(model, images, 0, 3, exit_block=2)


def test_query_prompts_pass_the_blocks_by_so_only_the_embedding_is_explained(
    tiny_vit: TinyViT, images: Tensor
) -> None:
    model = _with_exits(tiny_vit, "vqt")
    assert token_attributions(model, images, 0, 0, steps=2).patches.shape == (3, 8, 8)
    with pytest.raises(al.AdapterError, match="query prompts.*block=0"):
        token_attributions(model, images, 0, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 2}, "target 2 is not a class; the logits are of classes 0 to 1"),
        ({"target": torch.tensor([0, 1, 0])}, "one class, or one an image"),
        ({"images": torch.ones(0, 1, 4, 4)}, "give at least one"),
        ({"internal_batch_size": 0}, "internal_batch_size=0"),
        ({"window": 5}, "the window must fit"),
        ({"window": 2, "stride": 3}, "not jump over pixels"),
    ],
)
def test_what_cannot_be_asked_is_named(options: dict, message: str) -> None:
    arguments = {"images": torch.ones(2, 1, 4, 4), "target": 0, "window": 2, **options}
    with pytest.raises(al.AdapterError, match=message):
        occlusion(Weighted(torch.ones(1, 1, 4, 4)), **arguments)
