"""Widgets are a thin layer: their callback is a plain function, and its errors appear in the widget."""

from matplotlib.figure import Figure

import adapters_lib as al
from adapters_lib.widgets import panel as widgets


def test_an_error_is_shown_in_the_widget_and_the_last_figure_stays() -> None:
    def draw(size: int) -> Figure:
        if size < 0:
            raise al.AdapterError(f"size={size} <must> be positive")
        return Figure(figsize=(1, 1))

    panel = widgets.FigurePanel(draw, {"size": widgets.ipywidgets.IntText(value=1)}, "nothing much")
    shown = panel.picture.value
    panel.controls["size"].value = -1
    assert "size=-1 &lt;must&gt; be positive" in panel.message.value
    assert panel.picture.value == shown
    panel.controls["size"].value = 2
    assert panel.message.value == ""
