"""Options that have another name by now, or came later: saved adapters stay what they were."""

from pathlib import Path

import pytest
import torch
from conftest import make_tiny_vit
from torch import Tensor

import adapters_lib as al
from adapters_lib.methods import METHODS, method_from_dict
from adapters_lib.saving.checkpoint import load_pretrained, save_pretrained
from adapters_lib.saving.tensors import load_tensors, save_tensors

POOLED = {"class_token": False, "global_pool": "avg"}


def vit(**options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return make_tiny_vit(**options)


OLD = {  # as version 0.2.0 wrote them: the method today, all its options then, the backbone's options
    "adpt": (
        al.ADPT(dropout=0.0, sublayer_dropout=0.0),
        {"bottleneck": 8, "dropout": 0.0, "class_token": True},
        {},
    ),
    "ila": (
        al.ILA(samplings=1, residual_scale=0.1111, prefix_path="shared"),
        {
            "bottleneck": 8,
            "samplings": 1,
            "after": None,
            "kernel": 3,
            "residual": "near_one",
            "near_one": 0.1111,
            "lead_path": "shared",
            "dropout": 0.1,
            "class_token": True,
        },
        {},
    ),
    "ila++": (
        al.ILAPlusPlus(after=(1, 2), prefix_path="identity", adpt_dropout=0.0, sublayer_dropout=0.0),
        {
            "bottleneck": 8,
            "samplings": 2,
            "after": [1, 2],
            "kernel": 3,
            "residual": "near_one",
            "near_one": 1.0,
            "lead_path": "identity",
            "dropout": 0.1,
            "class_token": True,
            "adpt_dropout": 0.0,
        },
        {},
    ),
    "ssf": (al.SSF(before_pooling=False), {"std": 0.02}, POOLED),
}


@pytest.mark.parametrize("name", OLD)
def test_an_adapter_saved_before_the_options_changed_is_the_model_that_it_was(
    name: str, tmp_path: Path, images: Tensor
) -> None:
    method, options, shape = OLD[name]
    model = al.adapt(vit(**shape), method, 5, seed=0).train()
    model(images)  # moves the batch norms
    save_pretrained(model.eval(), tmp_path)
    _with_options(tmp_path, options)
    loaded = load_pretrained(tmp_path, backbone=vit(**shape))
    assert loaded.methods == (method,)
    assert torch.equal(loaded(images), model(images))
    torch.manual_seed(3)
    expected = model.train()(images)
    torch.manual_seed(3)
    assert torch.equal(loaded.train()(images), expected)  # with the dropout of then, too


def _with_options(folder: Path, options: dict) -> None:
    """Write the header by hand."""
    path = folder / "adapter_model.safetensors"
    tensors, metadata = load_tensors(path)
    metadata["config"]["methods"][0]["options"] = options
    save_tensors(path, tensors, metadata)


def test_an_adapter_saved_by_this_version_keeps_options_that_are_not_what_they_were(tmp_path: Path) -> None:
    for method in (al.ADPT(), al.ILAPlusPlus(), al.SSF()):
        save_pretrained(al.adapt(vit(), method, 5), tmp_path)
        assert load_pretrained(tmp_path, backbone=vit()).methods == (method,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ila:near_one=0.5", "option near_one is now called residual_scale; write ila:residual_scale=0.5"),
        ("ila++:bottleneck=4, lead_path = own", r"is now called prefix_path; write ila\+\+:prefix_path=own"),
    ],
)
def test_a_text_with_a_former_name_is_told_the_new_one(text: str, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        al.parse_method(text)


def test_near_one_is_a_start_of_the_residual_and_no_number() -> None:
    assert al.parse_method("ila:residual=near_one,residual_scale=0.5") == al.ILA(residual_scale=0.5)
    with pytest.raises(al.AdapterError, match="residual_scale=-1, but it must be at least 0"):
        al.ILA(residual_scale=-1)


def test_every_declared_former_name_and_default_belongs_to_an_option_of_today() -> None:
    for cls in METHODS.values():
        fields = set(cls.__dataclass_fields__)
        assert set(cls.former_options.values()) <= fields
        assert not set(cls.former_options) & fields
        assert set(cls.former_defaults) <= fields
        method_from_dict({"name": cls.name})
