"""Exits that really exit: equal to the simulation at every threshold, in any batch and order, and no block
runs for those who left."""

import copy
from dataclasses import replace

import pytest
import torch
from conftest import make_tiny_vit
from hypothesis import given, settings, strategies as st
from torch import nn

import adapters_lib as al
from adapters_lib.datasets.labelled import TensorImages
from adapters_lib.exits.policies import POLICIES, confidence, leaves
from adapters_lib.exits.predict import predict
from adapters_lib.exits.simulate import StoredExits, confidences, simulate, store_exits
from adapters_lib.methods import DynExits

N = 24
QUIET = DynExits(every=1, forward_sparsity=0, backward_sparsity=0)


def _sharpened(model: al.AdaptedViT) -> al.AdaptedViT:
    """Random heads are unsure of everything; larger weights spread the confidences over (0, 1)."""
    for head in [*model.exits.values(), *model.head_modules()]:
        for linear in (m for m in head.modules() if isinstance(m, nn.Linear)):
            nn.init.normal_(linear.weight, std=0.4)
    return model.eval()


def _data(n: int = N) -> TensorImages:
    images = torch.randint(
        0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return TensorImages(images, torch.arange(n) % 5, (0.5,) * 3, (0.25,) * 3)


class _Case:
    """One model with the stored logits of its exits, built once."""

    def __init__(self, host: str, **options: object) -> None:
        torch.manual_seed(0)
        self.model = _sharpened(al.adapt(make_tiny_vit(**options), [host, QUIET], 5, seed=0))
        self.images = _data().__getitems__(range(N))[0]
        self.stored = store_exits(self.model, _data())


_CASES: dict[str, _Case] = {}


def _case(name: str) -> _Case:
    options = {"class_token": False, "global_pool": "avg"} if name == "ila" else {}
    if name not in _CASES:
        _CASES[name] = _Case(name, **options)
    return _CASES[name]


thresholds_3 = st.lists(st.sampled_from([0.0, 1.0]) | st.floats(0, 1), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    host=st.sampled_from(["lora", "ila", "vpt-deep"]),
    policy=st.sampled_from(POLICIES),
    thresholds=thresholds_3,
    rows=st.permutations(range(N)).flatmap(lambda order: st.integers(1, N).map(lambda n: order[:n])),
)
def test_prediction_equals_the_simulation_at_any_threshold_batch_and_order(
    host, policy, thresholds, rows
) -> None:
    case = _case(host)
    sure = confidences(case.stored.logits, policy)
    # The last bits of a logit depend on the batch, so a threshold on the very edge of a confidence is moved
    # off it.
    limits = [
        t if t in (0, 1) or (sure[k] - t).abs().min() > 1e-5 else t + 2.5e-5 for k, t in enumerate(thresholds)
    ]
    limits = [min(t, 1.0) for t in limits]
    expected = simulate(case.stored, limits, policy)
    with torch.inference_mode():
        got = predict(case.model, case.images[rows], limits, policy)
    assert got.exit_index.tolist() == expected.exit_index[rows].tolist()
    assert (got.logits - expected.logits[rows]).abs().max() <= 1e-5
    assert (got.confidence - expected.confidence[rows]).abs().max() <= 1e-5
    assert got.labels.tolist() == expected.labels[rows].tolist()
    assert got.macs.tolist() == expected.macs[rows].tolist()


def test_exits_of_cached_features_are_those_of_the_images() -> None:
    model = _sharpened(al.adapt(make_tiny_vit(), replace(QUIET, at=(2, 3)), 5, seed=0))
    data = _data()
    data.part = "val"
    features = al.cache_features(model, data)
    assert features.first_stage == 3
    from_images, from_features = store_exits(model, data), store_exits(model, features)
    torch.testing.assert_close(from_features.logits, from_images.logits)
    assert from_features.part == "val"
    assert al.calibrate(model, features, 0.9) == al.calibrate(model, data, 0.9)
    with pytest.raises(al.AdapterError, match="these cached features"):
        store_exits(_case("lora").model, features)
    features.part = "test"
    with pytest.raises(al.AdapterError, match="test images"):
        al.calibrate(model, features)


def _count_rows(model: al.AdaptedViT, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(block, images) for every block that is run from now on."""
    seen: list[tuple[int, int]] = []
    run = al.AdaptedViT.run_block
    monkeypatch.setattr(
        al.AdaptedViT,
        "run_block",
        lambda self, i, x, layout: (seen.append((i, len(x))), run(self, i, x, layout))[1],
    )
    return seen


@pytest.mark.parametrize("n", [1, N])
def test_blocks_run_only_on_those_who_stay_and_none_when_all_have_left(n: int, monkeypatch) -> None:
    case = _case("lora")
    limits = [sorted(confidences(case.stored.logits)[k].tolist())[N // 2] + 1e-5 for k in range(3)]
    expected = simulate(case.stored, limits).exit_index[:n]
    seen = _count_rows(case.model, monkeypatch)
    predict(case.model, case.images[:n], limits)
    staying = [int((expected >= k).sum()) for k in range(4)]
    assert seen == [(k, rows) for k, rows in enumerate(staying) if rows]
    seen.clear()
    predict(case.model, case.images[:n], [1, 0, 1])
    assert seen == [(0, n), (1, n)]


def test_heads_beyond_the_exit_are_not_run(monkeypatch) -> None:
    case = _case("lora")
    calls = []
    for block, head in case.model.exits.items():
        monkeypatch.setattr(
            head,
            "forward",
            lambda x, layout, b=block, f=head.forward: calls.append((b, len(x))) or f(x, layout),
        )
    predict(case.model, case.images, [1, 0, 0.5])
    assert calls == [("1", N), ("2", N)]


def test_the_host_waits_once_an_exit_and_once_at_the_end_however_many_images(monkeypatch) -> None:
    case = _case("lora")
    limits = [sorted(confidences(case.stored.logits)[k].tolist())[N // 2] + 1e-5 for k in range(3)]
    waits = []
    for name in ("__int__", "__bool__", "__float__", "item", "tolist", "nonzero", "__index__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor,
            name,
            lambda self, *a, n=name, f=original, **k: (waits.append(n), f(self, *a, **k))[1],
        )
    counts = []
    for n in (2, N):
        waits.clear()
        predict(case.model, case.images[:n], limits)
        counts.append(len(waits))
    assert counts[0] <= 4
    assert counts[1] == 4


def test_zero_lets_all_leave_and_one_lets_none_even_when_confidence_is_exactly_zero_or_one() -> None:
    sure = torch.tensor([0.0, 0.5, 1.0])
    assert leaves(sure, 0.0).all()
    assert not leaves(sure, 1.0).any()
    assert leaves(sure, 0.5).tolist() == [False, False, True]


def test_confidences_by_hand() -> None:
    logits = torch.tensor([[0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3]]).log()
    torch.testing.assert_close(confidence("max_softmax", logits)[0], torch.tensor([0.7, 1 / 3]))
    torch.testing.assert_close(confidence("margin", logits)[0], torch.tensor([0.5, 0.0]))
    entropy = -(0.7 * torch.tensor(0.7).log() + 0.2 * torch.tensor(0.2).log() + 0.1 * torch.tensor(0.1).log())
    torch.testing.assert_close(
        confidence("entropy", logits)[0],
        torch.stack((1 - entropy / torch.tensor(3.0).log(), torch.tensor(0.0))),
    )


def test_patience_leaves_once_enough_exits_in_a_row_agree() -> None:
    labels = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 0, 1], [2, 2, 1, 1]]).T  # (exits, images)
    logits = nn.functional.one_hot(labels, 3).float()
    torch.testing.assert_close(
        confidences(logits, "patience") * 3,
        torch.tensor([[0, 1, 2, 3], [0, 0, 1, 2], [0, 0, 0, 0], [0, 1, 0, 1]]).T.float(),
    )
    stored = StoredExits(logits, labels[-1], _case("lora").stored.costs)
    assert simulate(stored, (0.5 / 3,) * 3, "patience").exit_index.tolist() == [1, 2, 3, 1]
    assert simulate(stored, (1.5 / 3,) * 3, "patience").exit_index.tolist() == [2, 3, 3, 3]


def test_a_batch_of_none_and_a_model_in_training_mode() -> None:
    case = _case("lora")
    assert predict(case.model, case.images[:0], [0.5] * 3).logits.shape == (0, 5)
    case.model.train()
    try:
        got = predict(case.model, case.images, [0.5] * 3)
        assert case.model.training
    finally:
        case.model.eval()
    assert torch.equal(got.logits, predict(case.model, case.images, [0.5] * 3).logits)


def test_bfloat16_autocast_predicts_in_float32_shape_and_order() -> None:
    case = _case("lora")
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        got = predict(case.model, case.images, [0.6, 0.6, 0.6])
        alone = [predict(case.model, image[None], [0.6, 0.6, 0.6]) for image in case.images]
    assert got.logits.dtype == torch.float32
    exact = predict(case.model, case.images, [0.6, 0.6, 0.6])
    same = got.exit_index == exact.exit_index
    assert same.float().mean() > 0.7
    torch.testing.assert_close(got.logits[same], exact.logits[same], atol=0.15, rtol=0.05)
    together = torch.stack([p.exit_index[0] for p in alone]) == got.exit_index
    assert together.float().mean() > 0.9


@pytest.mark.parametrize(
    ("thresholds", "policy", "message"),
    [
        ([0.5, 0.5], None, "2 thresholds for exits behind blocks 1, 2, 3, 4: give 3"),
        ([0.5, 1.5, 0.5], None, r"threshold 1.5 of the exit behind block 2: it must lie in \[0, 1\]"),
        ([0.5, 0.5, float("nan")], None, "threshold nan of the exit behind block 3"),
        (["high", 0.5, 0.5], None, r"thresholds \['high', 0.5, 0.5\]: give a list of 3 numbers"),
        (0.5, None, "thresholds 0.5: give a list of 3 numbers"),
        ([0.5] * 3, "softmax", "unknown exit policy 'softmax'; did you mean 'max_softmax'"),
        (None, None, "no thresholds: pass them"),
    ],
)
def test_bad_thresholds_and_policies_are_explained(thresholds, policy, message: str) -> None:
    case = _case("lora")
    with pytest.raises(al.AdapterError, match=message):
        predict(case.model, case.images, thresholds, policy)


def test_what_is_no_batch_of_images_is_refused_with_the_remedy() -> None:
    case = _case("lora")
    with pytest.raises(al.AdapterError, match=r"got \(3, 32, 32\); for a single image pass image\[None\]"):
        predict(case.model, case.images[0], [0.5] * 3)
    with pytest.raises(al.AdapterError, match="got list"):
        predict(case.model, list(case.images), [0.5] * 3)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("where", ["image", "first head", "last head"])
def test_nan_logits_are_an_error_wherever_they_come_from(policy: str, n: int, where: str) -> None:
    case = _case("lora")
    model, images = copy.deepcopy(case.model), case.images[:n].clone()
    if where == "image":
        images[-1] = float("nan")
    else:
        head = model.exits["1"].classifier[-1] if where == "first head" else model.backbone.head
        nn.init.constant_(head.bias, float("nan"))
    with pytest.raises(al.AdapterError, match="NaN logits"):
        predict(model, images, [1.0] * 3, policy)


def test_a_model_without_exits_is_refused_with_the_remedy(tiny_vit, images) -> None:
    with pytest.raises(al.AdapterError, match=r"no early exits; adapt .*DynExits"):
        predict(al.adapt(tiny_vit(), "lora", 5), images, [0.5])
