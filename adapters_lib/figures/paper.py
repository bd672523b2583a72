"""Redraw the paper-style figures from the stored tables, without training: `python -m adapters_lib figures`.

Rows that the current grids do not ask for (another recipe) are left out and counted; rows of another version
of the code stand in, hollow, only where the current version has none. A figure whose table is missing is
skipped with the command that makes the table.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from .. import __version__
from ..benchmarks.targets import BARE
from ..datasets.leaves.task import KINDS
from ..errors import AdapterError, unknown
from ..experiments.report import timed_as
from ..experiments.run import read_table
from ..experiments.run_grids import FOLDER, GRIDS, ILA_VARIANTS, PADAPTER_VARIANTS, VIDEO_VARIANTS, stored
from ..experiments.versions import OutdatedRows, budgets_of
from .accuracy import (
    accuracy_against_cost,
    accuracy_dots,
    bottleneck_sweep,
    differences,
    granularity_sweep,
    learning_curves,
)
from .exit_results import exit_curves, exit_settings, exit_shares
from .paper_models import attention_distance, attention_rollout, attention_similarity
from .styling import save

__all__ = ["FIGURES", "PaperFigure", "command_for", "draw", "load", "video_names"]

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class PaperFigure:
    """tables: names of the CSV files that it needs. draw: makes it from these tables. about: one line for
    `figures --list`."""

    tables: tuple[str, ...]
    draw: Callable[[Tables], Figure]
    about: str


def _timed(tables: Tables, batch: int) -> Figure:
    """Adapters that merge are shown as they would serve: merged."""
    latency = tables["latency"]
    rows = latency[latency["batch"] == batch].sort_values("merged").drop_duplicates("method", keep="last")
    if rows.empty:
        raise AdapterError(f"the latency table has no rows of batch {batch}")
    methods = tables["methods"].assign(timed=tables["methods"]["method"].map(timed_as))
    if lacking := sorted(set(methods["timed"]) - set(rows["method"])):
        raise AdapterError(f"the latency table lacks {', '.join(lacking)}")
    first = rows.iloc[0]
    if first["version"] != __version__:
        warnings.warn(
            f"latencies were measured with version {first['version']}, now {__version__}",
            OutdatedRows,
            stacklevel=2,
        )
    threads = (
        f", {first['threads']} thread{'s' * int(first['threads'] != 1)}" if first["device"] == "cpu" else ""
    )
    older = "" if first["version"] == __version__ else f", timed with version {first['version']}"
    bare = float(rows.loc[rows["method"] == BARE, "latency_ms"].iloc[0])
    title = (
        f"batch {batch}, {first['device']}{threads}{older}; mergeable adapters merged\nbars across:"
        f" quartiles; bare timm {bare:.1f} ms"
    )
    times = rows[["method", "latency_ms", "q25_ms", "q75_ms"]].rename(columns={"method": "timed"})
    table = methods.merge(times, on="timed")
    return accuracy_against_cost(table, "latency_ms", spread=("q25_ms", "q75_ms"), title=title)


def _front(tables: Tables) -> Figure:
    return accuracy_against_cost(tables["methods"], "macs", front=True)


def _dialled(tables: Tables) -> Figure:
    default = KINDS["ultra"].granularity
    options = tables["granularity"]["configuration"].map(lambda text: json.loads(text)["data_options"])
    return granularity_sweep(
        tables["granularity"].assign(granularity=options.map(lambda each: each.get("granularity", default)))
    )


def video_names(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the grid `video` with the variants' names in the place of their text forms."""
    return rows.assign(method=rows["method"].map({text: name for name, text in VIDEO_VARIANTS.items()}))


def _curves(tables: Tables, cost: str) -> Figure:
    """The curves' rows know their run by the first part of the key only."""
    runs = {key.rpartition("-")[0] for key in tables["exits"]["key"]}
    curves = tables["exits_curves"]
    return exit_curves(
        curves[[key.rpartition("-")[0] in runs for key in curves["key"]]], tables["exits"], cost=cost
    )


def _of(table: str, function: Callable[..., Figure], *arguments: object, **options: object) -> PaperFigure:
    about = " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
    return PaperFigure((table,), lambda tables: function(tables[table], *arguments, **options), about)


