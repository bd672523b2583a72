"""The workbook in a folder of one's own: `adapters-lib workbook --copy DIR` lays out the notebooks and the
tables that they read, from an installed wheel or from the repository."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import AdapterError
from ..files import atomic_write, workbook_files

__all__ = ["Copied", "copy_workbook"]

HELD = ("data/*.csv", "data/results/*.csv", "data/results/*_logits/*")


class Copied(NamedTuple):
    """Files, relative to the folder. kept: they were there and are as they were."""

    written: list[str]
    kept: list[str]


def copy_workbook(folder: str | Path, words: Sequence[str] = (), *, force: bool = False) -> Copied:
    """Write `folder`/notebooks and `folder`/data, which is where the notebooks look for their tables.

    words: only notebooks whose names contain one of these; all tables come along. force: replace files that
    are there; without it they stay as they are.

    Raises:
        AdapterError: no such notebook, an installation without notebooks, or a folder that cannot be written.
    """
    source, target = workbook_files(), Path(folder)
    if target.exists() and not target.is_dir():
        raise AdapterError(f"{target} is a file; name a folder for the notebooks")
    if target.resolve() == source.resolve():
        raise AdapterError(f"{target} is where the notebooks are; name another folder")
    notebooks = [
        path
        for path in sorted((source / "notebooks").glob("*.ipynb"))
        if not words or any(word in path.name for word in words)
    ]
    if not notebooks:
        remedy = (
            f"matches {list(words)}; give a part of a name, such as 02" if words else "came with the package"
        )
        raise AdapterError(f"no notebook in {source / 'notebooks'} {remedy}")
    copied = Copied([], [])
    for path in [*notebooks, *(path for pattern in HELD for path in sorted(source.glob(pattern)))]:
        name = path.relative_to(source).as_posix()
        if (target / name).exists() and not force:
            copied.kept.append(name)
            continue
        atomic_write(target / name, lambda partial, path=path: shutil.copyfile(path, partial))  # type: ignore[misc]
        copied.written.append(name)
    return copied
