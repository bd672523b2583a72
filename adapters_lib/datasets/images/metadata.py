"""Image files without their metadata: what can break in EXIF, color profiles and texts must not cost the
pixels.

Pillow reads metadata together with the header, so that a damaged text chunk makes it refuse a sound picture.
Here the three formats that carry metadata in blocks of their own are copied without those blocks; no pixel is
touched.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from PIL import Image

__all__ = ["orientation_in", "without_metadata"]

Block = tuple[bytes, bytes]
"""A name and the bytes that belong to it."""

ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_WEBP_PICTURE = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
_WEBP_FLAGS = 0x20 | 0x08 | 0x04  # of VP8X: there are a color profile, EXIF, XMP


def without_metadata(data: bytes) -> tuple[bytes, bytes] | None:
    """(the file without metadata, its EXIF block or b"") of a JPEG, PNG or WebP file; None for other or
    torn files."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(_PNG):
            return _png(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError):
        pass
    return None


def orientation_in(exif: bytes) -> int:
    """The orientation, 1 to 8, that an EXIF block asks for; 1 (upright) if there is none or it cannot be
    read."""
    try:
        tags = Image.Exif()
        tags.load(exif)
        return int(tags.get(ORIENTATION, 1))
    except Exception:  # Pillow's reader raises whatever a damaged block makes of its bytes
        return 1


def _jpeg(data: bytes) -> tuple[bytes, bytes]:
    """Without the application's blocks, but for the two that say how colors are stored."""
    kept, exif, at = [data[:2]], b"", 2
    while data[at] == 0xFF and data[at + 1] != 0xDA:  # up to the start of a scan
        marker, (size,) = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])
        block = data[at : at + 2 + size]
        if marker == 0xE1 and block[4:10] == b"Exif\0\0":
            exif = exif or block[4:]
        # JFIF, Adobe: only whole ones.
        colors = (marker == 0xE0 and size >= 16) or (marker == 0xEE and size >= 14)
        if colors or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(block)
        at += 2 + size
    return b"".join([*kept, data[at:]]), exif


def _png(data: bytes) -> tuple[bytes, bytes]:
    kept, exif, at = [_PNG], b"", len(_PNG)
    while at + 12 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        name = data[at + 4 : at + 8]
        if name in _PNG_PICTURE:
            kept.append(data[at : at + 12 + size])
        elif name == b"eXIf":
            exif = b"Exif\0\0" + data[at + 8 : at + 8 + size]
        at += 12 + size
    return b"".join(kept), exif


def _webp(data: bytes) -> tuple[bytes, bytes]:
    kept, exif = [], b""
    for name, body in _chunks(data):
        if name == b"EXIF":
            exif = body if body.startswith(b"Exif\0\0") else b"Exif\0\0" + body
        elif name in _WEBP_PICTURE:
            if name == b"VP8X":
                body = bytes([body[0] & ~_WEBP_FLAGS]) + body[1:]
            kept.append(name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2))
    inner = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(inner)) + inner, exif


def _chunks(data: bytes) -> Iterator[Block]:
    at = 12
    while at + 8 <= len(data):
        (size,) = struct.unpack("<I", data[at + 4 : at + 8])
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
