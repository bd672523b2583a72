"""Claims about peak memory and latency: what is measured, under which conditions, and that nothing is left
behind."""

from __future__ import annotations

import pytest
import torch

import adapters_lib as al
from adapters_lib.costs.latency import compare_latency, latency
from adapters_lib.costs.macs import on_shapes
from adapters_lib.costs.memory import memory_use, peak_memory
from adapters_lib.methods.adapt import adapt

# ---- memory --------------------------------------------------------------------------------------


def test_peak_memory_adds_up_what_is_alive_at_once():
    def fn() -> None:
        a = torch.zeros(1000)
        b = a + 1
        del a
        b.add_(1)  # in place: nothing new
        c = b.view(10, 100).clone()
        del b, c

    assert peak_memory(fn) == 2 * 4000


def test_activations_kept_for_the_backward_pass_count_until_it_has_run():
    x = torch.zeros(1000, requires_grad=True)
    depth = 10

    def forward() -> torch.Tensor:
        y = x
        for _ in range(depth):
            y = torch.sin(y)
        return y

    with torch.no_grad():
        assert peak_memory(forward) == 2 * 4000
    assert peak_memory(forward) == depth * 4000


def test_peak_memory_worked_out_from_shapes_equals_the_peak_of_the_real_pass(tiny_vit):
    vit = tiny_vit().eval()

    def fn(run) -> None:
        with torch.no_grad():
            run(torch.randn(4, 3, 32, 32))

    real = peak_memory(fn, vit)
    with on_shapes(vit) as run:
        assert peak_memory(fn, run) == real


def test_a_linear_probe_trains_in_less_memory_than_lora_and_lora_in_less_than_everything(tiny_vit):
    probe, lora, full = (memory_use(adapt(tiny_vit(), method, 10)) for method in ("linear", "lora", "full"))
    assert probe.training < lora.training < full.training
    assert probe.inference == full.inference
    assert full.optimizer == 2 * full.weights
    assert memory_use(adapt(tiny_vit(), "full", 10), optimizer_states=1).optimizer == full.weights


def test_an_empty_batch_is_refused(tiny_vit):
    with pytest.raises(al.AdapterError, match="batch 0"):
        memory_use(tiny_vit(), batch=0)


# ---- latency -------------------------------------------------------------------------------------


def test_latency_says_under_what_conditions_it_was_measured(tiny_vit):
    measured = latency(tiny_vit(), batch=2, warmup=1, repeats=4, dtype=torch.bfloat16)
    assert 0 < measured.q25 <= measured.median <= measured.q75
    assert (measured.device, measured.dtype, measured.batch, measured.repeats) == ("cpu", "bfloat16", 2, 4)
    assert measured.threads == torch.get_num_threads()
    assert "batch 2, bfloat16, cpu" in str(measured)


def test_latency_in_another_data_type_leaves_the_model_alone(tiny_vit):
    vit = tiny_vit().train()
    latency(vit, warmup=0, repeats=2, dtype=torch.bfloat16)
    assert vit.training
    assert next(vit.parameters()).dtype == torch.float32


def test_candidates_are_timed_in_turn_each_once_a_round_with_a_rotating_start():
    calls: list[str] = []
    compared = compare_latency(
        {name: lambda name=name: calls.append(name) for name in "abc"}, warmup=1, repeats=3
    )
    assert "".join(calls) == "cab" + "abc" + "bca" + "cab"
    assert compared.ratios["a"] == (1, 1, 1)
    assert set(compared.to_dict()["b"]) >= {"median", "q25", "q75", "ratio"}
    assert str(compared).count("\n") == 2


@pytest.mark.parametrize("wrong", [{"warmup": -1}, {"repeats": 1}])
def test_too_few_repeats_are_refused(tiny_vit, wrong):
    with pytest.raises(al.AdapterError, match="at least 0 and 2"):
        latency(tiny_vit(), **wrong)


def test_a_comparison_of_nothing_is_refused():
    with pytest.raises(al.AdapterError, match="no candidates"):
        compare_latency({})


def test_training_steps_can_be_timed_with_gradients_on() -> None:
    seen = []
    for gradients in (False, True):
        compare_latency(
            {"a": lambda: seen.append(torch.is_grad_enabled())}, warmup=0, repeats=2, gradients=gradients
        )
    assert seen == [False, False, True, True]
