"""Is one method better than another? Two answers from a results table: over seeds, and over test images.

The first says how the difference varies when training starts again with other images and other initial
weights; the second, how it would vary with other test images and the models as they are. A claim should
survive both.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import AdapterError
from .run import unpack_hits
from .statistics import Bootstrap, Interval, bootstrap_difference, paired_difference

__all__ = ["PairedComparison", "compare", "hits_of"]


class PairedComparison(NamedTuple):
    """`first` − `second` in percentage points. seeds: t-interval over paired seeds. images: bootstrap over
    the test images."""

    first: str
    second: str
    seeds: Interval
    images: Bootstrap

    @property
    def shown(self) -> str:
        """ "yes" if both intervals leave out 0, else which does not: "not over images", "not over seeds" (one
        seed has no interval), or "no" for neither."""
        seeds = abs(self.seeds.mean) > self.seeds.half
        images = self.images.low > 0 or self.images.high < 0
        if seeds == images:
            return "yes" if seeds else "no"
        return "not over images" if seeds else "not over seeds"

    def __str__(self) -> str:
        return f"{self.first} − {self.second}: {self.seeds} over seeds; {self.images} over images"


def compare(
    table: pd.DataFrame,
    first: str,
    second: str,
    *,
    by: str = "method",
    shared_images: bool = True,
    draws: int = 4000,
    level: float = 0.95,
) -> PairedComparison:
    """Top-1 accuracy of `first` − `second`, paired by seed and by test image.

    Args:
        table: rows of `run_grid` or of a stored table: columns `by`, seed, top1, hits, n_test; one data set
            and one setting.
        shared_images: the test images are the same for every seed, as in all leaf tasks. False where the
            split depends on the seed (digits, folders): each seed's images are then resampled as images of
            their own.
        draws, level: of the bootstrap; level of both intervals.

    Raises:
        AdapterError: as `paired_difference` and `bootstrap_difference`; rows without hits; the two were
            tested on different images.
    """
    seeds = paired_difference(table, first, second, by=by, level=level)
    rows = [table[table[by] == name].sort_values("seed") for name in (first, second)]
    if (
        "configuration" in table
        and (asked := [{_images(text) for text in each["configuration"]} for each in rows])[0] != asked[1]
    ):
        raise AdapterError(
            f"{first!r} and {second!r} were tested on different images (data or data options differ); select"
            " one of them"
        )
    hits = [hits_of(each) for each in rows]
    if any(len(a) != len(b) for a, b in zip(*hits, strict=True)):
        raise AdapterError(
            f"{first!r} and {second!r} were tested on different numbers of images; run both on the same"
            " data set"
        )
    if not shared_images:
        flat = bootstrap_difference(*(np.concatenate(each) for each in hits), draws=draws, level=level)
        return PairedComparison(first, second, seeds, flat._replace(seeds=len(rows[0])))
    if len({len(each) for each in hits[0]}) > 1:
        raise AdapterError("the seeds have different numbers of test images; pass shared_images=False")
    return PairedComparison(
        first, second, seeds, bootstrap_difference(*map(np.stack, hits), draws=draws, level=level)
    )


def hits_of(rows: pd.DataFrame) -> list[np.ndarray]:
    """Which test images each row's run answered rightly: one bool (n_test,) a row.

    Raises:
        AdapterError: a row without hits: it was made by an older version, or while hyper-parameters were
            chosen (`test=False`).
    """
    if "hits" not in rows or not rows["hits"].map(lambda text: isinstance(text, str) and text != "").all():
        raise AdapterError(
            "some rows hold no hits (column `hits`), so there are no images to resample; run them again with"
            " this version"
        )
    return [unpack_hits(text, int(n)) for text, n in zip(rows["hits"], rows["n_test"], strict=True)]


def _images(configuration: str) -> str:
    """What decides the test images, apart from the seed."""
    settings = json.loads(configuration)
    return json.dumps([settings.get("data"), settings.get("data_options")], sort_keys=True)
