"""Which lists of methods work: the committed table, and every pair of it tried."""

import csv
from itertools import combinations_with_replacement
from pathlib import Path

import pytest
import torch
from conftest import make_tiny_vit
from torch import Tensor

import adapters_lib as al
from adapters_lib.methods import METHODS
from adapters_lib.methods.compose import composition_table, write_table
from adapters_lib.methods.dyn import ALONE

TABLE = Path(__file__).parent.parent / "data" / "composition.csv"
SMALL = {
    "houlsby": "houlsby:bottleneck=16",
    "adaptformer": "adaptformer:bottleneck=16",
    "padapter": "padapter:bottleneck=16",
}
SMALL |= {
    "pfeiffer": "pfeiffer:bottleneck=16",
    "vpt-shallow": "vpt-shallow:prompts=3",
    "vpt-deep": "vpt-deep:prompts=3",
    "dyn": ALONE,
}
PAIRS = list(combinations_with_replacement(METHODS, 2))


def rows() -> dict[tuple[str, str], dict[str, str]]:
    with open(TABLE, newline="", encoding="utf-8") as file:
        return {(row["first"], row["second"]): row for row in csv.DictReader(file)}


def test_the_committed_table_is_what_the_rules_say(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv")
    command = "run: python -m adapters_lib methods --compositions --out data/composition.csv"
    assert (tmp_path / "table.csv").read_text() == TABLE.read_text(), command


def test_the_table_has_every_pair_and_a_reason_for_every_no() -> None:
    assert [(row["first"], row["second"]) for row in composition_table()] == PAIRS
    assert all(bool(row["why"]) == (row["composes"] == "no") for row in composition_table())


@pytest.mark.parametrize("first", METHODS)
def test_every_pair_composes_as_the_table_says(first: str, images: Tensor) -> None:
    for pair in (pair for pair in PAIRS if pair[0] == first):
        row = rows()[pair]
        for order in (pair, pair[::-1]):
            methods = [SMALL.get(name, name) for name in order]
            torch.manual_seed(0)
            vit = make_tiny_vit()
            if row["composes"] == "no":
                layout = repr(vit)
                with pytest.raises(al.AdapterError, match="do not go together"):
                    al.adapt(vit, methods, 5)
                assert repr(vit) == layout
                continue
            _works(al.adapt(vit, methods, 5), images, order)


def _works(model: al.AdaptedViT, images: Tensor, order: tuple[str, ...]) -> None:
    """Finite logits, a gradient in every trainable parameter, none elsewhere."""
    with torch.no_grad():
        for _, p in model.named_parameters():
            if p.requires_grad:
                p += 0.05 * torch.randn_like(p)
    out = torch.stack(model.train().forward_exits(images)) if model.exits else model.train()(images)
    assert out.isfinite().all(), order
    out.square().sum().backward()
    idle = [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert not idle, (order, idle)
    assert all(p.grad is None for _, p in model.parameter_groups()["frozen"]), order


@pytest.mark.parametrize("ila", ["ila", "ila+", "ila++"])
@pytest.mark.parametrize(
    "others", [["padapter"], ["padapter", "vpt-deep:prompts=2"], ["vqt", "padapter:position=a_m_p"]], ids=str
)
def test_padapter_follows_the_token_counts_of_ila_in_any_order(ila: str, others: list[str]) -> None:
    counts = set()
    for methods in ([ila, *others], [*others, ila]):
        model = al.adapt(make_tiny_vit(), methods, 5)
        places = [sites.at["after" if "after" in sites.at else "before"][0] for sites in model.sites]
        tokens = [place.prompts[0].shape[1] for place in places]
        assert tokens == [layout.tokens for layout in model.block_layouts()]
        counts.add(tuple(tokens))
    assert len(counts) == 1


def test_three_and_more_methods_compose(images: Tensor) -> None:
    model = al.adapt(
        make_tiny_vit(),
        ["padapter:bottleneck=4", "ila", "lora", "vpt-deep:prompts=2", "vqt", "ssf"],
        5,
        head="bn_linear",
    )
    _works(model, images, ("six",))


def test_loras_on_different_layers_go_together_and_on_the_same_do_not() -> None:
    al.adapt(make_tiny_vit(), ["lora:targets=q/v", "lora:targets=fc1,rank=2"], 5)
    with pytest.raises(al.AdapterError, match="both update v; one update of a higher rank"):
        al.adapt(make_tiny_vit(), ["lora:targets=q/v", "lora:targets=v/fc1"], 5)
    with pytest.raises(al.AdapterError, match="both update q"):
        al.adapt(make_tiny_vit(), ["lora:targets=q", "lora:targets=qkv"], 5)


@pytest.mark.parametrize(
    ("methods", "reason"),
    [
        (["full", "lora"], "full trains every weight already, and lora only re-expresses"),
        (["linear", "adpt"], "every method trains the head, so leave linear out"),
        (["vpt-shallow", "vpt-deep"], "throws away the prompts"),
        (["ila", "lora", "ila+"], "behind the same blocks"),
        (["adpt", "ila++"], "already has an adpt"),
        (["vqt", "vqt"], "listed twice"),
    ],
)
def test_a_contradictory_list_is_refused_with_the_reason(methods: list[str], reason: str) -> None:
    with pytest.raises(al.AdapterError, match=reason):
        al.adapt(make_tiny_vit(), methods, 5)
