"""Figures in notebooks at twice the resolution of the page, in files that are no larger.

A screen of today has two dots or more where a page counts one pixel. Twice as many dots a side make a PNG two
to three times as large; 256 colors, chosen for each picture, make it smaller again by about as much.
"""

from __future__ import annotations

import base64
import io
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

__all__ = ["sharp_png", "sharp_pictures"]

_SHARPER = 2
_LEAST = 830  # dots across, margins included, however small the figure
_COLORS = 256


def sharp_pictures(shell: Any = None) -> None:
    """From here on the notebook shows every Matplotlib figure by `sharp_png`. Outside IPython nothing
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
    shell.display_formatter.formatters["image/png"].for_type(Figure, sharp_png)


def sharp_png(figure: Figure) -> tuple[str, dict[str, int]]:
    """A figure as PNG (base64) of 256 colors at twice its resolution, and the width and height in pixels at
    which a page shows it."""
    dpi = max(_SHARPER * figure.dpi, _LEAST / figure.get_figwidth())
    raw, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=dpi, bbox_inches="tight", facecolor=figure.get_facecolor())
    with Image.open(raw) as full:
        picture = full.convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
    picture.save(packed, "png", optimize=True)
    shown = {
        "width": round(picture.width * figure.dpi / dpi),
        "height": round(picture.height * figure.dpi / dpi),
    }
    return base64.b64encode(packed.getvalue()).decode("ascii"), shown
