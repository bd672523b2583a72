"""Which plants there are: species far apart, cultivars of one species close together, and single leaves
around each.

All tables are in [0, 1] per column of `LEAF_FIELDS` (see `drawing` for the physical ranges). Species
levels are whole numbers 0…255 chosen with integer arithmetic, so every platform gets the same catalogue.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...errors import AdapterError
from .drawing import LEAF_FIELDS, SCENE_FIELDS

__all__ = [
    "HELD_BACK",
    "JITTER",
    "N_SPECIES",
    "SPLITS",
    "LeafSample",
    "cultivars",
    "new_species",
    "sample_leaves",
    "sample_wild",
    "species",
]

N_SPECIES = 200  # upstream species; the catalogue goes on with species that the backbone has never seen
CATALOG = 320
CANDIDATES = 6000
JITTER = 0.07  # leaves of one plant differ by at most this much in every column (triangular distribution)
SPLITS = {"upstream": 1, "upstream-val": 2, "train": 3, "val": 4, "test": 5}
MIDDLE = 128  # level of every held-back column upstream: the middle of its range
WILD = 1_000_000  # stream of the leaves of no species, beyond any class number
HELD_BACK = tuple(f.name for f in LEAF_FIELDS if not f.upstream)
# Cultivars differ most in what the backbone never saw vary, so that its frozen features lack something that
# an adapter can learn.
CULTIVAR_WEIGHTS = np.array([0.5 if f.upstream else 4.0 for f in LEAF_FIELDS])


@lru_cache(maxsize=1)
def _catalog() -> np.ndarray:
    """(CATALOG, fields) in [0, 1]: farthest-point order among random candidates, so that any two species
    differ."""
    levels = np.random.Generator(np.random.PCG64(20_200)).integers(0, 256, (CANDIDATES, len(LEAF_FIELDS)))
    levels[:, [not f.upstream for f in LEAF_FIELDS]] = MIDDLE
    return levels[_farthest_points(levels, CATALOG)] / 255


def _farthest_points(levels: np.ndarray, count: int) -> list[int]:
    """Greedy: start at row 0, then always the row farthest from those already chosen (integers: no
    rounding, no ties by accident)."""
    chosen = [0]
    nearest = ((levels - levels[0]) ** 2).sum(1)
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((levels - levels[chosen[-1]]) ** 2).sum(1))
    return chosen


def species() -> np.ndarray:
    """The upstream species, (200, fields)."""
    return _catalog()[:N_SPECIES].copy()


def new_species(count: int, seed: int = 0) -> np.ndarray:
    """`count` species that are not among the upstream ones, (count, fields); another seed, another choice.

    Raises: AdapterError if more are asked for than the catalogue holds.
    """
    held = CATALOG - N_SPECIES
    if not 1 <= count <= held:
        raise AdapterError(
            f"{count} new species: the catalogue holds 1 to {held}; ask for no more than {held}"
        )
    order = np.random.Generator(np.random.PCG64([seed, 7])).permutation(held)[:count]
    return _catalog()[N_SPECIES + order].copy()


def cultivars(plant: np.ndarray, count: int, granularity: float, seed: int = 0) -> np.ndarray:
    """`count` cultivars of one plant, (count, fields).

        cultivar = plant' + granularity · weight · (offset − ½),     offset: far-apart points of the unit cube

    where plant' is the plant pulled towards the middle of the cube (×0.6), so that offsets have room and
    every organ is visible. All columns take part; `CULTIVAR_WEIGHTS` gives those held back upstream 4 and the
    others 0.5. `granularity` 0 gives copies of one plant; at 1 the held-back columns span their whole range
    and the others half of it.

    Raises: AdapterError for a granularity outside [0, 1].
    """
    if not 0 <= granularity <= 1:
        raise AdapterError(
            f"granularity {granularity}: must lie between 0 (the same plant) and 1 (as far apart as species)"
        )
    levels = np.random.Generator(np.random.PCG64([seed, 11])).integers(
        0, 256, (max(40 * count, 200), len(LEAF_FIELDS))
    )
    offsets = levels[_farthest_points(levels, count)] / 255 - 0.5
    center = 0.5 + 0.6 * (plant - 0.5)
    return np.clip(center + granularity * CULTIVAR_WEIGHTS * offsets, 0.0, 1.0)


@dataclass(frozen=True)
class LeafSample:
    """Leaves ready to draw: `leaves` (N, leaf fields), `scenes` (N, scene fields), `seeds` (N,), `labels`
    (N,)."""

    leaves: np.ndarray
    scenes: np.ndarray
    seeds: np.ndarray
    labels: np.ndarray


def sample_leaves(
    plants: np.ndarray, per_class: int, split: str, seed: int = 0, vary_held_back: bool = True
) -> LeafSample:
    """`per_class` leaves of every plant (rows of `plants`), class after class.

    Each class of each split has its own random stream, so splits never share a leaf, and the first leaves
    stay the same when more are asked for. With `vary_held_back=False` (upstream) the columns held back do not
    even vary from leaf to leaf.
    """
    k, m = len(LEAF_FIELDS), len(SCENE_FIELDS)
    leaves, scenes, seeds = [], [], []
    free = np.array([f.upstream or vary_held_back for f in LEAF_FIELDS])
    for label, plant in enumerate(plants):
        draws = np.random.Generator(np.random.PCG64([seed, SPLITS[split], label])).random(
            (per_class, 2 * k + m + 1)
        )
        leaves.append(np.clip(plant + JITTER * free * (draws[:, :k] - draws[:, k : 2 * k]), 0.0, 1.0))
        scenes.append(draws[:, 2 * k : 2 * k + m])
        seeds.append((draws[:, -1] * 2**52).astype(np.int64))
    return LeafSample(
        np.concatenate(leaves),
        np.concatenate(scenes),
        np.concatenate(seeds),
        np.repeat(np.arange(len(plants)), per_class),
    )


def sample_wild(count: int, split: str, seed: int = 0) -> LeafSample:
    """`count` leaves of no species: every column uniform, those held back at their upstream level; all
    labels -100 (no class)."""
    k = len(LEAF_FIELDS)
    draws = np.random.Generator(np.random.PCG64([seed, SPLITS[split], WILD])).random(
        (count, k + len(SCENE_FIELDS) + 1)
    )
    leaves = np.where([f.upstream for f in LEAF_FIELDS], draws[:, :k], MIDDLE / 255)
    return LeafSample(leaves, draws[:, k:-1], (draws[:, -1] * 2**52).astype(np.int64), np.full(count, -100))
