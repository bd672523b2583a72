"""Figures of clips and of what PAdapter's prompts hold: norms, similarity, the bias of mode `cat`, and
attention over time.

They take a model or tensors and return a Matplotlib figure, as `figures` does. For image models they show one
time slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from ..analysis.neighbours import neighbours
from ..analysis.prompts import BlockPrompts, cat_share, prompt_norms, prompt_similarity, prompts_of
from ..errors import AdapterError
from ..text import drawn
from ..vit.model import AdaptedViT
from .styling import COLUMN, look_of, style

__all__ = [
    "attention_over_time",
    "cat_bias",
    "likeness_panel",
    "prompt_norm_maps",
    "prompt_similarity_curves",
]

_PANEL = 0.85  # inches a side


def prompt_norm_maps(
    model: AdaptedViT, blocks: Sequence[int] | None = None, *, which: int = 0, title: str = ""
) -> Figure:
    """The length of every patch's prompt, one row a block, one column a time slice; every block has a scale
    of its own. At the right: are neighbours more alike than in a shuffled map (`likeness_panel`)?

    Args:
        model: with PAdapter among its methods.
        blocks: numbers from 1; None is the first, a middle and the last one.
        which: 0 is P, 1 is Q.

    Raises:
        AdapterError: no PAdapter in these blocks, or `which` does not exist.
    """
    chosen = prompts_of(model, _blocks(model, blocks))
    maps = [prompt_norms(prompts, which) for prompts in chosen]
    return _maps(chosen, maps, f"norm of prompt {'PQ'[which]}", title)


def cat_bias(model: AdaptedViT, blocks: Sequence[int] | None = None, *, title: str = "") -> Figure:
    """The length of what the prompts alone add to every token in mode `cat`, whatever the clip shows; rows
    and columns as for norms.

    Raises:
        AdapterError: no PAdapter in these blocks, or one in mode `add`.
    """
    chosen = prompts_of(model, _blocks(model, blocks))
    maps = [prompts.on_grid(cat_share(prompts).norm(dim=-1)) for prompts in chosen]
    return _maps(chosen, maps, "norm of the bias", title)


def prompt_similarity_curves(
    model: AdaptedViT, blocks: Sequence[int] | None = None, *, which: int = 0, title: str = ""
) -> Figure:
    """Mean cosine similarity of two patches' prompts against their distance, one line a lag in time, one
    panel a block.

    Arguments and errors as for `prompt_norm_maps`.
    """
    chosen = prompts_of(model, _blocks(model, blocks))
    slices = max(prompts.layout.slices for prompts in chosen)
    look = look_of([str(lag) for lag in range(slices)])
    with style():
        figure, axes = plt.subplots(
            1, len(chosen), figsize=(max(COLUMN, 1.9 * len(chosen)), 2.2), sharey=True, squeeze=False
        )
        for ax, prompts in zip(axes.flat, chosen, strict=True):
            similarity = prompt_similarity(prompts, which)
            for lag, line in enumerate(similarity.values):
                color, marker = look[str(lag)]
                every = max(len(similarity.distances) // 8, 1)
                ax.plot(
                    similarity.distances.numpy(),
                    line.numpy(),
                    color=color,
                    marker=marker,
                    ms=3,
                    markevery=every,
                    label=_lag(lag),
                )
            ax.axhline(0, color="0.6", lw=0.6)
            ax.set(title=f"block {prompts.block}", xlabel="distance (patches)")
        axes[0, 0].set_ylabel(f"cosine similarity of {'PQ'[which]}")
        if slices > 1:
            figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=slices, loc="outside lower center")
        figure.suptitle(title, fontsize=8)
    plt.close(figure)
    return figure


def attention_over_time(
    frames: Tensor, maps: Tensor, *, labels: Sequence[str] | None = None, columns: int = 8, title: str = ""
) -> Figure:
    """Two rows a clip: its frames, and the same frames under the attention of their time slice, bright is
    much.

    Attention is in units of an even share (1 / patches). A clip's maps have one scale, from its least to its
    largest value over all slices, so that columns can be compared: they say *when* the model looks as well.

    Args:
        frames: uint8 (N, 3, T, H, W), as they are.
        maps: (N, slices, rows, columns), not negative, e.g. the mean over heads of
            `analysis.attention.query_rows`; T is a multiple of slices, and each slice lies over its tubelet's
            frames.
        labels: one text a clip. columns: at most so many frames, evenly spread.

    Raises:
        AdapterError: no clip, or shapes that do not fit.
    """
    _check_clips(frames, maps, labels)
    count, total = len(frames), frames.shape[2]
    shown = np.unique(np.linspace(0, total - 1, min(columns, total)).round().astype(int))
    height, width = frames.shape[-2:]
    over = F.interpolate(maps.detach().float().cpu() * maps[0].numel(), (height, width), mode="nearest-exact")
    with style():
        size = (_PANEL * len(shown) + 0.5, 2 * _PANEL * count * height / width + 0.55)
        figure, axes = plt.subplots(2 * count, len(shown), figsize=size, squeeze=False)
        figure.get_layout_engine().set(wspace=0.02, hspace=0.02)  # type: ignore[union-attr, call-arg]
        for clip in range(count):
            least, most = float(over[clip].min()), float(over[clip].max())
            for column, frame in enumerate(shown):
                picture = frames[clip, :, frame].permute(1, 2, 0).cpu().numpy()
                above, below = axes[2 * clip, column], axes[2 * clip + 1, column]
                above.imshow(picture, interpolation="nearest")
                below.imshow(picture.mean(-1), cmap="gray", vmin=0, vmax=255)
                seen = over[clip, frame * maps.shape[1] // total].numpy()
                layer = below.imshow(
                    seen, cmap="inferno", vmin=least, vmax=most, alpha=0.7, interpolation="nearest"
                )
                if clip == 0:
                    above.set_title(f"frame {frame + 1}", fontsize=7, pad=2)
            figure.colorbar(layer, ax=axes[2 * clip + 1], ticks=[least, most], format="×%.2f", aspect=10)
            if labels is not None:
                axes[2 * clip, 0].set_ylabel(drawn(labels[clip]), fontsize=7)
            axes[2 * clip + 1, 0].set_ylabel("attention", fontsize=7)
        _bare(axes)
        figure.suptitle(title, fontsize=8)
    plt.close(figure)
    return figure


def _maps(chosen: Sequence[BlockPrompts], maps: Sequence[Tensor], what: str, title: str) -> Figure:
    """Heat maps (slices, rows, columns) of every block, a scale a row; at the right, whether there is
    anything to see: Moran's I beside that of shuffled maps."""
    slices = max(len(m) for m in maps)
    names = [f"block {prompts.block}" for prompts in chosen]
    with style():
        size = (max(_PANEL * slices + 2.9, COLUMN), _PANEL * len(maps) + 0.8)
        figure = plt.figure(figsize=size)
        halves: Any = figure.subfigures(1, 2, width_ratios=(size[0] - 1.9, 1.9))
        left, right = halves
        axes = left.subplots(len(maps), slices, squeeze=False)
        for name, row, block_maps in zip(names, axes, maps, strict=True):
            low, high = float(block_maps.min()), float(block_maps.max())
            for ax, values in zip(row, block_maps, strict=True):
                layer = ax.imshow(
                    values.numpy(), cmap="viridis", vmin=low, vmax=high, interpolation="nearest"
                )
            left.colorbar(layer, ax=row, shrink=0.9, aspect=10, format="%.3g")
            row[0].set_ylabel(name, fontsize=7)
        if slices > 1:
            for index, ax in enumerate(axes[0]):
                ax.set_title(f"slice {index + 1}", fontsize=7, pad=2)
        _bare(axes)
        likeness_panel(right.subplots(), dict(zip(names, maps, strict=True)))
        what += "\nright: are neighbours alike? grey: 95 % of shuffled maps"
        figure.suptitle(f"{title}\n{what}" if title else what, fontsize=8)
    plt.close(figure)
    return figure


