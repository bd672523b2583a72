"""The two sparsities: one slot for dropout in bottlenecks, rates of dropping, a word if nothing can be."""

import re
import warnings
from dataclasses import replace

import pytest
import torch
from conftest import make_tiny_vit
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.errors import OptionWarning
from adapters_lib.experiments.run_grids import COMBINATIONS
from adapters_lib.methods import METHODS, DynExits, method_from_dict, parse_method
from adapters_lib.methods.dyn import ALONE
from adapters_lib.methods.sparsity import idle_sparsity, mask_gradients
from adapters_lib.vit.sites import Adapter

NARROW = {name: f"{name}:bottleneck=8" for name in ("houlsby", "adaptformer", "padapter")}
WITH_BOTTLENECK = ["houlsby", "pfeiffer", "adpt", "adaptformer", "adapter+", "lora", "repadapter", "convpass"]
WITH_BOTTLENECK += ["ila", "ila+", "ila++", "padapter"]
WITHOUT_BOTTLENECK = ["ssf", "vpt-shallow", "vpt-deep"]
WITHOUT_ADAPTER = ["full", "bitfit", "layernorm"]
OWN_DROPOUT_INSIDE = ["adaptformer", "repadapter", "convpass"]
QUIET = DynExits(every=1, forward_sparsity=0, backward_sparsity=0)


def _adapted(host: str, dyn: DynExits | None = None) -> al.AdaptedViT:
    torch.manual_seed(0)
    return al.adapt(make_tiny_vit(), [NARROW.get(host, host), *([] if dyn is None else [dyn])], 5, seed=0)


def _slots(model: al.AdaptedViT) -> list[list[Adapter]]:
    """The adapters with a bottleneck, block by block."""
    slots = []
    for parts in zip(model.backbone.blocks, model.sites, strict=True):
        modules = (m for part in parts for m in part.modules())
        slots.append([m for m in modules if isinstance(m, Adapter) and m.bottleneck_dropout is not None])
    return slots


class _Blocked(nn.Module):
    """Lets nothing through, and writes down how wide it was."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: list[int] = []

    def forward(self, z: Tensor) -> Tensor:
        self.widths.append(z.shape[-1])
        return torch.zeros_like(z)


# ---- the slot ----


def test_every_method_is_known_to_have_a_bottleneck_or_none() -> None:
    known = {*WITH_BOTTLENECK, *WITHOUT_BOTTLENECK, *WITHOUT_ADAPTER, "linear", "vqt", "dyn"}
    assert known == set(METHODS)
    for name in known - set(WITH_BOTTLENECK) - {"dyn"}:
        assert not any(_slots(_adapted(name))), name


@pytest.mark.parametrize("host", WITH_BOTTLENECK)
def test_what_stands_in_the_slot_is_all_that_the_stretch_reads(host: str, images: Tensor) -> None:
    """With every slot blocked, squeezes change nothing more; the slot is as wide as the stretch's input."""
    model = _adapted(host).train(False)
    for module in model.modules():
        if isinstance(module, Adapter):
            for parameter in module.parameters(recurse=False):
                nn.init.normal_(parameter, std=0.2)  # an up-projection of zeros would hide what it reads
            if isinstance(getattr(module, "up", None), nn.Linear):
                nn.init.normal_(module.up.weight, std=0.2)
    # LoRA's shortcuts without gradients have no place for a dropout, and need none.
    model.requires_grad_(True)
    squeezes = [p for name, p in model.named_parameters() if name.endswith(("down.weight", "lora_a"))]
    assert squeezes

    def change() -> float:
        """How far the logits move when every squeeze is doubled."""
        before = model(images).detach()
        for p in squeezes:
            p.data *= 2
        after = model(images).detach()
        for p in squeezes:
            p.data /= 2
        return float((after - before).abs().max())

    assert change() > 1e-4
    adapters = [adapter for block in _slots(model) for adapter in block]
    for adapter in adapters:
        adapter.bottleneck_dropout = _Blocked()
    assert change() == 0
    for adapter in adapters:
        # Q and v of 8 each.
        stretch = adapter.up.in_features if hasattr(adapter, "up") else 16 if host == "lora" else 8
        assert set(adapter.bottleneck_dropout.widths) == {stretch}


@pytest.mark.parametrize("host", WITH_BOTTLENECK)
def test_an_empty_slot_costs_no_tensor_and_no_name(host: str) -> None:
    model = _adapted(host)
    assert not [name for name in model.state_dict() if "bottleneck_dropout" in name]
    own = METHODS[host].__dataclass_fields__["dropout"].default if host in OWN_DROPOUT_INSIDE else 0.0
    rates = {getattr(a.bottleneck_dropout, "p", 0.0) for adapters in _slots(model) for a in adapters}
    assert rates == {own}


@pytest.mark.parametrize("host", WITH_BOTTLENECK)
def test_the_schedule_replaces_the_hosts_own_dropout_in_the_bottleneck(host: str) -> None:
    model = _adapted(host, replace(QUIET, forward_sparsity=0.3))
    for index, adapters in enumerate(_slots(model)):
        rates = [adapter.bottleneck_dropout.p for adapter in adapters]
        assert rates == pytest.approx([0.3 * (1 - index / 3)] * len(rates))
        assert adapters or host == "ila"
    names = {name for name, m in model.named_modules() if isinstance(m, nn.Dropout) and m.p > 0}
    outside = {name for name, m in _adapted(host).named_modules() if isinstance(m, nn.Dropout) and m.p > 0}
    kept = {name for name in outside if not name.endswith("bottleneck_dropout")}
    assert {name for name in names if not name.endswith("bottleneck_dropout")} == kept


