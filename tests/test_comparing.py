"""Two methods are compared on the same seeds and the same test images, from the rows of a results table."""

import json
import math

import pandas as pd
import pytest
import torch

import adapters_lib as al
from adapters_lib.experiments.compare import compare, hits_of
from adapters_lib.experiments.run import pack_hits


def _rows(method: str, right: list[list[int]], data: str = "leaves-ultra", **options: object) -> list[dict]:
    return [
        {
            "method": method,
            "seed": seed,
            "top1": 100 * sum(hits) / len(hits),
            "n_test": len(hits),
            "hits": pack_hits(torch.tensor(hits, dtype=torch.bool)),
            "configuration": json.dumps({"data": data, "data_options": options, "version": al.__version__}),
        }
        for seed, hits in enumerate(right)
    ]


A = [[1, 1, 1, 1, 1, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 0, 0, 0, 0, 1]]
B = [[1, 1, 1, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 1, 0, 0, 0, 0, 0, 1]]


def test_a_comparison_pairs_seeds_and_images_by_hand() -> None:
    comparison = compare(pd.DataFrame(_rows("a", A) + _rows("b", B)), "a", "b")
    # accuracies 70, 60 against 40, 50: differences 30 and 10, s = 14.142, t(0.975, 1) = 12.7062
    assert comparison.seeds.mean == pytest.approx(20)
    assert comparison.seeds.half == pytest.approx(12.7062 * 14.142136 / math.sqrt(2), rel=1e-4)
    assert comparison.seeds.n == 2
    # image by image, mean over seeds: ½ once, 1 once, ½ once, else 0
    assert comparison.images.mean == pytest.approx(20)
    assert (comparison.images.images, comparison.images.seeds) == (10, 2)
    variance = (0.25 + 1 + 0.25) / 10 - 0.2**2
    assert (comparison.images.high - comparison.images.low) / 2 == pytest.approx(
        1.96 * 100 * math.sqrt(variance / 10), rel=0.15
    )
    assert str(comparison).startswith("a − b: 20.0 ± 127.1 (n = 2) over seeds; +20.0 [")


def test_images_that_depend_on_the_seed_are_resampled_each_by_itself() -> None:
    table = pd.DataFrame(_rows("a", [[1, 1, 0], [1, 1, 1, 1, 0]]) + _rows("b", [[1, 0, 0], [1, 1, 0, 0, 0]]))
    with pytest.raises(al.AdapterError, match="shared_images=False"):
        compare(table, "a", "b")
    comparison = compare(table, "a", "b", shared_images=False)
    assert (comparison.images.images, comparison.images.seeds) == (8, 2)
    assert comparison.images.mean == pytest.approx(100 * 3 / 8)


def test_hits_come_back_as_they_were_packed() -> None:
    assert [each.tolist() for each in hits_of(pd.DataFrame(_rows("a", A)))] == [
        [bool(hit) for hit in hits] for hits in A
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame(_rows("a", A) + _rows("b", B, data="leaves-coarse")), "different images"),
        (pd.DataFrame(_rows("a", A) + _rows("b", B, granularity=0.2)), "different images"),
        (pd.DataFrame(_rows("a", A) + _rows("b", [hits[:8] for hits in B])), "different numbers of images"),
        (pd.DataFrame(_rows("a", A) + _rows("b", B)).drop(columns="hits"), "hold no hits"),
        (pd.DataFrame(_rows("a", A) + _rows("b", B)).assign(hits=None), "hold no hits"),
        (pd.DataFrame(_rows("a", A) + _rows("b", B)).assign(n_test=99), "n_test is 99"),
        (pd.DataFrame(_rows("a", A) + _rows("b", B[:1])), "seed 1 was run for only one"),
        (pd.DataFrame(_rows("a", A)), "no row has method = 'b'"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        compare(table, "a", "b")