FIGURES: dict[str, PaperFigure] = {
    "learning_curve": _of("learning_curve", learning_curves),
    "accuracy_vs_parameters": _of("methods", accuracy_against_cost, "trained"),
    "accuracy_vs_macs": _of("methods", accuracy_against_cost, "macs", sized_by="trained"),
    "accuracy_vs_milliseconds": PaperFigure(
        ("methods", "latency"), lambda t: _timed(t, 1), "Accuracy against milliseconds, batch 1."
    ),
    "accuracy_vs_milliseconds_16": PaperFigure(
        ("methods", "latency"), lambda t: _timed(t, 16), "Accuracy against milliseconds, batch 16."
    ),
    "accuracy_vs_memory": _of("methods", accuracy_against_cost, "memory_mib"),
    "pareto_macs": PaperFigure(
        ("methods",), _front, "Methods that no other beats in MACs and accuracy, and how surely."
    ),
    "differences": _of("methods", differences),
    "tasks": _of("tasks", accuracy_dots),
    "bottleneck_sweep": _of("bottleneck", bottleneck_sweep),
    "granularity_sweep": PaperFigure(
        ("granularity",), _dialled, "Accuracy along the granularity dial, and gains over the linear probe."
    ),
    "ila_variants": _of("ila", accuracy_dots, names={text: name for name, text in ILA_VARIANTS.items()}),
    "padapter_variants": _of(
        "padapter", accuracy_dots, names={text: name for name, text in PADAPTER_VARIANTS.items()}
    ),
    "exit_settings": _of("exits", exit_settings),
    "exit_shares": _of("exits", exit_shares),
    "exit_curves": PaperFigure(
        ("exits_curves", "exits"), lambda t: _curves(t, "relative"), "Exits: accuracy against expected MACs."
    ),
    "exit_curves_time": PaperFigure(
        ("exits_curves", "exits"), lambda t: _curves(t, "time"), "Exits: accuracy against measured time."
    ),
    "video_vs_parameters": PaperFigure(
        ("video",),
        lambda t: accuracy_against_cost(video_names(t["video"]), "trained"),
        "Clips: accuracy against parameters.",
    ),
    "video_vs_macs": PaperFigure(
        ("video",),
        lambda t: accuracy_against_cost(video_names(t["video"]), "macs", sized_by="trained"),
        "Clips: accuracy against MACs.",
    ),
    "cka_pairs": PaperFigure(
        (), lambda _: attention_similarity(), "CKA between the attention of all blocks: frozen ViT and ILA."
    ),
    "attention_rollout": PaperFigure(
        (), lambda _: attention_rollout(), "Attention rollout over leaves: frozen ViT and ILA."
    ),
    "attention_distance": PaperFigure(
        (), lambda _: attention_distance(), "Attention distance of every head: frozen ViT and ILA."
    ),
}
"""By file name. Those without a table look inside models: three small ILA adapters, trained once and kept
in `runs/`."""


def command_for(table: str) -> str:
    """The command that makes a table."""
    if table == "latency":
        return "python -m adapters_lib bench latency"
    if table in ("exits", "exits_curves"):
        return "python -m adapters_lib results run exits"
    return f"python -m adapters_lib results run {table}"


def load(name: str, folder: str | Path = FOLDER) -> tuple[pd.DataFrame, list[str]]:
    """The rows of a stored table that may be drawn, and notes on what is missing or left out.

    Raises:
        AdapterError: there is no such table, or no row in it can be used; the message names the command that
            makes it.
    """
    path = Path(folder) / f"{name}.csv"
    rows = read_table(path)
    if rows.empty:
        raise AdapterError(f"there is no table {path}; make it with `{command_for(name)}`")
    if name == "exits":
        return _one_study(rows, path)
    if name not in GRIDS:
        return rows, []
    wanted = {run.key for run in GRIDS[name]()}
    asked = rows["key"].isin(wanted)
    kept = stored(name, folder)
    if kept.empty:
        raise AdapterError(
            f"{path} holds none of the {len(wanted)} runs of this grid; make them with `{command_for(name)}`"
        )
    notes = []
    if there := len(wanted) - int(asked.sum()):
        notes.append(
            f"{path} holds {asked.sum()} of {len(wanted)} runs; `{command_for(name)}` runs the others"
        )
    if left := len(rows) - len(kept):
        notes.append(f"{path}: {left} rows of other settings than those drawn are left out")
    if there and not kept["key"].isin(wanted).any():
        notes.append(f"{path}: drawn are older rows, {' and '.join(budgets_of(kept).unique())}")
    return kept, notes


def _one_study(rows: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Of several hosts or data sets in one table, the one with the most rows."""
    host, data = rows[["host", "data"]].value_counts().index[0]
    kept = rows[(rows["host"] == host) & (rows["data"] == data)]
    others = len(rows) - len(kept)
    return kept, (
        [f"{path}: {others} rows of other hosts or data sets than {host} on {data} are left out"]
        if others
        else []
    )


def draw(
    names: Sequence[str] | None = None,
    folder: str | Path = FOLDER,
    out: str | Path | None = None,
    say: Callable[[str], object] = print,
) -> list[Path]:
    """Draw figures into `out` (PNG and PDF; default as `figures.save`) and return the files; what cannot be
    drawn is said and skipped.

    names: keys of `FIGURES`; None is all. folder: where the tables are.

    Raises:
        AdapterError: an unknown name, or no name at all.
    """
    chosen = list(FIGURES) if names is None else list(names)
    if not chosen:
        raise AdapterError(f"no figure was selected; choose among {', '.join(FIGURES)}")
    for name in chosen:
        if name not in FIGURES:
            raise unknown("figure", name, FIGURES)
    written: list[Path] = []
    loaded: dict[str, pd.DataFrame] = {}
    for name in chosen:
        wanted = FIGURES[name].tables
        try:
            for table in wanted:
                if table not in loaded:
                    loaded[table], notes = load(table, folder)
                    for note in notes:
                        say(note)
            written += save(FIGURES[name].draw(loaded), name, out)
        except AdapterError as error:
            commands = " and ".join(f"`{command_for(table)}`" for table in wanted)
            say(
                f"{name}: skipped: {error}"
                + (f" (its tables come from {commands})" if commands and commands not in str(error) else "")
            )
        else:
            say(f"{name}: {written[-2]}, {written[-1]}")
    return written
