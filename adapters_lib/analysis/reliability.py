"""Does a confidence of 80 % mean right in 80 % of the cases? Bins, and the expected calibration error.

ECE = Σ_b (n_b / N) · | accuracy_b − mean confidence_b |

(Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599)
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from ..datasets.labelled import check_labels
from ..errors import AdapterError

__all__ = ["Reliability", "reliability"]


@dataclass(frozen=True)
class Reliability:
    """bins: one row a non-empty bin: `low`, `high` (edges), `confidence`, `accuracy` (means), `n`. ece: in
    [0, 1]. n: images."""

    bins: pd.DataFrame
    ece: float
    n: int


def reliability(logits: Tensor, labels: Tensor, bins: int = 10, temperature: float = 1.0) -> Reliability:
    """Reliability of the highest softmax probability, in `bins` equal bins (low, high].

    logits: (N, C). labels: (N,). temperature: the logits are divided by it first.

    Raises:
        AdapterError: no image, labels outside the classes, logits that are not finite, bins below 1,
            temperature not above 0.
    """
    if logits.ndim != 2 or len(logits) == 0 or len(logits) != len(labels):
        raise AdapterError(
            f"logits {tuple(logits.shape)} and {len(labels)} labels: give (N, classes) and (N,), at least one"
            " image"
        )
    if bins < 1 or not temperature > 0:
        raise AdapterError(
            f"bins={bins}, temperature={temperature}: at least 1 bin and a temperature above 0 are needed"
        )
    check_labels("reliability", labels, logits.shape[1])
    if not logits.isfinite().all():
        raise AdapterError("some logits are NaN or infinite; check the image and the model's weights")
    sure, said = (logits.double() / temperature).softmax(1).max(1)
    right = (said == labels).double()
    which = ((sure * bins).ceil().long() - 1).clamp(0, bins - 1)
    rows = []
    for index in which.unique().tolist():
        inside = which == index
        means = {"confidence": float(sure[inside].mean()), "accuracy": float(right[inside].mean())}
        rows.append({"low": index / bins, "high": (index + 1) / bins, **means, "n": int(inside.sum())})
    table = pd.DataFrame(rows)
    ece = float((table["n"] / len(labels) * (table["accuracy"] - table["confidence"]).abs()).sum())
    return Reliability(table, ece, int(torch.numel(labels)))
