"""CKA is the unbiased one: worked out by hand, against its definition, and in mini-batches."""

from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from tiny_training import striped_images
from torch import Tensor, nn

import adapters_lib as al
from adapters_lib.analysis.attention import capture_attention
from adapters_lib.analysis.cka import MinibatchCKA, attention_cka, cka, gram, unbiased_hsic


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_hsic_of_four_samples_by_hand() -> None:
    # images 1 and 2 are alike, and so are 3 and 4: K_12 = K_34 = 1, all else 0. tr(KK) = 4, 1ᵀK1 = 4, row
    # sums 1.
    k = torch.tensor([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], dtype=torch.float64)
    assert float(unbiased_hsic(k, k)) == pytest.approx((4 + 4 * 4 / (3 * 2) - 2 / 2 * 4) / (4 * 1))  # = 2/3
    # pairs 1–3 and 2–4 instead: tr(KL) = 0
    l = k[[0, 2, 1, 3]][:, [0, 2, 1, 3]]
    assert float(unbiased_hsic(k, l)) == pytest.approx((0 + 16 / 6 - 4) / 4)  # = −1/3


def test_hsic_is_the_mean_over_distinct_images() -> None:
    n = 6
    k, l = gram(_noise(n, 3)), gram(_noise(n, 4, seed=1))
    pairs = [float(k[i, j] * l[i, j]) for i, j in permutations(range(n), 2)]
    fours = [float(k[i, j] * l[q, r]) for i, j, q, r in permutations(range(n), 4)]
    threes = [float(k[i, j] * l[i, q]) for i, j, q in permutations(range(n), 3)]
    mean = [sum(v) / len(v) for v in (pairs, fours, threes)]
    assert float(unbiased_hsic(k, l)) == pytest.approx(mean[0] + mean[1] - 2 * mean[2])


def test_cka_ignores_rotation_scale_and_shift_and_width() -> None:
    x = _noise(12, 5)
    rotation = torch.linalg.qr(_noise(5, 5, seed=1)).Q
    assert cka(x, x) == pytest.approx(1)
    assert cka(x, 3 * x @ rotation + 7) == pytest.approx(1)
    assert cka(x, torch.cat((x, x), 1)) == pytest.approx(1)
    assert cka(x, _noise(12, 9, seed=2)) < 0.5


def test_a_large_common_part_does_not_cost_the_digits() -> None:
    x, y = _noise(8, 5), _noise(8, 5, seed=1)
    assert cka((x + 1e4).float(), y.float()) == pytest.approx(cka(x, y), abs=2e-3)


def test_unrelated_features_are_near_zero_on_average_and_never_below() -> None:
    values = [cka(_noise(8, 40, seed=2 * s), _noise(8, 40, seed=2 * s + 1)) for s in range(20)]
    assert min(values) == 0
    assert sum(values) / 20 < 0.2


def test_minibatches_average_hsic_not_cka() -> None:
    parts = [(_noise(5, 3, seed=s), _noise(5, 4, seed=s + 9)) for s in range(3)]
    batched = MinibatchCKA()
    for x, y in parts:
        batched.update([x, y])
    hsic = [torch.stack([unbiased_hsic(gram(a), gram(b)) for a, b in pairs]).mean() for pairs in (parts, [(x, x) for x, _ in parts], [(y, y) for _, y in parts])]  # fmt: skip  # noqa: E501
    expected = float(hsic[0] / (hsic[1] * hsic[2]).sqrt())
    matrix = batched.compute()
    assert float(matrix[0, 1]) == pytest.approx(max(expected, 0))
    assert matrix.diagonal().tolist() == pytest.approx([1, 1])
    assert torch.equal(matrix, matrix.T)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_than_four_samples_are_an_error(n: int) -> None:
    with pytest.raises(al.AdapterError, match=f"CKA of {n} samples.*at least 4"):
        cka(_noise(n, 3), _noise(n, 3))


def test_what_cannot_be_compared_is_an_error() -> None:
    with pytest.raises(al.AdapterError, match="4 and 5 samples"):
        cka(_noise(4, 2), _noise(5, 2))
    with pytest.raises(al.AdapterError, match="column layer 1 has HSIC 0 with itself"):
        cka(_noise(6, 2), torch.ones(6, 2))
    with pytest.raises(al.AdapterError, match="no batch"):
        MinibatchCKA().compute()
    with pytest.raises(al.AdapterError, match="no layer"):
        MinibatchCKA().update([])


def test_blocks_of_different_token_counts_are_compared(tiny_vit: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    model = al.adapt(tiny_vit(), "ila", num_classes=4, seed=0)
    assert len(model.token_counts()) > 1
    images = striped_images(19)
    matrix = attention_cka(model, images, batch_size=8)  # batches of 10 and 9
    assert matrix.shape == (4, 4)
    torch.testing.assert_close(matrix.diagonal(), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(matrix, matrix.T)
    maps = MinibatchCKA()
    order = torch.randperm(19, generator=torch.Generator().manual_seed(0))
    for chosen in order.tensor_split(2):
        with capture_attention(model.eval()) as seen, torch.no_grad():
            model(images.__getitems__(chosen.tolist())[0])
        maps.update(list(seen.maps.values()))
    torch.testing.assert_close(matrix, maps.compute())
    model.train()
    frozen = tiny_vit()
    assert attention_cka(model, images, frozen, blocks=[1, 4], batch_size=8).shape == (2, 2)
    assert model.training  # put back


def test_too_few_images_and_unknown_blocks_are_named(tiny_vit: Callable[..., nn.Module]) -> None:
    with pytest.raises(al.AdapterError, match="CKA of 3 images"):
        attention_cka(tiny_vit(), striped_images(3))
    with pytest.raises(al.AdapterError, match="batches of 2"):
        attention_cka(tiny_vit(), striped_images(8), batch_size=2)
    with pytest.raises(al.AdapterError, match="block 9 does not exist"):
        attention_cka(tiny_vit(), striped_images(8), blocks=[9])
