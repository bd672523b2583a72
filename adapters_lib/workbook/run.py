"""Run the notebooks and keep them fit to commit: `python -m adapters_lib.workbook.run`.

Each notebook is executed from top to bottom in its own kernel, then written back with its outputs, without
what would spoil it for other readers: widget state (GitHub refuses to render it), widget views (they show an
error without a kernel; each widget has a static figure beside it), progress bars' intermediate states and
execution times. A notebook that fails is left as it was.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..cores import thread_settings
from ..errors import AdapterError
from ..files import atomic_write
from ..text import printable

__all__ = ["FIRST_CELL", "LIMIT_MB", "execute", "main", "repository"]

LIMIT_MB = 1.5
"""No notebook may be larger than this with its outputs."""

FIRST_CELL = """\
# On Colab this installs the library. Then: as many threads as there are cores for this process.
import sys

if "google.colab" in sys.modules:
    import os
    import subprocess

    source = os.environ.get("ADAPTERS_LIB_SOURCE", "git+{url}")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", source], check=True)

from adapters_lib.cores import use_cores

use_cores()
"""


def repository(root: Path) -> str:
    """The repository's address, from pyproject.toml: the one place where it stands."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return str(project["urls"]["Repository"])


def execute(path: Path, out: Path, *, timeout: int = 3600) -> float:
    """Run one notebook in its own folder and write it, cleaned, to `out`; return the seconds that it took.

    Raises:
        AdapterError: a cell fails (its message is in the error), or the result is larger than `LIMIT_MB`.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    client = NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    try:
        # The kernel takes the cores that there are for it, see `cores`.
        client.execute(env={**os.environ, **thread_settings()})
    except CellExecutionError as error:
        raise AdapterError(
            f"{path.name} stopped at a failing cell; the file is left as it was\n{error}"
        ) from error
    seconds = time.perf_counter() - started
    _clean(notebook)
    text = nbformat.writes(notebook)
    megabytes = len(text.encode()) / 1e6
    if megabytes > LIMIT_MB:
        raise AdapterError(
            f"{path.name} has {megabytes:.1f} MB with outputs, more than {LIMIT_MB}; show fewer or smaller"
            " figures"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, lambda partial: partial.write_text(text))
    return seconds


def _clean(notebook: Any) -> None:
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_live(output)]


def _is_live(output: Any) -> bool:
    """Whether an output means nothing without a running kernel: a widget's view, or a progress bar."""
    if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
        return True
    return bool(
        output.get("output_type") == "stream"
        and output.get("name") == "stderr"
        and "it/s" in output.get("text", "")
    )


def write_first_cell(path: Path, url: str) -> None:
    """Make the notebook's first code cell the Colab cell for `url`, if it is not that already."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    wanted = FIRST_CELL.format(url=url).rstrip()
    if first.source != wanted:
        first.source = wanted
        atomic_write(path, lambda partial: partial.write_text(nbformat.writes(notebook)))


@printable()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run all notebooks, or those whose names contain one of the given words."""
    parser = argparse.ArgumentParser(prog="python -m adapters_lib.workbook.run", description=main.__doc__)
    parser.add_argument(
        "words", nargs="*", help="run only notebooks whose names contain one of these, e.g. 02"
    )
    parser.add_argument(
        "--root", type=Path, default=Path(), help="the repository, default the current folder"
    )
    parser.add_argument("--out", type=Path, help="write the executed notebooks there instead of in place")
    parser.add_argument("--quick", action="store_true", help="the small setting of the tests")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    found = sorted(
        p
        for p in (root / "notebooks").glob("*.ipynb")
        if not options.words or any(w in p.name for w in options.words)
    )
    if not found:
        print(f"no notebook in {root / 'notebooks'} matches {options.words or 'at all'}", file=sys.stderr)
        return 2
    if options.quick:
        os.environ["ADAPTERS_QUICK"] = "1"
    os.environ.setdefault("ADAPTERS_OUT", str(options.out.resolve() if options.out else root))
    for path in found:
        if options.out is None:
            write_first_cell(path, repository(root))
        out = (options.out or path.parent) / path.name
        try:
            seconds = execute(path, out)
        except AdapterError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{path.name}: {seconds / 60:.1f} minutes, {out.stat().st_size / 1e6:.2f} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
