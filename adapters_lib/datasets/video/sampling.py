"""Which frames of a video make a clip: every fourth of a stretch, or one from each of T equal segments.

Both work on time stamps, so a variable frame rate changes nothing but which frame is on show at a wanted
moment:

    strided   t_k = start + k · stride / fps           8 frames, stride 4 (AdaptFormer, PAdapter)
    uniform   t_k = (k + offset) · duration / T        (TSN; what SSv2 is often read with)

A video shorter than a strided clip is read from its start, and its last frame is repeated to fill the clip. A
video of fewer than T frames read uniformly shows some frames more than once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ...errors import AdapterError, unknown

__all__ = ["ClipSampler"]

MODES = ("strided", "uniform")
MOST = 100_000  # frames of a clip, from one to the next, and places to start from


@dataclass(frozen=True)
class ClipSampler:
    """How clips are cut from videos.

    Args:
        frames: of a clip, T.
        stride: of "strided", in frames of the video's mean rate.
        mode: "strided" or "uniform".
        positions: training starts are drawn from so many evenly spread ones (so that a cache of clips is hit
            again); None: from all.

    Raises AdapterError for numbers below 1 or another mode.
    """

    frames: int = 8
    stride: int = 4
    mode: str = "strided"
    positions: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("sampling", self.mode, MODES)
        for name in ("frames", "stride", "positions"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise AdapterError(f"clips with {name}={value!r}; give a whole number of at least 1")
            if value is not None and value > MOST:
                raise AdapterError(f"clips with {name}={value}; give at most {MOST:,}")

    @property
    def span(self) -> int:
        """Frames from the first to the last of a strided clip, both counted: 29 for 8 frames at stride 4."""
        return (self.frames - 1) * self.stride + 1

    def random(self, times: np.ndarray) -> np.ndarray:
        """Numbers (T,) of the frames of a training clip. Draws from torch's global generator.

        Args:
            times: (N,) rising seconds of the video's frames, from 0.
        """
        if self.positions is not None:
            return self.view(times, int(torch.randint(self.positions, ())), self.positions)
        if self.mode == "uniform":
            return self._uniform(times, torch.rand(self.frames).numpy())
        starts = _shown(times, self._slack(times), _interval(times)) + 1
        return self._strided(times, int(torch.randint(int(starts), ())))

    def view(self, times: np.ndarray, number: int = 0, count: int = 1) -> np.ndarray:
        """Numbers (T,) of the frames of view `number` of `count`, spread evenly over the video; the only
        one lies in the middle."""
        if self.mode == "uniform":
            return self._uniform(times, np.full(self.frames, (number + 0.5) / count))
        place = 0.5 if count == 1 else number / (count - 1)
        return self._strided(times, int(_shown(times, place * self._slack(times), _interval(times))))

    def _slack(self, times: np.ndarray) -> float:
        """Seconds by which the start of a strided clip can move."""
        return max(0.0, float(times[-1]) - (self.span - 1) * _interval(times))

    def _strided(self, times: np.ndarray, start: int) -> np.ndarray:
        step = _interval(times)
        return _shown(times, times[start] + np.arange(self.frames) * (self.stride * step), step)

    def _uniform(self, times: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        step = _interval(times)
        # Grace: containers round stamps to milliseconds.
        segment, grace = (times[-1] + step) / self.frames, 0.1 * step
        wanted = np.minimum(
            (np.arange(self.frames) + offsets) * segment + grace,
            (np.arange(self.frames) + 1) * segment - grace,
        )
        return (np.searchsorted(times, wanted, side="right") - 1).clip(0, len(times) - 1)


def _interval(times: np.ndarray) -> float:
    """Mean seconds from frame to frame; 1 for a single frame, where it makes no difference."""
    return float(times[-1]) / (len(times) - 1) if len(times) > 1 else 1.0


def _shown(times: np.ndarray, wanted: np.ndarray | float, step: float) -> np.ndarray:
    """Numbers of the frames on show at `wanted` seconds, rounded by half a mean frame; the last one from
    the end on."""
    return (np.searchsorted(times, np.asarray(wanted) + step / 2, side="right") - 1).clip(0, len(times) - 1)
