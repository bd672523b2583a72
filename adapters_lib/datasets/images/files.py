"""Images in files: decode any common format to RGB, check that it decodes, and serve it as a data set.
Nothing is unpickled.

Nothing in a file is believed before it is checked: its size in pixels is looked at before a pixel is decoded,
and metadata that cannot be read is left out instead of costing the picture.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor
from torch.utils.data import Dataset

from ...cores import available_cores
from ...errors import AdapterError, unknown
from ..labelled import check_labels
from .metadata import ORIENTATION, orientation_in, without_metadata

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "ImageError",
    "ImageFiles",
    "check_files",
    "check_max_pixels",
    "read_image",
    "upright_rgb",
]

MAX_PIXELS = 89_478_485
"""Pixels of the largest image that is decoded unless told otherwise: Pillow's own limit, 256 MiB at 3
bytes each."""

# No format that runs another program (EPS does).
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "AVIF")
VERIFY = ("auto", "full", "header", "off")
FULL_BELOW = 5000  # files; "auto" decodes every pixel below this many, and reads headers only from there on
STRIP = 256  # rows that are converted at a time, so that large pictures are not held three times
LARGEST_COPY = 2**28  # bytes of a file that is read whole to leave its metadata out
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _has(feature: str) -> bool:
    """Whether this Pillow was built with a format; older ones warn that they do not know the word."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(features.check(feature))


EXTENSIONS = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".apng",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".gif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    }
    | ({".webp"} if _has("webp") else set())
    | ({".avif"} if _has("avif") else set())
)
"""Endings of the files that are read: what Pillow decodes here by itself."""


class ImageError(AdapterError):
    """A file that gives no picture. The message names it, says why and what to do; `path` and `reason`
    hold the parts."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(
            f"{path}: {reason}" if "; " in reason else f"{path}: {reason}; replace or remove the file"
        )
        self.path, self.reason = Path(path), reason

    def __reduce__(self) -> tuple[Any, ...]:  # it travels from loader workers to the main process
        return ImageError, (self.path, self.reason)


def read_image(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a whole image file to 8-bit RGB, upright.

    The EXIF orientation is applied, 16-bit grey is scaled (not clipped) to 8 bits, CMYK is converted, and
    transparent pixels are laid on white. Of an animation the first picture is taken. Broken metadata is left
    out.

    max_pixels: width times height of the largest picture that is decoded.

    Raises ImageError naming the file when it is missing, truncated, too large, or not an image we can
    convert.
    """
    image = _look(path, True, check_max_pixels(max_pixels))
    assert image is not None
    return image


def check_max_pixels(value: object) -> int:
    """The limit as it is. Raises AdapterError unless it is a whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise AdapterError(
            f"max_pixels={value!r}; give a whole number of pixels, such as {MAX_PIXELS} (the default)"
        )
    return value


def _look(path: str | os.PathLike[str], full: bool, max_pixels: int) -> Image.Image | None:
    """The picture, or (not `full`) None after a look at the header and what surrounds the pixels."""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            raise ImageError(
                path, "a folder, not an image" if stat.S_ISDIR(about.st_mode) else "not a regular file"
            )
        if about.st_size == 0:
            raise ImageError(path, "not an image (the file is empty)")
        with open(path, "rb") as stream:
            try:
                return _decoded(stream, full, max_pixels)
            except (_TooLarge, MemoryError):
                raise
            except Exception:
                stream.seek(0)
                if (plain := without_metadata(stream.read(LARGEST_COPY))) is None:
                    raise
                try:
                    return _decoded(io.BytesIO(plain[0]), full, max_pixels, orientation_in(plain[1]))
                except _TooLarge:
                    raise
                except Exception:  # the metadata was not to blame: tell the first reason
                    pass
                raise
    except AdapterError:
        raise
    except Exception as error:
        # PIL's plugins raise OSError, SyntaxError, struct.error, ValueError ... on broken files.
        raise ImageError(path, _reason(error)) from error


class _TooLarge(Exception):
    """The header tells of more pixels than are allowed."""


def _decoded(stream: BinaryIO, full: bool, max_pixels: int, turn: int | None = None) -> Image.Image | None:
    """turn: the EXIF orientation where it is known already."""
    with _opened(stream) as image:
        width, height = image.size
        if width * height > max_pixels:
            many = f"{width} × {height} pixels are more than the {max_pixels:,} allowed"
            raise _TooLarge(f"{many}; shrink the image, or raise max_pixels")
        if not full:
            image.verify()
            return None
        image.load()
        return upright_rgb(image, turn)


def _opened(stream: BinaryIO) -> Any:
    """The header by the first of FORMATS that knows it. As `Image.open`, whose limits of size would come
    before ours."""
    Image.init()
    start = stream.read(16)
    for name in FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        try:
            fits = factory is not None and (accept is None or accept(start))
            if isinstance(fits, str):  # this Pillow was built without the decoder
                raise ValueError(fits)
            if factory is not None and fits:
                stream.seek(0)
                return factory(stream, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise Image.UnidentifiedImageError("no known format")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # metadata that cannot be read turns nothing
        return 1


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    if isinstance(error, _TooLarge):
        return str(error)
    if isinstance(error, MemoryError):
        return "too large for the memory there is; shrink the image"
    return f"damaged image ({' '.join(str(error).split()) or type(error).__name__})"


def upright_rgb(image: Image.Image, turn: int | None = None) -> Image.Image:
    """A picture of any mode as 8-bit RGB, turned as its metadata say; see `read_image`.

    turn: the EXIF orientation where it is known already.

    Raises ValueError for pixels of 32 bits, which have no fixed range.
    """
    turned = TURNS.get(_orientation(image) if turn is None else turn)
    return _to_rgb(image if turned is None else image.transpose(turned))


def _to_rgb(image: Image.Image) -> Image.Image:
    """A plain 8-bit RGB picture that no longer needs its file; converted a strip at a time."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image.copy()
    width, height = image.size
    whole = Image.new("RGB", image.size)
    for top in range(0, height, STRIP):
        box = (0, top, width, min(top + STRIP, height))
        whole.paste(_strip_to_rgb(image.crop(box)), box)
    return whole


