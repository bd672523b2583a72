"""Dyn-Adapter's heads: what is called balanced is lighter later, with few classes and with thousands."""

import json
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import make_tiny_vit
from torch import nn

import adapters_lib as al
from adapters_lib.backbones.create import meta_backbone
from adapters_lib.errors import OptionWarning
from adapters_lib.exits.costs import exit_costs
from adapters_lib.methods import DynExits
from adapters_lib.saving.tensors import load_tensors, save_tensors
from adapters_lib.vit.exit_heads import ExitHead, head_parameters, hidden_width


def _on_meta(classes: int, width: int, **options: object) -> al.AdaptedViT:
    """A head behind each of 4 blocks, shapes only."""
    with torch.device("meta"):
        vit = make_tiny_vit(embed_dim=width)
        return al.adapt(vit, ["lora", DynExits(every=1, **options)], classes)


def _sizes(model: al.AdaptedViT) -> list[int]:
    """Parameters of the heads in the order of depth, the backbone's own last."""
    return list(exit_costs(model).head_parameters)


@pytest.mark.parametrize("width", [128, 768])
@pytest.mark.parametrize("classes", [20, 198, 1000, 1938])
def test_no_later_head_is_heavier_than_an_earlier_one(classes: int, width: int) -> None:
    model = _on_meta(classes, width)
    sizes = _sizes(model)
    assert sizes[-1] == width * classes + classes
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] > sizes[2], "the MLPs of the first half are heavier than the linear heads of the second"
    costs = exit_costs(model)
    on_the_way = [with_heads - alone for with_heads, alone in zip(costs.macs, costs.alone, strict=True)]
    first, second, third = (after - before for before, after in pairwise(on_the_way))
    assert first == second >= third == width * classes + width, "nor does a later head cost more MACs"


@pytest.mark.parametrize("width", [64, 128, 192, 384, 768, 1024])
def test_the_hidden_width_is_the_smallest_that_keeps_the_order_and_never_wider_than_the_tokens(
    width: int,
) -> None:
    for classes in [1, 2, 10, 69, 70, 100, 150, 198, 500, 1000, 1938, 10_000, 21_841]:
        hidden = hidden_width(width, classes)
        linear = head_parameters(width, classes, None)
        assert head_parameters(width, classes, hidden) >= linear
        assert hidden == 64 or head_parameters(width, classes, hidden - 8) < linear
        assert hidden % 8 == 0
        assert hidden <= width
    assert [hidden_width(768, classes) for classes in (20, 69, 70, 198, 1000, 1938)] == [
        64,
        64,
        72,
        160,
        440,
        552,
    ]


@pytest.mark.parametrize("hidden", [None, 8])
def test_a_head_has_the_parameters_that_are_counted_for_it(hidden: int | None) -> None:
    assert sum(p.numel() for p in ExitHead(32, 5, hidden, True).parameters()) == head_parameters(
        32, 5, hidden
    )
    by_hand = 2 * 32 + 32 * 5 + 5 if hidden is None else 2 * 32 + 32 * 8 + 8 + 8 * 5 + 5
    assert head_parameters(32, 5, hidden) == by_hand


def test_a_hidden_width_that_breaks_the_order_is_named_with_the_one_that_keeps_it() -> None:
    mlp, linear = head_parameters(768, 198, 64), head_parameters(768, 198, None)
    message = (
        f"'balanced', but a head of {mlp:,} parameters stands in front of one of {linear:,}; leave"
        " hidden=None, here 160"
    )
    with pytest.warns(OptionWarning, match=message) as caught:
        model = _on_meta(198, 768, hidden=64)
    assert [w.filename for w in caught] == [__file__], "it points at the line that adapts"
    assert _sizes(model)[:3] == [mlp, mlp, linear]
    with pytest.warns(
        OptionWarning,
        match=f"heads='reversed', but a head of {mlp:,} parameters stands behind one of {linear:,}",
    ):
        _on_meta(198, 768, hidden=64, heads="reversed")


@pytest.mark.parametrize(
    "options", [{"hidden": 160}, {"heads": "reversed"}, {"heads": "linear"}, {"heads": "mlp"}]
)
def test_heads_that_are_what_they_are_called_pass_in_silence(options: dict) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sizes = _sizes(_on_meta(198, 768, **options))[:3]
    expected = sorted(sizes) if options.get("heads") == "reversed" else sorted(sizes, reverse=True)
    assert sizes == expected


def test_a_distilled_backbone_whose_last_stage_has_two_classifiers_is_told_of_mlp_heads() -> None:
    """Two classifiers outweigh one linear exit; MLPs are made wide enough for both."""
    for heads, complains in (("balanced", True), ("mlp", False)):
        vit = meta_backbone("deit_tiny_distilled_patch16_224", image_size=32, depth=4)
        with torch.device("meta"), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = al.adapt(vit, ["lora", DynExits(every=1, heads=heads)], 100)
        assert [("use heads='mlp'" in str(w.message)) for w in caught] == [True] * complains
        sizes = _sizes(model)
        assert sizes[-1] == 2 * (192 * 100 + 100)
        assert (sizes == sorted(sizes, reverse=True)) is not complains


def _as_saved_before(folder: Path, **options: object) -> None:
    """Rewrite a saved model's header as version 0.2.0 wrote it, with the rate of what is kept."""
    tensors, metadata = load_tensors(folder / "adapter_model.safetensors")
    saved = metadata["config"]["methods"][-1]["options"]
    del saved["backward_sparsity"]
    saved |= options
    save_tensors(folder / "adapter_model.safetensors", tensors, metadata)
    (folder / "adapter_config.json").write_text(json.dumps(metadata["config"]))


def test_a_model_saved_with_a_keep_rate_and_64_hidden_features_still_loads_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = make_tiny_vit(embed_dim=128).state_dict()

    def backbone() -> nn.Module:
        vit = make_tiny_vit(embed_dim=128)
        vit.load_state_dict(state)
        return vit

    with pytest.warns(OptionWarning, match="leave hidden=None, here 96"):
        model = al.adapt(
            backbone(), ["ssf", DynExits(every=1, hidden=64, backward_sparsity=0.1, forward_sparsity=0)], 300
        )
    model.eval().save_pretrained(tmp_path)
    _as_saved_before(tmp_path, backward_keep=0.9, forward_sparsity=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is wrong with its training is of no use to know now
        again = al.AdaptedViT.from_pretrained(tmp_path, backbone=backbone())
    assert again.methods[-1] == DynExits(every=1, hidden=64, backward_sparsity=0.1)
    x = torch.randn(2, 3, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(again.forward_exits(x), model.forward_exits(x), strict=True))
