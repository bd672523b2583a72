"""Run the notebooks and keep them fit to commit: `python -m adapters_lib workbook`.

Each notebook is executed from top to bottom in its own kernel, then written back with its outputs, without
what would spoil it for other readers: widget state (GitHub refuses to render it), widget views (they show an
error without a kernel; each widget has a static figure beside it), progress bars' intermediate states and
execution times. A notebook that fails is left as it was.
"""

from __future__ import annotations

import os
import re
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..cores import chosen_threads, thread_settings
from ..errors import AdapterError
from ..files import atomic_write

__all__ = [
    "FIRST_CELL",
    "LIMIT_MB",
    "Ran",
    "colab_badge",
    "execute",
    "first_cell",
    "repository",
    "run_notebooks",
]

LIMIT_MB = 1.5
"""No notebook may be larger than this with its outputs."""

FIRST_CELL = """\
# Installs the library where it is missing, as on Colab, or what ADAPTERS_LIB_SOURCE names.
import os
import subprocess
import sys
from importlib import invalidate_caches
from importlib.util import find_spec

if (given := os.environ.get("ADAPTERS_LIB_SOURCE")) or not find_spec("adapters_lib"):
    tried = [given] if given else []
    if not find_spec("adapters_lib"):
        tried += ["{name}", "git+{url}"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    any(subprocess.run([*pip, source]).returncode == 0 for source in tried)
    invalidate_caches()
    if not find_spec("adapters_lib"):
        raise ImportError(
            f"adapters_lib is not installed; pip could not install it from {{' or '.join(tried)}};"
            " set ADAPTERS_LIB_SOURCE to a wheel, a folder or an address that pip can install."
        )

# As many threads as there are cores for this process.
from adapters_lib.cores import use_cores

use_cores()
"""
"""Tries what the variable names, an installed package, the package index, the repository, in this order; the
name and the address are those of pyproject.toml."""


def repository(root: Path) -> str:
    """The repository's address, from pyproject.toml: the one place where it stands."""
    return str(_project(root)["urls"]["Repository"])


def _project(root: Path) -> dict[str, Any]:
    return dict(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def first_cell(root: Path) -> str:
    """The source of every notebook's first code cell, with the name and the address in pyproject.toml."""
    return FIRST_CELL.format(name=_project(root)["name"], url=repository(root)).rstrip()


def colab_badge(root: Path, notebook: str) -> str:
    """Markdown: a badge that opens `notebooks/<notebook>` on Colab, from the repository's one address."""
    place = repository(root).removeprefix("https://github.com/")
    address = f"https://colab.research.google.com/github/{place}/blob/main/notebooks/{notebook}"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address})"


def execute(
    path: Path, out: Path, *, timeout: int | None = None, settings: Mapping[str, str] | None = None
) -> float:
    """Run one notebook in its own folder and write it, cleaned, to `out`; return the seconds that it took.

    timeout: seconds for a cell; None: as long as it takes, since a busy machine is no failure. settings:
    environment variables for its kernel, beside those of this process.

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
        client.execute(env={**os.environ, **thread_settings(), **(settings or {})})
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
            cell.outputs = [output for output in map(_without_outdated, cell.outputs) if not _is_live(output)]


_PLACE = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][^\s:/\\]+)*[/\\]adapters_lib[/\\]")
_OUTDATED = re.compile(r"^.*: OutdatedRows: .*\n(?: {2}.*\n?)?", re.MULTILINE)


def _without_outdated(output: Any) -> Any:
    """Without the warnings that rows are of another version: whoever draws a figure should see them, but a
    committed notebook says so in the figure itself, and a warning names a path of the machine that ran it."""
    if output.get("output_type") == "stream" and output.get("name") == "stderr":
        output["text"] = _PLACE.sub("adapters_lib/", _OUTDATED.sub("", output["text"]))
    return output


def _is_live(output: Any) -> bool:
    """Whether an output means nothing without a running kernel: a widget's view, a progress bar, nothing."""
    if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
        return True
    stderr = output.get("output_type") == "stream" and output.get("name") == "stderr"
    return stderr and (not output["text"].strip() or "it/s" in output["text"])