def _strip_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which newer Pillows call I;16 and older ones I
        gray = np.asarray(image).astype(np.int64)
        if gray.min() < 0 or gray.max() > 65535:
            raise ValueError("32-bit grey values have no fixed range, save as 8 or 16 bits")
        return Image.fromarray(((gray * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range, save as 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _defect(path: Path, full: bool, max_pixels: int) -> str | None:
    """Why `path` cannot be used, or None when it can."""
    try:
        _look(path, full, max_pixels)
    except ImageError as error:
        return error.reason
    return None


def check_files(
    paths: Sequence[Path], verify: str = "auto", max_pixels: int = MAX_PIXELS
) -> list[tuple[Path, str]]:
    """Return (path, reason) for every file that is missing, too large or not a sound image.

    `verify`: "full" decodes all pixels (finds a truncated JPEG), "header" opens the file only, "off" looks
    that it exists, "auto" is "full" below 5000 files and "header" otherwise. `max_pixels`: see `read_image`.
    Raises AdapterError for another word.
    """
    check_max_pixels(max_pixels)
    if verify not in VERIFY:
        raise unknown("verify", verify, VERIFY)
    if verify == "off":
        return [(path, "no such file") for path in paths if not path.is_file()]
    Image.init()
    full = verify == "full" or (verify == "auto" and len(paths) < FULL_BELOW)
    with ThreadPoolExecutor(min(8, available_cores())) as pool:  # decoders release Python's lock
        reasons = pool.map(lambda path: _defect(path, full, max_pixels), paths)
        return [(path, reason) for path, reason in zip(paths, reasons, strict=True) if reason is not None]


class ImageFiles(Dataset):
    """Image files with labels, decoded when asked for.

    Args:
        paths, labels: N files and their integer labels from 0.
        transform: RGB PIL image -> float32 (3, H, W).
        deterministic: whether `transform` always gives the same result.
        cache: decode all files now and keep the 8-bit RGB pixels in memory (4 * H * W bytes each), shared
            with forked workers.
        max_pixels: see `read_image`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Sequence[int] | Tensor,
        transform: Callable[[Image.Image], Tensor],
        deterministic: bool,
        cache: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.paths, self.transform, self.deterministic = (
            [Path(path) for path in paths],
            transform,
            deterministic,
        )
        self.labels = torch.as_tensor(labels, dtype=torch.long)
        if len(self.paths) != len(self.labels):
            raise AdapterError(
                f"ImageFiles: {len(self.paths)} paths and {len(self.labels)} labels; give one label a path"
            )
        check_labels("ImageFiles", self.labels)
        self.max_pixels = check_max_pixels(max_pixels)
        self.pixels = [read_image(path, max_pixels) for path in self.paths] if cache else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = (
            self.pixels[index] if self.pixels is not None else read_image(self.paths[index], self.max_pixels)
        )
        return self.transform(image), int(self.labels[index])
