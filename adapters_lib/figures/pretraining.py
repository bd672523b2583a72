"""What the pre-training of the clip model learned, and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .styling import COLUMN, look_of, style

__all__ = ["speed_curves"]

SPEEDS = {"across": "speed_x", "down": "speed_y", "turn": "speed_turn", "growth": "speed_growth"}


def speed_curves(about: Mapping[str, Any]) -> Figure:
    """Share of the variance of each speed that is explained on held-out clips (%), against the clips seen
    (thousands); a dotted line from where on the model sees all tokens.

    about: `backbones.embedded_info` of a model that `pretrain-clips` made.
    """
    curve, dropped = pd.DataFrame(about["curve"]), about["config"]["dropped"] / 1e3
    with style():
        figure, ax = plt.subplots(figsize=(1.3 * COLUMN, 2.4))
        for label, (color, marker) in look_of(list(SPEEDS)).items():
            explained = 100 * curve[SPEEDS[label]]
            ax.plot(curve["clips"] / 1e3, explained, color=color, marker=marker, ms=3.5, label=label)
        ax.axvline(dropped, color="0.5", ls=":", lw=0.9)
        beside: dict[str, Any] = {"xytext": (-3, 0), "textcoords": "offset points", "ha": "right"}
        ax.annotate("from here on all tokens", (dropped, 2), color="0.4", fontsize=6.5, **beside)
        ax.set(xlabel="clips seen (thousands)", ylabel="variance of the speed explained (%)", ylim=(-5, 102))
        ax.set_title(f"pre-training on synthetic clips, {about['val_clips']} held out")
        ax.legend(ncols=2, loc="upper left", bbox_to_anchor=(0, 0.86))
    plt.close(figure)
    return figure
