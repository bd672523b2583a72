"""Figures hold what the table holds, carry labels with units, and are written as PNG and PDF."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import adapters_lib as al
from adapters_lib import figures
from adapters_lib.methods import METHODS

TABLE = pd.DataFrame(
    {
        "method": ["lora", "lora", "lora", "ila", "ila", "ila"],
        "seed": [0, 1, 2] * 2,
        "top1": [40.0, 42.0, 44.0, 50.0, 50.0, 53.0],
        "trained": [5000] * 3 + [90000] * 3,
        "macs": [3.0e8] * 3 + [2.0e8] * 3,
    }
)


def test_every_method_is_drawn_at_its_mean_with_its_interval() -> None:
    axes = figures.accuracy_against_cost(TABLE, "macs").axes[0]
    bars = {c.get_label(): c for c in axes.containers}
    assert bars["lora"][0].get_xydata()[0].tolist() == [3.0e8, 42.0]
    low, high = bars["lora"][2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(4.302653 * 2 / np.sqrt(3), rel=1e-5)
    assert axes.get_xlabel().startswith("MACs per image")
    assert "n = 3" in axes.figure.get_suptitle()


def test_costs_that_span_more_than_a_factor_of_four_get_a_logarithmic_axis() -> None:
    assert figures.accuracy_against_cost(TABLE, "trained").axes[0].get_xscale() == "log"
    assert figures.accuracy_against_cost(TABLE, "macs").axes[0].get_xscale() == "linear"


@pytest.mark.parametrize(
    ("cost", "message"), [("weight", "unknown cost axis 'weight'"), ("step_ms", "no column 'step_ms'")]
)
def test_a_cost_that_cannot_be_drawn_is_named(cost: str, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        figures.accuracy_against_cost(TABLE, cost)


def test_an_empty_selection_is_an_error() -> None:
    with pytest.raises(al.AdapterError, match="no row to draw"):
        figures.accuracy_against_cost(TABLE.iloc[:0], "macs")


def test_curves_show_loss_accuracy_and_chance() -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [3.0, 2.0, 1.0], "val_top1": [5.0, 20.0, 30.0]})
    left, right = figures.training_curves({"a": history}, chance=5).axes
    assert left.lines[0].get_ydata().tolist() == [3.0, 2.0, 1.0]
    assert right.lines[0].get_ydata().tolist() == [5.0, 20.0, 30.0]
    assert right.lines[1].get_ydata() == [5, 5]
    assert "nats" in left.get_ylabel()


def test_saving_writes_png_and_pdf(tmp_path: Path) -> None:
    png, pdf = figures.save(figures.accuracy_against_cost(TABLE, "macs"), "curve", tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")


def test_no_two_methods_look_alike() -> None:
    names = [f"m{i}" for i in range(96)]
    assert len(set(figures.look_of(names).values())) == 96


def test_a_grid_of_images_needs_a_label_each() -> None:
    sheet = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    assert [ax.get_title() for ax in figures.image_grid(sheet, ["a", "b", "c"], columns=2).axes][:3] == [
        "a",
        "b",
        "c",
    ]
    with pytest.raises(al.AdapterError, match="3 images and 1 labels"):
        figures.image_grid(sheet, ["a"])


def test_the_shares_of_a_breakdown_fill_the_bar() -> None:
    axes = figures.cost_breakdown({"parameters": {"a": 1, "b": 3}, "MACs": {"a": 2, "b": 2}}).axes[0]
    widths = [patch.get_width() for patch in axes.patches]
    assert sorted(widths) == [25, 50, 50, 75]


def test_a_method_has_one_look_in_all_figures() -> None:
    every = figures.method_style(METHODS)
    assert figures.method_style(reversed(list(METHODS))) == every
    assert len(set(every.values())) == len(METHODS)
    few = figures.method_style(["ila", "full", "adpt", "my own", "linear"])
    assert {name: few[name] for name in few if name in METHODS} == {n: every[n] for n in few if n in METHODS}
    assert few["my own"][0] not in {color for name, (color, _) in few.items() if name != "my own"}


def test_names_that_begin_with_a_method_have_its_color_and_variants_a_marker_of_their_own() -> None:
    names = ["ILA", "ILA, near one", "ILA, 1/9", "LoRA", "frozen", "linear probe", "ILA × LoRA", "noise"]
    styles = figures.method_style(names)
    every = figures.method_style(METHODS)
    assert styles["ILA"] == every["ila"]
    assert styles["LoRA"] == every["lora"]
    assert {styles[name][0] for name in ("ILA, near one", "ILA, 1/9")} == {every["ila"][0]}
    assert len({styles[name] for name in names}) == len(names)
    assert {styles["frozen"][0], styles["linear probe"][0]} == {"#000000", "#7F7F7F"}
    assert styles["ILA × LoRA"][0] not in {every["ila"][0], every["lora"][0]}


def test_a_narrow_share_has_its_number_above_the_bar() -> None:
    (axes,) = figures.cost_breakdown({"MACs": {"a": 95.0, "b": 2.0, "c": 2.98, "d": 0.02}}).axes
    written = {text.get_text(): text.get_position() for text in axes.texts}
    assert set(written) == {"95 %", "2 %", "3 %", "< 0.1 %"}
    assert written["95 %"][1] == 0
    over = sorted(x for text, (x, y) in written.items() if text != "95 %" and y < -0.3)
    assert len(over) == 3
    assert min(b - a for a, b in itertools.pairwise(over)) >= 5
