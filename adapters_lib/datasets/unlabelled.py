"""Pictures and videos without labels, as their owner has them: found, decoded in threads, prepared as in the
training, and handed out a batch at a time.

What cannot be used does not end the work and is not passed over in silence: it is listed with its reason.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from ..cores import available_cores
from ..errors import AdapterError
from ..vit.inputs import input_shape
from .images.files import EXTENSIONS, MAX_PIXELS, ImageError, check_max_pixels, read_image, upright_rgb
from .scan import scan
from .task import PREPARED
from .transforms import image_transforms
from .video.clips import MARGIN, read_clip
from .video.crops import spatial_view
from .video.decoding import EXTENSIONS as VIDEO_EXTENSIONS, VideoError
from .video.sampling import ClipSampler

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["Unlabelled", "preparation", "unlabelled"]

AHEAD = 2  # batches that are decoded while the model computes
LISTED = 3  # files that a message names

_NORM = (list, tuple)
_SOUND: dict[str, Callable[[Any], bool]] = {
    "interpolation": lambda v: v in ("bicubic", "bilinear", "nearest", "lanczos", "hamming", "box"),
    "mean": lambda v: isinstance(v, _NORM) and len(v) == 3 and all(map(_finite, v)),
    "std": lambda v: isinstance(v, _NORM) and len(v) == 3 and all(_finite(x) and x > 0 for x in v),
    "crop_pct": lambda v: _finite(v) and 0 < v <= 8,
    "crop_mode": lambda v: v in ("center", "squash", "border"),
    "stride": lambda v: isinstance(v, int) and 1 <= v <= 100_000,
    "sampling": lambda v: v in ("strided", "uniform"),
}


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def preparation(model: AdaptedViT) -> dict[str, Any]:
    """How a picture is prepared for this model: its `data_config`, and over it what the training did
    otherwise (`Origin.prepared`, which travels in the adapter's file).

    Raises:
        AdapterError: the file's words are none that we know; nothing is prepared by guessing.
    """
    prepared = (model.trained_on or {}).get("prepared") or {}
    for key in PREPARED:
        if key in prepared and not _SOUND[key](prepared[key]):
            raise AdapterError(
                f"the model's file says that images are prepared with {key}={str(prepared[key])[:60]!r},"
                ' which cannot be read; copy the file again, or take "prepared" out of model.trained_on'
            )
    return {**model.data_config, **{key: prepared[key] for key in PREPARED if key in prepared}}


@dataclass
class Unlabelled:
    """Inputs of one model.

    names: N, how each is called in tables: its path as it can be opened, or its number. skipped: (name,
    reason) of what one would expect to be read and cannot be; grows while `batches` decodes. foreign: the
    same of files that are something else by their ending.
    """

    names: list[str]
    items: Sequence[Any] | Tensor
    read: Callable[[Any], Tensor]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    foreign: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    def batches(self, size: int) -> Iterator[tuple[list[int], Tensor]]:
        """(numbers of the inputs, float32 (B, C, H, W), or (B, C, T, H, W) for clips), in order, at most
        `size` at once; while one is used, the next ones are decoded."""
        starts = iter(range(0, len(self), size))
        with ThreadPoolExecutor(min(8, available_cores())) as pool:  # decoders release Python's lock

            def begin(start: int) -> tuple[range, Iterator[Tensor | str]]:
                numbers = range(start, min(start + size, len(self)))
                return numbers, pool.map(self._decoded, numbers)

            waiting = deque(map(begin, islice(starts, AHEAD)))
            while waiting:
                numbers, results = waiting.popleft()
                loaded = list(zip(numbers, results, strict=True))
                waiting.extend(map(begin, islice(starts, 1)))
                self.skipped += [(self.names[n], why) for n, why in loaded if isinstance(why, str)]
                sound = [(n, x) for n, x in loaded if isinstance(x, Tensor)]
                if sound:
                    yield [n for n, _ in sound], torch.stack([x for _, x in sound])

    def _decoded(self, number: int) -> Tensor | str:
        """The input, or why there is none."""
        try:
            return self.read(self.items[number])
        except (ImageError, VideoError) as error:
            return error.reason


def unlabelled(model: AdaptedViT, given: Any, max_pixels: int = MAX_PIXELS) -> Unlabelled:
    """What `classify` takes, made ready for `model`.

    Args:
        given: a folder (searched at any depth), a file, a PIL image, a list of these, or a uint8 tensor, (N,
            C, H, W), or (N, C, T, H, W) for a clip model.
        max_pixels: see `read_image`.

    Raises:
        AdapterError: something else, nothing at all, a folder without images, images of another number of
            channels than the model takes, or clips of another number of frames.
    """
    check_max_pixels(max_pixels)
    channels, *frames = input_shape(model)[:-2]
    if isinstance(given, Tensor):
        _check_tensor(given, channels, frames[0] if frames else None)
        names = [f"image {number}" for number in range(len(given))]
        return Unlabelled(names, given.cpu(), _reader(model, max_pixels))
    if channels != 3:
        raise AdapterError(
            f"the model takes images of {channels} channels, but pictures are read as RGB, 3 channels;"
            " prepare them yourself and call model(images)"
        )
    items: list[Any] = []
    inputs = Unlabelled([], items, _reader(model, max_pixels))
    for one in [given] if isinstance(given, str | os.PathLike | Image.Image) else _listed(given):
        if isinstance(one, Image.Image) and not frames:
            inputs.names.append(str(getattr(one, "filename", "") or f"image {len(items)}"))
            items.append(one)
        elif isinstance(one, str | os.PathLike):
            path = Path(one).expanduser()
            paths = _in_folder(inputs, path, bool(frames)) if path.is_dir() else [path]
            inputs.names += map(str, paths)
            items += paths
        else:
            raise AdapterError(_remedy(one, bool(frames)))
    return inputs


def _listed(given: Any) -> list[Any]:
    if isinstance(given, Mapping) or not isinstance(given, Sequence):
        raise AdapterError(_remedy(given, False))
    if len(given) == 0:
        raise AdapterError("no images: the list is empty; give at least one path or image")
    return list(given)


def _remedy(one: object, clips: bool) -> str:
    kinds = "a video file, a folder of them" if clips else "an image file, a folder of them, a PIL image"
    shape = "(N, C, T, H, W)" if clips else "(N, C, H, W)"
    what = f"{type(one).__module__}.{type(one).__qualname__}".removeprefix("builtins.")
    return f"a {what} to classify; give {kinds}, a list of these, or a uint8 tensor {shape}"


def _in_folder(inputs: Unlabelled, folder: Path, clips: bool) -> list[Path]:
    """The folder's files; what is left out is noted in `inputs`. Raises AdapterError if there is no file."""
    what = "video" if clips else "image"
    inside = scan(folder, VIDEO_EXTENSIONS if clips else EXTENSIONS, what)
    inputs.skipped += [(str(path), why) for path, why in inside.left_out]
    inputs.foreign += [(str(path), why) for path, why in inside.foreign]
    if not inside.files:
        others = [f"{path.name} ({why})" for path, why in (inside.left_out + inside.foreign)[:LISTED]]
        there = f"; it holds {', '.join(others)}" if others else ""
        endings = ".mp4, .webm or .avi" if clips else ".jpg, .png or .tif"
        raise AdapterError(f"no {what} in the folder {folder}{there}; give one with {endings} files")
    return inside.files


def _check_tensor(given: Tensor, channels: int, frames: int | None) -> None:
    shape, wanted = tuple(given.shape), "(N, C, H, W)" if frames is None else "(N, C, T, H, W)"
    if given.dtype != torch.uint8:
        raise AdapterError(
            f"a tensor of {given.dtype}: whether and how it is normalised cannot be told; give pixels as"
            f" uint8 {wanted}, which are prepared as in the training, or call model(images)"
        )
    if given.ndim != (4 if frames is None else 5) or 0 in shape:
        raise AdapterError(f"a uint8 tensor {shape}; give {wanted}, at least one; for a single one x[None]")
    if shape[1] != channels or channels != 3:
        raise AdapterError(
            f"images of {shape[1]} channels (the tensor is {shape}), but the model takes {channels}; give"
            f" uint8 {wanted} in RGB, for grey images x.expand(-1, 3, …), or call model(images)"
        )
    if frames is not None and shape[2] != frames:
        raise AdapterError(
            f"clips of {shape[2]} frames, but the model takes {frames}; choose {frames} of them"
        )


def _reader(model: AdaptedViT, max_pixels: int) -> Callable[[Any], Tensor]:
    """From a path, a PIL image or uint8 pixels to what the model takes; ImageError or VideoError for what
    cannot be read."""
    config = preparation(model)
    if len(input_shape(model)) == 4:
        return _clip_reader(config, input_shape(model)[1], input_shape(model)[-1])
    known = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
    _, transform = image_transforms({key: config[key] for key in known if key in config}, None)

    def read(item: Any) -> Tensor:
        if isinstance(item, Tensor):
            return transform(Image.fromarray(item.permute(1, 2, 0).contiguous().numpy()))
        if isinstance(item, Image.Image):
            try:
                return transform(upright_rgb(item))
            except Exception as error:  # as of a file: whatever is wrong with one picture, others go on
                raise ImageError("image", f"cannot be read ({error or type(error).__name__})") from error
        return transform(read_image(item, max_pixels))

    return read


def _clip_reader(config: Mapping[str, Any], frames: int, size: int) -> Callable[[Any], Tensor]:
    """The clip in the middle of a video and its central crop, as tests of `VideoClips` see them."""
    sampler = ClipSampler(frames, config.get("stride", 4), config.get("sampling", "strided"))
    mean, std = (torch.tensor(config[key], dtype=torch.float32).view(3, 1, 1, 1) for key in ("mean", "std"))

    def read(item: Any) -> Tensor:
        if isinstance(item, Tensor):
            pixels = item.permute(1, 0, 2, 3)
        else:
            shown = read_clip(item, sampler.view, round(size * MARGIN))
            pixels = torch.from_numpy(shown.copy()).permute(0, 3, 1, 2)
        return (spatial_view(pixels, size).permute(1, 0, 2, 3).float() / 255 - mean) / std

    return read
