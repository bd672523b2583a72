"""Stochastic depth belongs to the recipe: it is there while a model trains, and gone afterwards."""

from collections.abc import Callable

import pytest
import timm
import torch
from timm.layers import DropPath
from tiny_training import striped_images, tiny_backbone, tiny_model
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.training.drop_path import stochastic_depth
from adapters_lib.training.features import cache_features
from adapters_lib.training.fit import fit
from adapters_lib.training.recipe import Recipe

NOISY = Recipe(epochs=1, batch_size=8, lr=1e-2, drop_path=0.5)
# Outside the blocks, inside them, and a reader of their attention.
METHODS = ["linear", "lora", "adpt", "houlsby:bottleneck=4", "convpass", "vqt"]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def places(model: al.AdaptedViT) -> list[nn.Module]:
    return [module for block in model.backbone.blocks for module in (block.drop_path1, block.drop_path2)]


def without_dropout(method: str) -> al.AdaptedViT:
    """An adapted model in which nothing but stochastic depth is random."""
    model = tiny_model(method)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.train()


def test_the_rates_grow_linearly_with_depth_as_timms_do() -> None:
    model = tiny_model("lora")
    timms = timm.create_model("vit_tiny_patch16_224", depth=4, embed_dim=32, num_heads=2, drop_path_rate=0.3)
    theirs = [getattr(block.drop_path2, "drop_prob", 0.0) for block in timms.blocks for _ in range(2)]
    with stochastic_depth(model, 0.3):
        assert [getattr(place, "drop_prob", 0.0) for place in places(model)] == pytest.approx(theirs)


@pytest.mark.parametrize("method", METHODS)
def test_training_mode_is_noisy_within_and_evaluation_is_not(method: str, images: Tensor) -> None:
    model = without_dropout(method)
    plain = model(images)
    assert torch.equal(model(images), plain)
    with stochastic_depth(model, 0.5):
        assert not torch.equal(model(images), model(images))
        in_evaluation = model.eval()(images)
    assert torch.equal(model.train()(images), plain)
    assert torch.equal(model.eval()(images), in_evaluation)


@pytest.mark.parametrize("method", METHODS)
def test_fit_drops_paths_in_training_and_leaves_the_backbone_as_it_was(method: str) -> None:
    model = tiny_model(method)
    before, seen = places(model), []

    def look(_row: dict) -> None:
        seen.extend(places(model))

    run = fit(model, striped_images(16), striped_images(8), NOISY, progress=False, on_epoch=look)
    assert [isinstance(module, DropPath) for module in seen] == [False, False, *[True] * 6]
    assert all(a is b for a, b in zip(places(model), before, strict=True))
    assert not any(module.training for module in model.modules())
    assert run.recipe.drop_path == 0.5
    assert "drop_path=0.5 leaves out parts of the frozen blocks at random" in run.cached["train"]


def test_the_training_is_another_one_and_repeats_by_its_seed() -> None:
    def trained(rate: float) -> Tensor:
        model = tiny_model("linear")
        recipe = Recipe(epochs=2, batch_size=8, lr=1e-2, drop_path=rate)
        fit(model, striped_images(16), None, recipe, progress=False)
        return model.backbone.head.weight.detach()

    assert torch.equal(trained(0.5), trained(0.5))
    assert not torch.equal(trained(0.5), trained(0.0))


def test_validation_features_are_still_cached_and_give_what_the_images_give() -> None:
    recipe, results = Recipe(epochs=2, batch_size=8, lr=1e-2, drop_path=0.5), []
    data = striped_images(16), striped_images(8)
    for cached in ("auto", False):
        run = fit(tiny_model("linear"), *data, recipe, cache_features=cached, progress=False)
        results.append(run.final["val_loss"])
        assert run.cached["val"].startswith("cached" if cached else "not cached")
    assert results[0] == pytest.approx(results[1], abs=1e-5)


def test_a_training_that_fails_leaves_the_backbone_as_it_was() -> None:
    def fail(_row: dict) -> None:
        raise RuntimeError("plot failed")

    model = tiny_model("lora")
    before = places(model)
    with pytest.raises(RuntimeError, match="plot failed"):
        fit(model, striped_images(16), None, NOISY, progress=False, on_epoch=fail)
    assert all(a is b for a, b in zip(places(model), before, strict=True))


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_the_backbones_own_drop_paths_stay_with_a_rate_of_0_and_come_back_otherwise(rate: float) -> None:
    options = {"img_size": 32, "patch_size": 8, "depth": 4, "embed_dim": 32, "num_heads": 2}
    vit = timm.create_model("vit_tiny_patch16_224", drop_path_rate=0.2, **options)
    model, seen = al.adapt(vit, "lora", 4, seed=0), []
    own = places(model)

    def look(_row: dict) -> None:
        seen.extend(places(model))

    fit(model, striped_images(16), None, Recipe(epochs=1, drop_path=rate), progress=False, on_epoch=look)
    assert (seen[-1] is own[-1]) == (rate == 0)
    assert places(model)[-1] is own[-1]


def refused_features() -> None:
    features = cache_features(tiny_model("linear"), striped_images(8))
    fit(tiny_model("linear"), features, None, NOISY, progress=False)


def refused_caching() -> None:
    fit(tiny_model("linear"), striped_images(8), None, NOISY, cache_features=True, progress=False)


def refused_blocks() -> None:
    vit = tiny_backbone()
    vit.blocks[2] = nn.Identity()
    fit(al.adapt(vit, "linear", 4), striped_images(8), None, NOISY, progress=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (refused_features, "holds cached features; set drop_path to 0 or give the images"),
        (refused_caching, "cache_features=True, but drop_path=0.5"),
        (refused_blocks, "this backbone has Identity; set drop_path=0"),
    ],
)
def test_what_cannot_be_trained_with_it_is_refused_before_training(call: Callable, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        call()
