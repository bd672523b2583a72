"""Thin ipywidgets over plain functions: controls on top, one figure below, and errors shown where the reader looks.

Every widget calls a function that returns a Matplotlib `Figure` and works without any widget, which is what tests and static figures use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from .data_sets.leaves import granularity_sheet

__all__ = ["FigurePanel", "granularity_dial"]


class FigurePanel(ipywidgets.VBox):
    """Controls and the figure that they draw.

    Args:
        draw: called with the controls' values by keyword; returns a Figure.
        controls: keyword → widget with a `value`. A slider redraws when it is let go, a dropdown at once.
        alt: what the figure shows, in words, above it.
        extras: further widgets between the controls and the figure, e.g. buttons; they do not redraw by themselves.

    Attributes:
        picture: the figure as PNG. message: the last error, empty while all is well.
    """

    def __init__(self, draw: Callable[..., Figure], controls: Mapping[str, Any], alt: str, extras: Sequence[Any] = ()) -> None:
        self.draw = draw
        self.controls = dict(controls)
        self.picture = ipywidgets.Image(format="png", layout={"max_width": "100%", "align_self": "flex-start"})
        self.message = ipywidgets.HTML()
        caption = ipywidgets.HTML(f"<small>{escape(alt)}</small>")
        super().__init__([*self.controls.values(), *extras, caption, self.message, self.picture])
        for control in self.controls.values():
            control.observe(self.redraw, names="value")
        self.redraw()

    def redraw(self, _change: object = None) -> None:
        """Draw with the controls' present values; a failure is shown in the widget and the last good figure stays."""
        try:
            figure = self.draw(**{name: control.value for name, control in self.controls.items()})
        except Exception as error:
            self.show_error(error)
            return
        self.message.value = ""
        self.picture.value = self.render(figure)

    def render(self, figure: Figure) -> bytes:
        """The figure as PNG; a panel with a faster way overrides this."""
        data = BytesIO()
        figure.savefig(data, format="png", dpi=110)
        return data.getvalue()

    def show_error(self, error: Exception) -> None:
        """Say in the widget what went wrong, until the next drawing that succeeds."""
        self.message.value = f"<b style='color:#b00020'>{escape(type(error).__name__)}: {escape(str(error))}</b>"


def granularity_dial(cultivars: int = 10) -> FigurePanel:
    """A slider over how far apart the cultivars of one species are, and one for the species; below, one leaf of each cultivar."""
    slider = {"continuous_update": False, "style": {"description_width": "9em"}, "layout": {"width": "30em"}}
    return FigurePanel(
        lambda granularity, species: granularity_sheet([granularity], n_cultivars=cultivars, seed=species),
        {
            "granularity": ipywidgets.FloatSlider(value=0.12, min=0.02, max=1.0, step=0.02, description="granularity (0–1)", **slider),
            "species": ipywidgets.IntSlider(value=0, min=0, max=20, description="species (number)", **slider),
        },
        alt=f"One leaf of each of {cultivars} cultivars of a synthetic species: near 0 one and the same plant, at 1 plainly different.",
    )
