"""The figures hold what the analyses found, with units and numbers of cases, and refuse empty selections."""

import numpy as np
import pandas as pd
import pytest
import torch

import adapters_lib as al
from adapters_lib.analysis.attribution_checks import PerturbationCurves
from adapters_lib.analysis.confusion import Confusion
from adapters_lib.analysis.features import Projection
from adapters_lib.analysis.reliability import reliability
from adapters_lib.analysis.rollout import GroupRollout
from adapters_lib.exits.costs import ExitCosts
from adapters_lib.exits.simulate import StoredExits
from adapters_lib.experiments.statistics import Interval
from adapters_lib.figures import (
    accuracy,
    accuracy_against_cost,
    attention as maps_of,
    classes as scores,
    reliability_diagrams,
)
from adapters_lib.vit.layout import Layout

IMAGES = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_every_image_has_a_row_and_every_map_a_column() -> None:
    maps = torch.rand(2, 8, 8)
    figure = maps_of.attention_panels(IMAGES, {"block 1": maps, "block 4": 2 * maps}, labels=["a", "b"])
    assert len(figure.axes) == 6
    assert [ax.get_title() for ax in figure.axes[:3]] == ["", "block 1", "block 4"]
    drawn = figure.axes[2].images[1]
    np.testing.assert_allclose(drawn.get_array(), 2 * maps[0])
    assert drawn.get_clim() == (0, pytest.approx(2 * float(maps[0].max())))


def test_signed_maps_have_white_at_zero() -> None:
    figure = maps_of.attribution_panels(IMAGES, {"gradients": torch.randn(2, 8, 8)})
    low, high = figure.axes[1].images[0].get_clim()
    assert low == -high < 0
    assert figure.axes[1].get_title() == "gradients\nsigned"
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()] == [
        "against\nthe class",
        "for\nthe class",
    ]


def test_maps_that_cannot_speak_against_a_class_are_not_drawn_as_if_they_could() -> None:
    figure = maps_of.attribution_panels(
        IMAGES, {"gradients": torch.randn(2, 8, 8), "attention": torch.rand(2, 8, 8)}
    )
    signed, unsigned = figure.axes[1].images[0], figure.axes[2].images[0]
    assert figure.axes[2].get_title() == "attention\nunsigned"
    assert unsigned.get_clim()[0] == 0
    assert signed.get_cmap().name != unsigned.get_cmap().name
    assert [t.get_text().strip() for t in figure.axes[-1].get_xticklabels()] == ["0", "max"]


