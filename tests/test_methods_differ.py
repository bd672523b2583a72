"""No method is another one's copy; each starts where its paper says; bad input changes nothing."""

import copy
from itertools import combinations

import pytest
import torch
from conftest import make_tiny_vit
from torch import Tensor

import adapters_lib as al
from adapters_lib.methods import METHODS, format_method, method_from_dict, method_to_dict, parse_method

NAMES = [
    "full",
    "linear",
    "bitfit",
    "layernorm",
    "vpt-shallow",
    "vpt-deep",
    "vqt",
    "houlsby",
    "pfeiffer",
    "adpt",
    "adaptformer",
]
NAMES += ["adapter+", "lora", "repadapter", "ssf", "convpass", "ila", "ila+", "ila++", "padapter"]
STARTS_UNCHANGED = {
    "full",
    "linear",
    "bitfit",
    "layernorm",
    "adaptformer",
    "lora",
    "repadapter",
    "convpass",
    "padapter",
}
SMALL = {
    "houlsby": "houlsby:bottleneck=16",
    "pfeiffer": "pfeiffer:bottleneck=16",
    "adaptformer": "adaptformer:bottleneck=16",
}


def adapted(name: str, **options: object) -> al.AdaptedViT:
    torch.manual_seed(0)
    return al.adapt(make_tiny_vit(**options), SMALL.get(name, name)).eval()


def shaken(model: al.AdaptedViT) -> al.AdaptedViT:
    """The same noise, value by value, in every trainable tensor."""
    with torch.no_grad():
        for _, p in model.named_parameters():
            if p.requires_grad:
                p += torch.linspace(-0.1, 0.1, p.numel()).view_as(p)
    return model


def test_every_name_of_the_papers_is_there() -> None:
    assert set(NAMES) <= set(METHODS)
    assert all(METHODS[name].source for name in NAMES)


def test_all_pairs_of_methods_train_other_tensors_or_compute_another_function(images: Tensor) -> None:
    kinds, outputs = {}, {}
    for name in NAMES:
        model = shaken(adapted(name))
        kinds[name] = {(key, tuple(p.shape)) for key, p in model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            outputs[name] = model(images)
    for one, other in combinations(NAMES, 2):
        assert kinds[one] != kinds[other] or (outputs[one] - outputs[other]).abs().max() > 1e-4, (one, other)


def test_methods_with_equal_parameter_counts_still_compute_different_functions(images: Tensor) -> None:
    """The same weights in the modules of methods that have the same shapes."""
    lists = [
        "adaptformer:bottleneck=4,scale=1",
        "pfeiffer:bottleneck=4",
        "houlsby:bottleneck=4",
        "adpt:bottleneck=4,class_token=false",
    ]
    outputs = []
    for method in lists:
        torch.manual_seed(0)
        model = shaken(al.adapt(make_tiny_vit(), method)).eval()
        with torch.no_grad():
            outputs.append(model(images))
    assert all((a - b).abs().max() > 1e-4 for a, b in combinations(outputs, 2))


@pytest.mark.parametrize("name", NAMES)
def test_the_start_is_the_frozen_model_where_the_paper_says_so(name: str, images: Tensor) -> None:
    torch.manual_seed(0)
    expected = make_tiny_vit()(images)
    difference = (adapted(name)(images) - expected).abs().max().item()
    if name in STARTS_UNCHANGED:
        assert difference == 0
    elif name in ("houlsby", "pfeiffer", "adapter+"):
        assert 0 < difference < 0.05  # near the identity, not at it
    else:
        assert difference > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_every_trainable_parameter_gets_a_gradient(name: str, images: Tensor) -> None:
    model = shaken(adapted(name)).train()
    model(images).square().sum().backward()
    idle = [
        key for key, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert not idle
    assert all(p.grad is None for _, p in model.parameter_groups()["frozen"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [{"class_token": False, "global_pool": "avg"}, {"reg_tokens": 2, "init_values": 0.1, "qkv_bias": False}],
)
def test_every_method_runs_on_pooled_models_and_with_registers(
    name: str, options: dict, images: Tensor
) -> None:
    with torch.no_grad():
        assert adapted(name, **options)(images).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_every_method_runs_in_bfloat16(name: str, images: Tensor) -> None:
    torch.manual_seed(0)
    model = al.adapt(make_tiny_vit().bfloat16(), SMALL.get(name, name), 5, head="bn_linear").eval()
    with torch.no_grad():
        logits = model(images.bfloat16())
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    "text",
    [
        "padapter:form=p_x_p,mode=cat,position=a_m_p",
        "padapter:position=p+a_m",
        "ila++:after=2/3,residual_scale=0.1111",
        "lora:targets=qkv/proj",
        "adapter+:bottleneck=16",
        "vpt-deep:prompts=10",
    ],
)
def test_the_text_form_round_trips(text: str) -> None:
    method = parse_method(text)
    assert format_method(method) == format_method(parse_method(format_method(method)))
    assert method_from_dict(method_to_dict(method)) == method == parse_method(format_method(method))


@pytest.mark.parametrize(
    "name",
    ["houlsby", "pfeiffer", "adpt", "adaptformer", "adapter+", "repadapter", "convpass", "ila", "padapter"],
)
def test_a_bottleneck_of_nothing_is_refused_and_one_wider_than_the_tokens_warned_of(name: str) -> None:
    with pytest.raises(al.AdapterError, match="bottleneck=0, but it must be at least 1"):
        parse_method(f"{name}:bottleneck=0")
    with pytest.warns(
        UserWarning, match=f"{name.replace('+', '.')}: bottleneck 40 is wider than the tokens .32."
    ):
        al.adapt(make_tiny_vit(), f"{name}:bottleneck=40", 5)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("repadapter:groups=3", "groups=3 does not divide bottleneck=8"),
        ("vpt-deep:prompts=0", "prompts=0, but it must be at least 1"),
        ("vqt:prompt=2", "unknown option of vqt 'prompt'; did you mean 'prompts'"),
        ("padapter:form=p_p", "unknown padapter form"),
        ("padapter:position=p_m_a", "did you mean 'p_a_m'|did you mean 'a_m_p'"),
        ("lora:targets=q/qkv", "names a layer twice"),
        ("lora:targets=qvk", "unknown lora target 'qvk'"),
        ("ssf:std=-1", "std=-1.0"),
        ("adapter++", "did you mean 'adapter.'"),
    ],
)
def test_a_wrong_option_is_named_and_the_backbone_unchanged(
    method: str, message: str, images: Tensor
) -> None:
    vit = make_tiny_vit()
    before, layout, expected = copy.deepcopy(vit.state_dict()), repr(vit), vit(images)
    with pytest.raises(al.AdapterError, match=message):
        al.adapt(vit, ["padapter", method], 5)
    assert repr(vit) == layout
    assert all(torch.equal(value, before[key]) for key, value in vit.state_dict().items())
    assert torch.equal(vit(images), expected)


def test_a_state_of_another_width_or_depth_is_refused_and_nothing_changes(images: Tensor) -> None:
    model = al.adapt(make_tiny_vit(), "padapter:bottleneck=4", 5).eval()
    expected = model(images)
    for options, message in (
        ({"embed_dim": 64}, "shape"),
        ({"depth": 3}, "lacks"),
        ({"depth": 5}, "does not train"),
    ):
        other = al.adapt(make_tiny_vit(**options), "padapter:bottleneck=4", 5)
        with pytest.raises(al.AdapterError, match=message):
            model.load_trainable_state_dict(other.trainable_state_dict())
        assert torch.equal(model(images), expected)
