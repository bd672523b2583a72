"""Figures and sentences that notebooks make by one call hold the numbers that they are given."""

import math

import pandas as pd
import pytest

import adapters_lib as al
from adapters_lib import figures, workbook
from adapters_lib.backbones import embedded_info, meta_backbone
from adapters_lib.experiments import Interval
from adapters_lib.methods import composition_table
from adapters_lib.training.offline_recipes import Budget


def test_an_interval_that_holds_zero_is_said_not_to_show_anything() -> None:
    assert workbook.interval_said(Interval(3.4, 2.8, 3)) == "+3.4 ± 2.8 points (n = 3)"
    assert workbook.interval_said(Interval(-1.0, 2.8, 3)).endswith("not shown: the interval holds 0")
    assert "no interval" in workbook.interval_said(Interval(5.0, math.nan, 1))


def _rows(images: int, epochs: int) -> pd.DataFrame:
    configuration = f'{{"data_options": {{"n_train": {images}}}, "recipe": {{"epochs": {epochs}}}}}'
    return pd.DataFrame({"seed": [0], "version": ["9.9"], "configuration": [configuration]})


def test_rows_of_another_budget_are_said_to_be_that_and_those_of_the_asked_one_are_not() -> None:
    asked = Budget(images=60, passes=6)
    other, right = (workbook.budget_note(_rows(60, epochs), asked) for epochs in (3, 6))
    assert all(part in other for part in ("3 passes over 60 a class", "another budget", "9.9"))
    assert "6 passes over 60 a class" in right
    assert "another budget" not in right
    with pytest.raises(al.AdapterError, match="without rows"):
        workbook.budget_note(_rows(60, 3).head(0), asked)


def test_a_row_beside_the_papers_has_one_sentence_a_column() -> None:
    html = workbook.beside_papers([("more", "less", "shorter")]).to_html()
    assert all(word in html for word in ("more", "less", "shorter", "why they may differ"))
    with pytest.raises(al.AdapterError, match="2 sentences for 3 columns"):
        workbook.beside_papers([("more", "less")])


def test_a_map_without_a_model_is_drawn_on_the_line_of_its_row() -> None:
    rows = [("edges", "none", 0.9), ("rollout", "LoRA", 0.8), ("rollout", "ILA", 0.7)]
    scores = pd.DataFrame(rows, columns=["map", "model", "auroc"]).assign(half=0.01)
    (ax,) = figures.map_scores(scores, 24).axes
    drawn = {bars.get_label(): bars[0].get_xydata().tolist() for bars in ax.containers}
    assert drawn["none"] == [[0.9, 0.0]]
    assert drawn["LoRA"][0][0] == 0.8
    assert drawn["LoRA"][0][1] != drawn["ILA"][0][1]
    assert "n = 24" in ax.get_xlabel()


def test_a_cross_stands_on_both_sides_of_each_pair_that_does_not_compose() -> None:
    pairs = pd.DataFrame(composition_table())
    (ax,) = figures.pair_matrix(pairs).axes
    refused = pairs[pairs["composes"] == "no"]
    on_diagonal = (refused["first"] == refused["second"]).sum()
    assert len(ax.texts) == 2 * len(refused) - on_diagonal > 0


def test_the_line_of_exit_costs_ends_at_the_full_depth() -> None:
    dyn = "dyn:forward_sparsity=0,backward_sparsity=0"
    costs = al.exit_costs(al.adapt(meta_backbone("micro_vit"), dyn, num_classes=20))
    (ax,) = figures.exit_cost_lines({"bare": costs}).axes
    x, y = ax.lines[0].get_data()
    assert list(x) == [0, *costs.blocks]
    assert list(y) == pytest.approx([0, *(macs / 1e6 for macs in costs.macs)])


def test_exits_are_hollow_and_the_full_depth_is_filled() -> None:
    rows = [("Dyn", "full depth", 60.0, 400.0), ("Dyn", "exits", 58.0, 200.0)]
    table = pd.DataFrame(rows, columns=["model", "point", "top1", "MMACs"])
    lines = figures.cost_and_accuracy(table).axes[0].lines
    marks = [line for line in lines if line.get_linestyle() == "None"]
    fills = {line.get_xdata()[0]: line.get_markerfacecolor() for line in marks}
    assert fills[200.0] == "none"
    assert fills[400.0] != "none"


def test_what_is_saved_stands_at_its_percentage_for_macs_and_clock() -> None:
    saved = pd.DataFrame({"MACs": [30.0], "time, batch 1": [-10.0]}, index=["ILA"])
    (ax,) = figures.saved_shares(saved).axes
    assert {30.0, -10.0} <= {float(line.get_xdata()[0]) for line in ax.lines if len(line.get_xdata()) == 1}


def test_the_speeds_of_the_pre_training_end_at_the_last_row_of_its_curve() -> None:
    about = embedded_info("micro_vit_clips")
    (ax,) = figures.speed_curves(about).axes
    last = {line.get_label(): line.get_ydata()[-1] for line in ax.lines}
    assert last["across"] == pytest.approx(100 * about["curve"][-1]["speed_x"])
    assert {"across", "down", "turn", "growth"} <= set(last)


def test_class_bars_have_the_length_of_the_accuracy_and_the_number_of_images() -> None:
    per_class = pd.DataFrame({"class": ["oak", "elm"], "top1": [25.0, 75.0], "n": [4, 8]})
    (ax,) = figures.class_bars(per_class, 50.0).axes
    assert [bar.get_width() for bar in ax.patches] == [25.0, 75.0]
    assert [text.get_text() for text in ax.texts] == ["n = 4", "n = 8"]
    with pytest.raises(al.AdapterError, match="no class"):
        figures.class_bars(per_class.head(0), 50.0)
