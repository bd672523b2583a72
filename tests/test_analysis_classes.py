"""Features, confusions and calibration: by hand, against torchmetrics, and against the parameters that
drew the leaves."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from tiny_training import striped_images, tiny_model
from torch import nn
from torchmetrics.functional.classification import multiclass_calibration_error

import adapters_lib as al
from adapters_lib.analysis.confusion import (
    Confusion,
    confusion,
    confusion_against_distance,
    explain_pair,
    explain_pairs,
)
from adapters_lib.analysis.features import head_features, neighbour_accuracy, project
from adapters_lib.analysis.reliability import IN_A_BIN, reliability
from adapters_lib.datasets.task import Task


def _said(*classes: int, of: int = 3) -> torch.Tensor:
    return nn.functional.one_hot(torch.tensor(classes), of).float()


@cache
def _leaves() -> Task:
    return al.load_data("leaves-ultra", image_size=16, n_train=1, n_val=1, n_test=1, cultivars=4)


def test_the_classifier_on_the_features_gives_the_logits() -> None:
    model, data = tiny_model("lora:rank=2"), striped_images(6)
    features, labels = head_features(model, data, batch_size=4)
    assert features.shape == (6, 32)
    assert labels.tolist() == data.labels.tolist()
    logits, _ = al.collect_logits(model, data)
    torch.testing.assert_close(model.backbone.head(features), logits)
    vit = model.backbone
    assert head_features(vit, data)[0].shape == (6, 32)  # a plain timm model as well


def test_pca_finds_the_plane_in_which_the_points_lie() -> None:
    plane = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]])
    turned = plane @ torch.linalg.qr(torch.randn(5, 2, generator=torch.Generator().manual_seed(0))).Q.T + 7
    projection = project(turned)
    assert projection.explained == pytest.approx((0.9, 0.1))
    np.testing.assert_allclose(np.abs(projection.points), plane.abs().numpy(), atol=1e-5)


def test_tsne_is_the_same_for_the_same_seed_and_keeps_clusters_apart() -> None:
    x = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
    x[12:] += 50
    first, again = (project(x, "tsne", seed=1).points for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert neighbour_accuracy(torch.from_numpy(first), torch.arange(24) // 12, k=3) > 80


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((9, 4), {"method": "umap"}, "unknown projection 'umap'"),
        ((2, 4), {}, "at least 3 images"),
        ((9, 4), {"method": "tsne", "perplexity": 9}, "perplexity=9"),
    ],
)
def test_what_cannot_be_projected_is_named(shape: tuple[int, int], options: dict, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        project(torch.randn(shape), **options)


def test_neighbours_by_hand() -> None:
    angles = torch.tensor([0.0, 10, 90, 101]) * math.pi / 180
    # Length does not matter.
    x = torch.stack((angles.cos(), angles.sin()), 1) * torch.tensor([1.0, 9, 1, 9])[:, None]
    assert neighbour_accuracy(x, [0, 0, 1, 1], k=1) == 100
    assert neighbour_accuracy(x, [0, 1, 1, 1], k=1) == 50
    with pytest.raises(al.AdapterError, match="k=4"):
        neighbour_accuracy(x, [0, 0, 1, 1], k=4)
    with pytest.raises(al.AdapterError, match="image 1 are all zero"):
        neighbour_accuracy(torch.tensor([[1.0, 1], [0, 0]]), [0, 1], k=1)


def test_rows_are_true_classes_and_pairs_count_both_ways() -> None:
    counted = confusion(_said(0, 1, 1, 0, 0, 2), torch.tensor([0, 0, 0, 1, 1, 2]), ["a", "b", "c"])
    assert counted.matrix.tolist() == [[1, 2, 0], [2, 0, 0], [0, 0, 1]]
    assert counted.per_class[["class", "top1", "n"]].values.tolist() == [
        ["b", 0, 2],
        ["a", pytest.approx(100 / 3), 3],
        ["c", 100, 1],
    ]
    assert counted.pairs().values.tolist() == [[0, 1, "a / b", 4, 80.0]]


def test_no_mistake_gives_no_pair_and_a_class_without_images_no_accuracy() -> None:
    counted = confusion(_said(0, 1), torch.tensor([0, 1]), ["a", "b", "c"])
    assert counted.pairs().empty
    assert math.isnan(counted.per_class["top1"].iloc[-1])


def test_a_pair_is_explained_by_the_parameters_that_differ() -> None:
    task = _leaves()
    plants = np.array(task.info["parameters"])
    table = explain_pair(task, 0, 1)
    gap = np.abs(plants[0] - plants[1])
    assert table["field"].iloc[0] == task.info["parameter_names"][gap.argmax()]
    assert table["deviations"].iloc[0] == pytest.approx(gap.max() / (0.07 / math.sqrt(6)))
    assert (table["deviations"].diff().dropna() <= 0).all()


def test_confused_pairs_are_ranked_by_the_distance_of_their_plants() -> None:
    task = _leaves()
    plants = np.array(task.info["parameters"])
    distance = np.linalg.norm(plants[:, None] - plants[None], axis=-1)
    i, j = np.unravel_index((distance + 9 * np.eye(4)).argmin(), (4, 4))
    matrix = np.diag([5] * 4)
    matrix[i, j] = 3
    table = explain_pairs(task, Confusion(matrix, tuple(task.classes)))
    assert table["rank"].tolist() == [1]
    assert table["distance"].iloc[0] == pytest.approx(distance[i, j] / (0.07 / math.sqrt(6)))
    assert explain_pair(task, int(i), int(j))["field"].iloc[0] in table["differ_in"].iloc[0]
    fewer = np.round(10_000 / (1 + distance)).astype(int)
    assert confusion_against_distance(task, Confusion(fewer, tuple(task.classes))) < -0.9


def test_classes_and_tasks_that_do_not_fit_are_named() -> None:
    task, empty = _leaves(), Confusion(np.eye(4, dtype=int), ("a", "b", "c", "d"))
    with pytest.raises(al.AdapterError, match="class 4 does not exist"):
        explain_pair(task, 0, 4)
    with pytest.raises(al.AdapterError, match="nothing to correlate"):
        confusion_against_distance(task, empty)
    with pytest.raises(al.AdapterError, match="digits is not drawn from leaf parameters"):
        explain_pair(al.load_data("digits"), 0, 1)
    with pytest.raises(al.AdapterError, match="a matrix of 3 classes"):
        explain_pairs(task, Confusion(np.eye(3, dtype=int), ("a", "b", "c")))
    with pytest.raises(al.AdapterError, match="2 class names for logits of 3"):
        confusion(_said(0), torch.tensor([0]), ["a", "b"])
    with pytest.raises(al.AdapterError, match="at least one image"):
        confusion(torch.empty(0, 3), torch.empty(0, dtype=torch.long), ["a", "b", "c"])


def test_calibration_error_by_hand() -> None:
    p = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35], [0.65, 0.35]])
    binned = reliability(p.log(), torch.tensor([0, 0, 0, 1]), bins=2)
    assert binned.bins["n"].tolist() == [2, 2]
    assert binned.bins["accuracy"].tolist() == [0.5, 1.0]
    assert binned.bins["low"].tolist() == binned.bins["high"].tolist() == pytest.approx([0.65, 0.95])
    assert binned.ece == pytest.approx(0.5 * 0.15 + 0.5 * 0.05)


@pytest.mark.parametrize(("images", "bins"), [(7, 1), (36, 1), (40, 2), (199, 9), (1000, 10)])
def test_bins_hold_equally_many_images_at_least_twenty(images: int, bins: int) -> None:
    logits = torch.randn(images, 5, generator=torch.Generator().manual_seed(0))
    counts = reliability(logits, torch.arange(images) % 5).bins["n"]
    assert len(counts) == bins
    assert counts.sum() == images
    assert counts.max() - counts.min() <= 1
    assert bins == 1 or counts.min() >= IN_A_BIN


def test_images_of_one_confidence_share_a_bin() -> None:
    binned = reliability(torch.zeros(100, 4), torch.arange(100) % 4, bins=5)
    assert binned.bins["n"].tolist() == [100]
    assert binned.ece == pytest.approx(0)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_calibration_error_in_one_bin_is_torchmetrics(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(200, 5, generator=generator)
    labels = torch.randint(5, (200,), generator=generator)
    expected = multiclass_calibration_error((logits / temperature).softmax(1), labels, 5, n_bins=1)
    assert reliability(logits, labels, 1, temperature).ece == pytest.approx(float(expected), abs=1e-5)


def test_calibration_error_is_the_weighted_gap_of_sorted_slices() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, labels = (
        3 * torch.randn(200, 5, generator=generator),
        torch.randint(5, (200,), generator=generator),
    )
    sure, predicted = logits.double().softmax(1).max(1)
    order = sure.argsort()
    slices = zip(sure[order].chunk(5), (predicted == labels).double()[order].chunk(5), strict=True)
    expected = sum(float((right.mean() - sure.mean()).abs()) / 5 for sure, right in slices)
    assert reliability(logits, labels, bins=5).ece == pytest.approx(expected)


def test_what_has_no_reliability_is_named(tiny_vit: Callable[..., nn.Module]) -> None:
    one = torch.zeros(1, 2), torch.tensor([0])
    with pytest.raises(al.AdapterError, match="bins=0"):
        reliability(*one, bins=0)
    with pytest.raises(al.AdapterError, match="at least one image"):
        reliability(one[0][:0], one[1][:0])
    with pytest.raises(al.AdapterError, match="NaN or infinite"):
        reliability(one[0] / 0, one[1])
