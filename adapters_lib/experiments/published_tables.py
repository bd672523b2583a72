"""What the papers report: the tables in `data/`, beside which the workbook puts what it measures."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata

import pandas as pd

from ..errors import AdapterError
from ..files import output_folder, workbook_files

__all__ = ["published"]


def published(name: str) -> pd.DataFrame:
    """The table `data/<name>.csv` that came with the library, e.g. "paper_results"; where it came without
    tables, over the network.

    Raises:
        AdapterError: there is no such table, or it cannot be fetched; the message says where it was looked
            for.
    """
    places = [folder / f"{name}.csv" for folder in (workbook_files() / "data", output_folder("data"))]
    for path in places:
        if path.is_file():
            return pd.read_csv(path)
    looked = [*map(str, places)]
    if address := _address():
        looked.append(f"{address}/raw/main/data/{name}.csv")
        try:
            return pd.read_csv(looked[-1])
        except (OSError, ValueError):
            pass
    raise AdapterError(
        f"no table {name!r} in {', '.join(looked)}; run the notebook from a copy of the repository, or check"
        " the name"
    )


def _address() -> str | None:
    """The repository's address, as the installed package knows it."""
    try:
        links = metadata("adapters-lib").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    return next((link.split(", ", 1)[1] for link in links if link.startswith("Repository")), None)
