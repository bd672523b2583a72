"""How a leaf moves in each class, such that no single frame tells the class.

A frame shows a state of four numbers: place (x, y), turn θ and growth g. In every class, at every moment, the
four are independent and uniform: x and y on a frame whose edges are joined (what leaves at the right comes in
at the left), θ on the circle, g on [0, 1]. So one frame has the same distribution in all classes: it is at
chance, whatever looks at it. Classes differ in which number changes, and how:

    drift   x or y   ← start + speed · t             (mod 1)
    turn    θ        ← start + speed · t             (mod 1 turn)
    grow    g        ← start + speed · t             (mod 1: full grown, a young leaf takes its place)
    sway    θ        ← middle + swing · sin(2π(phase + speed · t))
    pulse   sway, and g ← ramp(phase ± ¼ + speed · t): largest at one end of the swing, or at the other

where `ramp` is the triangle wave, up and down again, whose values are uniform when its phase is. Middles,
starts and phases are uniform. Only the order of the frames, and the time between them, hold the class:
direction, speed and phase.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["MOTIONS", "STATE", "Motion", "motion_parameters", "single_frame_features", "trajectories"]

STATE = ("x", "y", "turn", "growth")
SWING = 0.13  # turns to each side: 47 degrees


@dataclass(frozen=True)
class Motion:
    """One class. `speed`: of the number that changes, in its periods over 28 frames (the span of 8 frames at
    stride 4); the sign is the direction (image rows count downwards). `pulse`: growth leads the sway by
    this share of a period; None: growth stays."""

    name: str
    moves: str
    speed: float
    pulse: float | None = None


MOTIONS: tuple[Motion, ...] = (
    Motion("drift right, slowly", "x", 0.3),
    Motion("drift right, fast", "x", 0.8),
    Motion("drift left, slowly", "x", -0.3),
    Motion("drift left, fast", "x", -0.8),
    Motion("drift up", "y", -0.5),
    Motion("drift down", "y", 0.5),
    Motion("turn clockwise, slowly", "turn", -0.25),
    Motion("turn clockwise, fast", "turn", -0.75),
    Motion("turn counter-clockwise, slowly", "turn", 0.25),
    Motion("turn counter-clockwise, fast", "turn", 0.75),
    Motion("grow", "growth", 0.6),
    Motion("shrink", "growth", -0.6),
    Motion("sway, slowly", "sway", 0.8),
    Motion("sway, fast", "sway", 2.0),
    Motion("sway, largest counter-clockwise", "sway", 1.2, pulse=0.0),
    Motion("sway, largest clockwise", "sway", 1.2, pulse=0.5),
)
SPAN = 28.0  # frames over which `speed` counts periods
HASTE = 0.12  # a clip's speed differs from its class's by up to this share


def trajectories(motion: Motion, draws: np.ndarray, frames: int) -> np.ndarray:
    """States of N clips of one class: float64 (N, frames, 4), columns `STATE`, all in [0, 1).

    Args:
        draws: (N, 6) uniform in [0, 1): start of the four numbers, phase of a swing, haste.
    """
    # Periods, (N, frames).
    clock = np.arange(frames) / SPAN * motion.speed * (1 + HASTE * (2 * draws[:, 5:6] - 1))
    state = np.repeat(draws[:, None, :4], frames, axis=1)
    if motion.moves != "sway":
        state[..., STATE.index(motion.moves)] += clock
        return state % 1.0
    phase = draws[:, 4:5] + clock
    state[..., 2] += SWING * np.sin(2 * np.pi * phase)
    if motion.pulse is not None:
        # sin is largest at phase ¼, where this ramp is at its top for pulse 0 and at its bottom for pulse ½
        state[..., 3] = 1 - np.abs(2 * ((phase + 0.25 + motion.pulse) % 1.0) - 1)
    return state % 1.0


def single_frame_features(state: np.ndarray) -> np.ndarray:
    """What one frame can tell: (..., 4) states -> (..., 7), the periodic ones as cosine and sine."""
    angle = 2 * np.pi * state[..., :3]
    return np.concatenate([np.cos(angle), np.sin(angle), state[..., 3:]], axis=-1)


def motion_parameters(states: np.ndarray) -> np.ndarray:
    """What the order of frames tells: (N, T, 4) -> (N, 6): mean change a frame of x, y, turn (short way
    round) and of growth (most steps are no jump, so their median), mean absolute change of turn, and its
    covariance with growth."""
    step = np.diff(states, axis=1)
    step = (step + 0.5) % 1.0 - 0.5  # the short way round a period
    turned = np.cumsum(step[..., 2], axis=1)
    grown = states[:, 1:, 3]
    together = ((turned - turned.mean(1, keepdims=True)) * (grown - grown.mean(1, keepdims=True))).mean(1)
    columns = [
        step[..., 0].mean(1),
        step[..., 1].mean(1),
        step[..., 2].mean(1),
        np.median(step[..., 3], axis=1),
    ]
    return np.stack([*columns, np.abs(step[..., 2]).mean(1), together], axis=1)
