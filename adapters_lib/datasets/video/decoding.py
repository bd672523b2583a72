"""Frames of a video file, by PyAV: the frames that are asked for, not the whole file.

A `Video` first reads the time stamps of all packets, which decodes nothing. From then on frames have numbers
0…N-1 in the order in which they are shown, and `times` says when. `read` seeks to the key frame before a
wanted frame when that skips something. Frame rates may vary and sides may be odd: nothing here multiplies a
frame number by a frame rate. Pixels that are not square are made so.

A file decides neither how it is opened nor what else is: its first bytes must be those of a known container,
which alone may read it. FFmpeg would otherwise follow playlists and scripts (HLS, concat) to any file or
address.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from tqdm.auto import tqdm

from ...cores import available_cores
from ...errors import AdapterError, unknown

__all__ = ["EXTENSIONS", "Video", "VideoError", "check_videos"]

EXTENSIONS = frozenset({".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg"})
VERIFY = ("auto", "full", "header", "off")
MAX_PIXELS = 89_478_485
"""Pixels of a frame that is decoded, as for images; 8K video has 33 million."""
MAX_FRAMES = 10_000_000
"""Frames of a file that are listed: 46 hours at 60 a second. Damaged counters promise more than any memory
holds."""
ASPECTS = (Fraction(1, 8), Fraction(8))  # of a pixel's width to its height; beyond, the number is damaged
# Files; "auto" decodes the first frame of each below this many, and looks only that they exist from there on.
FULL_BELOW = 2000


class VideoError(AdapterError):
    """A file that gives no frames. The message names it, says why and what to do; `path` and `reason` hold
    the parts."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{path}: {reason}; replace or remove the file")
        self.path, self.reason = Path(path), reason

    def __reduce__(self) -> tuple[Any, ...]:  # it travels from loader workers to the main process
        return VideoError, (self.path, self.reason)


