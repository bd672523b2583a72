"""The colors of the diagrams on both backgrounds, and what a shape leaves behind: its place, its meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["DARK", "LIGHT", "SIZE", "WIDTH", "Part", "Point", "Spot", "Theme"]

WIDTH = 70.0
"""Units from the left edge to the right one: seven inches."""

SIZE = 7.5
"""Points of ordinary labels; nothing is below 7."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Theme:
    """The colors of one background; hues are those of the house (Okabe and Ito 2008)."""

    face: str
    ink: str
    soft: str
    panel: str
    frozen: str
    frozen_edge: str
    trained: str
    trained_edge: str
    token: str
    class_token: str
    image: str


LIGHT = Theme(
    face="#FFFFFF",
    ink="#1F2328",
    soft="#59636E",
    panel="#F6F8FA",
    frozen="#E1E5E9",
    frozen_edge="#7D8590",
    trained="#FBDCC8",
    trained_edge="#D55E00",
    token="#CBE6F7",
    class_token="#0072B2",
    image="#8FD3BF",
)
DARK = Theme(
    face="#16191D",
    ink="#E8EBEE",
    soft="#A9B2BC",
    panel="#1F242A",
    frozen="#363D45",
    frozen_edge="#8B949E",
    trained="#6B3310",
    trained_edge="#FF8A3D",
    token="#22506B",
    class_token="#56B4E9",
    image="#1E6E57",
)


@dataclass(frozen=True)
class Part:
    """What a box stands for. kind: "frozen" or "trained". owns: patterns (`fnmatch`) of parameter names."""

    text: str
    kind: str
    owns: tuple[str, ...]


class Spot(NamedTuple):
    """Where a shape lies: its center and size."""

    x: float
    y: float
    w: float
    h: float

    @property
    def left(self) -> Point:
        return self.x - self.w / 2, self.y

    @property
    def right(self) -> Point:
        return self.x + self.w / 2, self.y

    @property
    def top(self) -> Point:
        return self.x, self.y + self.h / 2

    @property
    def bottom(self) -> Point:
        return self.x, self.y - self.h / 2