@pytest.mark.parametrize(
    ("images", "maps", "message"),
    [
        (IMAGES[:0], {"a": torch.rand(0, 8, 8)}, "at least one"),
        (IMAGES.float(), {"a": torch.rand(2, 8, 8)}, "torch.float32"),
        (IMAGES, {}, "none was selected"),
        (IMAGES, {"a": torch.rand(2, 4, 4)}, r"map 'a' has shape \(2, 4, 4\)"),
    ],
)
def test_panels_that_do_not_fit_are_refused(images: torch.Tensor, maps: dict, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        maps_of.attention_panels(images, maps)


def test_a_shrunken_groups_rollout_is_drawn_in_the_middle() -> None:
    groups = [
        GroupRollout((1, 2), Layout(1, 0, (4, 4)), torch.empty(0), torch.ones(2, 4, 4)),
        GroupRollout((3,), Layout(1, 0, (2, 2)), torch.empty(0), torch.ones(2, 2, 2)),
    ]
    figure = maps_of.rollout_panels(IMAGES, {"ILA": groups})
    assert [ax.get_title() for ax in figure.axes[1:3]] == ["ILA\nblocks 1–2", "ILA\nblocks 3"]
    drawn = np.ma.filled(figure.axes[2].images[1].get_array(), np.nan)
    assert np.isfinite(drawn).sum() == 16  # the rim is bare, not zero
    assert drawn[2:6, 2:6].min() == 1


def test_cka_has_one_scale_and_lines_between_groups() -> None:
    figure = maps_of.cka_pairs(
        {"frozen": torch.eye(4), "ILA": np.ones((4, 4))}, groups={"ILA": [(1, 2), (3, 4)]}
    )
    frozen, ila = figure.axes[:2]
    assert frozen.images[0].get_clim() == ila.images[0].get_clim() == (0, 1)
    narrow = maps_of.cka_pairs({"a": np.array([[1, 0.7], [0.7, 1]]), "b": np.array([[0.9, 0.6], [0.6, 0.9]])})
    assert narrow.axes[0].images[0].get_clim() == narrow.axes[1].images[0].get_clim() == (0.6, 1)
    assert "from 0.60 to 1.00" in narrow.axes[-1].get_ylabel()
    assert len(frozen.lines) == 0
    assert ila.lines[0].get_xdata()[0] == 2.5
    with pytest.raises(al.AdapterError, match="at least one matrix"):
        maps_of.cka_pairs({})
    with pytest.raises(al.AdapterError, match="'a' has shape"):
        maps_of.cka_pairs({"a": torch.ones(3)})


def test_every_heads_distance_is_a_point_and_the_line_is_their_mean() -> None:
    ax = maps_of.attention_distances({"frozen": [torch.tensor([1.0, 3.0]), torch.tensor([5.0, 7.0])]}).axes[0]
    assert list(ax.lines[0].get_ydata()) == [1, 3]
    assert list(ax.lines[-1].get_ydata()) == [2, 6]
    assert "pixels" in ax.get_ylabel()
    with pytest.raises(al.AdapterError, match="at least one block"):
        maps_of.attention_distances({"frozen": []})


def _curves(deletion: list[float], insertion: list[float]) -> PerturbationCurves:
    """Curves of constant height, one image each."""
    level = lambda heights: torch.tensor(heights)[:, None].expand(-1, 3)  # noqa: E731
    return PerturbationCurves(torch.tensor([0, 0.5, 1]), level(deletion), level(insertion))


def test_a_maps_areas_are_compared_with_the_random_maps_image_by_image() -> None:
    curves = {
        "noise": _curves([0.2, 0.5, 0.8], [0.2, 0.5, 0.8]),
        "worse": _curves([0.3, 0.6, 0.9], [0.2, 0.5, 0.8]),
        "better": _curves([0.1, 0.4, 0.7], [0.3, 0.6, 0.9]),
    }
    figure = scores.perturbation_areas(curves)
    left, _, right = figure.axes
    assert "n = 3 images" in left.get_ylabel()
    np.testing.assert_allclose(left.lines[0].get_ydata(), 0.5, atol=1e-6)  # a mean over images, no band
    assert not left.collections
    assert [t.get_text() for t in right.get_yticklabels()] == ["better", "noise", "worse"]
    # The images differ by far more than the maps do; paired, the interval has no width.
    (insertion, _, (bar,)) = right.containers[0].lines
    assert insertion.get_xdata()[0] == pytest.approx(0.1)
    assert np.ptp(bar.get_segments()[0][:, 0]) == pytest.approx(0, abs=1e-6)
    assert right.containers[1].lines[0].get_xdata()[0] == pytest.approx(-0.1)


def test_areas_without_a_random_map_or_of_other_images_are_refused() -> None:
    one = _curves([0.1, 0.2], [0.1, 0.2])
    with pytest.raises(al.AdapterError, match="no map is called 'noise'"):
        scores.perturbation_areas({"occlusion": one})
    with pytest.raises(al.AdapterError, match=r"'occlusion' has another number of images than 'noise' \(3\)"):
        scores.perturbation_areas({"occlusion": one, "noise": _curves([0.1] * 3, [0.1] * 3)})


def test_the_sanity_curve_goes_from_head_to_embedding() -> None:
    table = pd.DataFrame({"stage": ["head", "block 1", "embedding"], "correlation": [0.9, 0.4, 0.0]})
    ax = scores.sanity_curves({"gradients": table}).axes[0]
    assert list(ax.lines[0].get_ydata()) == [0.9, 0.4, 0.0]


def test_four_projections_stand_two_by_two() -> None:
    points = Projection(np.arange(8.0).reshape(4, 2), "pca", (0.6, 0.3))
    figure = scores.feature_scatter(dict.fromkeys("abcd", points), torch.tensor([0, 1, 1, 0]))
    assert {ax.get_subplotspec().get_geometry()[:2] for ax in figure.axes} == {(2, 2)}


def test_features_are_drawn_by_class_with_the_explained_variance() -> None:
    points = Projection(np.arange(8.0).reshape(4, 2), "pca", (0.6, 0.3))
    figure = scores.feature_scatter(
        {"frozen": points}, torch.tensor([0, 1, 1, 0]), ["rose", "oak"], notes={"frozen": "5-NN 80 %"}
    )
    ax = figure.axes[0]
    assert [len(c.get_offsets()) for c in ax.collections] == [2, 2]
    assert "60 % of the variance" in ax.get_xlabel()
    assert ax.get_title() == "frozen\n5-NN 80 %"
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["rose", "oak"]
    with pytest.raises(al.AdapterError, match="3 labels for the 4 points"):
        scores.feature_scatter({"frozen": points}, [0, 1, 1])


def test_a_confusion_matrix_is_in_percent_of_the_true_class() -> None:
    ax = scores.confusion_matrix(Confusion(np.array([[3, 1], [0, 0]]), ("a", "b"))).axes[0]
    assert ax.collections[0].get_array().filled(-1).tolist() == [[75, 25], [-1, -1]]
    assert [text.get_text() for text in ax.texts] == ["75", "25"]
    assert ax.get_title() == "top-1 75.0 %, n = 4"
    long = "a rather long name of the old garden rose"
    ax = scores.confusion_matrix(Confusion(np.eye(2, dtype=int), (long, "b"))).axes[0]
    assert ax.get_yticklabels()[0].get_text() == "a rather long name of\nthe old garden rose"


def test_a_reliability_diagram_names_error_bins_and_number() -> None:
    p = torch.tensor([[0.95, 0.05]] * 4)
    binned = reliability(p.log(), torch.tensor([0, 0, 0, 1]))
    (ax,) = scores.reliability_diagram({"ILA": binned}).axes
    assert ax.get_title() == "ILA\nECE 20.0 %\n1 bin, n = 4"
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 1), (0, 1))
    low, high = ax.collections[1].get_segments()[0][:, 1]  # Wilson's interval of 3 in 4
    assert (low, high) == (pytest.approx(0.3006, abs=1e-3), pytest.approx(0.9544, abs=1e-3))


