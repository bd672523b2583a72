"""Ways to spoil bytes, text and values, drawn from a generator."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

__all__ = ["odd_text", "odd_value", "spoilt", "spoilt_text"]

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _drop(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 2, 4, 16, 200))]


def _repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    piece = bytes(data[start : start + rng.choice((1, 4, 32, 500))])
    data[start:start] = piece * rng.choice((1, 2, 50))


def _noise(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start : start + rng.choice((1, 4, 16, 100))] = rng.randbytes(rng.choice((1, 4, 16, 100)))


def _fill(data: bytearray, rng: random.Random) -> None:
    start, count = rng.randrange(len(data)), rng.choice((1, 2, 4, 8, 64))
    data[start : start + count] = bytes([rng.choice((0, 0xFF, 0x7F, 0x20))]) * count


def _number(data: bytearray, rng: random.Random) -> None:
    """A counter or a size that says too much or too little."""
    size, order = rng.choice((2, 4, 8)), rng.choice(("big", "little"))
    start = rng.randrange(max(1, len(data) - size))
    data[start : start + size] = (rng.choice(NUMBERS) % 256**size).to_bytes(size, order)  # type: ignore[arg-type]


def _early_number(data: bytearray, rng: random.Random) -> None:
    """The same in the header, where sizes and counts stand."""
    head = data[:256]
    _number(head, rng)
    data[:256] = head


BYTES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip,
    _cut,
    _drop,
    _repeat,
    _noise,
    _fill,
    _number,
    _early_number,
)


def spoilt(data: bytes, rng: random.Random, times: int | None = None) -> bytes:
    """`data` after a few random changes; never empty input, perhaps empty output."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4)) if times is None else times):
        if changed:
            rng.choice(BYTES)(changed, rng)
    return bytes(changed)


ODD = [
    *(
        "",
        " ",
        "\n",
        "\t",
        "\0",
        "\udcff",
        "é",
        "汉",
        "=1+1",
        "-",
        "--",
        "..",
        "../x",
        "/etc/passwd",
        "a/../../b",
    ),
    *(
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e-400",
        "0x10",
        "1_000",
        "1.7",
        "-1",
        "9" * 30,
        "9" * 5000,
        "None",
        "True",
    ),
    *(
        "x" * 300,
        '"',
        "'",
        "\\",
        ";",
        ",",
        ",,",
        "=",
        ":",
        "a:b",
        "%s",
        "\r",
        "\ufeff",
        "(" * 3000,
        "$x$",
        "{}",
        "[1]",
    ),
]


def odd_text(rng: random.Random) -> str:
    """A text that programs stumble over."""
    return rng.choice(ODD)


def spoilt_text(text: str, rng: random.Random) -> str:
    """`text` with pieces cut out, doubled, swapped or replaced."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice((0, 1, 2, 5, 20)))
        piece = text[start:end]
        text = (
            text[:start]
            + rng.choice(("", odd_text(rng), piece * 3, piece[::-1], piece.swapcase()))
            + text[end:]
        )
    return text


def odd_value(rng: random.Random) -> Any:
    """A Python value as JSON, a literal or a careless caller gives it."""
    return rng.choice(VALUES)


VALUES = [
    *(None, True, False, 0, 1, 2, 3, -1, 7, 10**9, 10**30, -(10**30), 0.0, 0.5, 0.2, 1.0, 1.7, -0.5, 1e300),
    *(
        float("nan"),
        float("inf"),
        "",
        "x",
        "1",
        "0.5",
        "auto",
        "full",
        (),
        (1, 2),
        [],
        [1],
        {},
        {"a": 1},
        b"x",
        object,
    ),
]
