"""Clips of wild leaves that drift, turn and grow at speeds of their own: what the embedded clip model is
pre-trained on.

A wild leaf is of no species (see `leaves.parameters.sample_wild`). Each of its four numbers
(`motion_states.STATE`) starts anywhere and changes at a constant speed, or not at all (half of the time):

    s(t) = start + speed · t   (mod 1),     speed ~ U(−top, top), in periods over the span of a clip

No leaf here sways, pulses or belongs to a species: those are left for the task downstream.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..leaves.parameters import SPLITS, sample_wild
from .motion_leaves import draw_clip
from .motion_states import SPAN, STATE

__all__ = ["TOP_SPEED", "WildClips", "draw_wild_clips", "roll", "state_targets"]

TOP_SPEED = np.array([1.0, 1.0, 1.0, 0.8])  # periods over `SPAN` frames, by column of STATE
MOVES = 0.5  # how likely a number changes
STREAM = 78  # keeps these random numbers apart from those of images and of motion-leaves


@dataclass(frozen=True)
class WildClips:
    """pixels uint8 (N, T, 3, size, size); states float32 (N, T, 4) in [0, 1); speeds float32 (N, 4), in
    periods over `SPAN` frames."""

    pixels: Tensor
    states: Tensor
    speeds: Tensor

    def __len__(self) -> int:
        return len(self.speeds)


def draw_wild_clips(
    count: int, split: str, seed: int, size: int, frames: int, stride: int = 4, progress: bool = False
) -> WildClips:
    """Draw `count` clips of `frames` frames, every `stride`-th of a film. split: "upstream" or
    "upstream-val", which share no leaf."""
    sample = sample_wild(count, split, seed)
    draws = np.random.Generator(np.random.PCG64([seed, SPLITS[split], STREAM])).random((count, 3, len(STATE)))
    speeds = (2 * draws[:, 1] - 1) * TOP_SPEED * (draws[:, 2] < MOVES)
    times = np.arange(frames) * stride / SPAN
    states = (draws[:, 0, None] + speeds[:, None] * times[:, None]) % 1.0  # (N, T, 4)
    pixels = torch.empty(count, frames, 3, size, size, dtype=torch.uint8)
    for i in tqdm(range(count), desc=f"draw wild clips ({split})", disable=not progress):
        clip = draw_clip(sample.leaves[i], sample.scenes[i], states[i], int(sample.seeds[i]) % 2**52, size)
        pixels[i] = torch.from_numpy(clip).permute(0, 3, 1, 2)
    return WildClips(pixels, torch.from_numpy(states).float(), torch.from_numpy(speeds).float())


def roll(clips: WildClips, down: Tensor, right: Tensor, backwards: Tensor) -> WildClips:
    """The same films seen elsewhere: moved by whole pixels over the frame's joined edges, and played
    backwards.

    Moving a clip by k pixels is exactly the clip of a leaf that started k pixels further, so this makes new
    clips without drawing.

    Args:
        down, right: pixels (N,), integers. backwards: bool (N,).
    """
    pixels, states, size = clips.pixels, clips.states.clone(), clips.pixels.shape[-1]
    rows = (torch.arange(size) - down[:, None]) % size  # (N, size)
    columns = (torch.arange(size) - right[:, None]) % size
    each = torch.arange(len(clips))
    # (N, T).
    times = torch.where(
        backwards[:, None], torch.arange(pixels.shape[1]).flip(0), torch.arange(pixels.shape[1])
    )
    pixels = pixels[
        each[:, None, None, None],
        times[:, :, None, None],
        :,
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
    states[..., STATE.index("x")] += right[:, None] / size
    states[..., STATE.index("y")] += down[:, None] / size
    states = (states % 1.0).gather(1, times[..., None].expand_as(states))
    return WildClips(
        pixels.permute(0, 1, 4, 2, 3), states, torch.where(backwards[:, None], -clips.speeds, clips.speeds)
    )


def state_targets(states: Tensor) -> Tensor:
    """States (..., 4) → seven numbers of unit variance: cosine and sine of x, y and turn, and growth."""
    angle = 2 * torch.pi * states[..., :3]
    return torch.cat((2**0.5 * angle.cos(), 2**0.5 * angle.sin(), 12**0.5 * (states[..., 3:] - 0.5)), dim=-1)
