"""Two methods are compared on the seeds and the images that they share; a front says how sure it is."""

import math

import numpy as np
import pandas as pd
import pytest

import adapters_lib as al
from adapters_lib.experiments.statistics import bootstrap_difference, paired_difference, pareto_front

RUNS = pd.DataFrame(
    {
        "method": ["a"] * 3 + ["b"] * 3,
        "seed": [0, 1, 2, 2, 1, 0],
        "top1": [50.0, 60.0, 70.0, 67.0, 58.0, 49.0],
        "macs": [10] * 3 + [20] * 3,
    }
)


def test_a_difference_is_paired_by_seed() -> None:
    difference = paired_difference(RUNS, "a", "b")  # 1, 2, 3: s = 1
    assert difference.mean == pytest.approx(2)
    assert difference.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert difference.n == 3
    assert paired_difference(RUNS, "b", "a").mean == pytest.approx(-2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (RUNS[RUNS["method"] == "a"], "no row has method = 'b'; the table has a"),
        (RUNS.iloc[:5], "seed 0 was run for only one of 'a' and 'b'"),
        (pd.concat([RUNS, RUNS.iloc[:1]]), "'a' has several rows of seed 0"),
        (RUNS.drop(columns="seed"), "no column 'seed'"),
    ],
)
def test_runs_that_do_not_pair_are_an_error(rows: pd.DataFrame, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        paired_difference(rows, "a", "b")


def test_the_bootstrap_over_images_has_the_width_of_a_binomial() -> None:
    n = 400
    first = np.arange(n) < 300  # 75 % right
    second = np.zeros(n, dtype=bool)
    difference = bootstrap_difference(first, second)
    half = 1.96 * 100 * math.sqrt(0.75 * 0.25 / n)
    assert difference.mean == 75
    assert (difference.high - difference.low) / 2 == pytest.approx(half, rel=0.06)
    assert str(difference).startswith("+75.0 [+7")
    assert difference == bootstrap_difference(first, second)  # seeded


def test_images_on_which_both_agree_add_nothing() -> None:
    same = np.arange(50) % 3 == 0
    assert bootstrap_difference(same, same)[:3] == (0, 0, 0)


def test_seeds_are_averaged_image_by_image() -> None:
    first, second = np.array([[1, 1, 0, 0], [1, 0, 0, 0]]), np.zeros((2, 4))
    difference = bootstrap_difference(first, second)
    assert difference.mean == pytest.approx(37.5)
    assert (difference.images, difference.seeds) == (4, 2)


def test_hits_on_other_images_are_an_error() -> None:
    with pytest.raises(al.AdapterError, match=r"\(1, 3\) and \(1, 4\)"):
        bootstrap_difference([1, 0, 1], [1, 0, 1, 1])
    with pytest.raises(al.AdapterError, match="at least one image"):
        bootstrap_difference([], [])
    with pytest.raises(al.AdapterError, match="draws=5"):
        bootstrap_difference([1], [0], draws=5)


def _table(values: dict[str, tuple[float, list[float]]]) -> pd.DataFrame:
    rows = [
        {"method": m, "seed": s, "top1": v, "macs": c}
        for m, (c, accuracies) in values.items()
        for s, v in enumerate(accuracies)
    ]
    return pd.DataFrame(rows)


def test_the_front_by_hand() -> None:
    front = pareto_front(
        _table(
            {
                "dear": (30, [80, 80.2]),
                "waste": (30, [60, 60.2]),
                "cheap": (10, [50, 50.2]),
                "mid": (20, [40, 40.2]),
            }
        ),
        "macs",
    )
    assert front["method"].tolist() == ["cheap", "mid", "dear", "waste"]
    assert front["on_front"].tolist() == [True, False, True, False]
    assert front["front_share"].iloc[0] == 1  # the cheapest always is
    assert front["front_share"].iloc[1] < 0.05


def test_equal_methods_stand_on_the_front_together() -> None:
    front = pareto_front(_table({"a": (10, [50.0]), "b": (10, [50.0])}), "macs")
    assert front["on_front"].tolist() == [True, True]


def test_two_methods_of_equal_cost_and_mean_share_the_front_equally() -> None:
    front = pareto_front(_table({"a": (10, [49, 50, 51]), "b": (10, [49, 50, 51])}), "macs")
    assert front["front_share"].tolist() == pytest.approx([0.5, 0.5], abs=0.03)
    assert front["front_share"].sum() == pytest.approx(1)


def test_one_seed_gives_no_certainty() -> None:
    front = pareto_front(_table({"a": (10, [50.0]), "b": (20, [60.0, 61.0])}), "macs")
    assert front["on_front"].tolist() == [True, True]
    assert front["front_share"].isna().all()
    with pytest.raises(al.AdapterError, match="no column 'ms'"):
        pareto_front(RUNS, "ms")
    with pytest.raises(al.AdapterError, match="no rows"):
        pareto_front(RUNS.iloc[:0], "macs")
