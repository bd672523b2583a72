"""Three tasks on synthetic leaves that need no download: new species, cultivars of one species, and both
mixed.

| task | classes | what it asks |
|---|---|---|
| leaves-coarse | 20 species the backbone never saw | does pre-training transfer? |
| leaves-ultra | 20 cultivars of one new species | ultra-fine-grained, classes alike to the eye |
| leaves-mixed | 5 new species × 4 cultivars, far apart to very close | easy and hard in one task, for exits |

`granularity` is the dial: towards 0 the classes become one plant, at 1 they are as far apart as the drawing
allows (see `cultivars`). Class parameters stand in `task.info`, and `task_sample` gives those of every single
leaf, so an analysis can compare what a model found with the truth.

Species differ in the parameters that the backbone saw vary; cultivars differ above all in those held back
(the teeth's direction, cross veins, a band along the margin), so frozen features lack something that adapters
can learn.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import AdapterError
from ...options import whole_number
from ..labelled import TensorImages
from ..request import Request
from ..task import Task
from ..video.cache import ClipCache
from .drawing import LEAF_FIELDS, VERSION, draw
from .parameters import HELD_BACK, LeafSample, cultivars, new_species, sample_leaves

__all__ = ["KINDS", "Kind", "load", "task_sample"]

# Bytes of drawn images that a folder may hold; those that were not asked for longest go first.
KEPT = 4 * 2**30
LARGEST = 16  # GiB of the images of a task, which are all held in memory
SPREAD = (3.0, 2.0, 1.5, 1.2, 1.0)  # leaves-mixed: the granularity of its species, as multiples of the option


@dataclass(frozen=True)
class Kind:
    """Defaults of one task: how many species, how many cultivars of each, how far apart, how many images a
    class.

    Chosen on validation images so that a linear probe lies well above chance, every method well below 95 %,
    and methods apart.
    """

    species: int
    cultivars: int
    granularity: float
    n_train: int = 12
    n_val: int = 10
    n_test: int = 40


KINDS: dict[str, Kind] = {
    "coarse": Kind(species=20, cultivars=1, granularity=0.15, n_train=30),
    "ultra": Kind(species=1, cultivars=20, granularity=0.12, n_train=60),
    "mixed": Kind(species=5, cultivars=4, granularity=0.08, n_train=40),
}


def load(
    request: Request,
    *,
    plants: int = 0,
    granularity: float | None = None,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    species: int | None = None,
    cultivars: int | None = None,
    drawn: str | os.PathLike[str] | None = None,
) -> Task:
    """Draw a task; `load_data("leaves-ultra", ...)` is the usual way here.

    Args:
        request: seed: of the training and validation images: another seed, other leaves of the same plants.
            The test images stay the same, so that runs with different seeds can be compared image by image.
            augment: of the training images, a name in AUGMENTATIONS or None. config: leaves are drawn at its
            size, not resized.
        plants: which plants: another number is another choice of species and cultivars, with test images of
            its own.
        granularity: the dial, in (0, 1]; the default differs by kind. leaves-mixed gives its species 3, 2,
            1.5, 1.2 and 1 times this value (at most 1).
        n_train, n_val, n_test: images a class.
        species, cultivars: how many; the classes are all pairs.
        drawn: a folder in which the images are kept, at most 4 GiB, for whoever asks for them again,
            processes side by side included: they map the same file instead of drawing for a minute. None:
            they are drawn, and kept in memory. It may be deleted.

    Returns: a Task whose `info` holds, class by class, `species` (which one), `granularity` and `parameters`
    (a row in [0, 1], columns `parameter_names`). The three parts have random streams of their own and share
    no leaf.

    Raises AdapterError for a granularity outside (0, 1], or numbers below 1.
    """
    seed, image_size = request.seed, request.config["input_size"][-1]
    mean, std = tuple(request.config["mean"]), tuple(request.config["std"])
    whole_number(f"{request.name}: plants", plants, 0, 1_000_000)
    default = KINDS[request.name.removeprefix("leaves-")]
    level = default.granularity if granularity is None else float(granularity)
    numbers = {
        "species": species,
        "cultivars": cultivars,
        "n_train": n_train,
        "n_val": n_val,
        "n_test": n_test,
    }
    count = {name: getattr(default, name) if value is None else int(value) for name, value in numbers.items()}
    if not 0 < level <= 1:
        rule = f"must lie in (0, 1], towards 0 the classes become one plant (default {default.granularity})"
        raise AdapterError(f"{request.name}: granularity {level}; {rule}")
    if short := [name for name, value in count.items() if value < 1] + (
        ["image_size"] if image_size < 16 else []
    ):
        raise AdapterError(
            f"{request.name}: {short[0]} is too small; give at least {16 if short[0] == 'image_size' else 1}"
        )

    _check_memory(request.name, count, image_size)
    rows, which, granularities = _plants(count["species"], count["cultivars"], level, plants)
    parts: dict[str, Any] = {}
    for part in ("train", "val", "test"):
        stream = plants if part == "test" else seed
        asked = (
            count["species"],
            count["cultivars"],
            level,
            plants,
            stream,
            part,
            count[f"n_{part}"],
            image_size,
        )
        images, labels = _images(*asked, None if drawn is None else os.fspath(drawn))
        parts[part] = TensorImages(images, labels, mean, std, request.augment if part == "train" else None)
    info: dict[str, Any] = {
        "source": "synthetic leaves, drawn by adapters_lib",
        "seed": seed,
        "plants": plants,
        "n_train": count["n_train"],
        "n_val": count["n_val"],
        "n_test": count["n_test"],
        "species": which,
        "granularity": granularities,
        "held_back_upstream": list(HELD_BACK),
        "parameter_names": [f.name for f in LEAF_FIELDS],
        "parameters": rows.tolist(),
    }
    config = {"input_size": (3, image_size, image_size), "mean": mean, "std": std}
    return Task(
        request.name,
        _names(which, count["cultivars"]),
        **parts,
        data_config=config,
        synthetic=True,
        info=info,
    )


def _check_memory(name: str, count: dict[str, int], size: int) -> None:
    """Raise AdapterError for a task whose pixels would not fit into 16 GiB."""
    images = count["species"] * count["cultivars"] * (count["n_train"] + count["n_val"] + count["n_test"])
    needed = 3 * images * size**2 / 2**30
    if needed > LARGEST:
        what = f"{images:,} images of {size}² pixels need {needed:,.0f} GiB"
        raise AdapterError(f"{name}: {what}; ask for at most {LARGEST}, so fewer or smaller")


def task_sample(task: Task, part: str = "test") -> LeafSample:
    """The true parameters of every leaf of one part, in the order of its images. Raises AdapterError when
    the task is not of leaves."""
    if "parameter_names" not in task.info:
        raise AdapterError(
            f"{task.name} is not drawn from leaf parameters; use one of leaves-coarse, leaves-ultra,"
            " leaves-mixed"
        )
    stream = task.info["plants" if part == "test" else "seed"]
    return sample_leaves(np.array(task.info["parameters"]), task.info[f"n_{part}"], part, stream)


def _plants(
    n_species: int, n_cultivars: int, granularity: float, number: int
) -> tuple[np.ndarray, list[int], list[float]]:
    """Class parameters (classes, fields), the species of every class, its granularity."""
    plants = new_species(n_species, number)
    if n_cultivars == 1:
        return 0.5 + granularity * (plants - 0.5), list(range(n_species)), [granularity] * n_species
    rows, which, granularities = [], [], []
    for index, plant in enumerate(plants):
        of_species = min(1.0, granularity * SPREAD[index % len(SPREAD)]) if n_species > 1 else granularity
        rows.append(cultivars(plant, n_cultivars, of_species, number * 1000 + index))
        which += [index] * n_cultivars
        granularities += [of_species] * n_cultivars
    return np.concatenate(rows), which, granularities


@lru_cache(maxsize=12)
def _images(
    n_species: int,
    n_cultivars: int,
    granularity: float,
    plants: int,
    seed: int,
    part: str,
    per_class: int,
    size: int,
    folder: str | None,
) -> tuple[Tensor, Tensor]:
    """Images (uint8) and labels of one part, kept in memory because notebooks ask for the same task again
    and again."""
    sample = sample_leaves(_plants(n_species, n_cultivars, granularity, plants)[0], per_class, part, seed)
    labels = torch.from_numpy(sample.labels)
    if folder is None:
        return draw(sample.leaves, sample.scenes, sample.seeds, size), labels
    cache = ClipCache(Path(folder), KEPT)
    pixels = cache.mapped(
        _digest(sample, size), lambda: draw(sample.leaves, sample.scenes, sample.seeds, size).numpy()
    )
    return torch.from_numpy(pixels), labels


def _digest(sample: LeafSample, size: int) -> str:
    """Of all that decides the pixels: every leaf's own numbers, so that another way of choosing them is
    another digest, too."""
    digest = hashlib.blake2b(f"leaves, drawing {VERSION}, {size} pixels".encode(), digest_size=16)
    for numbers in (sample.leaves, sample.scenes, sample.seeds):
        digest.update(np.ascontiguousarray(numbers).data)
    return digest.hexdigest()


def _names(which: list[int], n_cultivars: int) -> list[str]:
    """Names of the classes: species alone, cultivars alone, or both."""
    if n_cultivars == 1:
        return [f"species {s + 1}" for s in which]
    letters = [f"cultivar {i % n_cultivars + 1}" for i in range(len(which))]
    return (
        letters
        if len(set(which)) == 1
        else [f"species {s + 1}, {letter}" for s, letter in zip(which, letters, strict=True)]
    )
