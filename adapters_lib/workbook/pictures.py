"""Figures in notebooks at twice the resolution of the page, in files that are no larger.

A screen of today has two dots or more where a page counts one pixel. Twice as many dots a side make a PNG two
to three times as large; 256 colors, chosen for each picture, make it smaller again by about as much. A figure
that holds photographs or leaves has more colors than that: it is shown as JPEG, so that a leaf keeps its
shades.
"""

from __future__ import annotations

import base64
import io
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

__all__ = ["PICTURES", "sharp_picture", "sharp_pictures"]

PICTURES = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg"}
"""Kinds of pictures among a notebook's outputs, the one to prefer first, and how their files' names end."""

_SHARPER = 2
_LEAST = 830  # dots across, margins included, however small the figure
_COLORS = 256
_OFF, _SHARE = 16, 0.004
"""Of all pixels this share may be off by more than so many of 255 levels in a picture of 256 colors."""


def sharp_pictures(shell: Any = None) -> None:
    """From here on the notebook shows every Matplotlib figure by `sharp_picture`. Outside IPython nothing
    happens.

    shell: an IPython shell; None is the one that runs this code.
    """
    if shell is None:
        try:
            from IPython import get_ipython  # type: ignore[attr-defined]
        except ImportError:
            return
        shell = get_ipython()  # type: ignore[no-untyped-call]
    if shell is None or getattr(shell, "display_formatter", None) is None:
        return
    import matplotlib
    from matplotlib import pyplot

    # The notebook's own formats are set when its backend is loaded; ours have to come later.
    pyplot.switch_backend(matplotlib.get_backend())
    formatters = shell.display_formatter.formatters
    drawn: list[tuple[Figure, tuple[str, str, dict[str, int]]]] = []  # the last one, asked for once a kind

    def of_kind(kind: str, figure: Figure) -> tuple[str, dict[str, int]] | None:
        if not drawn or drawn[0][0] is not figure or kind == "image/png":
            drawn[:] = [(figure, sharp_picture(figure))]
        its, text, size = drawn[0][1]
        return (text, size) if its == kind else None

    for kind in ("image/png", "image/jpeg"):  # in the order in which they are asked
        formatters[kind].for_type(Figure, partial(of_kind, kind))


def sharp_picture(figure: Figure) -> tuple[str, str, dict[str, int]]:
    """A figure at twice its resolution: its kind, the file (base64), and the width and height in pixels at
    which a page shows it.

    The kind is "image/png", of 256 colors, unless those would change what is seen; then it is "image/jpeg".
    """
    dpi = max(_SHARPER * figure.dpi, _LEAST / figure.get_figwidth())
    raw, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=dpi, bbox_inches="tight", facecolor=figure.get_facecolor())
    with Image.open(raw) as opened:
        full = opened.convert("RGB")
    few = full.quantize(_COLORS, dither=Image.Dither.NONE)
    off = np.abs(np.asarray(few.convert("RGB"), dtype=np.int16) - np.asarray(full)).max(axis=-1)
    holds_images = any(ax.images for ax in figure.axes)  # lines are sharper, and smaller, as PNG
    if holds_images and float((off > _OFF).mean()) > _SHARE:
        kind = "image/jpeg"
        full.save(packed, "jpeg", quality=84, subsampling=0, optimize=True)
    else:
        kind = "image/png"
        few.save(packed, "png", optimize=True)
    shown = {"width": round(full.width * figure.dpi / dpi), "height": round(full.height * figure.dpi / dpi)}
    return kind, base64.b64encode(packed.getvalue()).decode("ascii"), shown
