"""The bench says which targets were met, and ends in time."""

import pytest

from adapters_lib.benchmarks.targets import BARE, PEFT, targets
from adapters_lib.costs import latency as timing


def row(ratio: float, macs: float = 1.0) -> dict:
    return {"ratio": ratio, "macs_ratio": macs}


TRAINING = {"full": row(1), "lora": row(0.70), "adpt": row(0.74), "adaptformer": row(0.76), PEFT: row(0.72)}
ONE = {BARE: row(1), "lora": row(1.10), "lora, merged": row(1.005), PEFT: row(1.25), "ila": row(0.9, 0.75)}
MANY = {BARE: row(1), "lora": row(1.02), "lora, merged": row(1.02), PEFT: row(1.03), "ila": row(0.77, 0.75)}


def verdicts(training: dict, inference: dict) -> dict[str, bool]:
    return {entry["target"]: entry["met"] for entry in targets(training, inference)}


def test_every_target_is_judged_by_its_own_rule() -> None:
    assert verdicts(TRAINING, {"1": ONE, "16": MANY}) == {
        "training step of lora at most peft's": True,
        "training step of adpt at most 0.75 of full fine-tuning": True,
        "training step of adaptformer at most 0.75 of full fine-tuning": False,
        "batch 1: overhead of lora unmerged at most half of peft's": True,
        "batch 1: lora, merged, within 1 % of the bare model": True,
        "batch 1: ila not slower than the bare model": True,
        "batch 16: overhead of lora unmerged at most half of peft's": False,
        "batch 16: lora, merged, within 1 % of the bare model": False,
        "batch 16: ila's time, of which at least 90 % of its MAC saving is realised": True,
    }


@pytest.mark.parametrize(("ratio", "met"), [(0.774, True), (0.776, False)])
def test_nine_tenths_of_a_quarter_of_the_macs_are_a_time_of_0_775(ratio: float, met: bool) -> None:
    assert list(verdicts({}, {"16": {"ila": row(ratio, 0.75)}}).values()) == [met]


def test_a_peft_that_happens_to_look_free_makes_the_target_stricter_not_absurd() -> None:
    (entry,) = targets({}, {"1": {"lora": row(1.01), PEFT: row(0.99)}})
    assert entry["limit"] == 0
    assert not entry["met"]


def test_what_was_not_measured_is_not_judged() -> None:
    assert targets({"full": row(1)}, {"1": {BARE: row(1)}}) == []


def test_a_comparison_stops_after_its_seconds_but_not_before_three_rounds() -> None:
    calls = []
    compared = timing.compare_latency(
        {"a": lambda: calls.append(1), "b": lambda: None}, warmup=1, repeats=50, seconds=0.0
    )
    assert compared.latencies["a"].repeats == 3
    assert len(calls) == 4
    compared = timing.compare_latency({"a": lambda: None}, warmup=0, repeats=5, seconds=60)
    assert compared.latencies["a"].repeats == 5
