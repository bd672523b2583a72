"""Frames into a video file, by PyAV. The file appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from adapters_lib.errors import AdapterError

__all__ = ["write_video"]

H264 = ("libx264", "libopenh264", "h264")  # encoders of H.264; which one is there depends on how FFmpeg was built
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
        fps: frames per second, unless `times` gives the second at which each frame is shown (rising from 0; .mp4, .webm or .mkv).
        codec: "h264" (whichever encoder there is), or an FFmpeg encoder such as "libvpx-vp9" or "mpeg4".
        key_every: frames from one key frame to the next at most; small numbers make seeking cheap.

    Raises AdapterError for frames of another shape or type, or an encoder that this FFmpeg does not have. Where chroma is stored at half
    the size (H.264 in its common form) odd sides are stored with full chroma.
    """
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise AdapterError(f"write_video: frames are {frames.dtype} {frames.shape}; give uint8 (T, H, W, 3) with T of at least 1")
    height, width = frames.shape[1:3]
    encoder = _encoder(codec)
    path = Path(path)
    part = path.with_name(f".{os.getpid()}-{path.name}")
    rate = Fraction(fps).limit_denominator(1001)
    try:
        with av.open(str(part), "w") as container:
            stream: Any = container.add_stream(encoder, rate=rate, options={**QUALITY.get(encoder, {}), "g": str(key_every)})
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
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _encoder(codec: str) -> str:
    """An encoder that this FFmpeg has."""
    for name in H264 if codec == "h264" else (codec,):
        try:
            return av.Codec(name, "w").name
        except av.codec.codec.UnknownCodecError:
            continue
    raise AdapterError(f"this FFmpeg has no encoder {codec!r}; install PyAV from its wheels (pip install av) or from conda-forge")
