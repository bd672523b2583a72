"""What the prompts inside PAdapter's bottleneck hold, token by token over space and time.

    similarity of tokens i, j:   cos(P_i, P_j),  averaged over pairs of one distance and one lag in time
    share of mode `cat`:         y_P[i] = s · W_u^P ReLU(P_i),  a bias for each position (L, D)

Li et al. 2025 (PAdapter, Image and Vision Computing 154, 105395); the averages over pairs are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import AdapterError
from ..methods.padapter import PromptedAdapter
from ..vit.layout import Layout
from ..vit.model import AdaptedViT
from .attention import check_blocks

__all__ = ["BlockPrompts", "Similarity", "cat_share", "prompt_norms", "prompt_similarity", "prompts_of"]


@dataclass(frozen=True)
class BlockPrompts:
    """The prompted adapter of one block (numbered from 1), and the layout of the tokens on which it
    stands."""

    block: int
    module: PromptedAdapter
    layout: Layout

    def on_grid(self, per_token: Tensor) -> Tensor:
        """(tokens, …) → (slices, rows, columns, …) of the patches; class token, registers and prompts of
        VPT are left out."""
        return per_token[self.layout.lead :].unflatten(0, (self.layout.slices, *self.layout.grid))


@dataclass(frozen=True)
class Similarity:
    """Mean cosine similarity of prompts, by the lag between their time slices and their distance on the patch
    grid.

    distances: (K,), 0, 1, 2, … patches, each pair at the nearest; pairs further apart than the grid's longer
    side, which only lie between corners, are left out. values: (slices, K); row k is lag k; NaN for a token
    with itself.
    """

    distances: Tensor
    values: Tensor


def prompts_of(model: AdaptedViT, blocks: list[int] | None = None) -> list[BlockPrompts]:
    """The prompted adapters of a model with PAdapter, block by block; `blocks` chooses some, by number.

    Raises:
        AdapterError: no PAdapter, one prompt shared by all tokens, or a block that does not exist.
    """
    adapters = []
    layouts = model.block_layouts()
    for block in check_blocks(blocks, model.depth):
        modules = [m for m in model.sites[block - 1].modules() if isinstance(m, PromptedAdapter)]
        if not modules:
            raise AdapterError(
                f"block {block} has no PAdapter; adapt the backbone with al.PAdapter(), or choose other"
                " blocks"
            )
        layout = layouts[block - 1]
        if modules[0].prompts[0].shape[1] != layout.tokens:
            raise AdapterError(
                "num_tokens=1 shares one prompt among all tokens: it holds nothing over space or time; leave"
                " num_tokens=None"
            )
        adapters.append(BlockPrompts(block, modules[0], layout))
    return adapters


@torch.no_grad()
def prompt_norms(prompts: BlockPrompts, which: int = 0) -> Tensor:
    """‖P_i‖₂ of every patch's prompt: (slices, rows, columns), on the CPU. which: 0 is P, 1 is Q of the
    forms that have it."""
    return prompts.on_grid(_prompt(prompts, which).norm(dim=-1))


@torch.no_grad()
def prompt_similarity(prompts: BlockPrompts, which: int = 0) -> Similarity:
    """How alike the prompts of two patches are, by their distance in space and time. `which` as for
    `prompt_norms`.

    A prompt without any structure has 0 everywhere, up to ± 1/√(r · pairs); structure in space makes it fall
    with the distance.
    """
    grid = prompts.on_grid(_prompt(prompts, which))  # (slices, rows, columns, r)
    slices, rows, columns, _ = grid.shape
    unit = F.normalize(grid.flatten(0, 2), dim=-1)
    # (T, n, T, n).
    cosine = (unit @ unit.T).unflatten(0, (slices, rows * columns)).unflatten(-1, (slices, rows * columns))
    cells = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(torch.float64)
    bins = torch.cdist(cells, cells).round().long()  # (n, n)
    count = int(bins.max()) + 1
    lines = [
        _mean_by_distance([cosine[t, :, t + lag] for t in range(slices - lag)], bins, count)
        for lag in range(slices)
    ]
    lines[0][0] = float("nan")
    near = max(rows, columns)
    return Similarity(torch.arange(count)[:near], torch.stack(lines)[:, :near])


@torch.no_grad()
def cat_share(prompts: BlockPrompts) -> Tensor:
    """What the prompts alone add to every token in mode `cat`: (tokens, D), on the CPU.

    Raises:
        AdapterError: the module is in mode `add`, where the prompts' share depends on the input.
    """
    module: Any = prompts.module
    if module.mode != "cat":
        raise AdapterError(
            'in mode "add" what a prompt adds depends on the input; this figure is for'
            ' al.PAdapter(mode="cat")'
        )
    width = module.prompts[0].shape[-1]
    weight = module.up.weight  # (D, channels): the prompts stand last, or first and last
    parts = [weight[:, -width:]] if module.form == "x_p" else [weight[:, :width], weight[:, -width:]]
    share = sum(F.relu(prompt[0]) @ part.T for prompt, part in zip(module.prompts, parts, strict=True))
    return (share * module.scale).float().cpu()  # type: ignore[no-any-return, union-attr]


def _mean_by_distance(matrices: list[Tensor], bins: Tensor, count: int) -> Tensor:
    """Mean over all entries of (n, n) matrices, apart for every value of `bins` (n, n)."""
    total = sum(
        torch.zeros(count, dtype=torch.float64).scatter_add_(0, bins.flatten(), m.flatten().double())
        for m in matrices
    )
    return total / (len(matrices) * bins.flatten().bincount(minlength=count))  # type: ignore[no-any-return]


def _prompt(prompts: BlockPrompts, which: int) -> Tensor:
    """(tokens, r), float32 on the CPU."""
    every = list(prompts.module.prompts)
    if not 0 <= which < len(every):
        raise AdapterError(
            f"which={which}, but form {prompts.module.form!r} has {len(every)} prompt(s); they are numbered"
            " from 0"
        )
    return every[which][0].detach().float().cpu()
