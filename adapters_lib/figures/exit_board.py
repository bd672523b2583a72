"""What thresholds do, drawn in milliseconds from stored logits: who leaves where, what it costs, and which
images they are.

One figure is made once and its artists are moved afterwards, which is what lets a slider follow the hand.
Nothing here needs a widget.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..errors import AdapterError
from ..exits.calibrate import OperatingPoint, choose, measure, operating_points
from ..exits.controls import fixed_depth_accuracy, random_exit_accuracy
from ..exits.policies import POLICIES
from ..exits.predict import Prediction
from ..exits.simulate import StoredExits, confidences, simulate
from .styling import COLUMN, style

__all__ = ["RIGHT", "WRONG", "ExitBoard"]

RIGHT, WRONG = "#0072B2", "#D55E00"
_SIDE, _RIM = 48, 3  # pixels of a thumbnail and of the frame around it


class ExitBoard:
    """Exit distribution, accuracy against MACs with its controls, and a gallery of the images that leave at
    each exit.

    Args:
        test: logits of the images that are shown and counted.
        images: those images, uint8 (N, 3, H, W), in the same order.
        val: logits of validation images, from which a budget's thresholds come.
        per_exit: images a row of the gallery, the surest first. title: above the figure; say there if data
            are synthetic.

    Raises:
        AdapterError: numbers of images that differ, or exits at other blocks in `val` than in `test`.
    """

    def __init__(
        self, test: StoredExits, images: Any, val: StoredExits, *, per_exit: int = 12, title: str = ""
    ) -> None:
        if len(images) != len(test.labels):
            raise AdapterError(
                f"{len(images)} images for the logits of {len(test.labels)}; give the images that the logits"
                " came from"
            )
        if val.costs.blocks != test.costs.blocks:
            raise AdapterError(
                f"validation logits of exits behind blocks {val.costs.blocks}, test logits behind"
                f" {test.costs.blocks}"
            )
        self.test, self.val, self.per_exit = test, val, per_exit
        self.sure = {policy: confidences(test.logits, policy) for policy in POLICIES}
        self.points: dict[str, list[OperatingPoint]] = {
            policy: operating_points(val, policy) for policy in POLICIES
        }
        self.curves = {policy: self._curve(policy) for policy in POLICIES}
        self._thumbs = _thumbnails(torch.as_tensor(np.asarray(images)))
        self._background: Any = None
        self._make_figure(title)

    def thresholds(self, budget: float, policy: str = "max_softmax") -> tuple[float, ...]:
        """The thresholds that validation images gave for a budget (a fraction of the full depth's MACs);
        AdapterError if out of reach."""
        return choose(self.points[policy], budget).thresholds

    def numbers(self, thresholds: Sequence[float], policy: str = "max_softmax") -> dict[str, Any]:
        """What these thresholds do on the test images: accuracies in percent, `relative` to the full
        depth's MACs, `shares` per exit."""
        return self._numbers(simulate(self.test, thresholds, policy, self.sure[policy]))

    def draw(self, thresholds: Sequence[float], policy: str = "max_softmax") -> Figure:
        """The figure at these thresholds. It is the same object at every call."""
        outcome = simulate(self.test, thresholds, policy, self.sure[policy])
        numbers = self._numbers(outcome)
        right = outcome.labels == self.test.labels
        for stage, (good, bad, text) in enumerate(self._bars):
            leaving = outcome.exit_index == stage
            n = int(leaving.sum())
            share, hits = 100 * n / len(right), 100 * int((right & leaving).sum()) / len(right)
            good.set_width(hits)
            bad.set_x(hits)
            bad.set_width(share - hits)
            text.set_x(share + 1)
            text.set_text(f"{share:.0f} %" + (f", {100 * hits / share:.0f} % right" if n else ""))
        curve = self.curves[policy]
        for line, values in zip(self._lines, (curve[:, 1], curve[:, 2], curve[:, 3]), strict=True):
            line.set_data(curve[:, 0], values)
        self._point.set_data([numbers["relative"]], [numbers["top1"]])
        self._headline.set_text(
            f"top-1 {numbers['top1']:.1f} % for {numbers['relative']:.2f} of the full depth's MACs; at equal"
            f" cost: random exit {numbers['random']:.1f} %, fixed depth {numbers['fixed_depth']:.1f} %"
        )
        self._gallery.set_data(self._sheet(outcome, right))
        return self.figure

    def png(self) -> bytes:
        """The figure as it was drawn last, in PNG. Axes and labels are drawn once and kept; only what
        moves is drawn anew."""
        canvas = self._canvas
        if self._background is None:
            canvas.draw()  # leaves animated artists out
            self._background = canvas.copy_from_bbox(self.figure.bbox)
        canvas.restore_region(self._background)
        for artist in self._moving:
            artist.draw(canvas.get_renderer())
        data = BytesIO()
        Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(data, "PNG", compress_level=1)
        return data.getvalue()

    # ---- inside ----------------------------------------------------------------------------------

    def _numbers(self, outcome: Prediction) -> dict[str, Any]:
        macs = self.test.costs.expected(outcome.shares)
        return {
            "top1": 100 * float((outcome.labels == self.test.labels).double().mean()),
            "full_depth": float(self.test.accuracies[-1]),
            "random": random_exit_accuracy(self.test, outcome.shares),
            "fixed_depth": fixed_depth_accuracy(self.test, macs),
            "macs": macs,
            "relative": macs / self.test.costs.full,
            "shares": outcome.shares,
        }

    def _curve(self, policy: str) -> np.ndarray:
        """Relative cost, top-1, random and fixed depth of about forty operating points (M, 4)."""
        points = self.points[policy][:: max(len(self.points[policy]) // 40, 1)]
        rows = []
        for point in points:
            measured = measure(self.test, point.thresholds, policy, self.sure[policy])
            controls = (
                random_exit_accuracy(self.test, measured.shares),
                fixed_depth_accuracy(self.test, measured.macs),
            )
            rows.append((measured.relative, measured.top1, *controls))
        return np.array(sorted(rows))

    def _make_figure(self, title: str) -> None:
        blocks = self.test.costs.blocks
        names = [f"block {block}" for block in blocks]
        top = 0.62 + 0.17 * len(blocks)
        low = 0.52 * len(blocks) * min(1.0, 12 / self.per_exit)
        with style():
            # Places are set by hand: a layout engine would work them out again at every draw.
            self.figure = Figure(figsize=(2 * COLUMN, top + low + 1.05), dpi=110)
            self.figure.set_layout_engine("none")
            self._canvas = FigureCanvasAgg(self.figure)
            height = self.figure.get_figheight()
            bars = self.figure.add_axes((0.09, (low + 0.76) / height, 0.37, (top - 0.1) / height))
            curve = self.figure.add_axes((0.58, (low + 0.76) / height, 0.4, (top - 0.1) / height))
            gallery = self.figure.add_axes((0.09, 0.16 / height, 0.9, low / height))
            self._bars = [
                (
                    bars.barh(k, 0, color=RIGHT)[0],
                    bars.barh(k, 0, color=WRONG)[0],
                    bars.text(0, k, "", va="center", fontsize=7),
                )
                for k in range(len(blocks))
            ]
            bars.set(
                xlabel="images that leave (%): blue right, orange wrong",
                xlim=(0, 125),
                ylim=(len(blocks) - 0.5, -0.5),
            )
            bars.set_xticks(range(0, 101, 25))
            bars.set_yticks(range(len(blocks)), names)
            drawn_as = (
                ("-", 1.4, RIGHT, "by confidence"),
                ((0, (1, 1.5)), 1.0, "0.3", "random"),
                ((0, (4, 2)), 1.0, "0.3", "fixed depth"),
            )
            self._lines = [
                curve.plot([], [], ls=dashes, lw=width, color=color, label=name)[0]
                for dashes, width, color, name in drawn_as
            ]
            (self._point,) = curve.plot(
                [], [], marker="o", ms=7, color=WRONG, ls="none", mec="white", zorder=5
            )
            values = np.concatenate([table[:, 1:].ravel() for table in self.curves.values()])
            curve.set(xlabel="expected MACs / MACs of the full depth", ylabel="top-1 (%)")
            curve.set(
                xlim=(0, max(self.test.costs.reachable[1], 1) * 1.03),
                ylim=(values.min() - 2, values.max() + 2),
            )
            curve.legend(
                loc="lower center",
                bbox_to_anchor=(0.5, 0.98),
                ncols=3,
                fontsize=6.5,
                columnspacing=1,
                borderpad=0.1,
            )
            size = _SIDE + 2 * _RIM
            blank = np.full((len(blocks) * size, self.per_exit * size, 3), 255, np.uint8)
            self._gallery = gallery.imshow(blank, interpolation="nearest", aspect="auto")
            gallery.set_yticks([size * (k + 0.5) for k in range(len(blocks))], names)
            gallery.set_xticks([])
            gallery.grid(False)
            gallery.spines[:].set_visible(False)
            gallery.tick_params(length=0)
            gallery.set_title(
                f"the surest {self.per_exit} that leave at each exit; orange frame: wrong",
                loc="left",
                fontsize=7,
                pad=2,
            )
            # It belongs to an axes because a figure leaves out its own animated artists even when it is
            # saved.
            place: dict[str, Any] = {"transform": self.figure.transFigure, "ha": "center", "va": "center"}
            self._headline = bars.text(0.5, 1 - 0.15 / height, "", fontsize=8, **place)
            self.figure.text(0.99, 0.005, title, ha="right", va="bottom", fontsize=6, color="0.35")
            moved = [part for row in self._bars for part in row]
            self._moving: list[Artist] = [*moved, *self._lines, self._point, self._gallery, self._headline]
            for artist in self._moving:
                artist.set_animated(True)

    def _sheet(self, outcome: Prediction, right: Tensor) -> np.ndarray:
        """Thumbnails in one picture, a row an exit; empty places are white."""
        size = _SIDE + 2 * _RIM
        stages = len(self.test.costs.blocks)
        sheet = np.full((stages, size, self.per_exit, size, 3), 255, np.uint8)
        for stage in range(stages):
            those = (outcome.exit_index == stage).nonzero().flatten()
            surest = those[outcome.confidence[those].argsort(descending=True, stable=True)][: self.per_exit]
            for column, image in enumerate(surest.tolist()):
                cell = sheet[stage, :, column]  # (size, size, 3)
                cell[1:-1, 1:-1] = _BLUE if right[image] else _ORANGE
                cell[_RIM:-_RIM, _RIM:-_RIM] = self._thumbs[image]
        return sheet.reshape(stages * size, self.per_exit * size, 3)


_BLUE, _ORANGE = (tuple(int(color[i : i + 2], 16) for i in (1, 3, 5)) for color in (RIGHT, WRONG))


def _thumbnails(images: Tensor) -> np.ndarray:
    """uint8 (N, 3, H, W) → uint8 (N, 48, 48, 3)."""
    small = F.interpolate(images.float(), size=(_SIDE, _SIDE), mode="area")
    return small.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
