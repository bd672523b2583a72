"""Tables of runs as text: a row that was written once keeps its digits, whatever is added to the file later.

A table is read cell by cell and written back cell by cell; numbers are made of the text only for who computes
with them. What is not a whole, well-formed row of its own is named, with its line, and nothing is computed
from such a table or added to it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import AdapterError
from ..files import atomic_write

__all__ = ["as_frame", "as_text", "read_rows", "unpacked", "write_rows"]

TEXT = ("key", "hits", "configuration")
"""Columns that are text even where they look like numbers."""

_WHOLE = re.compile(r"-?\d{1,18}")
_KEY = re.compile(r"[0-9a-f]{16}(-.+)?")  # of `Experiment.key`, and of a study's row of one operating point
PERCENT = ("top1", "balanced", "top5", "val_top1")
COUNTS = ("n_test", "seed")
REMEDY = "restore the file from a copy, or delete that line, and the grid runs it again"


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a table, all cells as text; nothing of either if the file does not exist.

    Raises:
        AdapterError: a row of another length, a key that stands there twice, or a cell that cannot be what
            its column says: hits that do not decode or do not add up to the row's accuracy, a percentage
            outside 0 … 100, NaN or infinity, a count that is none, a configuration that is not JSON or has
            another key. Line and value are named.
    """
    if not path.exists():
        return [], []
    try:
        text = path.read_text(encoding="utf-8")
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        table = [(lines.line_num, cells) for cells in lines if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AdapterError(f"{path} is no table of text: {error}; restore it from a copy") from error
    if not table:
        raise AdapterError(
            f"{path} is empty, without even the names of columns; delete it, or restore it from a copy"
        )
    columns = table[0][1]
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise AdapterError(f"{path} has two columns {twice[0]!r}; restore it from a copy")
    rows: list[dict[str, str]] = []
    lines_of: dict[str, int] = {}
    for line, cells in table[1:]:
        if len(cells) != len(columns):
            raise AdapterError(
                f"{path}, line {line}: {len(cells)} cells for {len(columns)} columns, as of a row cut short;"
                f" {REMEDY}"
            )
        row = dict(zip(columns, cells, strict=True))
        if (key := row.get("key")) is not None:
            if not key:
                raise AdapterError(f"{path}, line {line}: a row without a key; {REMEDY}")
            if key in lines_of:
                raise AdapterError(
                    f"{path}, line {line}: the run {key} stands in line {lines_of[key]} already; delete one"
                    " of the two"
                )
            lines_of[key] = line
            _check(path, line, row)
        rows.append(row)
    if text and not text.endswith("\n"):
        raise AdapterError(
            f"{path}, line {table[-1][0]}: the last row has no end, as of a file cut short; {REMEDY}"
        )
    return columns, rows


def _check(path: Path, line: int, row: Mapping[str, str]) -> None:
    """Raise an AdapterError for a cell of a run's row that cannot be right."""
    numbers = {
        name: _number(path, line, name, row[name])
        for name in (*PERCENT, *COUNTS, "macs", "loss")
        if row.get(name)
    }
    for name in COUNTS:
        if name in numbers and (numbers[name] < 0 or numbers[name] % 1):
            raise AdapterError(
                f"{path}, line {line}: {name} is {row[name][:40]}, no whole number from 0; {REMEDY}"
            )
    for name in PERCENT:
        if name in numbers and not 0 <= numbers[name] <= 100:
            raise AdapterError(f"{path}, line {line}: {name} is {row[name]}, no percentage; {REMEDY}")
    if configuration := row.get("configuration"):
        try:
            known = json.loads(configuration)
        except (ValueError, RecursionError) as error:
            raise AdapterError(
                f"{path}, line {line}: the configuration is not JSON ({error}); {REMEDY}"
            ) from error
        if not isinstance(known, dict):
            raise AdapterError(
                f"{path}, line {line}: the configuration is {configuration[:60]}, no table of names; {REMEDY}"
            )
        own = hashlib.sha256(configuration.encode()).hexdigest()[:16]
        if _KEY.fullmatch(row["key"]) and row["key"][:16] != own:
            raise AdapterError(
                f"{path}, line {line}: the key {row['key']} is not that of its configuration, {own}; {REMEDY}"
            )
    if (hits := row.get("hits")) and "n_test" in numbers:
        try:
            share = 100 * float(unpacked(hits, int(numbers["n_test"])).mean())
        except AdapterError as error:
            raise AdapterError(f"{path}, line {line}: {error}") from error
        if "top1" in numbers and abs(share - numbers["top1"]) > 1e-3:
            raise AdapterError(
                f"{path}, line {line}: top1 is {row['top1']}, but its hits say {share:g}; {REMEDY}"
            )


def _number(path: Path, line: int, name: str, cell: str) -> float:
    """The finite number that a cell holds, or an AdapterError that names its place."""
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise AdapterError(f"{path}, line {line}: {name} is {cell[:40]!r}, no finite number; {REMEDY}")
    return number


def unpacked(text: str, n: int) -> np.ndarray:
    """The hits that `experiments.pack_hits` wrote as hexadecimal digits, eight images a byte. Raises
    AdapterError if they are not of n."""
    try:
        packed = np.frombuffer(bytes.fromhex(text), np.uint8) if text == "".join(text.split()) else None
    except (TypeError, ValueError, AttributeError):
        packed = None
    if packed is None:
        raise AdapterError(
            f"hits {str(text)[:20]!r} are no hexadecimal digits; the row is damaged, run it again with"
            " rerun=True"
        )
    if len(packed) != -(-n // 8):
        raise AdapterError(
            f"hits of {8 * len(packed)} images at most, but n_test is {n}; the row is damaged, run it again"
            " with rerun=True"
        )
    bits: np.ndarray = np.unpackbits(packed).astype(bool)
    if bits[n:].any():
        raise AdapterError(
            f"hits beyond the last of {n} images; the row is damaged, run it again with rerun=True"
        )
    return bits[:n]


def as_text(value: Any) -> str:
    """A cell: numbers with all their digits (the shortest text that gives the same number), nothing for
    None and NaN."""
    if hasattr(value, "item"):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def as_frame(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Rows of text as a table: a column of whole numbers, of numbers, of True and False, or of text; an
    empty cell is missing (NaN)."""
    return pd.DataFrame(
        {name: _column([row[name] for row in rows], name in TEXT) for name in columns}, columns=list(columns)
    )


def _column(cells: list[str], text: bool) -> pd.Series:
    if not text and cells and all(map(_WHOLE.fullmatch, cells)):
        return pd.Series([int(cell) for cell in cells])
    if not text and cells and set(cells) <= {"True", "False"}:
        return pd.Series([cell == "True" for cell in cells])
    if not text:
        try:  # Python's float gives exactly the number that is written, and as_text writes it so again
            return pd.Series([float(cell) if cell else math.nan for cell in cells], dtype=float)
        except ValueError:
            pass
    return pd.Series([cell if cell else math.nan for cell in cells], dtype=None if any(cells) else object)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Replace the table as a whole, never half-written."""
    text = _csv(columns, rows)
    atomic_write(path, lambda partial: partial.write_text(text, encoding="utf-8", newline=""))


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
