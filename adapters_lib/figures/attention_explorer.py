"""What the attention explorer shows, without a widget: one image, one block, one head, several models side by
side.

A model is asked once for an image; what it gives back (a few kilobytes) answers every later question about
blocks and heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..analysis.attention import capture_attention, on_image, query_rows, walker
from ..analysis.rollout import constant_groups, rollout
from ..errors import AdapterError, unknown
from ..vit.modes import evaluating
from .attention import attention_panels

__all__ = ["VIEWS", "Views", "attention_views", "explorer_figure"]

VIEWS = {
    "attention": "attention of this block",
    "rollout": "rollout from the group's first block to this one",
}
"""What a panel can show."""

_SIDE = 1.75  # inches a panel, larger than in a paper


@dataclass(frozen=True)
class Views:
    """Where the head's token looks in one image, block by block (block b at index b − 1).

    heads: (heads, rows, columns) a block, the attention after the softmax; a map sums to the share that goes
    to patches. rollouts: (rows, columns) a block, over the blocks since the token grid last changed. first:
    that group's first block. grid: of the patch embedding.
    """

    heads: tuple[Tensor, ...]
    rollouts: tuple[Tensor, ...]
    first: tuple[int, ...]
    grid: tuple[int, int]

    @property
    def depth(self) -> int:
        return len(self.heads)

    def map(self, block: int, head: int | None = None, view: str = "attention") -> Tensor:
        """One map (rows, columns). head: from 1; None is the mean over heads. A rollout averages the heads by
        definition.

        Raises:
            AdapterError: a block, head or view that does not exist.
        """
        if not 1 <= block <= self.depth:
            raise AdapterError(
                f"block {block} does not exist; this model's blocks are numbered 1 to {self.depth}"
            )
        if view not in VIEWS:
            raise unknown("view", view, VIEWS)
        if view == "rollout":
            return self.rollouts[block - 1]
        maps = self.heads[block - 1]
        if head is None:
            return maps.mean(0)
        if not 1 <= head <= len(maps):
            raise AdapterError(f"head {head} does not exist; block {block} has heads 1 to {len(maps)}")
        return maps[head - 1]


@torch.no_grad()
def attention_views(model: nn.Module, image: Tensor) -> Views:
    """Run one normalised image (C, H, W) through a timm ViT or an adapted model and keep where it looked.

    Raises:
        AdapterError: not one image, an image of another size than the model's, or a model without attention
            maps.
    """
    if image.ndim != 3:
        raise AdapterError(f"an image of shape {tuple(image.shape)}: give one normalised image, (C, H, W)")
    walk = walker(model)
    layouts = walk.block_layouts()
    fresh = [len(sites.modules_at("enter")) > 0 for sites in walk.sites]
    with evaluating(model), capture_attention(model) as seen:
        model(image[None].to(next(model.parameters()).device))
    heads, rollouts, first = [], [], []
    for blocks in constant_groups(layouts):
        layout = layouts[blocks[0] - 1]
        for block in blocks:
            so_far = blocks[: blocks.index(block) + 1]
            matrix = rollout([seen[b] for b in so_far], [fresh[b - 1] for b in so_far], layout)
            heads.append(query_rows(seen[block][0], model, layout))
            rollouts.append(query_rows(matrix[0], model, layout).float())
            first.append(blocks[0])
    rows, columns = walk.first_layout().grid
    return Views(tuple(heads), tuple(rollouts), tuple(first), (rows, columns))


def explorer_figure(
    picture: Tensor, views: Mapping[str, Views], block: int, head: int | None = None, view: str = "attention"
) -> Figure:
    """The image and one map a model over it; above each map its grid and how much of the attention goes to
    patches at all.

    Args:
        picture: uint8 (3, H, W). views: name → `attention_views` of this image.
        block, head, view: as in `Views.map`.

    Raises:
        AdapterError: no model, or a block, head or view that one of them does not have.
    """
    if not views:
        raise AdapterError(
            "no model is selected; choose at least one (in the list: arrow keys, with Shift or Ctrl for"
            " several)"
        )
    size = (int(picture.shape[-2]), int(picture.shape[-1]))
    panels = {}
    for name, attention in views.items():
        patches = attention.map(block, head, view)
        since = f"blocks {attention.first[block - 1]} to {block}\n" if view == "rollout" else ""
        note = f"{since}{patches.shape[0]} × {patches.shape[1]} patches, {100 * float(patches.sum()):.0f} %"
        panels[f"{name}\n{note}"] = on_image(patches[None], attention.grid, size, rim=float("nan"))
    which = "mean of all heads" if head is None or view == "rollout" else f"head {head}"
    figure = attention_panels(
        picture[None], panels, title=f"{VIEWS[view]} (block {block}, {which}); %: share that goes to patches"
    )
    figure.set_size_inches(_SIDE * (len(panels) + 1), _SIDE + (0.75 if view == "rollout" else 0.6))
    return figure
