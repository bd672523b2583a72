"""Random inputs of every kind end in the right result or in an error that says what to do; and the engine
notices what does not."""

import time
from pathlib import Path

import pytest
from fuzz import kinds_data
from fuzz.engine import KINDS, Case, all_kinds, table, try_input, try_kinds

import adapters_lib as al

INPUTS = {
    "methods": 60,
    "command lines": 40,
    "lists": 150,
    "video lists": 120,
    "options": 60,
    "images": 200,
    "videos": 60,
}


def drawn(run, right=lambda result: True, writes=()):
    return lambda rng, place: Case("x", lambda: run(place), right, writes)


def verdict(run, *args, **options):
    return try_input("x", 0, drawn(run, *args), **options).verdict


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_gives_the_right_result_or_a_clear_error(name):
    tallies = try_kinds([name], INPUTS[name], minutes=10)
    tally = tallies[name]
    assert not tally.faults, "\n".join(map(str, tally.faults))
    assert tally.inputs == INPUTS[name]
    assert tally.right > 0  # sound inputs are among them
    assert tally.clear > 0  # and unsound ones


def test_the_kinds_of_this_file_are_all_tried():
    kinds = {name for name, draw in all_kinds().items() if draw.__module__ == kinds_data.__name__}
    assert kinds == set(INPUTS)


def test_an_input_is_the_same_whenever_it_is_drawn():
    for name in INPUTS:
        first, second = (try_input(name, 3) for _ in range(2))
        assert (first.verdict, first.shown.replace("fuzz-", "")[:20]) == (
            second.verdict,
            second.shown.replace("fuzz-", "")[:20],
        )


def fail(error):
    raise error


def test_the_engine_tells_right_results_clear_errors_and_faults_apart():
    assert verdict(lambda place: 1) == "right"
    assert verdict(lambda place: 1, lambda result: False) == "fault"
    assert verdict(lambda place: fail(al.AdapterError("rank=-1; give at least 1"))) == "clear error"
    assert verdict(lambda place: fail(al.AdapterError("something went wrong"))) == "fault"
    for error in (ValueError("x"), SystemExit(2), MemoryError(), RecursionError()):
        assert verdict(lambda place, error=error: fail(error)) == "fault"


def test_the_engine_sees_what_is_left_behind_and_what_does_not_end():
    def leave(place: Path):
        (place / "part").write_text("x")

    assert verdict(leave) == "fault"
    assert verdict(leave, lambda result: True, ("part",)) == "right"
    start = time.monotonic()
    assert verdict(lambda place: time.sleep(30), seconds=0.2) == "fault"
    assert time.monotonic() - start < 20


def test_the_table_counts_every_input():
    KINDS["made up"] = drawn(lambda place: 1)
    try:
        tried = try_kinds(["made up"], 7, minutes=1)
    finally:
        del KINDS["made up"]
    assert table(tried).splitlines()[-1].split() == ["all", "7", "7", "0", "0"]
