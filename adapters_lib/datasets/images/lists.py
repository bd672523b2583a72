"""Lists of images with 0-based class ids: `path,class` CSV files and `path label` text files."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ...errors import AdapterError
from ..list_files import Fence, list_text, whole_number
from ..splits import Sample

__all__ = ["read_list"]

PATH_COLUMNS = ("path", "dir", "file", "filename", "image", "image_path")
CLASS_COLUMNS = ("class", "class_id", "label", "target", "id")


def read_list(
    file: Path, base: Path, num_classes: int, separator: str, outside_root: bool = False
) -> list[Sample]:
    """Read (path, class id) rows of `file`; relative paths are looked up in `base`, then in `base/images`.

    The text may be UTF-8, UTF-16 or Latin-1 (see `list_text`).

    Args:
        separator: "," for CSV, where a first row may name the columns; " " for `path label`, the label last.
        num_classes: ids must lie in 0..num_classes-1.
        outside_root: whether a row may name a file outside `base`.

    Raises AdapterError naming file, line and value for anything else, or an empty list.
    """
    text = list_text(file)
    if separator == ",":
        rows = _cells(file, text)
    else:  # paths may hold spaces, so the label is what follows the last one
        rows = [
            (number, line.rsplit(maxsplit=1))
            for number, line in enumerate(io.StringIO(text), 1)
            if line.strip()
        ]
    path_at, class_at = 0, 1
    if rows and separator == "," and _is_header(rows[0][1]):
        path_at, class_at = _columns(file, rows.pop(0)[1])
    samples, fence = [], Fence(base, outside_root)
    for number, row in rows:
        if len(row) <= max(path_at, class_at):
            raise AdapterError(
                f"{file}, line {number}: {separator.join(row)[:80]!r}; a row is 'path{separator}class'"
            )
        label = whole_number(f"{file}, line {number}", row[class_at], "give a whole number from 0")
        if not 0 <= label < num_classes:
            rule = f"ids of {num_classes} classes are 0..{num_classes - 1} (is it 1-based?)"
            raise AdapterError(f"{file}, line {number}: class {label}; {rule}; correct the list")
        if not row[path_at]:
            raise AdapterError(f"{file}, line {number}: no path; a row is 'path{separator}class'")
        samples.append((_locate(base, row[path_at], fence, f"{file}, line {number}"), label))
    if not samples:
        raise AdapterError(f"{file} lists no image; a row is 'path{separator}class'")
    return samples


def _cells(file: Path, text: str) -> list[tuple[int, list[str]]]:
    """(line number, cells) of the rows that are not empty."""
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        return [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except csv.Error as error:
        raise AdapterError(f"{file}, line {reader.line_num}: {error}; a row is 'path,class'") from error


def _is_header(cells: list[str]) -> bool:
    """Whether a first row names columns: known names, or words without a digit, a dot or a slash, as no
    path has them."""
    known = {*PATH_COLUMNS, *CLASS_COLUMNS}
    return any(cell.lower() in known for cell in cells) or not any(
        set(cell) & set("0123456789./\\") for cell in cells
    )


def _columns(file: Path, header: list[str]) -> tuple[int, int]:
    """Positions of the path and of the class in a header row."""
    names = [name.lower() for name in header]
    try:
        return next(names.index(n) for n in PATH_COLUMNS if n in names), next(
            names.index(n) for n in CLASS_COLUMNS if n in names
        )
    except StopIteration:
        wanted = f"one of {', '.join(PATH_COLUMNS)} and one of {', '.join(CLASS_COLUMNS)}"
        raise AdapterError(
            f"{file}: columns {', '.join(header)}; name {wanted}, or leave the header out"
        ) from None


def _locate(base: Path, name: str, fence: Fence, where: str) -> Path:
    direct = fence(base / name, where)
    if direct.is_file() or not (base / "images" / name).is_file():
        return direct
    return fence(base / "images" / name, where)
