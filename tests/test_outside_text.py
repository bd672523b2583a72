"""A name from outside shows as it is, wherever it goes: figures, HTML, LaTeX, CSV."""

import io
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

import adapters_lib as al
from adapters_lib.datasets.labelled import TensorImages
from adapters_lib.datasets.task import Task
from adapters_lib.figures import (
    accuracy as figures_results,
    attention as figures_analysis,
    classes as figures_scores,
    clips as figures_video,
    exits as figures_exits,
    results_explorer as explorer,
    styling as figures,
)
from adapters_lib.figures.clip_samples import clip_sheet
from adapters_lib.figures.samples import contact_sheet
from adapters_lib.text import LONGEST, csv_cell, drawn, latex, web

NAMES = ["_US$5_$10\tand \udcff\\$", "$" + "n" * 300]
"""Mathematics, a hidden label, a tab, a sign without an encoding, an escaped dollar; an odd dollar, too
long."""


def texts(figure: Figure) -> list[str]:
    """Every text of a figure as Matplotlib draws it; drawing must neither fail nor warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # long names, small figure
        figure.savefig(io.BytesIO(), dpi=40)
    found = []
    for text in figure.findobj(Text):
        shown, is_math = text._preprocess_math(text.get_text())
        assert not is_math, shown
        found.append(shown)
    return found


def seen(name: str, figure: Figure) -> bool:
    """Whether the name stands in the figure; a long one in part, perhaps on two lines, and what has no sign
    as a replacement."""
    if len(name) > LONGEST:
        return any("n" * 18 + "…" + "n" * 18 in text.replace("\n", "") for text in texts(figure))
    return any(name.replace("\t", " ").replace("\udcff", "\ufffd") in text for text in texts(figure))


def pictures(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.uint8)


def task_of(classes: list[str]) -> Task:
    labels = torch.arange(2 * len(classes)) % len(classes)
    data = [TensorImages(pictures(len(labels), 3, 8, 8), labels, (0.5,) * 3, (0.5,) * 3) for _ in range(3)]
    return Task(classes[0], classes, *data, {"input_size": (3, 8, 8), "mean": (0.5,) * 3, "std": (0.5,) * 3})


def clips_of(classes: list[str]) -> Task:
    class Clips(torch.utils.data.Dataset):
        labels = torch.arange(len(classes))

        def __len__(self) -> int:
            return len(classes)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.zeros(3, 2, 8, 8), index

    return Task(
        classes[0],
        classes,
        Clips(),
        Clips(),
        Clips(),
        {"input_size": (3, 8, 8), "mean": (0.5,) * 3, "std": (0.5,) * 3},
    )


def rows_of(name: str) -> pd.DataFrame:
    told = {"data": name, "version": al.__version__, "trained": [10, 12], "n_test": 4}
    return pd.concat(
        [
            pd.DataFrame({"method": method, "seed": [0, 1], "top1": [60.0, 61.0], **told})
            for method in (name, "linear")
        ]
    )


def stored(name: str) -> SimpleNamespace:
    logits = torch.eye(2).repeat(2, 1, 2).reshape(2, 4, 2)
    costs = SimpleNamespace(blocks=(1, 2), full=2.0)
    return al.exits.StoredExits(logits, torch.arange(4) % 2, costs)


DRAWERS = {
    "contact_sheet": lambda n: contact_sheet(task_of([n, "plain"]), 2),
    "clip_sheet": lambda n: clip_sheet(clips_of([n, "plain"])),
    "confusion_matrix": lambda n: figures_scores.confusion_matrix(
        al.confusion(torch.eye(2), torch.arange(2), [n, "plain"])
    ),
    "feature_scatter": lambda n: figures_scores.feature_scatter(
        {n: SimpleNamespace(points=np.zeros((2, 2)), explained=None, method="pca")},
        [0, 1],
        [n, "plain"],
        notes={n: n},
    ),
    "image_grid": lambda n: figures.image_grid(pictures(1, 3, 8, 8), [n], columns=1),
    "training_curves": lambda n: figures.training_curves(
        {n: pd.DataFrame({"epoch": [1], "train_loss": [1.0], "val_top1": [5.0]})}
    ),
    "cost_breakdown": lambda n: figures.cost_breakdown({n: {n: 1.0, "rest": 2.0}}),
    "attention_panels": lambda n: figures_analysis.attention_panels(
        pictures(1, 3, 8, 8), {n: torch.ones(1, 8, 8)}, labels=[n]
    ),
    "attention_distances": lambda n: figures_analysis.attention_distances({n: [torch.ones(2)]}),
    "cka_pairs": lambda n: figures_analysis.cka_pairs({n: np.eye(2)}, axes_of=(n, n)),
    "exit_curve": lambda n: figures_exits.exit_curve(
        {n: pd.DataFrame({"relative": [0.5, 1], "top1": [1, 2], "random": [1, 2]})}
    ),
    "accuracy_against_cost": lambda n: figures_results.accuracy_against_cost(rows_of(n), "trained"),
    "accuracy_dots": lambda n: figures_results.accuracy_dots(rows_of(n)),
    "paired_differences": lambda n: figures_results.paired_differences(
        {n: al.experiments.Interval(1.0, 0.5, 3)}
    ),
    "front": lambda n: figures_results.accuracy_against_cost(rows_of(n), "trained", front=True),
    "explore": lambda n: explorer.explore(
        rows_of(n).rename(columns={"data": "task"}).assign(label=n), "trained"
    ),
    "sanity_curves": lambda n: figures_scores.sanity_curves(
        {n: pd.DataFrame({"stage": ["head"], "correlation": [1.0]})}
    ),
    "attention_over_clip": lambda n: figures_video.attention_over_time(
        pictures(1, 3, 2, 8, 8), torch.ones(1, 1, 2, 2), labels=[n]
    ),
}


@pytest.mark.parametrize("draw", DRAWERS)
def test_every_figure_shows_a_name_word_for_word(draw: str) -> None:
    for name in NAMES:
        assert seen(name, DRAWERS[draw](name)), name


def test_a_plain_name_is_left_alone_and_a_long_one_keeps_its_ends() -> None:
    assert [drawn(name) for name in ("oak", "Bäume", "a b\nc")] == ["oak", "Bäume", "a b\nc"]
    assert len(drawn("n" * 300)) == LONGEST
    assert drawn(f"begin{'n' * 300}end").startswith("begin")
    assert drawn(f"begin{'n' * 300}end").endswith("end")


def test_html_has_neither_tags_nor_mathematics_of_a_name() -> None:
    assert web('<script>"$x$') == "&lt;script&gt;&quot;&#36;x&#36;"


def test_latex_has_no_command_of_a_name() -> None:
    assert (
        latex(r"50 % of \input{x}_$^~")
        == r"50 \% of \textbackslash{}input\{x\}\_\$\textasciicircum{}\textasciitilde{}"
    )


def test_a_cell_of_a_table_is_no_formula_and_a_number_stays_one() -> None:
    assert [csv_cell(text) for text in ("=1+1", "+cmd|x", "-a", "@SUM(A1)", "\tx")] == [
        "'=1+1",
        "'+cmd|x",
        "'-a",
        "'@SUM(A1)",
        "'\tx",
    ]
    assert [csv_cell(text) for text in ("-1.5e3", "+2", "oak", "")] == ["-1.5e3", "+2", "oak", ""]


def test_an_exported_table_holds_no_formula(tmp_path) -> None:
    rows = rows_of("=HYPERLINK(1)").rename(columns={"data": "task"}).assign(label="@x", other_version=False)
    text = explorer.export(rows, "CSV", "x", "trained", folder=tmp_path).read_text()
    assert "'=HYPERLINK(1)" in text
    assert "'@x" in text
    assert ",=" not in text
