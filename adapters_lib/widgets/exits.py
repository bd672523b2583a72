"""Sliders over the thresholds of early exits: a thin layer over `exit_board.ExitBoard`, which draws from
stored logits."""

from __future__ import annotations

from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from ..exits.policies import POLICIES
from ..exits.simulate import StoredExits
from ..figures.exit_board import ExitBoard
from .panel import FigurePanel

__all__ = ["ExitThresholds", "exit_thresholds"]

_WIDE: dict[str, Any] = {"style": {"description_width": "17em"}, "layout": {"width": "42em"}}
_BUDGET, _THRESHOLDS = "the budget", "each threshold"


class ExitThresholds(FigurePanel):
    """One slider for a budget of MACs, or one threshold for every exit; accuracy, cost, exit distribution and
    gallery follow.

    Under a budget, thresholds are those calibrated on validation images, and their sliders show them.

    Attributes:
        board: draws without a widget. numbers: the present figures as text, for those who do not see the
            picture.
    """

    def __init__(self, board: ExitBoard, budget: float = 0.5) -> None:
        self.board = board
        self._quiet = False
        self.numbers = ipywidgets.HTML()
        least, most = board.val.costs.reachable
        steer = ipywidgets.ToggleButtons(
            options=[_BUDGET, _THRESHOLDS], description="steer by", style=_WIDE["style"]
        )
        policy = ipywidgets.Dropdown(options=POLICIES, description="confidence", **_WIDE)
        # Inside the reachable range after rounding.
        low, high = round(least + 0.005, 2), round(most - 0.005, 2)
        span = {"min": low, "max": high, "step": 0.01, "readout_format": ".2f"}
        start = min(max(budget, low), high)
        slider = ipywidgets.FloatSlider(
            value=start, description="budget (MACs / full depth)", **span, **_WIDE
        )
        self.limits = [
            ipywidgets.FloatSlider(
                value=0.5,
                min=0,
                max=1,
                step=0.001,
                readout_format=".3f",
                description=f"threshold behind block {block} (0–1)",
                **_WIDE,
            )
            for block in board.test.costs.blocks[:-1]
        ]
        names = {f"exit_{k}": limit for k, limit in enumerate(self.limits)}
        super().__init__(
            self._draw,
            {"steer": steer, "policy": policy, "budget": slider, **names},
            alt=(
                "Left: where images leave; right: accuracy against cost, the dot is the present choice;"
                " below: who leaves. At threshold 0 all leave, at 1 none does."
            ),
            extras=[self.numbers],
        )

    def redraw(self, _change: object = None) -> None:
        """Draw once, however many sliders the budget moves."""
        if not self._quiet:
            self.numbers.value = ""
            super().redraw()

    def render(self, figure: Figure) -> bytes:
        """Only what moved is drawn again."""
        return self.board.png()

    def _draw(self, steer: str, policy: str, budget: float, **limits: float) -> Figure:
        by_budget = steer == _BUDGET
        thresholds = self.board.thresholds(budget, policy) if by_budget else tuple(limits.values())
        figure = self.board.draw(thresholds, policy)
        self._quiet = True
        try:
            self.controls["budget"].disabled = not by_budget
            for slider, value in zip(self.limits, thresholds, strict=True):
                slider.disabled = by_budget
                slider.value = value
        finally:
            self._quiet = False
        now = self.board.numbers(thresholds, policy)
        leaving = ", ".join(
            f"{100 * s:.0f} % behind block {b}"
            for s, b in zip(now["shares"], self.board.test.costs.blocks, strict=True)
        )
        self.numbers.value = (
            f"top-1 <b>{now['top1']:.1f} %</b> (full depth {now['full_depth']:.1f} %) for"
            f" <b>{now['macs'] / 1e6:.0f} MMACs</b> an image, {100 * now['relative']:.0f} % of the full"
            f" depth's; leaving: {leaving}"
        )
        return figure


def exit_thresholds(
    test: StoredExits,
    images: Any,
    val: StoredExits,
    *,
    budget: float = 0.5,
    per_exit: int = 12,
    title: str = "",
) -> ExitThresholds:
    """The widget for stored logits of test and validation images; images: uint8 (N, 3, H, W), those of
    `test`. See `ExitBoard`."""
    return ExitThresholds(ExitBoard(test, images, val, per_exit=per_exit, title=title), budget)
