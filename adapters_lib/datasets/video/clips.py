"""Videos as a data set of clips: float32 (C, T, H, W), normalised, and a label; with a cache, test views, and
bad files counted.

A file that cannot be decoded does not end a run and is not passed over in silence: the next readable video of
the same class stands in for it (so every label stays what `labels` says), one DataWarning names the file, and
`bad_files` lists all of them, from every loader worker. Only a class without any readable video raises.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...errors import AdapterError
from ...files import output_folder
from ..labelled import check_labels
from ..request import Request
from ..task import DataWarning, Task
from .cache import ClipCache
from .crops import check_clip_augmentation, multi_scale_crop, spatial_view
from .decoding import Video, VideoError
from .sampling import ClipSampler

__all__ = ["ClipViews", "VideoClips", "clip_cache", "clips_task", "read_clip"]

MARGIN = 8 / 7  # frames are decoded to this many times the clip's side (256 for 224), room for the crops


def read_clip(
    path: Path,
    choose: Callable[[np.ndarray], np.ndarray],
    short_side: int | None = None,
    cache: ClipCache | None = None,
) -> np.ndarray:
    """Frames of one video: uint8 (T, H, W, 3).

    Args:
        choose: times (N,) in seconds -> numbers (T,) of frames, such as `ClipSampler().view`.
        cache: keeps the times and the frames, by path, time of change and size of the file.

    Raises VideoError when the file gives no frames.
    """
    if cache is None:
        with Video(path) as video:
            return video.read(choose(video.times), short_side)
    try:
        about = os.stat(path)
    except OSError as error:
        raise VideoError(path, "no such file") from error
    key = (str(Path(path).absolute()), about.st_mtime_ns, about.st_size)

    def times() -> np.ndarray:
        with Video(path) as video:
            return video.times

    def frames() -> np.ndarray:
        with Video(path) as video:
            return video.read(indices, short_side)

    indices = choose(cache.get((*key, "times"), times))
    return cache.get((*key, short_side, indices.tolist()), frames)


class VideoClips(Dataset):
    """Video files with labels, one clip each, decoded when asked for.

    Args:
        paths, labels: N files and their integer labels from 0.
        size: side of a clip in pixels.
        mean, std: three numbers each, on the scale [0, 1].
        sampler: which frames.
        augment: None: the clip in the middle of the video, its central crop (deterministic); "crop": a random
            start and a multi-scale crop; "crop-flip": also mirrored half of the time.
        cache: of decoded frames.

    Attributes: `labels` (N,), `deterministic`, `bad_files`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Sequence[int] | Tensor,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        sampler: ClipSampler | None = None,
        augment: str | None = None,
        cache: ClipCache | None = None,
    ) -> None:
        check_clip_augmentation(augment)
        self.paths, self.labels = [Path(path) for path in paths], torch.as_tensor(labels, dtype=torch.long)
        if len(self.paths) != len(self.labels):
            raise AdapterError(
                f"VideoClips: {len(self.paths)} paths and {len(self.labels)} labels; give one label a path"
            )
        check_labels("VideoClips", self.labels)
        self.size, self.sampler, self.augment, self.cache = size, sampler or ClipSampler(), augment, cache
        self.mean, self.std = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1, 1) for v in (mean, std))
        self._bad = torch.zeros(len(self.paths), dtype=torch.uint8).share_memory_()  # workers write here, too

    @property
    def deterministic(self) -> bool:
        return self.augment is None

    @property
    def bad_files(self) -> list[Path]:
        """Files that could not be decoded so far, in this process or in a loader's worker."""
        return [self.paths[i] for i in self._bad.nonzero().flatten().tolist()]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.augment is None:
            return self.view(index), int(self.labels[index])
        frames = self.frames(index, self.sampler.random)
        return self._normalize(multi_scale_crop(frames, self.size, flip=self.augment == "crop-flip")), int(
            self.labels[index]
        )

    def view(
        self, index: int, temporal: tuple[int, int] = (0, 1), spatial: tuple[int, int] = (0, 1)
    ) -> Tensor:
        """Test view (number, how many) in time and in space: float32 (3, T, size, size)."""
        frames = self.frames(index, lambda times: self.sampler.view(times, *temporal))
        return self._normalize(spatial_view(frames, self.size, *spatial))

    def frames(self, index: int, choose: Callable[[np.ndarray], np.ndarray]) -> Tensor:
        """Chosen frames of a video, or of its stand-in: uint8 (T, 3, H, W), the short side at most 8/7 of
        `size`."""
        same = (self.labels == self.labels[index]).nonzero().flatten().tolist()
        place = same.index(index)
        for candidate in same[place:] + same[:place]:
            if self._bad[candidate]:
                continue
            try:
                pixels = read_clip(self.paths[candidate], choose, round(self.size * MARGIN), self.cache)
                return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
            except VideoError as error:
                self._bad[candidate] = 1
                message = (
                    f"{error.path}: {error.reason}; the next video of class {int(self.labels[index])} stands"
                    " in for it"
                )
                warnings.warn(message, DataWarning, stacklevel=3)
        raise VideoError(
            self.paths[index],
            f"neither it nor another video of class {int(self.labels[index])} can be decoded",
        )

    def _normalize(self, frames: Tensor) -> Tensor:
        return (frames.permute(1, 0, 2, 3).float() / 255 - self.mean) / self.std  # (3, T, H, W)