def test_exits_are_judged_in_the_same_panels_as_models() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 60, 3, generator=generator), torch.arange(60) % 3
    costs = ExitCosts((3, 6), (10, 20), (10, 20), 20, (4, 4))
    stored = StoredExits(logits, labels, costs)
    mine = reliability_diagrams(stored)
    theirs = scores.reliability_diagram(
        {"block 3": reliability(logits[0], labels), "block 6": reliability(logits[1], labels)}
    )
    assert [ax.get_title() for ax in mine.axes] == [ax.get_title() for ax in theirs.axes]
    assert "3 bins, n = 60" in mine.axes[0].get_title()


def test_differences_say_how_many_seeds_they_stand_on() -> None:
    one = {"ILA − LoRA": Interval(2.0, 1.5, 3)}
    figure = accuracy.paired_differences(one)
    assert figure.get_suptitle() == "paired over n = 3 seeds"
    assert figure.axes[0].get_yticklabels()[0].get_text() == "ILA − LoRA"
    uneven = accuracy.paired_differences({**one, "ILA − probe": Interval(1.0, 1.5, 5)})
    assert [t.get_text() for t in uneven.axes[0].texts] == ["n = 3", "n = 5"]
    assert "n =" not in uneven.get_suptitle()
    with pytest.raises(al.AdapterError, match="nothing was selected to draw"):
        accuracy.paired_differences({})


@pytest.mark.parametrize("draw", ["perturbation_areas", "sanity_curves", "reliability_diagram"])
def test_an_empty_selection_is_an_error(draw: str) -> None:
    with pytest.raises(al.AdapterError, match=f"{draw}: nothing was selected"):
        getattr(scores, draw)({})


def test_the_front_is_joined_and_every_method_says_how_often_it_is_on_it() -> None:
    runs = [("a", 10, [50, 51, 52]), ("b", 20, [30, 31, 32]), ("c", 90, [70, 71, 72])]
    table = pd.DataFrame(
        [{"method": m, "seed": s, "top1": v, "macs": c} for m, c, ran in runs for s, v in enumerate(ran)]
    )
    figure = accuracy_against_cost(table, "macs", front=True)
    (ax,) = figure.axes
    assert [[10, 51], [90, 71]] in [line.get_xydata().tolist() for line in ax.lines]
    assert {text.get_text() for text in ax.texts} == {"a (100 %)", "b (0 %)", "c (100 %)"}
    assert "n = 3" in figure.get_suptitle()
    with pytest.raises(al.AdapterError, match="no row to draw"):
        accuracy_against_cost(table.iloc[:0], "macs", front=True)
    with pytest.raises(al.AdapterError, match="unknown cost axis 'weight'"):
        accuracy_against_cost(table, "weight", front=True)