@pytest.mark.parametrize("host", WITH_BOTTLENECK)
def test_the_last_block_drops_nothing_in_its_bottlenecks_however_the_host_was_set(
    host: str, images: Tensor
) -> None:
    """A host's dropout on an adapter's output is set to 0 here, the one in its bottleneck is not."""
    model = _adapted(host, replace(QUIET, forward_sparsity=0.4)).train()
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and not name.endswith("bottleneck_dropout"):
            module.p = 0.0
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
        if isinstance(getattr(module, "up", None), nn.Linear):
            nn.init.normal_(module.up.weight)
        for name in ("lora_b", "up_weight"):
            if hasattr(module, name):
                nn.init.normal_(getattr(module, name))
    x, layout = model.embed(images)
    spread = []
    for index in range(model.depth):
        outputs = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            outputs.append(model.run_block(index, x, layout)[0])
        spread.append(not torch.equal(*outputs))
        x, layout = model.run_block(index, x.detach(), layout)
    assert spread == ([True, False, True, False] if host == "ila" else [True, True, True, False])


@pytest.mark.parametrize("host", OWN_DROPOUT_INSIDE)
def test_without_forward_sparsity_the_host_keeps_its_own_dropout(host: str) -> None:
    slots = _slots(_adapted(host, QUIET))
    assert {adapter.bottleneck_dropout.p for adapters in slots for adapter in adapters} == {0.1}


# ---- nothing to act on ----


@pytest.mark.parametrize("host", [*WITHOUT_BOTTLENECK, *WITHOUT_ADAPTER])
def test_a_sparsity_with_nothing_to_act_on_says_so_with_the_remedy(host: str) -> None:
    idle = ["forward_sparsity", *(["backward_sparsity"] if host in WITHOUT_ADAPTER else [])]
    remedy = ",".join(f"{option}=0" for option in idle)
    problem = rf"dyn: beside {re.escape(host)}, forward_sparsity=0.2 finds no bottleneck"
    message = rf"{problem}.*write dyn:{remedy}, or use a host such as lora"
    with pytest.warns(OptionWarning, match=message) as caught:
        model = _adapted(host, DynExits(every=1))
    assert len(caught) == 1, "once"
    assert idle_sparsity(model) == tuple(idle)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _adapted(host, parse_method(f"dyn:every=1,{remedy}"))


def test_exits_without_a_host_say_so_unless_both_are_off() -> None:
    with pytest.warns(
        OptionWarning,
        match="beside no host, forward_sparsity=0.2 .* backward_sparsity=0.3 finds no adapter weight",
    ):
        al.adapt(make_tiny_vit(), DynExits(every=1), 5)
    with pytest.warns(OptionWarning, match=r"write dyn:backward_sparsity=0, or"):
        al.adapt(make_tiny_vit(), DynExits(every=1, forward_sparsity=0), 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        al.adapt(make_tiny_vit(), ALONE, 5)


@pytest.mark.parametrize("host", WITH_BOTTLENECK)
def test_a_host_with_a_bottleneck_passes_in_silence(host: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert idle_sparsity(_adapted(host, DynExits(every=1))) == ()


def test_a_bottleneck_in_the_last_block_alone_has_nothing_to_drop_as_its_rate_is_0() -> None:
    with pytest.warns(
        OptionWarning, match="beside ila, forward_sparsity=0.2 finds no bottleneck before the last block"
    ):
        _adapted("ila:after=4", DynExits(every=1))


def test_a_warning_turned_into_an_error_leaves_the_backbone_as_it_was() -> None:
    vit = make_tiny_vit()
    layout = repr(vit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(OptionWarning):
            al.adapt(vit, ["ssf", DynExits(every=1)], 5)
    assert repr(vit) == layout
    al.adapt(vit, ["ssf", QUIET], 5)


def test_the_workbooks_own_lists_ask_for_what_applies() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for methods in COMBINATIONS.values():
            al.adapt(make_tiny_vit(), list(methods), 5)


# ---- one convention for rates ----


def test_both_rates_say_what_is_dropped() -> None:
    assert (DynExits().forward_sparsity, DynExits().backward_sparsity) == (0.2, 0.3)
    parameter = nn.Parameter(torch.zeros(40_000))
    parameter.grad = torch.ones(40_000)
    mask_gradients([parameter], 0.1, seed=0)
    assert float((parameter.grad == 0).double().mean()) == pytest.approx(0.1, abs=0.01)
    assert parameter.grad.unique().tolist() == pytest.approx([0, 1 / 0.9])


@pytest.mark.parametrize("option", ["forward_sparsity", "backward_sparsity"])
@pytest.mark.parametrize("rate", [-0.1, 1])
def test_a_rate_of_dropping_lies_from_0_to_below_1(option: str, rate: float) -> None:
    with pytest.raises(al.AdapterError, match=rf"{option}={rate}.*must lie in \[0, 1\)"):
        DynExits(**{option: rate})


def test_the_former_name_is_read_from_saved_files_only() -> None:
    for keep, drop in ((0.7, 0.3), (1, 0.0), (0.9, 0.1), (0.001, 0.999)):
        spec = {"name": "dyn", "options": {"every": 2, "backward_keep": keep}}
        assert method_from_dict(spec) == DynExits(every=2, backward_sparsity=drop)
        assert spec["options"] == {"every": 2, "backward_keep": keep}, "the header is left alone"
    with pytest.raises(
        al.AdapterError, match="unknown option of dyn 'backward_keep'; did you mean 'backward_sparsity'"
    ):
        parse_method("dyn:backward_keep=0.7")
    with pytest.raises(al.AdapterError, match="unknown method 'dym'; did you mean 'dyn'"):
        method_from_dict({"name": "dym", "options": {}})
