"""Every mistake that can be made with methods is explained, and the model is afterwards what it was
before."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_tiny_vit
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.methods import METHODS, method_to_dict
from adapters_lib.methods.dyn import ALONE
from adapters_lib.saving.checkpoint import load_pretrained


@contextmanager
def unchanged(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Modules, weights, buffers, what trains, mode and logits are the same behind the body as before it."""

    @torch.no_grad()
    def state() -> tuple:
        tensors = {name: value.clone() for name, value in model.state_dict().items()}
        return (
            repr(model),
            tensors,
            [p.requires_grad for p in model.parameters()],
            model.training,
            model(images),
        )

    before = state()
    yield
    after = state()
    assert after[0] == before[0]
    assert after[2:4] == before[2:4]
    assert list(after[1]) == list(before[1])
    assert all(torch.equal(after[1][name], before[1][name]) for name in before[1])
    assert torch.equal(after[4], before[4])


SIZED = [
    "houlsby",
    "pfeiffer",
    "adpt",
    "adaptformer",
    "adapter+",
    "repadapter",
    "convpass",
    "ila",
    "ila+",
    "ila++",
    "padapter",
]


@pytest.mark.parametrize("size", [0, -3])
@pytest.mark.parametrize("name", SIZED)
def test_a_bottleneck_of_nothing_or_less_is_refused(name: str, size: int, images: Tensor) -> None:
    vit = make_tiny_vit()
    with (
        unchanged(vit, images),
        pytest.raises(al.AdapterError, match=f"bottleneck={size}, but it must be at least 1"),
    ):
        al.adapt(vit, ["lora", f"{name}:bottleneck={size}"], 3)


@pytest.mark.parametrize("method", [f"{name}:bottleneck=40" for name in SIZED])
def test_a_bottleneck_wider_than_the_tokens_is_warned_of_and_works(method: str, images: Tensor) -> None:
    with pytest.warns(UserWarning, match=r"bottleneck 40 is wider than the tokens \(32\)"):
        model = al.adapt(make_tiny_vit(), method, 3)
    assert model(images).shape == (3, 3)


def test_a_bottleneck_as_wide_as_the_tokens_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        al.adapt(make_tiny_vit(), "adpt:bottleneck=32", 3)


