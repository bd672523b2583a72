"""A heat map is scored: against shuffled weights, by what its pixels do to the model, and against the
truth of drawn leaves."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.analysis.attribution import integrated_gradients
from adapters_lib.analysis.attribution_checks import (
    perturbation_curves,
    rank_correlation,
    sanity_check,
    shuffled,
    weight_stages,
)
from adapters_lib.analysis.leaf_truth import (
    change_maps,
    one_parameter_task,
    score_against_truth,
    truth_mask,
    truth_of,
)
from adapters_lib.datasets.leaves.drawing import draw
from adapters_lib.datasets.leaves.task import task_sample
from adapters_lib.datasets.task import Task

TinyViT = Callable[..., nn.Module]


def test_every_weight_belongs_to_exactly_one_stage(tiny_vit: TinyViT) -> None:
    model = al.adapt(tiny_vit(), ["ila", "dyn:at=2"], num_classes=5, seed=0)
    stages = weight_stages(model)
    assert list(stages) == ["head", "block 4", "block 3", "block 2", "block 1", "embedding"]
    listed = [id(p) for parameters in stages.values() for p in parameters]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())


def test_shuffling_keeps_the_values_and_is_undone_even_after_an_error() -> None:
    layer = nn.Linear(20, 20)
    before = layer.weight.detach().clone()
    with pytest.raises(ZeroDivisionError), shuffled([layer.weight]):  # noqa: PT012
        assert not torch.equal(layer.weight, before)
        assert torch.equal(layer.weight.flatten().sort().values, before.flatten().sort().values)
        raise ZeroDivisionError
    assert torch.equal(layer.weight, before)


def test_an_edge_detector_fails_the_sanity_check_and_gradients_pass_it(
    tiny_vit: TinyViT, images: Tensor
) -> None:
    torch.manual_seed(0)
    vit = tiny_vit()
    state = {name: tensor.clone() for name, tensor in vit.state_dict().items()}
    edges = sanity_check(vit, lambda: images.diff(dim=-1).abs().sum(1))
    assert edges["correlation"].tolist() == pytest.approx([1.0] * 6)
    gradients = sanity_check(vit, lambda: integrated_gradients(vit, images, 0, steps=4).pixels)
    assert gradients["stage"].tolist()[0] == "head"
    assert gradients["correlation"].iloc[-1] < 0.7
    assert all(torch.equal(tensor, state[name]) for name, tensor in vit.state_dict().items())


def test_rank_correlation_by_hand() -> None:
    a = torch.tensor([[1.0, 2, 3, 4], [1, 2, 3, 4], [5, 5, 5, 5]])
    b = torch.tensor([[10.0, 20, 30, 99], [2, 1, 4, 3], [1, 2, 3, 4]])
    assert rank_correlation(a, b).tolist() == pytest.approx([1, 1 - 6 * 4 / (4 * 15), 0])
    with pytest.raises(al.AdapterError, match="cannot be compared"):
        rank_correlation(a, b[:, :2])


def _log_odds(x: Tensor) -> Tensor:
    """Two logits whose difference is the sum of the pixels."""
    score = x.flatten(1).sum(1)
    return torch.stack((score, torch.zeros_like(score)), 1)


def test_deletion_and_insertion_by_hand() -> None:
    image = torch.tensor([[[[3.0, 1], [0, -4]]]])
    curves = perturbation_curves(_log_odds, image, 0, image[:, 0], steps=4)
    # 3, 1, 0, −4 are taken, or put in, in turn.
    probability = torch.sigmoid(torch.tensor([[0.0, -3, -4, -4, 0], [0, 3, 4, 4, 0]]))
    torch.testing.assert_close(curves.deletion, probability[:1])
    torch.testing.assert_close(curves.insertion, probability[1:])
    p = probability[0]
    assert float(curves.deletion_area) == pytest.approx(float((p[0] / 2 + p[1] + p[2] + p[3] + p[4] / 2) / 4))


def test_the_right_order_beats_the_reverse() -> None:
    image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    right, wrong = (perturbation_curves(_log_odds, image, 0, sign * image.sum(1)) for sign in (1, -1))
    assert (right.deletion_area < wrong.deletion_area).all()
    assert (right.insertion_area > wrong.insertion_area).all()


def test_equal_values_are_not_taken_row_by_row() -> None:
    flat = perturbation_curves(
        _log_odds, torch.ones(1, 1, 16, 16).cumsum(2) / 1000, 0, torch.zeros(1, 16, 16), steps=2
    )
    # The upper half holds a quarter of the sum, a random half about a half.
    halves = torch.logit(flat.insertion[0].double())
    assert float(halves[1] / halves[2]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("maps", "message"),
    [(torch.zeros(1, 2, 3), "one value a pixel"), (torch.full((1, 2, 2), torch.nan), "not finite")],
)
def test_maps_that_cannot_be_ranked_are_refused(maps: Tensor, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        perturbation_curves(_log_odds, torch.ones(1, 1, 2, 2), 0, maps)


@cache
def _margin_task() -> Task:
    return one_parameter_task("margin_tone", gap=0.8, n_train=2, n_val=1, n_test=2, image_size=48)


def test_a_pair_of_cultivars_differs_in_one_parameter_only() -> None:
    task = _margin_task()
    low, high = np.array(task.info["parameters"])
    differ = np.flatnonzero(low != high)
    assert [task.info["parameter_names"][i] for i in differ] == ["margin_tone"]
    assert (low[differ], high[differ]) == (pytest.approx(0.1), pytest.approx(0.9))
    assert task.info["field"] == "margin_tone"
    assert task_sample(task, "test").labels.tolist() == task.test.labels.tolist() == [0, 0, 1, 1]  # type: ignore[attr-defined]


def test_the_margins_truth_lies_at_the_margin_not_on_paper_or_midrib() -> None:
    task = _margin_task()
    truth = truth_of(task)
    assert truth.shape == (4, 48, 48)
    assert truth[:, :2, :2].max() == 0  # paper
    sample = task_sample(task)
    midrib = change_maps(sample, "midrib_contrast", image_size=48)
    assert float((truth_mask(truth) & truth_mask(midrib)).double().mean()) < 0.02
    assert float(
        rank_correlation(truth, change_maps(sample, "margin_tone", low=0.1, high=0.9, image_size=48)).min()
    ) == pytest.approx(1)


def test_invisible_differences_and_unknown_parameters_are_refused() -> None:
    with pytest.raises(al.AdapterError, match="did you mean 'vein_angle'"):
        one_parameter_task("vein_angel")
    with pytest.raises(al.AdapterError, match="gap=2"):
        one_parameter_task("hue", gap=2)
    with pytest.raises(al.AdapterError, match="vein_phase"):
        change_maps(task_sample(_margin_task()), "vein_phase")
    with pytest.raises(al.AdapterError, match="grey levels.*another number of `plants`"):
        one_parameter_task("margin_tone", gap=0.01, n_train=1, n_val=1, n_test=1, image_size=32)
    with pytest.raises(al.AdapterError, match="does not differ in a single parameter"):
        truth_of(al.load_data("digits"))


def test_scores_against_a_known_truth_by_hand() -> None:
    truth = torch.tensor([[[6.0, 3], [1, 0]]] * 3)
    assert truth_mask(truth).tolist()[0] == [[True, False], [False, False]]  # 6 of 10 is more than a half
    assert truth_mask(truth, 0.7).tolist()[0] == [[True, True], [False, False]]
    maps = torch.tensor([[[-4.0, 3], [2, 1]], [[1, 2], [3, 4]], [[1, 1], [1, 1]]])
    scores = score_against_truth(maps, truth)
    assert scores["auroc"].tolist() == [1, 0, 0.5]
    assert scores["mass"].tolist() == pytest.approx([0.4, 0.1, 0.25])
    assert scores["area"].tolist() == [0.25] * 3
    assert scores["hit"].tolist() == [True, False, True]  # the first of equal pixels
    assert scores["correlation"].tolist() == pytest.approx([1, -1, 0])


def test_nothing_to_score_is_an_error() -> None:
    ones, none = torch.ones(1, 2, 2), torch.zeros(1, 2, 2)
    with pytest.raises(al.AdapterError, match="changes no pixel of image 0"):
        score_against_truth(ones, none)
    with pytest.raises(al.AdapterError, match="points at nothing"):
        score_against_truth(none, ones)
    with pytest.raises(al.AdapterError, match="the same shape"):
        score_against_truth(ones, torch.ones(1, 3, 3))


def test_images_of_the_pair_are_the_leaves_that_the_task_knows() -> None:
    task = _margin_task()
    for part in ("train", "test"):
        sample = task_sample(task, part)
        drawn = draw(sample.leaves, sample.scenes, sample.seeds, 48)
        assert torch.equal(drawn, getattr(task, part).images)
