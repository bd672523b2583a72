"""Attributions against the truth: on drawn leaves it is known which pixels a class difference touches.

Two cultivars of one plant that differ in a single parameter make a task whose only evidence lies where that
parameter is drawn. Moving it on one and the same leaf (same scan, same sensor noise) shows where that is,
pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from ..datasets.labelled import TensorImages
from ..datasets.leaves.drawing import LEAF_FIELDS, draw
from ..datasets.leaves.parameters import LeafSample, new_species, sample_leaves
from ..datasets.leaves.task import task_sample
from ..datasets.task import Task
from ..errors import AdapterError, unknown
from .attribution_checks import rank_correlation

__all__ = ["change_maps", "one_parameter_task", "score_against_truth", "truth_mask", "truth_of"]

_NAMES = [f.name for f in LEAF_FIELDS]
# Grey levels of 255 that the difference must make somewhere, above the sensor noise's standard deviation of 2
# to 7.
_VISIBLE = 12


def one_parameter_task(
    field: str,
    *,
    gap: float = 0.5,
    plants: int = 0,
    seed: int = 0,
    n_train: int = 24,
    n_val: int = 20,
    n_test: int = 40,
    image_size: int = 96,
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    std: Sequence[float] = (0.5, 0.5, 0.5),
) -> Task:
    """Two cultivars of a plant that the backbone never saw, alike in all but `field`, which stands at ½ ∓
    gap/2 of its range.

    Args:
        field: a name in `LEAF_FIELDS`, e.g. "vein_angle" or "margin_tone".
        gap: in (0, 1], share of the field's range between the two classes. Single leaves scatter around them
            in every field.
        plants: number of the plant and of its test images, as in `load_data("leaves-…")`. seed: of the
            training and validation images.
        n_train, n_val, n_test: images a class.

    Returns:
        A task for which `leaves.task_sample` and `truth_of` work; `info["field"]` is the field.

    Raises:
        AdapterError: an unknown field, a gap outside (0, 1], fewer than one image, or a plant on which the
            difference is invisible (such as the angle of veins that have no contrast); another number of
            `plants` is another plant.
    """
    if field not in _NAMES:
        raise unknown("leaf parameter", field, _NAMES)
    if not 0 < gap <= 1:
        raise AdapterError(f"gap={gap}: must lie in (0, 1], 1 being the whole range of {field}")
    counts = {"train": n_train, "val": n_val, "test": n_test}
    if min(counts.values()) < 1:
        raise AdapterError(f"{counts} images a class: give at least 1 each")
    # Towards the middle, so that every organ is visible.
    rows = np.repeat(0.5 + 0.6 * (new_species(1, plants) - 0.5), 2, axis=0)
    rows[:, _NAMES.index(field)] = 0.5 - gap / 2, 0.5 + gap / 2
    samples = {
        part: sample_leaves(rows, n, part, plants if part == "test" else seed) for part, n in counts.items()
    }
    strongest = _swing(samples["train"], field, 0.5 - gap / 2, 0.5 + gap / 2, image_size)
    if 255 * strongest < _VISIBLE:
        rule = f"at least {_VISIBLE} are needed to be seen; choose another number of `plants` or a wider gap"
        raise AdapterError(
            f"{field} changes no pixel of this plant by more than {255 * strongest:.0f} grey levels; {rule}"
        )
    parts: dict[str, Any] = {
        part: TensorImages(
            draw(s.leaves, s.scenes, s.seeds, image_size), torch.from_numpy(s.labels), mean, std
        )
        for part, s in samples.items()
    }
    info = {
        "source": "synthetic leaves, drawn by adapters_lib",
        "field": field,
        "gap": gap,
        "seed": seed,
        "plants": plants,
        **{f"n_{part}": n for part, n in counts.items()},
        "parameter_names": _NAMES,
        "parameters": rows.tolist(),
    }
    config = {"input_size": (3, image_size, image_size), "mean": tuple(mean), "std": tuple(std)}
    return Task(
        f"leaf-pair:{field}",
        [f"low {field}", f"high {field}"],
        **parts,
        data_config=config,
        synthetic=True,
        info=info,
    )


def change_maps(
    sample: LeafSample,
    field: str,
    *,
    low: float | None = None,
    high: float | None = None,
    image_size: int = 96,
) -> Tensor:
    """Where moving one parameter changes each leaf: (N, H, W), the mean over colors of the absolute
    difference, in [0, 1].

    low, high: the two values of the field, in [0, 1] of its range; None is the leaf's own value ∓ 0.1.

    Raises:
        AdapterError: an unknown field.
    """
    if field not in _NAMES:
        raise unknown("leaf parameter", field, _NAMES)
    column = _NAMES.index(field)
    ends = [sample.leaves.copy() for _ in range(2)]
    for end, value, step in zip(ends, (low, high), (-0.1, 0.1), strict=True):
        end[:, column] = np.clip(end[:, column] + step, 0, 1) if value is None else value
    first, second = (draw(end, sample.scenes, sample.seeds, image_size).float() / 255 for end in ends)
    return (second - first).abs().mean(1)


def truth_of(task: Task, part: str = "test") -> Tensor:
    """`change_maps` of a task from `one_parameter_task`: the field moved from one class's value to the
    other's, (N, H, W)."""
    if "field" not in task.info:
        raise AdapterError(
            f"{task.name} does not differ in a single parameter; make a task with one_parameter_task"
        )
    column = _NAMES.index(task.info["field"])
    low, high = (plant[column] for plant in task.info["parameters"])
    return change_maps(
        task_sample(task, part),
        task.info["field"],
        low=low,
        high=high,
        image_size=task.data_config["input_size"][-1],
    )