@pytest.mark.parametrize("prompts", [2, 64, 66])
def test_prompts_that_do_not_match_the_tokens_are_refused(prompts: int, images: Tensor) -> None:
    vit = make_tiny_vit()
    with (
        unchanged(vit, images),
        pytest.raises(al.AdapterError, match=f"{prompts} prompts but the model has 65 tokens; leave num"),
    ):
        al.adapt(vit, ["lora", f"padapter:num_tokens={prompts}"], 3)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("lorra", "unknown method 'lorra'; did you mean 'lora'"),
        ("ila:bottelneck=4", "unknown option of ila 'bottelneck'; did you mean 'bottleneck'"),
        ("padapter:positon=p_a_m", "unknown option of padapter 'positon'; did you mean 'position'"),
        ("padapter:form=p2xp", "unknown padapter form 'p2xp'; did you mean"),
        ("vpt-deep:prompts=many", "prompts='many' is not a valid int"),
        ("", "unknown method ''; Known: .*adpt"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(method: str, message: str, images: Tensor) -> None:
    vit = make_tiny_vit()
    with unchanged(vit, images), pytest.raises(al.AdapterError, match=message):
        al.adapt(vit, ["adpt", method], 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: al.LoRA(rank=2.5), "lora: rank=2.5, but it must be a whole number"),
        (lambda: al.LoRA(rank="8"), "lora: rank='8', but it must be a whole number"),
        (lambda: al.LoRA(rank=True), "lora: rank=True"),
        (lambda: al.ADPT(bottleneck=None), "adpt: bottleneck=None"),
        (lambda: al.LoRA(targets="proj"), "targets='proj', but it must be a tuple, each entry a text"),
        (lambda: al.ILA(after=4), "ila: after=4, but it must be a tuple, each entry a whole number or None"),
        (lambda: al.PAdapter(scale=float("nan")), "scale=nan, but it must be a finite number"),
        (lambda: al.PAdapter(num_tokens=2.0), "num_tokens=2.0, but it must be a whole number or None"),
        (lambda: al.PAdapter(learn_scale="no"), "learn_scale='no', but it must be True or False"),
        (lambda: al.AdaptFormer(dropout=1.0), "dropout=1.0, but a probability"),
    ],
)
def test_an_option_of_the_wrong_type_is_named_before_anything_is_built(make: object, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        make()


def test_lists_and_numpy_numbers_are_as_good_as_tuples_and_whole_numbers() -> None:
    assert al.ILA(after=[1, 2]) == al.ILA(after=(1, 2))
    assert type(method_to_dict(al.LoRA(rank=np.int64(4)))["options"]["rank"]) is int
    assert al.LoRA(alpha=16) == al.LoRA(alpha=16.0)


@pytest.mark.parametrize("methods", [al.LoRA, 3, None, [["lora"]], ["adpt", 3]], ids=repr)
def test_what_is_no_method_is_refused(methods: object, images: Tensor) -> None:
    vit = make_tiny_vit()
    with (
        unchanged(vit, images),
        pytest.raises(al.AdapterError, match=r"is no method; (write LoRA\(\)|give al.LoRA)"),
    ):
        al.adapt(vit, methods, 3)


@pytest.mark.parametrize(
    "name", [name for name, cls in METHODS.items() if not cls.mergeable and name != "dyn"]
)
def test_what_cannot_merge_stays_as_it_is(name: str, images: Tensor) -> None:
    wide = {"houlsby", "pfeiffer", "adaptformer", "padapter"}
    model = al.adapt(make_tiny_vit(), f"{name}:bottleneck=16" if name in wide else name, 3).eval()
    with (
        unchanged(model, images),
        pytest.raises(al.AdapterError, match=f"{name.replace('+', '.')} cannot be merged"),
    ):
        model.merge()
    with unchanged(model, images), pytest.raises(al.AdapterError, match="not merged; call merge"):
        model.unmerge()


@pytest.mark.parametrize("name", [name for name, cls in METHODS.items() if cls.mergeable])
def test_merging_twice_and_unmerging_twice_are_refused(name: str, images: Tensor) -> None:
    model = al.adapt(make_tiny_vit(), ALONE if name == "dyn" else name, 3).eval()
    with unchanged(model, images), pytest.raises(al.AdapterError, match="not merged; call merge"):
        model.unmerge()
    model.merge()
    with unchanged(model, images), pytest.raises(al.AdapterError, match="merged already; call unmerge"):
        model.merge()
    model.unmerge()
    with unchanged(model, images), pytest.raises(al.AdapterError, match="not merged; call merge"):
        model.unmerge()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"embed_dim": 64},
            "width 32 and 4 blocks, but this backbone has width 64 and 4 blocks; use the same backbone",
        ),
        ({"depth": 3}, "width 32 and 4 blocks, but this backbone has width 32 and 3 blocks"),
    ],
)
@pytest.mark.parametrize("method", ["lora", "ila", "full"])
def test_an_adapter_does_not_load_into_another_width_or_depth(
    method: str, options: dict, message: str, images: Tensor, tmp_path: Path
) -> None:
    al.adapt(make_tiny_vit(), method, 3).save_pretrained(tmp_path)
    vit = make_tiny_vit(**options)
    with unchanged(vit, images), pytest.raises(al.AdapterError, match=message):
        load_pretrained(tmp_path, backbone=vit)


def test_an_adapted_model_is_not_adapted_again(images: Tensor) -> None:
    vit = make_tiny_vit()
    model = al.adapt(vit, "lora", 3).eval()
    for again in (vit, model):
        with (
            unchanged(model, images),
            pytest.raises(al.AdapterError, match="adapted already; pass all methods in one list"),
        ):
            al.adapt(again, "adpt", 3)


def test_a_merged_model_still_says_which_image_size_it_was_built_for() -> None:
    model = al.adapt(make_tiny_vit(), "lora", 3).eval().merge()
    with pytest.raises(al.AdapterError, match=r"images of \(48, 48\) pixels"):
        model(torch.zeros(1, 3, 48, 48))
