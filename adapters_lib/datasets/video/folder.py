"""A folder of videos: one folder a class, or train / val / test folders of them. Whatever cannot be used
is left out and named."""

from __future__ import annotations

from ..images.folder import samples_of_folders
from ..request import Request
from ..task import Task
from .clips import clip_cache, clips_task
from .decoding import EXTENSIONS, check_videos
from .sampling import ClipSampler

__all__ = ["load"]


def load(
    request: Request,
    *,
    frames: int = 8,
    stride: int = 4,
    sampling: str = "strided",
    positions: int | None = None,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    verify: str = "auto",
    cache_gib: float = 0.0,
) -> Task:
    """Load `root/<class>/*.mp4` (or .webm, .avi, .mkv, .mov, …) or `root/{train,val,test}/<class>/*.mp4`;
    splits as for `folder`.

    Clips are not mirrored unless `augment="crop-flip"` says that left and right mean nothing here. The other
    options are those of the published sets (`tasks.load`). Raises AdapterError when `root` is missing
    or fewer than two classes remain.
    """
    sampler = ClipSampler(frames, stride, sampling, positions)
    fractions = (val_fraction, test_fraction)
    classes, parts, info = samples_of_folders(
        request.name,
        request.root,
        request.seed,
        fractions,
        EXTENSIONS,
        lambda p: check_videos(p, verify),
        "video",
    )
    return clips_task(
        request,
        classes,
        parts,
        sampler=sampler,
        cache=clip_cache(cache_gib),
        info=info,
    )
