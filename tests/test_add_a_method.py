"""A method is its file and one import line: one that is written elsewhere does everything that ours do,
and no other file knows of it."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
from conftest import make_tiny_vit
from torch import Tensor

import adapters_lib as al
from adapters_lib.figures import accuracy_against_cost, method_style
from adapters_lib.methods import METHODS
from adapters_lib.methods.compose import composition_table

SOURCE = '''
"""Gate: every channel of a block's output is scaled, x ← x ⊙ (1 + g), g = 0 at the start."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from adapters_lib.methods import register
from adapters_lib.vit import Adapter, Layout, Method


class ChannelGate(Adapter):
    """(B, N, D) → (B, N, D). Parameters: D."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return x * (1 + self.gate)


@register
@dataclass(frozen=True, kw_only=True)
class Gate(Method):
    """A `ChannelGate` behind every block. first: the first block (from 1) with a gate. start: of g."""

    name: ClassVar[str] = "gate"
    color: ClassVar[str] = "#332288"
    marker: ClassVar[str] = "8"
    source: ClassVar[str] = "a test"

    first: int = 1
    start: float = 0.0

    def check(self) -> None:
        self.at_least("first", 1)

    def conflicts(self, other: Method) -> str | None:
        return "ssf scales these channels already" if other.name == "ssf" else super().conflicts(other)

    def attach(self, model) -> None:
        for sites in model.sites[self.first - 1 :]:
            sites.add("after", ChannelGate(model.width, self.start))
'''


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[ModuleType]:
    """The method above, from a file in an empty folder; afterwards it is forgotten."""
    path = tmp_path / "gate.py"
    path.write_text(SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("gate", path)
    module = importlib.util.module_from_spec(spec)
    before = dict(METHODS)
    spec.loader.exec_module(module)
    yield module
    METHODS.clear()
    METHODS.update(before)


def test_a_method_from_elsewhere_is_adapted_counted_and_saved(
    gate: ModuleType, tmp_path: Path, images: Tensor
) -> None:
    model = al.adapt(_backbone(), "gate:first=3,start=0.5", num_classes=5, seed=0)
    assert model.methods == (gate.Gate(first=3, start=0.5),)
    assert al.cost(model).trainable["adapter"] == 2 * 32
    torch.nn.init.normal_(model.sites[3].at["after"][0].gate)
    logits = model.eval()(images)
    model.save_pretrained(tmp_path / "saved")
    again = al.AdaptedViT.from_pretrained(tmp_path / "saved", backbone=_backbone())
    assert torch.equal(again.eval()(images), logits)


def _backbone() -> torch.nn.Module:
    torch.manual_seed(0)
    return make_tiny_vit()


def test_its_rules_of_composition_hold_from_either_side(gate: ModuleType, tiny_vit) -> None:
    for pair in (["gate", "ssf"], ["ssf", "gate"]):
        with pytest.raises(al.AdapterError, match="ssf scales these channels already"):
            al.adapt(tiny_vit(), pair, 5)
    al.adapt(tiny_vit(), ["gate", "lora"], 5)
    assert {row["composes"] for row in composition_table() if "gate" in (row["first"], row["second"])} == {
        "yes",
        "no",
    }


def test_it_has_its_own_looks_in_figures_and_repaints_nobody(gate: ModuleType) -> None:
    others = [name for name in METHODS if name != "gate"]
    assert method_style(METHODS)["gate"] == ("#332288", "8")
    withdrawn = METHODS.pop("gate")
    before = method_style(others)
    METHODS["gate"] = withdrawn
    assert {name: look for name, look in method_style(METHODS).items() if name != "gate"} == before
    rows = [
        {"method": m, "seed": s, "top1": 50.0 + s, "trained": 1000.0}
        for m in ("gate", "lora")
        for s in (0, 1)
    ]
    figure = accuracy_against_cost(pd.DataFrame(rows))
    assert "gate" in {text.get_text() for text in figure.axes[0].texts}
