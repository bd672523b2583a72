"""The bottleneck and rank tuner: knobs on top, costs at once, a small run at the press of a button, and the
points it leaves behind.

Nothing is written to a file. The run trains in a thread of its own, so that the page stays alive and the run
can be stopped; all that it reports is drawn by the kernel's own thread, since Matplotlib is not made for two.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from ..costs.latency_model import LatencyModel
from ..figures.styling import COST_AXES
from ..figures.tuner import (
    KINDS,
    Choice,
    Point,
    default_calibration,
    price,
    small_run,
    tuner_figure,
)
from ..methods import parse_method
from ..text import web
from .panel import FigurePanel

__all__ = ["BottleneckTuner"]

SIZES = (1, 2, 4, 8, 16, 32, 64)
IMAGE_SIZES = (32, 48, 64, 96, 128)
AXES = ("trained", "macs", "latency_ms")
_WIDE: dict[str, Any] = {"style": {"description_width": "11em"}, "layout": {"width": "34em"}}


class BottleneckTuner(FigurePanel):
    """Method, bottleneck or rank, place and image size → parameters, MACs and predicted latency; trains small
    runs and compares them.

    Args:
        latency: a calibration; None measures one now (a few seconds).
        epochs, n_per_class, seed: of the small runs.

    Attributes:
        points: one `Point` a run, in the order in which they ended. numbers: the costs as HTML. message: the
            last error.
    """

    def __init__(
        self, latency: LatencyModel | None = None, *, epochs: int = 6, n_per_class: int = 10, seed: int = 0
    ) -> None:
        self.latency = latency or default_calibration()
        self.epochs, self.n_per_class, self.seed = epochs, n_per_class, seed
        self.points: list[Point] = []
        self.rows: list[dict[str, Any]] = []
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._quiet = False
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:  # a script or a test: there is no kernel whose thread could draw
            self._loop = None
        self.numbers = ipywidgets.HTML()
        self.train = ipywidgets.Button(
            description="Train a small run", button_style="primary", tooltip="train the present choice"
        )
        self.halt = ipywidgets.Button(
            description="Stop", disabled=True, tooltip="end the run after the epoch that is going on"
        )
        self.clear = ipywidgets.Button(description="Clear points", tooltip="forget all finished runs")
        self.bar = ipywidgets.IntProgress(value=0, max=epochs, description="epochs", **_WIDE)
        self.status = ipywidgets.Label(value="ready")
        buttons = ipywidgets.HBox([self.train, self.halt, self.clear])
        # JupyterLab keeps the arrow keys from a closed list while no cell is being edited; an open one gets
        # them.
        alt = (
            "Left: validation accuracy of small runs against a cost; hollow: stopped early. Right: the last"
            " run, epoch by epoch. By keyboard: Tab moves on; Space opens a list, arrows and Enter choose; ←"
            " and → move the slider; Enter presses a button."
        )
        super().__init__(
            self._draw, self._make_controls(), alt, extras=(self.numbers, buttons, self.bar, self.status)
        )
        self.controls["kind"].observe(self._kind_changed, names="value")
        for button, act in ((self.train, self.start), (self.halt, self.stop), (self.clear, self.forget)):
            button.on_click(act)

    def _make_controls(self) -> dict[str, Any]:
        first = next(iter(KINDS))
        return {
            "kind": ipywidgets.Dropdown(options=list(KINDS), value=first, description="method", **_WIDE),
            "size": ipywidgets.SelectionSlider(
                options=SIZES, value=8, description=KINDS[first].size_label, continuous_update=False, **_WIDE
            ),
            "place": ipywidgets.Dropdown(options=list(KINDS[first].places), description="position", **_WIDE),
            "image_size": ipywidgets.Dropdown(
                options=IMAGE_SIZES, value=96, description="image side (pixels)", **_WIDE
            ),
            "axis": ipywidgets.Dropdown(
                options=[(COST_AXES[a], a) for a in AXES], description="cost in the figure", **_WIDE
            ),
        }

    @property
    def choice(self) -> Choice:
        """What the knobs say now."""
        return Choice(*(self.controls[name].value for name in ("kind", "size", "place", "image_size")))

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def costs(self, choice: Choice) -> dict[str, float]:
        """Costs by axis: trained parameters, MACs, predicted milliseconds for one image."""
        counted = price(choice)
        ms = self.latency.predict(parse_method(choice.text).name, counted.macs, counted.modules)
        return {"trained": counted.trained, "macs": counted.macs, "latency_ms": ms}

    # ---- drawing ---------------------------------------------------------------------------------

    def redraw(self, _change: object = None) -> None:
        if not self._quiet:
            super().redraw()
            if self.message.value:
                self.numbers.value = ""  # numbers of the choice before would pass for this one's

    def _draw(self, axis: str, **_knobs: Any) -> Figure:
        choice = self.choice
        costs = self.costs(choice)
        self.numbers.value = self._table(choice, costs)
        return tuner_figure(self.points, axis, now=("this choice", costs[axis]), rows=self.rows)

    def _table(self, choice: Choice, costs: dict[str, float]) -> str:
        counted = price(choice)
        threads = self.latency.threads
        error = (
            f"± {100 * self.latency.error:.0f} %, batch {self.latency.batch}, {threads}"
            f" thread{'s' * (threads != 1)}"
        )
        rows = (
            (
                "adapter",
                (
                    f"{counted.adapter:,} parameters ({counted.share:.2f} % of the frozen backbone),"
                    f" {counted.modules} modules"
                ),
            ),
            (
                "head",
                f"{counted.head:,} parameters"
                + (f"; {counted.backbone:,} of the backbone unfrozen" if counted.backbone else ""),
            ),
            (
                "arithmetic",
                f"{counted.macs / 1e6:.1f} MMACs an image ({' → '.join(map(str, counted.tokens))} tokens)",
            ),
            ("predicted latency", f"{costs['latency_ms']:.1f} ms an image ({error})"),
            ("in code", f"<code>{escape(choice.text)}</code>"),
        )
        body = "".join(
            f"<tr><th style='text-align:left;padding-right:1em'>{name}</th><td>{text}</td></tr>"
            for name, text in rows
        )
        return f"<table>{body}</table>"

    def _kind_changed(self, change: dict[str, Any]) -> None:
        """Another method has other places and another word for its size; all of it changes before one
        redraw."""
        kind = KINDS[change["new"]]
        self._quiet = True
        try:
            self.controls["size"].description = kind.size_label
            self.controls["place"].options = list(kind.places)
        finally:
            self._quiet = False
        self.redraw()

    # ---- training --------------------------------------------------------------------------------

    def start(self, _button: object = None) -> None:
        """Train the present choice in a thread; at most one at a time."""
        if self.running:
            return
        choice = self.choice
        try:
            costs = self.costs(choice)
        except Exception as error:
            self._fail(error)
            return
        self.rows, self.bar.value, self.message.value = [], 0, ""
        self._stopping.clear()
        self.train.disabled, self.halt.disabled = True, False
        self.status.value = f"training {choice.text} on {self.n_per_class} images a class …"
        self._thread = threading.Thread(target=self._work, args=(choice, costs), daemon=True)
        self._thread.start()

    def stop(self, _button: object = None) -> None:
        """End the run after the epoch that is going on; it still becomes a point, a hollow one."""
        if self.running:
            self._stopping.set()
            self.halt.disabled = True
            self.status.value = "stopping after this epoch …"

    def forget(self, _button: object = None) -> None:
        """Clear all points and the curve."""
        self.points, self.rows = [], []
        self.redraw()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the run to end, in a script or a test."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self, choice: Choice, costs: dict[str, float]) -> None:
        try:
            run = small_run(
                choice,
                epochs=self.epochs,
                n_per_class=self.n_per_class,
                seed=self.seed,
                on_epoch=lambda row: self._post(self._epoch, row),
                stop=lambda row: self._stopping.is_set(),
            )
        except Exception as error:
            self._post(self._fail, error)
        else:
            self._post(
                self._done,
                Point(choice, costs, run.final["val_top1"], len(run.history), self.epochs, run.history),
            )

    def _post(self, act: Callable[[Any], None], value: Any) -> None:
        """Let the kernel's own thread do it; without a kernel, this one."""
        if self._loop is None or self._loop.is_closed():
            act(value)
        else:
            self._loop.call_soon_threadsafe(act, value)

    def _epoch(self, row: dict[str, Any]) -> None:
        self.rows = [*self.rows, row]
        self.bar.value = int(row["epoch"])
        self.redraw()

    def _done(self, point: Point) -> None:
        self.points.append(point)
        self.redraw()
        self._idle(
            f"done: {point.val_top1:.1f} % of the validation images after {point.epochs} of {point.planned}"
            " epochs"
        )

    def _fail(self, error: Exception) -> None:
        self._idle("failed")
        self.message.value = f"<b style='color:#b00020'>{web(type(error).__name__)}: {web(error)}</b>"

    def _idle(self, status: str) -> None:
        self.train.disabled, self.halt.disabled = False, True
        self.status.value = status
