"""Thin ipywidgets over plain functions: controls on top, one figure below, and errors shown where the reader
looks.

Every widget calls a function that returns a Matplotlib `Figure` and works without any widget, which is what
tests and static figures use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from ..text import web

__all__ = ["FigurePanel"]


class FigurePanel(ipywidgets.VBox):
    """Controls and the figure that they draw.

    Args:
        draw: called with the controls' values by keyword; returns a Figure.
        controls: keyword → widget with a `value`. A slider redraws when it is let go, a dropdown at once.
        alt: what the figure shows, in words, above it.
        extras: further widgets between the controls and the figure, e.g. buttons; they do not redraw by
            themselves.

    Attributes:
        picture: the figure as PNG. message: the last error, empty while all is well.
    """

    def __init__(
        self, draw: Callable[..., Figure], controls: Mapping[str, Any], alt: str, extras: Sequence[Any] = ()
    ) -> None:
        self.draw = draw
        self.controls = dict(controls)
        self.picture = ipywidgets.Image(
            format="png", layout={"max_width": "100%", "align_self": "flex-start"}
        )
        self.message = ipywidgets.HTML()
        caption = ipywidgets.HTML(f"<small>{web(alt)}</small>")
        super().__init__([*self.controls.values(), *extras, caption, self.message, self.picture])
        for control in self.controls.values():
            control.observe(self.redraw, names="value")
        self.redraw()

    def redraw(self, _change: object = None) -> None:
        """Draw with the controls' present values; a failure is shown in the widget and the last good
        figure stays."""
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
        self.message.value = f"<b style='color:#b00020'>{web(type(error).__name__)}: {web(error)}</b>"
