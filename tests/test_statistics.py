"""Intervals are Student's, and say how few values they stand on."""

import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest

import adapters_lib as al
from adapters_lib.experiments.statistics import _undominated, mean_interval, pareto_front, summarise


def test_three_values_by_hand() -> None:
    interval = mean_interval([70.0, 72.0, 74.0])  # s = 2, t(0.975, 2) = 4.302653
    assert interval.mean == 72
    assert interval.half == pytest.approx(4.302653 * 2 / math.sqrt(3), rel=1e-6)
    assert str(interval) == "72.0 ± 5.0 (n = 3)"


def test_one_value_has_no_interval() -> None:
    assert math.isnan(mean_interval([70.0]).half)
    assert str(mean_interval([70.0])) == "70.0 (n = 1)"


@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_nothing_to_average_is_an_error(values: list[float]) -> None:
    with pytest.raises(al.AdapterError, match="finite values"):
        mean_interval(values)


def test_a_summary_has_one_row_a_method_with_interval_and_costs() -> None:
    table = pd.DataFrame(
        {
            "method": ["a", "a", "b"],
            "seed": [0, 1, 0],
            "top1": [1.0, 3.0, 5.0],
            "macs": [10, 10, 20],
            "note": "x",
        }
    )
    summary = summarise(table, ["method"])
    assert summary[["method", "top1", "n", "macs"]].values.tolist() == [
        ["a", 2.0, 2, 10.0],
        ["b", 5.0, 1, 20.0],
    ]
    with pytest.raises(al.AdapterError, match="no column 'size'"):
        summarise(table, ["size"])
    with pytest.raises(al.AdapterError, match="no rows"):
        summarise(table.iloc[:0], ["method"])


def test_the_front_is_the_one_found_by_comparing_all_pairs() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        costs = generator.integers(0, 6, 9).astype(float)
        values = generator.integers(0, 5, (7, 9)).astype(float)
        on_front = _undominated(costs, values)
        for draw, row in enumerate(values):
            for i in range(9):
                beaten = any(
                    costs[j] <= costs[i] and row[j] >= row[i] and (costs[j] < costs[i] or row[j] > row[i])
                    for j in range(9)
                )
                assert on_front[draw, i] == (not beaten)


def test_the_front_of_500_methods_and_5000_rows_takes_little_memory() -> None:
    generator = np.random.default_rng(0)
    rows = {"method": np.repeat([f"m{i}" for i in range(500)], 10), "seed": np.tile(np.arange(10), 500)}
    costs = np.repeat(generator.permutation(500) + 1, 10)
    table = pd.DataFrame({**rows, "top1": generator.random(5000), "trained": costs})
    tracemalloc.start()
    try:
        front = pareto_front(table, "trained")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(front) == 500
    assert peak < 200 * 2**20