class Video:
    """An open video file; use it in a `with` statement.

    Attributes:
        times: float64 (N,), seconds at which each frame is shown, rising, the first at 0.
        fps: frames per second, the mean over the file.
        decoded: how many frames have been decoded so far.

    Raises VideoError when the file is missing, not a video, damaged, or without a frame.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self.decoded = Path(path), 0
        with _named(path):
            self._container = _opened(self.path)
        try:
            with _named(path):
                self._index()
        except BaseException:
            self._container.close()
            raise

    def _index(self) -> None:
        if not self._container.streams.video:
            raise VideoError(self.path, "no video in it")
        self._stream = self._container.streams.video[0]
        codec = self._stream.codec_context
        if codec.width * codec.height > MAX_PIXELS:
            raise VideoError(
                self.path,
                f"frames of {codec.width} × {codec.height} pixels, of which at most {MAX_PIXELS:,} are"
                " decoded",
            )
        codec.options = {"max_pixels": str(MAX_PIXELS)}  # a stream may change its size on the way
        codec.thread_count = 1  # loader workers share the cores; frame threads would also run ahead of a seek
        stamps: list[int] = []
        keys: dict[int, int] = {}
        # What its seek understands; the others seek by time of showing.
        by_decoding_order = self._container.format.name == "avi"
        try:
            for packet in self._container.demux(self._stream):
                # AVI files with old codecs know only the latter.
                stamp = packet.pts if packet.pts is not None else packet.dts
                if stamp is None or packet.size == 0:
                    continue
                stamps.append(stamp)
                if len(stamps) > MAX_FRAMES:
                    raise VideoError(self.path, f"more than {MAX_FRAMES:,} frames; cut it")
                if packet.is_keyframe:
                    keys[stamp] = packet.dts if by_decoding_order and packet.dts is not None else stamp
        except (av.FFmpegError, OSError):
            if not stamps:
                raise  # cut off later on: what is there can be used
        if not stamps:
            raise VideoError(self.path, "it has no frames")
        self._stamps, self._keys = sorted(set(stamps)), sorted(keys)
        self._seek_to = keys
        tick = self._stream.time_base or Fraction(1, 1000)
        self.times = (np.array(self._stamps, dtype=np.float64) - self._stamps[0]) * float(tick)
        rate = self._stream.average_rate
        self.fps = (len(self.times) - 1) / self.times[-1] if len(self.times) > 1 else float(rate or 25)

    def __len__(self) -> int:
        return len(self._stamps)

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def read(self, indices: Sequence[int] | np.ndarray, short_side: int | None = None) -> np.ndarray:
        """Return the frames of these numbers, in the given order: uint8 (T, H, W, 3), RGB, upright, with
        square pixels.

        Args:
            indices: numbers in 0…N-1; one may come twice.
            short_side: shrink to this many pixels, aspect kept (never enlarge); None keeps the size.

        A frame that does not decode is replaced by the one before it. Raises VideoError when none decodes,
        AdapterError for a number outside the file.
        """
        wanted = sorted({int(i) for i in indices})
        if not wanted or wanted[0] < 0 or wanted[-1] >= len(self):
            raise AdapterError(
                f"{self.path}: frames {list(indices)} of {len(self)}; ask for numbers from 0 to"
                f" {len(self) - 1}"
            )
        pixels: dict[int, np.ndarray] = {}
        with _named(self.path):
            for index, frame in self._frames(wanted):
                pixels[index] = _pixels(frame, short_side, self._aspect())
            shape = pixels[wanted[0]].shape
            if any(frame.shape != shape for frame in pixels.values()):
                raise VideoError(self.path, "its frames change their size")
            return np.stack([pixels[int(i)] for i in indices])

    def _aspect(self) -> Fraction:
        """Width of a pixel divided by its height; 1 where the file does not say, or says nonsense."""
        for aspect in (self._stream.sample_aspect_ratio, self._stream.codec_context.sample_aspect_ratio):
            if aspect and ASPECTS[0] <= aspect <= ASPECTS[1]:
                return aspect
        return Fraction(1)

    def _frames(self, wanted: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield (number, frame) for rising numbers: the last frame whose stamp is not later than the
        wanted one."""
        done = 0
        last: av.VideoFrame | None = None
        while done < len(wanted):
            for stamp, frame in self._decode_from(self._key_before(wanted[done]), self._stamps[wanted[done]]):
                before = done
                while done < len(wanted) and stamp > self._stamps[wanted[done]]:
                    yield wanted[done], last or frame
                    done += 1
                last = frame
                if done < len(wanted) and stamp == self._stamps[wanted[done]]:
                    yield wanted[done], frame
                    done += 1
                if done == len(wanted) or (done > before and self._key_before(wanted[done]) > stamp):
                    break  # all read, or a later key frame saves decoding what lies between
            else:  # the file ends early: its last frame stands in
                if last is None:
                    raise VideoError(self.path, "no frame can be decoded")
                yield from ((index, last) for index in wanted[done:])
                return

    def _key_before(self, index: int) -> int:
        """Stamp of the last key frame at or before a frame; the first frame's if there is none."""
        place = bisect.bisect_right(self._keys, self._stamps[index])
        return self._keys[place - 1] if place else self._stamps[0]

    def _decode_from(self, key: int, target: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Seek to a key frame's stamp and decode onwards, with the stamp of each frame."""
        self._container.seek(self._seek_to.get(key, key), stream=self._stream)
        before = self._stamps[0] - 1
        for frame in self._decoded():
            stamp = frame.pts if frame.pts is not None else frame.dts
            stamp = before + 1 if stamp is None else stamp
            if before < self._stamps[0] and stamp > target > self._stamps[0]:
                # Without an index a container may go too far: from now on read from the beginning.
                self._keys = []
                yield from self._decode_from(self._stamps[0], self._stamps[0])
                return
            before = stamp
            yield stamp, frame

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Frames from here on; packets that do not decode are passed over."""
        for packet in self._container.demux(self._stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                self.decoded += 1
                yield frame  # type: ignore[misc]


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever FFmpeg and its bindings raise over a file becomes a VideoError with the file's name."""
    try:
        yield
    except AdapterError:
        raise
    except Exception as error:
        raise VideoError(path, _reason(error)) from error


def _opened(path: Path) -> Any:
    """The container of a regular file, read by the demuxer that its first bytes call for, which opens
    nothing else."""
    about = os.stat(path)
    if not stat.S_ISREG(about.st_mode):
        raise VideoError(
            path, "a folder, not a video" if stat.S_ISDIR(about.st_mode) else "not a regular file"
        )
    with open(path, "rb") as stream:
        demuxer = _demuxer(stream.read(4096))
    if demuxer is None:
        raise VideoError(path, "not a video of the kinds read here (MP4, MOV, WebM, Matroska, AVI, MPEG)")
    only = {"format_whitelist": demuxer, "protocol_whitelist": "file"}
    # The absolute path is no address, whatever the name looks like ("concat:a.mp4").
    return av.open(os.path.abspath(path), format=demuxer, options=only, metadata_errors="replace")


def _demuxer(start: bytes) -> str | None:
    """FFmpeg's name of the reader for a file that begins so; None for what is no known container."""
    if start[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if start[:4] == b"RIFF" and start[8:11] == b"AVI":
        return "avi"
    if start[4:8] in (b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid"):
        return "mov"
    if start[:4] == b"\0\0\x01\xba":
        return "mpeg"
    if start[:4] == b"\0\0\x01\xb3":
        return "mpegvideo"
    return "mpegts" if start[:1] == start[188:189] == start[376:377] == b"G" else None


def _pixels(frame: av.VideoFrame, short_side: int | None, aspect: Fraction = Fraction(1)) -> np.ndarray:
    """uint8 (H, W, 3) of a frame with square pixels, shrunk, and turned upright as a phone's file asks.

    aspect: width of a pixel divided by its height; the shorter side is stretched, so that nothing is lost.
    """
    width, height = frame.width, frame.height
    if aspect > 1:
        width = max(1, round(width * aspect))
    elif aspect < 1:
        height = max(1, round(height / aspect))
    shrink = 1.0 if short_side is None else min(1.0, short_side / min(width, height))
    width, height = max(1, round(width * shrink)), max(1, round(height * shrink))
    rgb = frame.reformat(
        width=width, height=height, format="rgb24", interpolation="AREA" if shrink < 1 else "BILINEAR"
    ).to_ndarray()
    return np.rot90(rgb, k=round(getattr(frame, "rotation", 0) / 90) % 4)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, av.error.InvalidDataError):
        return "not a video, or damaged"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    return f"cannot be read ({getattr(error, 'strerror', None) or error or type(error).__name__})"


def _defect(path: Path, full: bool) -> str | None:
    """Why `path` cannot be used, or None when it can."""
    try:
        with Video(path) as video:
            if full:
                video.read([0])
    except VideoError as error:
        return error.reason
    return None


def check_videos(
    paths: Sequence[Path], verify: str = "auto", progress: bool = True
) -> list[tuple[Path, str]]:
    """Return (path, reason) for every file that is missing or gives no frame.

    `verify`: "full" decodes the first frame, "header" reads the time stamps, "off" looks that the file
    exists, "auto" is "full" below 2000 files and "off" otherwise. A bar shows the progress of long checks.
    Raises AdapterError for another word.
    """
    if verify not in VERIFY:
        raise unknown("verify", verify, VERIFY)
    full = verify == "full" or (verify == "auto" and len(paths) < FULL_BELOW)
    check: Callable[[Path], str | None] = lambda path: None if path.is_file() else "no such file"  # noqa: E731
    if full or verify == "header":
        check = lambda path: _defect(path, full)  # noqa: E731
    with ThreadPoolExecutor(min(8, available_cores())) as pool:  # decoders release Python's lock
        reasons = tqdm(
            pool.map(check, paths),
            desc="check videos",
            total=len(paths),
            leave=False,
            disable=not progress or len(paths) < 500,
        )
        return [(path, reason) for path, reason in zip(paths, reasons, strict=True) if reason is not None]
