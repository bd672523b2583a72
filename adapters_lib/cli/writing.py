"""Tables and figures as files that a command was asked to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import AdapterError

__all__ = ["save_figure", "save_table"]


def save_table(table: Any, path: str | Path) -> None:
    """Write a table as CSV, whole or not at all; no cell is a formula for a spreadsheet, and names of files
    keep their bytes."""
    from ..files import atomic_write
    from ..text import csv_cell

    def cell(value: Any) -> Any:
        return csv_cell(value) if isinstance(value, str) else value

    safe = table.rename(columns=cell).map(cell)
    options = {"index": False, "float_format": "%.6g", "encoding": "utf-8", "errors": "surrogateescape"}
    atomic_write(path, lambda temporary: safe.to_csv(temporary, **options))


def save_figure(figure: Any, path: str, **options: Any) -> None:
    """Write a figure; its folder is made. Raises AdapterError for an ending that Matplotlib does not know."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, **options)
    except ValueError as error:  # Matplotlib names the formats that it knows
        raise AdapterError(f"{path}: {error}; give a .png or .pdf file") from error
