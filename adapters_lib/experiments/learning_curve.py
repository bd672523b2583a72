"""How long is long enough? What the grid `learning_curve` says about the order of the methods, in numbers and
in sentences.

Every budget is a run of its own. An order is read only at budgets at which every method of the table ran with
a shared seed, so a table that is still being made never ranks a method by its absence; until two budgets are
complete, the methods that ran at both the shortest and the longest are compared with each other alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import pandas as pd
from scipy import stats

from ..errors import AdapterError
from .versions import OutdatedRows, one_version

__all__ = ["BudgetOrder", "budget_orders", "budget_text", "swapped"]

APART = 2.0
"""Points. Methods that are nearer than this at one of the budgets may change places by chance."""


class BudgetOrder(NamedTuple):
    """updates: how many. seeds: how many every method ran. accuracies: method → mean (%), best first."""

    updates: int
    seeds: int
    accuracies: dict[str, float]

    def correlation(self, other: BudgetOrder) -> float:
        """Spearman's ρ between the two orders: 1 is the same order, 0 nothing in common."""
        methods = list(self.accuracies)
        sides = [[order.accuracies[name] for name in methods] for order in (self, other)]
        return float(stats.spearmanr(*sides).statistic)


def budget_orders(rows: pd.DataFrame, value: str = "val_top1") -> list[BudgetOrder]:
    """The budgets at which every method of the table has a run with the same seed, the shortest first.

    rows: of the grid `learning_curve`: columns method, updates, seed and `value` (%).

    Raises:
        AdapterError: a missing column.
    """
    rows = _of_one_version(rows, value)
    methods, orders = rows["method"].nunique(), []
    for updates, mine in rows.groupby("updates"):
        counts = mine.groupby("seed")["method"].nunique()
        seeds = counts[counts == methods].index
        if len(seeds):
            means = mine[mine["seed"].isin(seeds)].groupby("method", sort=False)[value].mean()
            ranked = means.sort_values(ascending=False, kind="stable")
            named = {str(name): float(mean) for name, mean in ranked.items()}
            orders.append(BudgetOrder(int(str(updates)), len(seeds), named))
    return orders


def swapped(first: BudgetOrder, second: BudgetOrder, apart: float = 0.0) -> list[tuple[str, str]]:
    """Pairs of methods that change places: (better at the first budget, better at the second), each time by
    more than `apart` points."""
    pairs = []
    for one, other in combinations(first.accuracies, 2):  # in the first order: `one` is not below `other`
        before = first.accuracies[one] - first.accuracies[other]
        after = second.accuracies[one] - second.accuracies[other]
        if before > apart and after < -apart:
            pairs.append((one, other))
    return pairs


def budget_text(rows: pd.DataFrame, value: str = "val_top1") -> str:
    """Markdown: how many runs, methods and budgets; the order at the shortest and at the longest complete
    budget, and what a short table would get wrong. More rows change the sentences.

    Raises:
        AdapterError: no row, or a missing column.
    """
    kept = _of_one_version(rows, value)
    if kept.empty:
        raise AdapterError("no row to read; `python -m adapters_lib results run learning_curve` makes them")
    orders, methods = budget_orders(rows, value), kept["method"].nunique()
    budgets = sorted(kept["updates"].astype(int).unique())
    parts = [
        f"The table holds {_count(len(kept), 'run')} of {_count(methods, 'method')} at"
        f" {_count(len(budgets), 'budget')} ({_updates(budgets)})."
    ]
    if len(orders) < 2 and (some := _shared_orders(kept, value)):
        return "\n\n".join([*parts, *_shared_text(some)])
    if not orders:
        return " ".join(
            [*parts, "No budget has a run of every method with one seed yet, so no order is read."]
        )
    done = [order.updates for order in orders]
    parts[0] += f" All {methods} methods have run at {len(done)} of them ({_updates(done)})."
    parts += [_order_text(orders[0])]
    if len(orders) == 1:
        return "\n\n".join([*parts, _one_budget_text(kept, orders[0], value)])
    return "\n\n".join([*parts, _order_text(orders[-1]), *_two_budgets_text(orders)])


