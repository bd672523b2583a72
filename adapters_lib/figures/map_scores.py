"""How well heat maps find what matters, one row a kind of map."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .styling import COLUMN, method_style, style

__all__ = ["map_scores"]


def map_scores(scores: pd.DataFrame, images: int, *, title: str = "") -> Figure:
    """AUROC of maps against the truth with 95 % intervals; a dashed line at chance, 0.5.

    Args:
        scores: columns map, model, auroc (0 to 1) and half (of its interval); the model "none" stands for
            maps that know no model and is drawn on the row's line.
        images: how many the means are over, for the caption.
    """
    models, kinds = (list(dict.fromkeys(scores[name])) for name in ("model", "map"))
    look = method_style(models)
    with style():
        figure, ax = plt.subplots(figsize=(1.5 * COLUMN, 0.7 + 0.28 * len(kinds)))
        for shift, name in enumerate(models):
            color, marker = look[name]
            part = scores[scores["model"] == name]
            rows = [kinds.index(kind) + 0.16 * (shift - 1) * (name != "none") for kind in part["map"]]
            bars: dict[str, Any] = {"fmt": marker, "color": color, "ms": 4, "capsize": 2, "elinewidth": 0.8}
            ax.errorbar(part["auroc"], rows, xerr=part["half"], label=name, **bars)
        ax.axvline(0.5, color="0.4", ls="--", lw=0.8)
        ax.set_yticks(range(len(kinds)), kinds)
        ax.invert_yaxis()
        ax.set(xlabel=f"AUROC against the truth, n = {images} images", title=title)
        figure.legend(loc="outside right upper", title="model asked", title_fontsize=7)
    plt.close(figure)
    return figure
