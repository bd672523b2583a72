"""Frames into a video file, by PyAV. The file appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from ...errors import AdapterError

__all__ = ["write_video"]

# Encoders of H.264; which one is there depends on how FFmpeg was built.
H264 = ("libx264", "libopenh264", "h264")
QUALITY = {
    "libx264": {"crf": "16", "preset": "veryfast"},
    "libvpx-vp9": {"crf": "20", "b": "0", "deadline": "realtime", "cpu-used": "8"},
    "mpeg4": {"b": "8000000", "qmin": "1", "qmax": "3"},
}


def write_video(
    path: str | os.PathLike[str],
    frames: np.ndarray | Sequence[np.ndarray],
    fps: float = 24,
    codec: str = "h264",
    key_every: int = 8,
    times: Sequence[float] | None = None,
) -> None:
    """Write uint8 (T, H, W, 3) RGB frames; the name's ending chooses the container (.mp4, .webm, .avi, .mkv).

    Args:
        fps: frames per second, unless `times` gives the second at which each frame is shown (rising from 0;
            .mp4, .webm or .mkv).
        codec: "h264" (whichever encoder there is), or an FFmpeg encoder such as "libvpx-vp9" or "mpeg4".
        key_every: frames from one key frame to the next at most; small numbers make seeking cheap.

    Raises AdapterError for frames of another shape or type, or an encoder that this FFmpeg does not have.
    Where chroma is stored at half the size (H.264 in its common form) odd sides are stored with full chroma.
    """
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise AdapterError(
            f"write_video: frames are {frames.dtype} {frames.shape}; give uint8 (T, H, W, 3) with T of at"
            " least 1"
        )
    height, width = frames.shape[1:3]
    encoder = _encoder(codec)
    rate = _rate(fps, times, len(frames))
    path = Path(path)
    try:  # a name that nobody else has, made new: a link that waits there is not followed
        handle, part = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise AdapterError(
            f"{path} cannot be written ({error.strerror}); free some space, or choose another folder"
        ) from error
    try:
        with av.open(part, "w") as container:
            stream: Any = container.add_stream(
                encoder, rate=rate, options={**QUALITY.get(encoder, {}), "g": str(key_every)}
            )
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuv444p" if (height % 2 or width % 2) and encoder != "mpeg4" else "yuv420p"
            stream.codec_context.thread_count = 1  # the same file whatever the machine
            if times is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            for number, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame.pts = number if times is None else round(1000 * times[number])
                frame.time_base = 1 / rate if times is None else Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise AdapterError(
            f"{path} cannot be written ({error}); free some space, or name another file (.mp4, .webm, .avi)"
        ) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def _rate(fps: float, times: Sequence[float] | None, count: int) -> Fraction:
    """Frames per second as a fraction that containers can hold."""
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1000:
        raise AdapterError(f"write_video: fps={fps!r}; give frames per second above 0 and below 1000")
    if times is not None and (
        len(times) != count or not (np.diff(np.asarray(times, dtype=float)) > 0).all() or not times[0] >= 0
    ):
        raise AdapterError(f"write_video: times of {count} frames rise from 0 or more, one a frame")
    return max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))


def _umask() -> int:
    """The process's own; asking means setting it twice."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _encoder(codec: str) -> str:
    """An encoder that this FFmpeg has."""
    for name in H264 if codec == "h264" else (codec,):
        try:
            return av.Codec(name, "w").name
        except av.codec.codec.UnknownCodecError:
            continue
    raise AdapterError(
        f"this FFmpeg has no encoder {codec!r}; install PyAV from its wheels (pip install av) or from"
        " conda-forge"
    )