def truth_mask(truth: Tensor, share: float = 0.5) -> Tensor:
    """The smallest set of pixels that carries `share` of an image's change: (N, H, W) → bool (N, H, W).

    Raises:
        AdapterError: an image that does not change at all, or a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise AdapterError(f"share={share}: must lie in (0, 1]")
    flat = truth.flatten(1).double()
    total = flat.sum(1, keepdim=True)
    if (still := (total[:, 0] <= 0).nonzero()).numel():
        raise AdapterError(
            f"the parameter changes no pixel of image {int(still[0])}, so there is no truth to score against;"
            " leave it out"
        )
    values, order = flat.sort(dim=1, descending=True, stable=True)
    # A pixel is needed as long as those before it carry less than the share.
    before = values.cumsum(1) - values
    chosen = before < share * total * (1 - 1e-12)
    return torch.zeros_like(chosen).scatter_(1, order, chosen).view_as(truth)


def score_against_truth(maps: Tensor, truth: Tensor, share: float = 0.5) -> pd.DataFrame:
    """How well do maps (N, H, W) find the pixels that matter? The sign of a map is ignored: evidence may
    speak for or against.

    Returns:
        One row an image: `auroc`, the probability that a pixel of `truth_mask` ranks above another pixel
            (chance 0.5); `mass`, the share
        of the map that lies in the mask, and `area`, the mask's share of the image (chance for `mass`);
        `hit`, whether the highest pixel lies in the mask (chance `area`); `correlation`, Spearman's ρ with
        the truth itself.

    Raises:
        AdapterError: maps of another shape than the truth or not finite; an image without a change; a map
            that is zero everywhere.
    """
    if maps.shape != truth.shape or maps.ndim != 3 or len(maps) == 0:
        raise AdapterError(
            f"maps {tuple(maps.shape)} and truth {tuple(truth.shape)}: give the same shape, (N, H, W), at"
            " least one image"
        )
    strength = maps.detach().abs().flatten(1).double().cpu()
    if not strength.isfinite().all() or (strength.sum(1) == 0).any():
        raise AdapterError(
            "a map is zero everywhere or not finite, so it points at nothing; check the attribution"
        )
    mask = truth_mask(truth.cpu(), share).flatten(1)
    correlation = rank_correlation(strength, truth.cpu().flatten(1))
    rows = []
    for image, (s, m) in enumerate(zip(strength, mask, strict=True)):
        inside_all = bool(m.all())  # then there is no other pixel to rank below
        rows.append(
            {
                "auroc": np.nan if inside_all else float(roc_auc_score(m.numpy(), s.numpy())),
                "mass": float(s[m].sum() / s.sum()),
                "area": float(m.double().mean()),
                "hit": bool(m[s.argmax()]),
                "correlation": float(correlation[image]),
            }
        )
    return pd.DataFrame(rows)


def _swing(sample: LeafSample, field: str, low: float, high: float, image_size: int) -> float:
    """The largest change of a pixel among the first leaves."""
    few = LeafSample(sample.leaves[:4], sample.scenes[:4], sample.seeds[:4], sample.labels[:4])
    return float(change_maps(few, field, low=low, high=high, image_size=image_size).max())