def _shared_orders(rows: pd.DataFrame, value: str) -> list[BudgetOrder]:
    """The orders at the shortest and at the longest budget of the methods, at least two, that ran at both
    with a shared seed; of several longest budgets the longest one, empty if there is none."""
    budgets = sorted(rows["updates"].unique())
    for longest in reversed(budgets[1:]):
        two = rows[rows["updates"].isin([budgets[0], longest])]
        pairs = two.groupby(["method", "seed"])["updates"].nunique()
        both = pairs[pairs == 2].reset_index()
        seed = both["seed"].value_counts().index[:1]
        methods = both.loc[both["seed"].isin(seed), "method"]
        if len(methods) > 1:
            return budget_orders(two[two["method"].isin(methods) & two["seed"].isin(seed)], value)
    return []


def _shared_text(orders: Sequence[BudgetOrder]) -> list[str]:
    """What a table that is still being made says of the methods that ran at two of its budgets."""
    short, long = orders
    pairs, total = swapped(short, long, APART), len(short.accuracies) * (len(short.accuracies) - 1) // 2
    moved = pd.Series(long.accuracies) - pd.Series(short.accuracies)
    text = (
        f"From {short.updates:,} to {long.updates:,} updates these methods gain {moved.min():+.1f} to"
        f" {moved.max():+.1f} points, and {len(pairs)} of {total} pairs change places by more than"
        f" {APART:g} points on both sides"
    )
    if pairs:
        text += ": a table at the shorter budget alone would have ranked " + "; ".join(
            f"{one} before {other}" for one, other in pairs[:3]
        )
    first = f"{_count(len(short.accuracies), 'method')} ran at two of the budgets with one seed."
    return [first, _order_text(short), _order_text(long), f"{text}."]


def _of_one_version(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    if missing := [name for name in ("method", "updates", "seed", value) if name not in rows]:
        raise AdapterError(f"the table has no column {missing[0]!r}; it has {', '.join(rows.columns)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutdatedRows)  # the figure beside the sentences says it
        kept = one_version(rows[rows[value].notna()], ["method", "updates"])
    return kept.drop_duplicates(["method", "updates", "seed"], keep="last")


def _order_text(order: BudgetOrder) -> str:
    names = " > ".join(f"{name} {accuracy:.1f}" for name, accuracy in order.accuracies.items())
    seeds = "one seed" if order.seeds == 1 else f"mean of {order.seeds} seeds"
    return f"**{order.updates:,} updates** ({seeds}, validation top-1 in %): {names}."


def _one_budget_text(rows: pd.DataFrame, only: BudgetOrder, value: str) -> str:
    """What may be said before a second budget is complete: that no order can be compared, and who has
    longer runs by how much."""
    text = "One complete budget cannot say whether the order lasts: two orders are needed to compare."
    gains = []
    for method, mine in rows.groupby("method", sort=False):
        longer = mine[mine["updates"] > only.updates]
        if len(longer):
            most = longer["updates"].max()
            accuracy = longer.loc[longer["updates"] == most, value].mean()
            gain = accuracy - only.accuracies[str(method)]
            gains.append(f"{method} by {gain:+.1f} points up to {int(most):,} updates")
    return f"{text} Longer runs that are there already change {', '.join(gains)}." if gains else text


def _two_budgets_text(orders: list[BudgetOrder]) -> list[str]:
    short, long = orders[0], orders[-1]
    pairs, clear = swapped(short, long), swapped(short, long, APART)
    total = len(short.accuracies) * (len(short.accuracies) - 1) // 2
    text = (
        f"The rank correlation between the shortest and the longest of these budgets is"
        f" {short.correlation(long):+.2f} (1 is the same order, 0 nothing in common): {len(pairs)} of"
        f" {total} pairs of methods change places"
    )
    if clear:
        named = "; ".join(f"{one} before {other}" for one, other in clear[:3])
        more = ", among them" if len(clear) > 3 else ":"
        text += (
            f", {len(clear)} of them by more than {APART:g} points on both sides. A table at"
            f" {short.updates:,} updates alone would have ranked these wrongly{more} {named}."
        )
    else:
        text += f", none of them by more than {APART:g} points on both sides: near ones only, by these runs."
    steps = [f"{order.updates:,}: {order.correlation(long):+.2f}" for order in orders[:-1]]
    gain = pd.Series(long.accuracies) - pd.Series(orders[-2].accuracies)
    last = (
        f"Rank correlation of each shorter budget with {long.updates:,} updates: {', '.join(steps)}. The last"
        f" step, from {orders[-2].updates:,} updates on, changes the methods by {gain.min():+.1f} to"
        f" {gain.max():+.1f} points."
    )
    return [text, last]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _updates(budgets: list[int]) -> str:
    return f"{', '.join(f'{budget:,}' for budget in budgets)} updates"
