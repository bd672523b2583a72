"""The figures of the stored tables are drawn without training, say what they rest on, and refuse what
cannot be drawn."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_tables import made_up, store
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text

import adapters_lib as al
from adapters_lib import cli
from adapters_lib.experiments.grids import ALL_METHODS, GRIDS
from adapters_lib.experiments.versions import OutdatedRows
from adapters_lib.figures import accuracy as results, exit_results as exits, paper as paper_figures
from adapters_lib.figures.paper import FIGURES, command_for, load
from adapters_lib.figures.parts import points
from adapters_lib.figures.styling import cost_scale, method_style


def _title(figure: Figure) -> str:
    return figure.get_suptitle()


def _drawn_points(ax) -> list[tuple[float, float]]:
    return [tuple(np.ravel(point.lines[0].get_xydata())) for point in ax.containers]


def test_every_method_of_the_grid_has_a_point_a_look_and_its_name_beside_it() -> None:
    table = made_up("methods")
    figure = results.accuracy_against_cost(table, "trained")
    (ax,) = figure.axes
    means = table.groupby("method")[["trained", "top1"]].mean()
    assert sorted(_drawn_points(ax)) == sorted(map(tuple, means.to_numpy()))
    assert {text.get_text() for text in ax.texts} == {run.name for run in GRIDS["methods"]()}
    assert not figure.legends
    assert len(set(method_style(ALL_METHODS).values())) == len(ALL_METHODS)


def test_a_figure_says_that_leaves_are_synthetic_and_how_many_seeds_it_rests_on() -> None:
    table = made_up("tasks")
    assert (
        _title(results.accuracy_dots(table))
        == "synthetic leaves (leaves-coarse, leaves-mixed)\nmean and 95 % t-interval over seeds, n = 5"
    )
    assert _title(results.accuracy_dots(table[(table["seed"] < 2) | (table["method"] == "lora")])).endswith(
        "over seeds, n = 2 to 5"
    )
    assert _title(results.accuracy_dots(table[(table["seed"] < 1) | (table["method"] == "lora")])).endswith(
        "n = 1 to 5 (none where n = 1)"
    )
    assert _title(results.accuracy_dots(table[table["seed"] == 0])).endswith(
        "\nn = 1: one seed, so no interval"
    )


def test_texts_of_a_figure_with_twenty_methods_do_not_overlap() -> None:
    figure = results.accuracy_against_cost(made_up("methods"), "macs", sized_by="trained")
    figure.draw_without_rendering()
    (ax,) = figure.axes
    boxes = [Text.get_window_extent(text) for text in ax.texts]  # without the line to the point
    boxes += [
        ax.xaxis.label.get_window_extent(),
        ax.get_legend().get_window_extent(),
        figure._suptitle.get_window_extent(),
    ]
    boxes += [ax.get_window_extent()]
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_names_stand_in_the_order_of_their_points_the_best_on_top() -> None:
    table = made_up("methods")
    figure = results.accuracy_against_cost(table, ("trained", "macs"))
    left, right = figure.axes
    assert not left.texts
    names = sorted(right.texts, key=lambda text: -text.xyann[1])
    means = table.groupby("method")["top1"].mean()
    heights = [means[text.get_text()] for text in names]
    assert heights == sorted(heights, reverse=True)
    assert left.get_ylim() == right.get_ylim()


def test_a_marker_grows_with_the_parameters() -> None:
    table = made_up("video")
    figure = results.accuracy_against_cost(table, "macs", sized_by="trained")
    shown = sorted(point.lines[0].get_markersize() for point in figure.axes[0].containers)
    assert shown[0] == 3
    assert shown[-1] == 9
    assert "synthetic clips (motion-leaves)" in _title(figure)


def test_points_of_another_version_are_hollow_and_named() -> None:
    table = made_up("video")
    old = table["method"] == "linear"
    with pytest.warns(OutdatedRows, match=r"another version than .*: linear 0\.0\.1"):
        figure = results.accuracy_against_cost(
            table.assign(version=np.where(old, "0.0.1", al.__version__)), "trained"
        )
    faces = [point.lines[0].get_markerfacecolor() for point in figure.axes[0].containers]
    assert faces.count("white") == 1
    assert "hollow: made by version 0.0.1 of the code" in _title(figure)


def test_where_all_points_are_of_another_version_the_caption_alone_says_so() -> None:
    table = made_up("video").assign(version="0.0.1")
    with pytest.warns(OutdatedRows):
        figure = results.accuracy_against_cost(table, "trained")
    assert "white" not in {found.lines[0].get_markerfacecolor() for found in figure.axes[0].containers}
    assert _title(figure).endswith("\nmade by version 0.0.1 of the code")


def test_an_old_row_does_not_enter_a_mean_that_has_new_ones() -> None:
    table = made_up("video")
    old = table.assign(version="0.0.1", top1=0.0)
    with pytest.warns(OutdatedRows, match="9 older rows left out"):
        means = points(pd.concat([old, table]))
    assert means["top1"].min() > 10
    assert not means["outdated"].any()


def test_a_front_with_points_of_another_version_says_so() -> None:
    table = made_up("video")
    assert "version" not in _title(FIGURES["pareto_macs"].draw({"methods": table}))
    old = table.assign(version=np.where(table["method"] == "lora", "0.0.1", al.__version__))
    with pytest.warns(OutdatedRows):
        figure = FIGURES["pareto_macs"].draw({"methods": old})
    assert _title(figure).startswith("synthetic clips (motion-leaves)\n")
    assert _title(figure).endswith("\nhollow: made by version 0.0.1 of the code")


def test_the_sweep_of_sizes_goes_from_4_to_64_for_four_methods() -> None:
    figure = results.bottleneck_sweep(made_up("bottleneck"))
    left, right = figure.axes
    assert [text.get_text() for text in left.get_xticklabels()] == ["4", "16", "64"]
    assert len(left.containers) == len(right.containers) == 4
    with pytest.raises(al.AdapterError, match="'linear' has neither bottleneck nor rank"):
        results.bottleneck_sweep(made_up("video"))


def test_the_sweep_of_granularities_shows_gains_paired_by_seed() -> None:
    figure = FIGURES["granularity_sweep"].draw({"granularity": made_up("granularity")})
    left, right = figure.axes
    assert [text.get_text() for text in left.get_xticklabels()] == ["0.06", "0.09", "0.12", "0.18", "0.25"]
    assert len(left.containers) == 1  # what the others are compared with
    assert len(right.containers) == 3
    rows = made_up("granularity")
    dialled = rows["configuration"].map(
        lambda text: json.loads(text)["data_options"].get("granularity", 0.12)
    )
    pivot = rows[dialled == 0.12].pivot_table(index="seed", columns="method", values="top1")
    line = next(each.lines[0] for each in right.containers if each.get_label() == "lora")
    assert line.get_ydata()[2] == pytest.approx((pivot["lora"] - pivot["linear"]).mean())


def test_differences_come_with_intervals_over_seeds_and_over_images() -> None:
    figure = results.differences(made_up("tasks").query("data == 'leaves-mixed'"))
    assert len(figure.axes[0].containers) == 7
    assert "bootstrap over 80 test images" in _title(figure)
    with pytest.raises(al.AdapterError, match="no other method"):
        results.differences(made_up("methods").query("method == 'linear'"))


def test_clips_are_called_clips() -> None:
    assert "bootstrap over 80 test clips" in _title(results.differences(made_up("video")))
    assert (
        results.accuracy_against_cost(made_up("video"), "macs")
        .axes[0]
        .get_xlabel()
        .startswith("MACs per clip")
    )
    assert (
        exits.exit_shares(made_up("exits").assign(data="motion-leaves")).axes[0].get_ylabel()
        == "clips that leave there (%)"
    )
    assert exits.exit_shares(made_up("exits")).axes[0].get_ylabel() == "images that leave there (%)"


def test_exits_are_drawn_beside_their_controls_at_equal_cost() -> None:
    table = made_up("exits")
    figure = exits.exit_settings(table)
    left, right = figure.axes
    settings = [text.get_text() for text in left.get_yticklabels()]
    assert len(settings) == 12
    assert "host" not in settings
    assert len(left.containers) == 3 * 12  # exits, random, fixed depth
    assert len(right.containers) == 2 * 12  # coarse and fine classes
    assert "half the MACs" in _title(figure)
    assert "n = 3" in _title(figure)


def test_shares_and_curves_of_exits_are_means_over_seeds() -> None:
    table, curves = made_up("exits"), made_up("exits_curves")
    shares = exits.exit_shares(table)
    half = [y for x, y in _drawn_points(shares.axes[0]) if round(x) == 3]
    assert half == pytest.approx([20, 20])
    curve = exits.exit_curves(curves, table)
    _, labels = curve.axes[0].get_legend_handles_labels()
    assert labels[:2] == ["naive, by confidence", "naive, fixed depth"]
    seeds = curves[curves["setting"] == "naive"].groupby("seed")["top1"].max()
    host = table[table["setting"] == "host"].set_index("seed")["top1"]
    last = curve.axes[0].lines[0].get_ydata()[-1]
    assert last == pytest.approx((seeds - host).mean(), abs=0.05)
    assert "above the host" in curve.axes[0].get_ylabel()
    alone = exits.exit_curves(curves, table[table["setting"] != "host"])
    assert alone.axes[0].lines[0].get_ydata()[-1] == pytest.approx(seeds.mean(), abs=0.05)
    assert alone.axes[0].get_ylabel() == "top-1 (%)"
    time = exits.exit_curves(curves, table, cost="time")
    assert time.axes[0].get_xlabel().startswith("milliseconds")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: results.accuracy_against_cost(made_up("video").iloc[:0], "trained"), "no row to draw"),
        (lambda: results.accuracy_dots(made_up("video").iloc[:0]), "no row to draw"),
        (lambda: results.accuracy_against_cost(made_up("video"), "weight"), "unknown cost axis 'weight'"),
        (
            lambda: results.accuracy_against_cost(made_up("video").drop(columns="macs"), "macs"),
            "no column 'macs'",
        ),
        (lambda: exits.exit_settings(made_up("exits"), "third"), "no row of the operating point 'third'"),
        (lambda: exits.exit_settings(made_up("exits").iloc[:0]), "no row of the operating point"),
        (lambda: exits.exit_shares(made_up("exits"), ["nobody"]), "no shares of the settings nobody"),
        (
            lambda: exits.exit_curves(made_up("exits_curves"), made_up("exits"), ["nobody"]),
            "no curve of the settings nobody",
        ),
        (
            lambda: exits.exit_curves(made_up("exits_curves"), made_up("exits"), cost="weight"),
            "cost 'weight'",
        ),
        (
            lambda: exits.exit_settings(pd.concat([made_up("exits"), made_up("exits").assign(host="ila")])),
            "holds 2 studies",
        ),
        (lambda: paper_figures.draw([]), "no figure was selected"),
        (lambda: paper_figures.draw(["accuracy_vs_weight"]), "unknown figure 'accuracy_vs_weight'"),
    ],
)
def test_an_empty_or_unknown_selection_is_an_error(call, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        call()


def test_the_command_draws_what_there_is_and_names_the_command_for_what_there_is_not(
    tmp_path: Path, capsys
) -> None:
    folder = store(tmp_path / "tables", "exits")
    arguments = [
        "figures",
        "exit_shares",
        "bottleneck_sweep",
        "accuracy_vs_milliseconds",
        "--tables",
        str(folder),
        "--out",
        str(tmp_path / "out"),
    ]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "exit_shares.pdf",
        "exit_shares.png",
    ]
    assert "bottleneck_sweep: skipped" in printed
    assert "make it with `python -m adapters_lib results run bottleneck`" in printed
    assert cli.main(["figures", "tasks", "--tables", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "no figure could be drawn" in capsys.readouterr().err
    assert cli.main(["figures", "task"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_milliseconds_come_from_the_latency_table_with_mergeable_adapters_merged() -> None:
    latency = made_up("latency")
    tables = {"methods": made_up("methods"), "latency": latency}
    figure = FIGURES["accuracy_vs_milliseconds"].draw(tables)
    merged = latency.query("method == 'lora' and merged and batch == 1")["latency_ms"].item()
    assert merged in [pytest.approx(x) for x, _ in _drawn_points(figure.axes[0])]
    assert "batch 1, cpu, 1 thread; mergeable adapters merged" in _title(figure)
    with pytest.raises(al.AdapterError, match="the latency table lacks lora"):
        FIGURES["accuracy_vs_milliseconds"].draw({**tables, "latency": latency[latency["method"] != "lora"]})
    with pytest.raises(al.AdapterError, match="no rows of batch 16"):
        FIGURES["accuracy_vs_milliseconds_16"].draw({**tables, "latency": latency[latency["batch"] == 1]})


def test_rows_that_the_grid_does_not_ask_for_are_left_out_and_counted(tmp_path: Path) -> None:
    table = made_up("tasks")
    other = table.iloc[:4].assign(key=["x0", "x1", "x2", "x3"])
    folder = store(tmp_path, "exits")
    pd.concat([table.iloc[:-6], other]).to_csv(folder / "tasks.csv", index=False)
    rows, notes = load("tasks", folder)
    assert len(rows) == len(table) - 6
    assert notes == [
        (
            f"{folder / 'tasks.csv'} holds 74 of 80 runs; `python -m adapters_lib results run"
            " tasks` runs the others"
        ),
        f"{folder / 'tasks.csv'}: 4 rows of other settings than those drawn are left out",
    ]
    other.to_csv(folder / "tasks.csv", index=False)
    with pytest.raises(al.AdapterError, match="none of the 80 runs"):
        load("tasks", folder)


def test_of_two_studies_of_exits_the_larger_is_drawn(tmp_path: Path) -> None:
    table = made_up("exits")
    others = table.iloc[:5].assign(host="ila", key=[f"ila-{key}" for key in table["key"][:5]])
    pd.concat([others, table]).to_csv(tmp_path / "exits.csv", index=False)
    rows, notes = load("exits", tmp_path)
    assert set(rows["host"]) == {"lora"}
    assert "5 rows of other hosts or data sets than lora on leaves-mixed are left out" in notes[0]


def _trained(rows: pd.DataFrame, passes: int) -> pd.DataFrame:
    settings = {"version": al.__version__, "data": "leaves-mixed", "recipe": {"epochs": passes}}
    return rows.assign(configuration=json.dumps(settings))


def test_rows_and_curves_of_exits_of_two_budgets_are_not_averaged() -> None:
    table, curves = _trained(made_up("exits"), 3), made_up("exits_curves")
    longer = _trained(table[(table["setting"] == "all") & (table["seed"] == 0)], 6).assign(top1=99.0)
    longer["key"] = "new-" + longer["key"].str.rpartition("-")[2]
    begun = curves[(curves["setting"] == "all") & (curves["seed"] == 0)].assign(top1=99.0)
    begun["key"] = [f"new-{number}" for number in range(len(begun))]
    both, all_curves = pd.concat([table, longer]), pd.concat([curves, begun])
    with pytest.warns(OutdatedRows, match="3 rows of other budgets"):
        drawn = exits.exit_curves(all_curves, both)
    alone = exits.exit_curves(curves, table)
    for mixed, old in zip(drawn.axes[0].lines, alone.axes[0].lines, strict=True):
        assert np.array_equal(mixed.get_ydata(), old.get_ydata())


def test_every_figure_names_tables_that_a_command_makes(capsys) -> None:
    assert cli.main(["figures", "--list"]) == 0
    listed = capsys.readouterr().out
    for name, figure in FIGURES.items():
        assert name in listed
        assert figure.about.endswith((".", ";"))
        assert all(command_for(table).startswith("python -m adapters_lib") for table in figure.tables)


def test_costs_in_a_heap_are_drawn_as_differences_from_it() -> None:
    figure, ax = plt.subplots()
    costs = [411e6, 411e6, 414e6, 418e6, 420e6, 285e6, 767e6]
    assert cost_scale(ax, costs) == "compared with 411 M; stretched near it"
    ticks = dict(zip((t.get_text() for t in ax.get_xticklabels()), ax.get_xticks(), strict=True))
    assert ticks["0 %"] == 411e6
    assert ticks["−30 %"] == pytest.approx(0.7 * 411e6)
    spots = dict(zip(costs, ax.transData.transform([(cost, 0) for cost in costs])[:, 0], strict=True))
    apart = spots[418e6] - spots[411e6]
    assert apart > 0.05 * (spots[767e6] - spots[285e6])  # 1.5 of 117 %, and yet it can be seen
    assert np.allclose(ax.transData.inverted().transform([(spots[767e6], 0)])[0, 0], 767e6)
    plt.close(figure)


def test_costs_that_are_spread_keep_a_plain_axis() -> None:
    figure, (left, right) = plt.subplots(1, 2)
    assert not cost_scale(left, [10.0, 12.0, 15.0, 19.0])
    assert not cost_scale(right, [1e3, 1e5, 1e6, 1e6])
    assert (left.get_xscale(), right.get_xscale()) == ("linear", "log")
    plt.close(figure)


def test_a_learning_curve_has_a_line_a_method_and_its_name_at_the_end() -> None:
    rows = [
        {"method": method, "data": "leaves-ultra", "seed": seed, "updates": updates, "val_top1": top1 + seed}
        for method, scores in {"linear": (46, 54), "adpt": (38, 70)}.items()
        for updates, top1 in zip((450, 3600), scores, strict=True)
        for seed in (0, 1)
    ]
    figure = results.learning_curves(pd.DataFrame(rows))
    (ax,) = figure.axes
    lines = {bars.get_label(): bars.lines[0].get_ydata().tolist() for bars in ax.containers}
    assert lines == {"linear": [46.5, 54.5], "adpt": [38.5, 70.5]}
    assert sorted(text.get_text() for text in ax.texts) == ["adpt", "linear"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["450", "3,600"]
    assert "validation" in ax.get_ylabel()
