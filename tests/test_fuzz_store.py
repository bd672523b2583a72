"""What is stored and then damaged is refused, with what to do, or gives what the sound one gives: a few dozen
of each kind, the same every time."""

from pathlib import Path

import pytest
from fuzz import kinds_store
from fuzz.engine import all_kinds, try_kinds

INPUTS = {
    "adapters": 60,
    "adapters, bytes": 60,
    "adapters that rebuild": 40,
    "run checkpoints": 40,
    "tables": 200,
    "peft configurations": 60,
    "run summaries": 20,
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize("name", INPUTS)
def test_damage_is_refused_or_without_effect(name: str) -> None:
    tally = try_kinds([name], INPUTS[name], minutes=10)[name]
    assert not tally.faults, "\n".join(map(str, tally.faults))
    assert tally.inputs == INPUTS[name]
    assert tally.clear > 0 or name == "run summaries"  # nobody believes a summary: it is written anew
    assert tally.right > 0


def test_the_kinds_of_what_is_stored_are_all_tried() -> None:
    assert set(kinds_store.STORED) == set(INPUTS)
    assert set(INPUTS) <= set(all_kinds())
