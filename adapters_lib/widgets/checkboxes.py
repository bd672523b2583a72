"""Several of a list, by check boxes: what a list for several entries cannot be inside JupyterLab.

JupyterLab takes the arrow keys and most letters as commands while a notebook's output has the focus, so a
`SelectMultiple` there obeys only the mouse. Tab and Space, which move along check boxes and set them, are
left alone.
"""

from __future__ import annotations

from typing import Any

import ipywidgets
import traitlets

__all__ = ["Checkboxes"]


class Checkboxes(ipywidgets.VBox):
    """Check boxes for `options`, with buttons for all and none.

    Attributes:
        options: texts; setting them keeps what was chosen and is still there. value: the chosen ones, in the
            options' order.
        description: the label above the boxes. boxes: option → its check box.
    """

    options = traitlets.Tuple()
    value = traitlets.Tuple()

    def __init__(
        self, description: str, options: tuple[str, ...] = (), value: tuple[str, ...] | None = None
    ) -> None:
        self.description = description
        self.boxes: dict[str, Any] = {}
        self._area = ipywidgets.Box(layout={"flex_flow": "row wrap", "width": "44em", "max_width": "100%"})
        every, none = (
            ipywidgets.Button(description=text, layout={"width": "5em"}) for text in ("all", "none")
        )
        every.on_click(lambda _: setattr(self, "value", self.options))
        none.on_click(lambda _: setattr(self, "value", ()))
        self._quiet = False
        super().__init__([ipywidgets.HBox([ipywidgets.Label(description), every, none]), self._area])
        self.options = options
        self.value = options if value is None else value

    @traitlets.validate("value")
    def _known(self, proposal: Any) -> tuple[str, ...]:
        return tuple(option for option in self.options if option in proposal["value"])

    @traitlets.observe("options")
    def _rebuild(self, _change: object) -> None:
        self.boxes = {
            str(option): ipywidgets.Checkbox(
                description=str(option), indent=False, layout={"width": "auto", "margin": "0 1.5em 0 0"}
            )
            for option in self.options
        }
        for box in self.boxes.values():
            box.observe(self._pressed, names="value")
        self._area.children = tuple(self.boxes.values())
        self.value = self.value
        self._show()

    @traitlets.observe("value")
    def _show(self, _change: object = None) -> None:
        self._quiet = True
        try:
            for option, box in self.boxes.items():
                box.value = option in self.value
        finally:
            self._quiet = False

    def _pressed(self, _change: object) -> None:
        if not self._quiet:
            self.value = tuple(option for option, box in self.boxes.items() if box.value)
