"""Which classes are confused, and by what do they differ? On drawn leaves the second question has an exact
answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from ..datasets.labelled import check_labels
from ..datasets.leaves.drawing import LEAF_FIELDS
from ..datasets.leaves.parameters import JITTER
from ..datasets.task import Task
from ..errors import AdapterError

__all__ = ["Confusion", "confusion", "confusion_against_distance", "explain_pair", "explain_pairs"]

LEAF_DEVIATION = JITTER / math.sqrt(6)
"""Standard deviation of a field among the leaves of one class, in units of the field's range (a triangular
distribution)."""


@dataclass(frozen=True)
class Confusion:
    """matrix: (C, C) counts, row: the true class, column: what the model said. classes: their names."""

    matrix: np.ndarray
    classes: tuple[str, ...]

    @property
    def per_class(self) -> pd.DataFrame:
        """One row a class, the worst first: `class`, `top1` (percent, NaN without images) and `n`, its
        number of images."""
        n = self.matrix.sum(1)
        hits = np.diag(self.matrix)
        top1 = np.divide(100 * hits, n, out=np.full(len(n), np.nan), where=n > 0)
        table = pd.DataFrame({"class": self.classes, "top1": top1, "n": n})
        return table.sort_values("top1", kind="stable", ignore_index=True)

    def pairs(self, count: int = 5) -> pd.DataFrame:
        """The most confused pairs of classes, either way taken together; the worst first.

        Columns: `first`, `second` (class numbers), `names`, `mistakes` and `share`, in percent of both
        classes' images.

        Raises:
            AdapterError: count below 1.
        """
        if count < 1:
            raise AdapterError(f"count={count}: ask for at least 1 pair")
        both = self.matrix + self.matrix.T
        n = self.matrix.sum(1)
        rows = [
            {
                "first": i,
                "second": j,
                "names": f"{self.classes[i]} / {self.classes[j]}",
                "mistakes": int(both[i, j]),
                "share": 100 * both[i, j] / (n[i] + n[j]),
            }
            for i, j in zip(*np.triu_indices(len(n), 1), strict=True)
            if both[i, j]
        ]
        columns = ["first", "second", "names", "mistakes", "share"]
        return pd.DataFrame(rows, columns=columns).sort_values(
            ["mistakes", "share"], ascending=False, kind="stable", ignore_index=True
        )[:count]


def confusion(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> Confusion:
    """Confusion matrix of logits (N, C) and labels (N,), as `collect_logits` gives them.

    Raises:
        AdapterError: no image, another number of names than classes, labels outside the classes, logits that
            are not finite.
    """
    if logits.ndim != 2 or len(logits) == 0 or len(logits) != len(labels):
        raise AdapterError(
            f"logits {tuple(logits.shape)} and {len(labels)} labels: give (N, classes) and (N,), at least one"
            " image"
        )
    if logits.shape[1] != len(classes):
        raise AdapterError(
            f"{len(classes)} class names for logits of {logits.shape[1]} classes; give one name a class"
        )
    check_labels("confusion", labels, len(classes))
    if not logits.isfinite().all():
        raise AdapterError("some logits are NaN or infinite; check the image and the model's weights")
    matrix = multiclass_confusion_matrix(logits.argmax(1), labels, len(classes), validate_args=False)
    return Confusion(matrix.cpu().numpy(), tuple(classes))


def explain_pair(task: Task, first: int, second: int, count: int = 3) -> pd.DataFrame:
    """The drawing parameters in which two classes of leaves differ most.

    Returns:
        One row a parameter, the largest difference first: `field`, `meaning`, `unit`, both classes' values in
            that unit, and `deviations`:
        the difference in standard deviations of single leaves of a class. Below about 2, leaves of the two
        overlap in that field.

    Raises:
        AdapterError: the task is not of leaves, or a class does not exist.
    """
    plants = _plants(task)
    for label in (first, second):
        if not 0 <= label < len(plants):
            raise AdapterError(
                f"class {label} does not exist; {task.name} has classes 0 to {len(plants) - 1}"
            )
    gap = np.abs(plants[first] - plants[second])
    rows = []
    for column in np.argsort(-gap, kind="stable")[:count]:
        field = LEAF_FIELDS[column]
        values = (field.low + plants[[first, second], column] * (field.high - field.low)).tolist()
        rows.append(
            {
                "field": field.name,
                "meaning": field.meaning,
                "unit": field.unit,
                "first": values[0],
                "second": values[1],
                "deviations": gap[column] / LEAF_DEVIATION,
            }
        )
    return pd.DataFrame(rows)


def explain_pairs(task: Task, observed: Confusion, pairs: int = 5, count: int = 3) -> pd.DataFrame:
    """`Confusion.pairs` with three more columns: `distance` of the plants (in deviations of single leaves,
    root of the sum of squares over all fields), its `rank` among all pairs of classes (1 is the closest), and
    `differ_in`, the `count` fields that differ most.

    Raises:
        AdapterError: the task is not of leaves, or has other classes than the matrix.
    """
    distances = _distances(task, observed)
    table = observed.pairs(pairs)
    every = np.sort(distances[np.triu_indices(len(distances), 1)])
    gaps = [float(distances[i, j]) for i, j in zip(table["first"], table["second"], strict=True)]
    texts = []
    for i, j in zip(table["first"], table["second"], strict=True):
        fields = explain_pair(task, int(i), int(j), count)
        texts.append(
            ", ".join(f"{f} ({d:.1f} sd)" for f, d in zip(fields["field"], fields["deviations"], strict=True))
        )
    return table.assign(
        distance=gaps, rank=[int(np.searchsorted(every, gap)) + 1 for gap in gaps], differ_in=texts
    )


def confusion_against_distance(task: Task, observed: Confusion) -> float:
    """Spearman's ρ, over all pairs of classes, between the plants' distance and their mistakes; −1: only the
    closest are confused.

    Raises:
        AdapterError: as `explain_pairs`; fewer than three pairs, or no differences among them, so that there
            is nothing to correlate.
    """
    distances = _distances(task, observed)
    upper = np.triu_indices(len(distances), 1)
    gaps, mistakes = distances[upper], (observed.matrix + observed.matrix.T)[upper]
    if len(gaps) < 3 or np.ptp(gaps) == 0 or np.ptp(mistakes) == 0:
        raise AdapterError(
            "all pairs of classes are equally far apart or equally often confused, so there is nothing to"
            " correlate"
        )
    return float(spearmanr(gaps, mistakes).statistic)


def _plants(task: Task) -> np.ndarray:
    if "parameter_names" not in task.info:
        raise AdapterError(
            f"{task.name} is not drawn from leaf parameters; use one of leaves-coarse, leaves-ultra,"
            " leaves-mixed"
        )
    return np.array(task.info["parameters"])


def _distances(task: Task, counts: Confusion) -> np.ndarray:
    plants = _plants(task)
    if len(plants) != len(counts.classes):
        raise AdapterError(
            f"a matrix of {len(counts.classes)} classes for {task.name} with {len(plants)}; take both from"
            " the same task"
        )
    return np.sqrt(((plants[:, None] - plants[None]) ** 2).sum(-1)) / LEAF_DEVIATION
