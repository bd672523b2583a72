"""Where the tokens of a sequence stand: prefix tokens, prompts, then the patch grid, for a clip one grid a
time slice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """The order of a token sequence (B, tokens, D): `prefix` | `prompts` | patches.

    The patches lie row by row, `grid[0] × grid[1]`, slice by slice.

    prefix: class, distillation and register tokens that the backbone itself puts in front.
    prompts: learnable tokens that a method (VPT) inserted behind them; they are dropped before the head.
    grid: (rows, columns) of the patch map; down-sampling modules shrink it.
    slices: patch maps one after another in time; 1 for images.
    """

    prefix: int
    prompts: int
    grid: tuple[int, int]
    slices: int = 1

    @property
    def lead(self) -> int:
        """Number of tokens in front of the patches."""
        return self.prefix + self.prompts

    @property
    def tokens(self) -> int:
        return self.lead + self.slices * self.grid[0] * self.grid[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns) of an image's patches, (slices, rows, columns) of a clip's."""
        return self.grid if self.slices == 1 else (self.slices, *self.grid)

    def with_grid(self, rows: int, columns: int) -> Layout:
        # Written out, as dataclasses.replace would break a graph of older versions of torch.compile.
        return Layout(self.prefix, self.prompts, (rows, columns), self.slices)

    def with_prompts(self, count: int) -> Layout:
        return Layout(self.prefix, count, self.grid, self.slices)

    def as_maps(self, x: Tensor) -> Tensor:
        """The patches of x (B, N, C) as maps (B·slices, C, rows, columns), in channels-last memory, so the
        transposition costs nothing."""
        return x[:, self.lead :].reshape(x.shape[0] * self.slices, *self.grid, x.shape[2]).permute(0, 3, 1, 2)

    def from_maps(self, maps: Tensor) -> Tensor:
        """The way back, whatever size the maps have by now: (B·slices, C, h, w) → (B, slices·h·w, C)."""
        tokens = maps.flatten(2).transpose(1, 2)
        return tokens.reshape(maps.shape[0] // self.slices, -1, maps.shape[1])

    def insert_prompts(self, x: Tensor, prompts: Tensor) -> tuple[Tensor, Layout]:
        """Put `prompts` (1 or B, P, D) behind the prefix of `x` (B, N, D); return the longer sequence and
        its layout."""
        prompts = prompts.expand(x.shape[0], -1, -1)
        x = torch.cat((x[:, : self.prefix], prompts, x[:, self.prefix :]), dim=1)
        return x, self.with_prompts(self.prompts + prompts.shape[1])

    def strip_prompts(self, x: Tensor) -> tuple[Tensor, Layout]:
        """Remove all prompts from `x` (B, N, D); without any, `x` is returned as it is."""
        if not self.prompts:
            return x, self
        x = torch.cat((x[:, : self.prefix], x[:, self.lead :]), dim=1)
        return x, self.with_prompts(0)
