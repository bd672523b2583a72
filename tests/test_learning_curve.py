"""What the table of the learning curve says about the order of methods, whatever it holds so far."""

import pandas as pd
import pytest

import adapters_lib as al
from adapters_lib import __version__
from adapters_lib.experiments import budget_orders, budget_text, swapped


def _rows(*runs: tuple[str, int, int, float]) -> pd.DataFrame:
    rows = pd.DataFrame(runs, columns=["method", "updates", "seed", "val_top1"])
    return rows.assign(version=__version__)


FIRST = [("linear", 450, 100, 50.0), ("lora", 450, 100, 40.0), ("adpt", 450, 100, 30.0)]
LATER = [("linear", 900, 100, 55.0), ("lora", 900, 100, 62.0), ("adpt", 900, 100, 60.0)]


def test_a_budget_counts_only_when_every_method_has_run_it_with_the_same_seed() -> None:
    rows = _rows(*FIRST, ("linear", 900, 100, 55.0), ("lora", 900, 100, 60.0), ("adpt", 900, 101, 60.0))
    assert [order.updates for order in budget_orders(rows)] == [450]


def test_an_order_is_of_the_seeds_that_all_methods_share() -> None:
    (order,) = budget_orders(_rows(*FIRST, ("adpt", 450, 101, 99.0)))
    assert order.seeds == 1
    assert list(order.accuracies.items()) == [("linear", 50.0), ("lora", 40.0), ("adpt", 30.0)]


def test_rows_of_an_older_version_are_not_averaged_with_those_of_this_one() -> None:
    old = _rows(("linear", 450, 100, 0.0)).assign(version="0.0.1")
    (order,) = budget_orders(pd.concat([old, _rows(*FIRST)]))
    assert order.accuracies["linear"] == 50.0


def test_the_pairs_that_change_places_and_the_rank_correlation() -> None:
    short, long = budget_orders(_rows(*FIRST, *LATER))
    assert swapped(short, long) == [("linear", "lora"), ("linear", "adpt")]
    assert swapped(short, long, apart=6.0) == [("linear", "lora")]
    assert short.correlation(long) == pytest.approx(-0.5)


def test_one_complete_budget_gives_an_order_and_no_comparison_of_orders() -> None:
    text = budget_text(_rows(*FIRST, ("linear", 900, 100, 55.0)))
    assert "4 runs of 3 methods at 2 budgets (450, 900 updates)" in text
    assert "All 3 methods have run at 1 of them (450 updates)" in text
    assert "linear 50.0 > lora 40.0 > adpt 30.0" in text
    assert "linear by +5.0 points up to 900 updates" in text
    assert "correlation" not in text


def test_methods_that_ran_at_two_budgets_are_compared_before_all_of_them_have() -> None:
    text = budget_text(_rows(*FIRST, LATER[0], LATER[2], ("ila", 450, 100, 45.0)))
    assert "2 methods ran at two of the budgets" in text
    assert "linear 50.0 > adpt 30.0" in text
    assert "adpt 60.0 > linear 55.0" in text
    assert "gain +5.0 to +30.0 points" in text
    assert "1 of 1 pairs change places" in text
    assert "would have ranked linear before adpt." in text
    assert "lora" not in text


def test_two_complete_budgets_say_what_the_short_table_ranks_wrongly() -> None:
    text = budget_text(_rows(*FIRST, *LATER))
    assert "lora 62.0 > adpt 60.0 > linear 55.0" in text
    assert "is -0.50" in text
    assert "2 of 3 pairs of methods change places" in text
    assert "ranked these wrongly: linear before lora; linear before adpt." in text
    assert "from 450 updates on, changes the methods by +5.0 to +30.0 points" in text


def test_an_order_that_stays_is_said_to_stay() -> None:
    text = budget_text(_rows(*FIRST, *((name, 900, seed, top1 + 5) for name, _, seed, top1 in FIRST)))
    assert "is +1.00" in text
    assert "0 of 3 pairs" in text
    assert "wrongly" not in text


def test_a_table_without_a_complete_budget_or_without_rows_is_no_order() -> None:
    assert "no order is read" in budget_text(_rows(FIRST[0], LATER[1]))
    with pytest.raises(al.AdapterError, match="results run learning_curve"):
        budget_text(_rows())
    with pytest.raises(al.AdapterError, match="no column 'updates'"):
        budget_text(_rows(*FIRST).drop(columns="updates"))