class ClipViews(Dataset):
    """Every test view of every video, as samples of their own: number `(video · temporal + t) · spatial + s`.

    `labels` repeats each video's label; `count` is the number of views of a video. Raises AdapterError for
    numbers below 1.
    """

    deterministic = True

    def __init__(self, clips: VideoClips, temporal: int = 4, spatial: int = 3) -> None:
        if temporal < 1 or spatial < 1:
            raise AdapterError(f"{temporal} × {spatial} views; give at least 1 × 1")
        self.clips, self.temporal, self.spatial, self.count = clips, temporal, spatial, temporal * spatial
        self.labels = clips.labels.repeat_interleave(self.count)
        self._last: tuple[tuple[int, int], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        video, view = divmod(index, self.count)
        t, s = divmod(view, self.spatial)
        if self._last is None or self._last[0] != (video, t):  # the views in space share their frames
            self._last = (
                (video, t),
                self.clips.frames(video, lambda times: self.clips.sampler.view(times, t, self.temporal)),
            )
        clip = self.clips._normalize(spatial_view(self._last[1], self.clips.size, s, self.spatial))
        return clip, int(self.labels[index])


def clip_cache(gib: float, folder: str | os.PathLike[str] | None = None) -> ClipCache | None:
    """The cache of decoded clips in `folder` (default data/cache/clips), bounded to `gib` GiB; None for 0.

    Raises AdapterError for a negative size.
    """
    if not 0 <= gib <= 2**20:
        raise AdapterError(f"cache_gib={gib}; give a size in GiB, or 0 for no cache")
    return (
        ClipCache(folder if folder is not None else output_folder("data/cache") / "clips", round(gib * 2**30))
        if gib
        else None
    )


def clips_task(
    request: Request,
    classes: list[str],
    parts: dict[str, list[tuple[Path, int]]],
    *,
    sampler: ClipSampler,
    cache: ClipCache | None,
    synthetic: bool = False,
    info: dict[str, Any],
) -> Task:
    """Build the Task of `parts` {"train", "val", "test": [(path, label)]}. Its info gains `frames`,
    `stride` and `sampling`."""
    data = {
        part: VideoClips(
            [path for path, _ in samples],
            torch.tensor([label for _, label in samples], dtype=torch.long),
            request.config["input_size"][-1],
            request.config["mean"],
            request.config["std"],
            sampler,
            request.augment if part == "train" else None,
            cache,
        )
        for part, samples in parts.items()
    }
    info = {**info, "frames": sampler.frames, "stride": sampler.stride, "sampling": sampler.mode}
    config = {**request.config, "interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "center"}
    return Task(
        request.name,
        classes,
        data["train"],
        data["val"],
        data["test"],
        config,
        synthetic=synthetic,
        info=info,
    )
