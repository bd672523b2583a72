"""Stored files that are damaged at random give the right result or an error that we explain; a few dozen of
each kind, the same every time."""

import random
import shutil
import warnings
from collections import Counter
from pathlib import Path

import pytest
from fuzz_store import KINDS

INPUTS = {
    "adapters": 60,
    "adapters, bytes": 60,
    "adapters that rebuild": 40,
    "run checkpoints": 40,
    "tables": 200,
    "peft configurations": 60,
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_or_without_effect(kind: str, tmp_path: Path) -> None:
    KINDS[kind].make(tmp_path / "sound")
    found: Counter[str] = Counter()
    for number in range(INPUTS.get(kind, 20)):
        dice = random.Random(f"{kind} {number}")
        folder = tmp_path / "damaged"
        shutil.copytree(tmp_path / "sound", folder)
        what = KINDS[kind].mutate(folder, dice)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[KINDS[kind].check(folder)] += 1
        except Exception as error:
            raise AssertionError(
                f"{kind}, input {number} ({what}): {type(error).__name__}: {error}"
            ) from error
        shutil.rmtree(folder)
    assert sum(found.values()) == INPUTS.get(kind, 20)
    assert found["refused"] or kind == "run summaries"