def write_first_cell(path: Path, root: Path) -> None:
    """Make the first code cell the Colab cell for the repository's address, and give the opening its
    badge, if they are not that already."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    wanted = first_cell(root)
    title, *rest = notebook.cells[0].source.splitlines()
    text = "\n".join(line for line in rest if not line.startswith("[![Open in Colab]")).lstrip("\n")
    opening = "\n\n".join([title, colab_badge(root, path.name), text]).rstrip()
    if (first.source, notebook.cells[0].source) != (wanted, opening):
        first.source, notebook.cells[0].source = wanted, opening
        atomic_write(path, lambda partial: partial.write_text(nbformat.writes(notebook)))


_PROMISED = re.compile(r"(\*\*Time:\*\* about )\d+ minutes? on \w+ CPU cores?")
_CORES = {1: "one CPU core", 2: "two CPU cores"}


def write_minutes(path: Path, readme: Path, minutes: float, cores: int) -> None:
    """Say in a notebook's opening and in its row of the README's table how many minutes it took, on how many
    cores; a text that promises no minutes is left as it is."""
    import nbformat

    whole = max(1, round(minutes))
    said = f"{whole} minute{'s' * (whole > 1)}"
    notebook = nbformat.read(path, as_version=4)
    opening = notebook.cells[0].source
    where = _CORES.get(cores, f"{cores} CPU cores")
    new = _PROMISED.sub(lambda match: f"{match[1]}{said} on {where}", opening)
    if new != opening:
        notebook.cells[0].source = new
        atomic_write(path, lambda partial: partial.write_text(nbformat.writes(notebook)))
    if readme.exists():
        row = re.compile(rf"^(\|.*\(notebooks/{re.escape(path.name)}\).*\| )\d+(?= |$)(.*)$", re.M)
        text = readme.read_text(encoding="utf-8")
        new = row.sub(lambda match: f"{match[1]}{whole}{match[2]}", text)
        if new != text:
            atomic_write(readme, lambda partial: partial.write_text(new, encoding="utf-8"))


class Ran(NamedTuple):
    """One notebook that was run."""

    name: str
    minutes: float
    megabytes: float


def run_notebooks(
    words: Sequence[str] = (),
    root: str | Path = ".",
    out: str | Path | None = None,
    *,
    quick: bool = False,
    say: Callable[[str], object] = print,
) -> list[Ran]:
    """Run the notebooks of the repository `root` whose names contain one of `words` (default all), in
    the order of their names.

    out: a folder for the executed notebooks, and for what they write, unless ADAPTERS_OUT names one; None:
    in place, with the first cell made anew where there is a pyproject.toml (a copy that `copy_workbook` laid
    out has none, and keeps its cell), and with the minutes that it took written where it and the README
    promise them (`write_minutes`). quick: the small setting of the tests.

    Raises AdapterError: no such notebook; or what `execute` raises, at the first that fails.
    """
    root = Path(root).resolve()
    notebooks = sorted(
        path
        for path in (root / "notebooks").glob("*.ipynb")
        if not words or any(word in path.name for word in words)
    )
    if not notebooks:
        reason = f"matches {list(words)}; give a part of a name, such as 02" if words else "is there"
        raise AdapterError(f"no notebook in {root / 'notebooks'} {reason}; the repository is root={root}")
    settings = {"ADAPTERS_OUT": os.environ.get("ADAPTERS_OUT") or str(Path(out).resolve() if out else root)}
    settings |= {"ADAPTERS_QUICK": "1"} if quick else {}
    ran = []
    for path in notebooks:
        if out is None and (root / "pyproject.toml").exists():
            write_first_cell(path, root)
        target = path if out is None else Path(out) / path.name
        seconds = execute(path, target, settings=settings)
        if out is None and not quick:
            write_minutes(path, root / "README.md", seconds / 60, chosen_threads())
        ran.append(Ran(path.name, seconds / 60, target.stat().st_size / 1e6))
        say(f"{path.name}: {ran[-1].minutes:.1f} minutes, {ran[-1].megabytes:.2f} MB")
    return ran
