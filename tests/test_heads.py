"""Every kind of head starts as in the code of its papers, and a saved adapter brings its kind along."""

import math

import pytest
import torch
from tiny_training import tiny_backbone
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.training.published_recipes import PRESETS
from adapters_lib.vit.heads import HEADS, make_head

D, C = 768, 100  # ViT-B, a hundred classes


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def last(head: nn.Module) -> nn.Linear:
    return head if isinstance(head, nn.Linear) else head[-1]  # type: ignore[index,return-value]


@pytest.mark.parametrize(
    ("kind", "std", "largest"),
    [
        ("linear", 1 / math.sqrt(3 * D), 1 / math.sqrt(D)),
        ("linear_timm", 0.02, 2.0),
        ("linear_xavier", math.sqrt(2 / (D + C)), math.sqrt(6 / (D + C))),
        ("linear_kaiming", math.sqrt(2 / C), 2.0),
        ("bn_linear", 0.01, 2.0),
        ("bn_linear_bias", 0.01, 2.0),
    ],
)
def test_the_weights_spread_as_published(kind: str, std: float, largest: float) -> None:
    weight = last(make_head(kind, D, C)).weight.detach()
    assert float(weight.std()) == pytest.approx(std, rel=0.02)
    assert float(weight.abs().max()) <= largest


@pytest.mark.parametrize("classes", [10, 100, 1938])
def test_vpts_bias_is_minus_log_99_for_any_number_of_classes(classes: int) -> None:
    bias = last(make_head("linear_kaiming", D, classes)).bias
    torch.testing.assert_close(bias.detach(), torch.full((classes,), -math.log(99)))


@pytest.mark.parametrize("kind", ["linear", "bn_linear_bias"])
def test_pytorchs_own_bias_is_uniform(kind: str) -> None:
    bias = last(make_head(kind, D, 4000)).bias.detach()
    assert float(bias.std()) == pytest.approx(1 / math.sqrt(3 * D), rel=0.05)


@pytest.mark.parametrize("kind", ["linear_timm", "linear_xavier", "bn_linear"])
def test_the_other_biases_are_nothing_at_the_start(kind: str) -> None:
    assert float(last(make_head(kind, D, C)).bias.detach().abs().max()) < 1e-5


def test_the_papers_recipes_name_the_heads_of_their_code() -> None:
    heads = {name: preset.head for name, preset in PRESETS.items()}
    assert heads["ila_paper"] == heads["adpt_paper"] == "linear_xavier"
    assert heads["vpt_paper"] == heads["vqt_paper"] == "linear_kaiming"
    assert heads["padapter_image_paper"] == heads["adaptformer_paper"] == "bn_linear_bias"
    assert heads["padapter_video_paper"] == heads["adaptformer_video_paper"] == "bn_linear"
    assert heads["adapter_plus_paper"] == heads["lora_vtab"] == heads["ssf_paper"] == "linear_timm"
    assert heads["repadapter_paper"] == heads["convpass_paper"] == "linear"


@pytest.mark.parametrize("method", ["adpt", "vqt"])
@pytest.mark.parametrize("kind", HEADS)
def test_adapt_builds_each_kind_and_a_saved_adapter_loads_with_it(
    kind: str, method: str, tmp_path, images: Tensor
) -> None:
    model = al.adapt(tiny_backbone(), method, 7, head=kind, seed=0).eval()
    assert model.head_kind == kind
    model.save_pretrained(tmp_path)
    loaded = al.AdaptedViT.from_pretrained(tmp_path, backbone=tiny_backbone())
    assert loaded.head_kind == kind
    assert torch.equal(loaded(images), model(images))


def test_the_start_reaches_the_adapted_model() -> None:
    for kind, std in (("linear_timm", 0.02), ("linear_kaiming", math.sqrt(2 / 50))):
        weight = al.adapt(tiny_backbone(), "lora", 50, head=kind, seed=0).backbone.head.weight.detach()
        assert float(weight.std()) == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize("kind", ["linear_xavier", "linear_kaiming"])
def test_a_linear_head_of_any_start_can_go_to_peft(kind: str, tmp_path, images: Tensor) -> None:
    model = al.adapt(tiny_backbone(), "lora", 4, head=kind, seed=0).eval()
    al.export_peft(model, tmp_path)
    assert torch.equal(al.import_peft(tmp_path, tiny_backbone()).eval()(images), model(images))
    with_norm = al.adapt(tiny_backbone(), "lora", 4, head="bn_linear")
    with pytest.raises(al.AdapterError, match="no bn_linear head"):
        al.export_peft(with_norm, tmp_path)


def test_an_unknown_head_is_named_with_the_nearest() -> None:
    with pytest.raises(al.AdapterError, match="did you mean 'linear_xavier'"):
        al.adapt(tiny_backbone(), "lora", 4, head="linear_xavir")
