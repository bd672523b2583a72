"""Paper-style figures of where models look: attention, rollout, attributions, attention distance and CKA.

Images are shown as they are, uint8 (N, 3, H, W); maps over pixels come from `analysis.attention.on_image` or
an attribution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ..analysis.attention import on_image
from ..analysis.rollout import GroupRollout
from ..errors import AdapterError
from ..text import drawn
from .styling import COLUMN, method_style, style

__all__ = ["attention_distances", "attention_panels", "attribution_panels", "cka_pairs", "rollout_panels"]

_PANEL = 0.95  # inches a side


def attention_panels(
    images: Tensor, maps: Mapping[str, Tensor], *, labels: Sequence[str] | None = None, title: str = ""
) -> Figure:
    """One row an image: the image, then one map a column over it, bright is much; each map has a scale of its
    own, from 0 to its maximum.

    Args:
        images: uint8 (N, 3, H, W).
        maps: column's title → (N, H, W), not negative.
        labels: one text an image, left of its row.

    Raises:
        AdapterError: no image, no map, or sizes that do not fit.
    """
    gray = _check(images, maps, labels)

    def show(ax: Axes, row: int, values: np.ndarray) -> None:
        ax.imshow(gray[row], cmap="gray", vmin=0, vmax=255)
        ax.imshow(values, cmap="inferno", vmin=0, vmax=max(float(np.nanmax(values)), 1e-12), alpha=0.72)

    return _panels(images, maps, labels, title, show)


def attribution_panels(
    images: Tensor, maps: Mapping[str, Tensor], *, labels: Sequence[str] | None = None, title: str = ""
) -> Figure:
    """As `attention_panels` for attributions; above each column stands whether its maps are signed.

    Signed maps, those with a value below 0, are red where pixels speak for the class, blue where they speak
    against it, and white at 0. Unsigned maps cannot speak against anything: they go from dark, 0, to bright.
    Each map has a scale of its own that ends at the 99th percentile of its absolute values, so that single
    pixels do not hide the rest.
    """
    gray = _check(images, maps, labels)
    signed = {name: bool((values < 0).any()) for name, values in maps.items()}
    titled = {f"{name}\n{'signed' if signed[name] else 'unsigned'}": maps[name] for name in maps}
    shown: list[Any] = []

    def show(ax: Axes, row: int, values: np.ndarray) -> None:
        both = list(signed.values())[len(shown) % len(signed)]
        most = max(float(np.quantile(np.abs(values), 0.99)), 1e-12)
        layer = ax.imshow(values, cmap="RdBu_r" if both else "viridis", vmin=-most if both else 0, vmax=most)
        shown.append(layer)
        # An outline of what is seen, not of the sensor's noise.
        soft = gaussian_filter(gray[row], max(gray.shape[1:]) / 48)
        if np.ptp(soft) > 0:
            ax.contour(
                soft,
                levels=[(float(soft.min()) + float(soft.max())) / 2],
                colors="0.35" if both else "white",
                linewidths=0.3,
            )

    figure = _panels(images, titled, labels, title, show)
    panels = np.array(figure.axes[: len(images) * (len(maps) + 1)]).reshape(len(images), -1)
    figure.set_figheight(figure.get_figheight() + 0.35)
    last = shown[-len(maps) :]
    with style():
        for column, layer in enumerate([last[0], *last]):  # the images' column only keeps the place
            bar = figure.colorbar(layer, ax=panels[:, column], location="bottom", aspect=9, pad=0.02)
            low, high = layer.get_clim()
            bar.set_ticks(
                [low, high], labels=["against\nthe class", "for\nthe class"] if low else ["0\n", "max\n"]
            )
            bar.ax.tick_params(labelsize=5.5, length=2)
            left, right = bar.ax.get_xticklabels()
            left.set_horizontalalignment("left")
            right.set_horizontalalignment("right")
            if column == 0:
                for part in bar.ax.get_children():
                    part.set_alpha(0)
                bar.ax.tick_params(color="none", labelcolor="none")
    return figure


def rollout_panels(
    images: Tensor,
    models: Mapping[str, Sequence[GroupRollout]],
    *,
    labels: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """`attention_panels` of every constant-token group's rollout. models: name → what `rollout_groups` gave
    for these images.

    A group with fewer patches than the first one lies in the middle of the image, where its patches come
    from; the rim stays bare.
    """
    size = (int(images.shape[-2]), int(images.shape[-1]))
    columns: dict[str, Tensor] = {}
    for name, groups in models.items():
        for group in groups:
            blocks = (
                f"{group.blocks[0]}–{group.blocks[-1]}" if len(group.blocks) > 1 else f"{group.blocks[0]}"
            )
            columns[f"{name}\nblocks {blocks}"] = on_image(
                group.patches, groups[0].layout.grid, size, rim=float("nan")
            )
    return attention_panels(images, columns, labels=labels, title=title)


def attention_distances(models: Mapping[str, Sequence[Tensor]], *, title: str = "") -> Figure:
    """Mean attention distance of every head, block by block, one panel a model; the line joins the blocks'
    means.

    models: name → one tensor (heads,) a block, in pixels, from `analysis.attention.mean_distance`.

    Raises:
        AdapterError: no model, or one without a block.
    """
    if not models or not all(len(blocks) for blocks in models.values()):
        raise AdapterError("attention_distances needs at least one model with at least one block")
    look = method_style(models)
    with style():
        figure, axes = plt.subplots(
            1, len(models), figsize=(max(COLUMN, 2.2 * len(models)), 2.1), sharey=True, squeeze=False
        )
        for ax, (name, blocks) in zip(axes.flat, models.items(), strict=True):
            color, marker = look[name]
            for number, heads in enumerate(blocks, 1):
                ax.plot(
                    [number] * len(heads), heads.tolist(), marker, color=color, ms=3.5, alpha=0.6, ls="none"
                )
            ax.plot(range(1, len(blocks) + 1), [float(heads.mean()) for heads in blocks], color=color)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.set(xlabel="block", title=drawn(name))
        axes[0, 0].set_ylabel("attention distance (pixels)")
        axes[0, 0].set_ylim(bottom=0)
        figure.suptitle(title, fontsize=8)
    plt.close(figure)
    return figure


def cka_pairs(
    matrices: Mapping[str, Any],
    *,
    groups: Mapping[str, Sequence[Sequence[int]]] | None = None,
    axes_of: tuple[str, str] | None = None,
    title: str = "",
) -> Figure:
    """CKA of every pair of blocks as heat maps on one scale, e.g. {"frozen": …, "ILA": …}.

    CKA lies between 0 and 1, but attention's seldom below one half: the colors span what the matrices of this
    figure hold, and the color bar says from where to where.

    Args:
        matrices: name → (rows, columns), from `analysis.cka.attention_cka`.
        groups: name → blocks of equal token count (`constant_groups`); lines are drawn between the groups.
        axes_of: names of the vertical and horizontal axis where two models are compared; None is "block" for
            both.

    Raises:
        AdapterError: no matrix, or something that is not one.
    """
    if not matrices:
        raise AdapterError("cka_pairs needs at least one matrix")
    arrays = {name: np.asarray(matrix, dtype=float) for name, matrix in matrices.items()}
    if wrong := [name for name, array in arrays.items() if array.ndim != 2]:
        raise AdapterError(
            f"cka_pairs: {wrong[0]!r} has shape {arrays[wrong[0]].shape}; give a matrix of blocks × blocks"
        )
    low, high = min(np.nanmin(a) for a in arrays.values()), max(np.nanmax(a) for a in arrays.values())
    vertical, horizontal = axes_of or ("block", "block")
    with style():
        figure, axes = plt.subplots(1, len(arrays), figsize=(1.9 * len(arrays) + 0.6, 2.15), squeeze=False)
        for ax, (name, array) in zip(axes.flat, arrays.items(), strict=True):
            rows, columns = array.shape
            shown = ax.imshow(
                array,
                cmap="viridis",
                vmin=low,
                vmax=max(high, low + 1e-6),
                origin="lower",
                extent=(0.5, columns + 0.5, 0.5, rows + 0.5),
            )
            for blocks in (groups or {}).get(name, ())[:-1]:
                ax.axvline(blocks[-1] + 0.5, color="white", lw=1.2)
                ax.axhline(blocks[-1] + 0.5, color="white", lw=1.2)
            ax.grid(False)
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_locator(MaxNLocator(6, integer=True))
            ax.set(title=drawn(name), xlabel=drawn(horizontal))
        axes[0, 0].set_ylabel(drawn(vertical))
        label = f"CKA of attention,\ncolors from {low:.2f} to {high:.2f}"
        figure.colorbar(shown, ax=axes, label=label, shrink=0.85)
        figure.suptitle(title, fontsize=8)
    plt.close(figure)
    return figure


def _check(images: Tensor, maps: Mapping[str, Tensor], labels: Sequence[str] | None) -> np.ndarray:
    """Grey images (N, H, W), after a look at everything that must fit."""
    if images.dtype != torch.uint8 or images.ndim != 4 or len(images) == 0:
        raise AdapterError(
            f"panels of images {images.dtype} {tuple(images.shape)}: give uint8 (N, 3, H, W), at least one,"
            " as in `task.test.images`"
        )
    if not maps:
        raise AdapterError("panels need at least one map a row; none was selected")
    wanted = (len(images), *images.shape[-2:])
    if wrong := [name for name, m in maps.items() if tuple(m.shape) != wanted]:
        raise AdapterError(
            f"map {wrong[0]!r} has shape {tuple(maps[wrong[0]].shape)} for {wanted} pixels; use"
            " analysis.attention.on_image"
        )
    if labels is not None and len(labels) != len(images):
        raise AdapterError(f"{len(labels)} labels for {len(images)} images; give one an image")
    return images.float().mean(1).cpu().numpy()


def _panels(
    images: Tensor, maps: Mapping[str, Tensor], labels: Sequence[str] | None, title: str, show: Any
) -> Figure:
    rows, columns = len(images), len(maps) + 1
    with style():
        figure, axes = plt.subplots(
            rows, columns, figsize=(_PANEL * columns + 0.2, (_PANEL + 0.02) * rows + 0.4), squeeze=False
        )
        for row in range(rows):
            axes[row, 0].imshow(images[row].cpu().numpy().transpose(1, 2, 0), interpolation="nearest")
            for ax, (name, values) in zip(axes[row, 1:], maps.items(), strict=True):
                show(ax, row, values[row].detach().float().cpu().numpy())
                if row == 0:
                    ax.set_title(drawn(name), fontsize=7, pad=2)
            if labels is not None:
                axes[row, 0].set_ylabel(drawn(labels[row]), fontsize=7)
        for ax in axes.flat:
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            ax.spines[:].set_visible(False)
        figure.suptitle(title, fontsize=8)
    plt.close(figure)
    return figure
