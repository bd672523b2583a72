"""The strokes that every diagram is made of: boxes, squeezes, sums, arrows, tokens, grids, a legend.

One unit is a tenth of an inch, so the page is 70 units wide and a line of 7-point type is one unit high.
Frozen parts are gray and carry a snowflake, trained parts are vermilion with a thick edge, what has no
parameters is a plain box; a token is a square. Every part keeps the names of the parameters that it stands
for, so that a test can ask the model whether the picture tells the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path

from ...methods import METHODS
from ..styling import method_style, style
from .theme import DARK, LIGHT, SIZE, WIDTH, Part, Point, Spot

__all__ = ["WIDTH", "Board", "Part", "Point", "Spot"]


class Board:
    """One page, 70 units wide and `height` high, with the origin at the lower left."""

    def __init__(self, height: float, dark: bool = False) -> None:
        self.height = height
        self.theme = DARK if dark else LIGHT
        self.parts: list[Part] = []
        self._shown: list[str] = []
        with style():
            self.figure: Figure = plt.figure(figsize=(WIDTH / 10, height / 10))
            plt.close(self.figure)
        # An engine that does nothing: with none at all, saving would bring back that of the house's style.
        self.figure.set_layout_engine(PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=True))
        self.figure.set_facecolor(self.theme.face)
        self.ax = self.figure.add_axes((0, 0, 1, 1))
        self.ax.set(xlim=(0, WIDTH), ylim=(0, height), aspect="equal")
        self.ax.axis("off")

    # ---- words -----------------------------------------------------------------------------------

    def text(
        self, x: float, y: float, words: str, *, size: float = SIZE, soft: bool = False, **more: Any
    ) -> Any:
        """Words (with mathematics between dollar signs) centered at a point, unless `ha` says otherwise."""
        kept = {"ha": "center", "va": "center_baseline", "color": self.theme.soft if soft else self.theme.ink}
        return self.ax.text(
            x, y, words, fontsize=size, math_fontfamily="dejavuserif", linespacing=1.25, **{**kept, **more}
        )

    def width_of(self, words: str, size: float = SIZE) -> float:
        """Units that the words take."""
        text = self.text(0, 0, words, size=size)
        canvas: Any = FigureCanvasAgg(self.figure)
        width = text.get_window_extent(canvas.get_renderer()).width / self.figure.dpi * 10
        text.remove()
        return float(width)

    def heading(self, name: str, says: str, equations: Sequence[str] = (), facts: str = "") -> float:
        """The name, what it does in a sentence, its equations; returns the height that is left below them.

        A method's name has in front of it the method's mark in all other figures. facts: sizes of the model
        drawn, at the right of the last line.
        """
        y, left = self.height - 1.9, 1.2
        if name in METHODS:
            color, marker = method_style([name])[name]
            look: Any = {"mfc": color, "mec": self.theme.ink, "mew": 0.5 if self.theme is DARK else 0}
            self.ax.plot(left + 0.7, y + 0.05, marker=marker, ms=6.5, ls="", **look)
            left += 2.2
        self.text(left, y, name, size=9.5, ha="left", weight="bold")
        self.text(left + 1.2 + self.width_of(name, 9.5) * 1.12, y, says, size=8, ha="left")
        for equation in equations:
            y -= 2.5
            self.text(1.2, y, equation, size=8.5, ha="left")
        if facts:
            y -= 0 if equations else 2.3
            self.text(WIDTH - 1.2, y, facts, size=7, soft=True, ha="right")
        return y - 1.4

    # ---- shapes ----------------------------------------------------------------------------------

    def box(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        words: str = "",
        kind: str = "plain",
        owns: Sequence[str] = (),
        size: float = SIZE,
    ) -> Spot:
        """A rounded box. kind: "frozen", "trained", "plain" (no parameters) or "site" (an empty place)."""
        corner = f"round,pad=0,rounding_size={min(0.45, h / 4)}"
        self._paint(FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle=corner), kind)
        return self._finish(Spot(x, y, w, h), words, kind, owns, size)

    def squeeze(
        self,
        x: float,
        y: float,
        w: float,
        tall: float,
        short: float,
        words: str,
        kind: str,
        owns: Sequence[str],
    ) -> Spot:
        """A linear map as a trapezoid, `tall` at its left and `short` at its right (or the other way)."""
        left, right, a, b = x - w / 2, x + w / 2, tall / 2, short / 2
        self._paint(Polygon([(left, y - a), (left, y + a), (right, y + b), (right, y - b)]), kind)
        spot = Spot(x, y, w, (tall + short) / 2)
        return self._finish(spot, words, kind, owns, SIZE, mark=False)

    def _paint(self, patch: Any, kind: str) -> None:
        theme = self.theme
        look: dict[str, Any] = {
            "frozen": {"fc": theme.frozen, "ec": theme.frozen_edge, "lw": 0.9},
            "trained": {"fc": theme.trained, "ec": theme.trained_edge, "lw": 1.6},
            "plain": {"fc": theme.face, "ec": theme.ink, "lw": 0.7},
            "site": {"fc": theme.face, "ec": theme.class_token, "lw": 0.9, "ls": (0, (3, 2))},
        }[kind]
        patch.set(**look, zorder=3, joinstyle="round")
        self.ax.add_patch(patch)
        self._show(kind)

    def _finish(
        self, spot: Spot, words: str, kind: str, owns: Sequence[str], size: float, mark: bool = True
    ) -> Spot:
        if words:
            self.text(spot.x, spot.y, words, size=size, zorder=5)
        if kind == "frozen" and mark and min(spot.w, spot.h) >= 2:
            inset = 0.75 if min(spot.w, spot.h) > 3.2 else 0.6
            self.snowflake(spot.x + spot.w / 2 - inset, spot.y + spot.h / 2 - inset, 0.6 * inset)
        if owns:
            self.parts.append(Part(words, kind, tuple(owns)))
        return spot

    def snowflake(self, x: float, y: float, radius: float = 0.45) -> None:
        """The mark of what is frozen: six arms."""
        corners: list[Point] = []
        for angle in np.deg2rad([90, 30, 150]):
            dx, dy = radius * float(np.cos(angle)), radius * float(np.sin(angle))
            corners += [(x - dx, y - dy), (x + dx, y + dy)]
        arms = Path(corners, [Path.MOVETO, Path.LINETO] * 3)
        self.ax.add_patch(PathPatch(arms, fc="none", ec=self.theme.class_token, lw=0.8, zorder=6))

    def frame(self, left: float, bottom: float, right: float, top: float, words: str = "") -> None:
        """A pale field behind what belongs together, with its name in the upper left corner."""
        corner = "round,pad=0,rounding_size=0.8"
        field = FancyBboxPatch((left, bottom), right - left, top - bottom, boxstyle=corner)
        field.set(fc=self.theme.panel, ec=self.theme.soft, lw=0.6, zorder=1)
        self.ax.add_patch(field)
        if words:
            self.text(left + 0.8, top - 1.1, words, size=7, soft=True, ha="left")

    def zoom(self, spot: Spot, left: float, top: float, right: float) -> None:
        """Dotted lines from a part down to the corners of the field that shows it larger."""
        for side, corner in ((-1, left), (1, right)):
            x = spot.x + side * spot.w / 2
            self.line((x, spot.y - spot.h / 2), (corner + side * -0.6, top), dotted=True)

    # ---- the ways between ------------------------------------------------------------------------

    def line(self, *points: Point, dotted: bool = False) -> None:
        """A line without a head."""
        look: Any = (
            {"color": self.theme.soft, "lw": 0.7, "ls": (0, (1, 2)), "zorder": 1.5}
            if dotted
            else {"color": self.theme.ink, "lw": 0.9, "zorder": 2}
        )
        self.ax.plot(*zip(*points, strict=True), solid_joinstyle="round", **look)

    def arrow(self, *points: Point, dashed: bool = False, color: str | None = None) -> None:
        """A line along the points with the one head that all arrows have."""
        style_ = "-|>,head_length=3.4,head_width=1.7"
        way = FancyArrowPatch(
            path=Path(list(points)), arrowstyle=style_, shrinkA=0, shrinkB=0, mutation_scale=1, zorder=2.5
        )
        color = color or (self.theme.soft if dashed else self.theme.ink)
        way.set(color=color, lw=0.9, capstyle="butt", joinstyle="miter", ls=(0, (3, 2)) if dashed else "-")
        self.ax.add_patch(way)

    def dot(self, x: float, y: float) -> None:
        """A place where a line parts in two."""
        self.ax.add_patch(Circle((x, y), 0.24, fc=self.theme.ink, ec="none", zorder=3))

    def plus(self, x: float, y: float) -> Spot:
        """Addition: a circled plus."""
        self._circled(x, y, [(-1, 0), (1, 0), (0, -1), (0, 1)], 0.62)
        self._show("plus")
        return Spot(x, y, 2, 2)

    def times(self, x: float, y: float) -> Spot:
        """Multiplication, number by number: a circled cross."""
        self._circled(x, y, [(-1, -1), (1, 1), (-1, 1), (1, -1)], 0.45)
        self._show("times")
        return Spot(x, y, 2, 2)

    def _circled(self, x: float, y: float, ends: list[Point], reach: float) -> None:
        self.ax.add_patch(Circle((x, y), 1, fc=self.theme.face, ec=self.theme.ink, lw=0.9, zorder=3))
        strokes = Path([(x + reach * a, y + reach * b) for a, b in ends], [Path.MOVETO, Path.LINETO] * 2)
        self.ax.add_patch(PathPatch(strokes, fc="none", ec=self.theme.ink, lw=0.9, zorder=4))

    # ---- tokens ----------------------------------------------------------------------------------

    def token(
        self,
        x: float,
        y: float,
        kind: str = "token",
        side: float = 1.2,
        owns: Sequence[str] = (),
        out: bool = False,
    ) -> None:
        """One token. kind: "token" (a patch), "class", "class_trained", "prompt" (trained) or "image".

        out: struck out, as it goes no further.
        """
        theme = self.theme
        face, edge, width = {
            "token": (theme.token, theme.class_token, 0.7),
            "class": (theme.class_token, theme.class_token, 0.7),
            "class_trained": (theme.class_token, theme.trained_edge, 1.6),
            "prompt": (theme.trained_edge, theme.trained_edge, 0.7),
            "carried": (theme.trained, theme.trained_edge, 0.7),
            "image": (theme.image, theme.ink, 0.6),
        }[kind]
        corner = (x - side / 2, y - side / 2)
        self.ax.add_patch(Rectangle(corner, side, side, fc=face, ec=edge, lw=width, zorder=4))
        if out:
            half = 0.75 * side
            strike = Path([(x - half, y - half), (x + half, y + half)])
            self.ax.add_patch(PathPatch(strike, fc="none", ec=theme.ink, lw=1.1, zorder=5))
            self._show(f"{kind}/out")
        if owns:
            self.parts.append(
                Part(kind, "trained" if kind in ("class_trained", "prompt") else "frozen", tuple(owns))
            )
        self._show(kind)

    def column(self, x: float, y: float, kinds: Sequence[str], side: float = 1.2, step: float = 1.5) -> Spot:
        """Tokens one above the other, the first on top, centered at a point."""
        top = y + step * (len(kinds) - 1) / 2
        for index, kind in enumerate(kinds):
            self.token(x, top - step * index, kind.removesuffix("/out"), side, out=kind.endswith("/out"))
        return Spot(x, y, side, step * (len(kinds) - 1) + side)

    def grid(
        self,
        x: float,
        y: float,
        rows: int,
        columns: int,
        cell: float,
        marked: tuple[int, int, int] | None = None,
    ) -> Spot:
        """A map of patch tokens, centered at a point. marked: row, column and side of a window on it."""
        w, h = columns * cell, rows * cell
        left, bottom = x - w / 2, y - h / 2
        field = Rectangle(
            (left, bottom), w, h, fc=self.theme.token, ec=self.theme.class_token, lw=0.7, zorder=4
        )
        self.ax.add_patch(field)
        ends: list[Point] = []
        for k in range(1, columns):
            ends += [(left + k * cell, bottom), (left + k * cell, bottom + h)]
        for k in range(1, rows):
            ends += [(left, bottom + k * cell), (left + w, bottom + k * cell)]
        lines = Path(ends, [Path.MOVETO, Path.LINETO] * (len(ends) // 2))
        self.ax.add_patch(PathPatch(lines, fc="none", ec=self.theme.class_token, lw=0.35, zorder=4.5))
        if marked is not None:
            row, column, side = marked
            self.window(left + column * cell, bottom + h - (row + side) * cell, side * cell)
        self._show("token")
        return Spot(x, y, w, h)

    def window(self, left: float, bottom: float, side: float) -> None:
        """What a convolution sees at once, as a square outline."""
        seen = Rectangle((left, bottom), side, side, fc="none", ec=self.theme.trained_edge, lw=1.3, zorder=5)
        self.ax.add_patch(seen)

    # ---- the legend ------------------------------------------------------------------------------

    def _show(self, kind: str) -> None:
        if kind not in self._shown:
            self._shown.append(kind)

    def legend(self) -> None:
        """Along the lower edge: what the signs in this picture mean. Frozen, trained and token always."""
        x, y = 1.2, 1.5
        for kind, words in _LEGEND.items():
            if kind not in self._shown and kind not in ("frozen", "trained", "token"):
                continue
            if kind in ("frozen", "trained", "site"):
                spot = Spot(x + 1.1, y, 2.2, 1.3)
                self._paint(Rectangle((x, y - 0.65), 2.2, 1.3), kind)
                if kind == "frozen":
                    self.snowflake(spot.x, spot.y, 0.5)
            elif kind == "plus":
                self.plus(x + 1, y)
            elif kind == "times":
                self.times(x + 1, y)
            else:
                self.token(x + 1, y, kind.removesuffix("/out"), out=kind.endswith("/out"))
            wide = 2.9 if kind in ("frozen", "trained", "site") else 2.5 if kind in ("plus", "times") else 2.2
            self.text(x + wide, y, words, size=7, ha="left")
            x += wide + self.width_of(words, 7) + 1.5


_LEGEND = {
    "frozen": "frozen",
    "trained": "trained",
    "token": "patch token",
    "class": "class token",
    "class_trained": "class token, trained",
    "prompt": "prompt, trained",
    "carried": "prompt, later",
    "carried/out": "dropped",
    "image": "image",
    "site": "site",
    "plus": "sum",
    "times": "product",
}