def likeness_panel(ax: Axes, maps: Mapping[str, Tensor]) -> None:
    """How alike neighbours are in every map (Moran's I, a dot), beside the middle 95 % of the same values in
    1,000 random orders (a bar): a dot on its bar is noise.

    maps: name → one value a place, as for `analysis.neighbours`. A map whose values are all the same has no
    dot.
    """
    for row, values in enumerate(maps.values()):
        if torch.as_tensor(values).unique().numel() < 2:
            continue
        likeness = neighbours(torch.as_tensor(values).detach().cpu())
        ax.barh(row, likeness.high - likeness.low, left=likeness.low, height=0.3, color="0.8")
        noise = likeness.low <= likeness.value <= likeness.high
        ax.plot(likeness.value, row, "o", color="#0072B2", mfc="white" if noise else "#0072B2", ms=4.5)
        ax.annotate(f"{likeness.value:+.2f}", (likeness.value, row), (0, 4), textcoords="offset points",
            fontsize=6, ha="center", va="bottom")  # fmt: skip
    ax.axvline(0, color="0.4", lw=0.6)
    ax.set_yticks(range(len(maps)), [drawn(name) for name in maps])
    ax.set(ylim=(len(maps) - 0.5, -0.5), xlabel="Moran's I")
    ax.use_sticky_edges = False
    ax.margins(x=0.15)
    ax.set_title("hollow: as if shuffled", fontsize=7)


def _bare(axes: np.ndarray) -> None:
    ax: Axes
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)


def _blocks(model: AdaptedViT, blocks: Sequence[int] | None) -> list[int]:
    return list(blocks) if blocks is not None else sorted({1, (model.depth + 1) // 2, model.depth})


def _lag(lag: int) -> str:
    return "same slice" if lag == 0 else f"{lag} slice{'s' * (lag > 1)} later"


def _check_clips(frames: Tensor, maps: Tensor, labels: Sequence[str] | None) -> None:
    if frames.dtype != torch.uint8 or frames.ndim != 5 or frames.shape[1] != 3 or len(frames) == 0:
        raise AdapterError(
            f"frames {frames.dtype} {tuple(frames.shape)}: give uint8 (N, 3, T, H, W), at least one clip, not"
            " normalised"
        )
    if maps.ndim != 4 or len(maps) != len(frames) or maps.shape[1] == 0 or frames.shape[2] % maps.shape[1]:
        wanted = f"({len(frames)}, slices, rows, columns), with slices that divide {frames.shape[2]} frames"
        raise AdapterError(
            f"maps {tuple(maps.shape)}: {wanted} are needed; take the mean over heads of query_rows"
        )
    if labels is not None and len(labels) != len(frames):
        raise AdapterError(f"{len(labels)} labels for {len(frames)} clips; give one a clip")
