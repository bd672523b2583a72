"""Is a confidence of 0.8 right in 80 % of the cases? Bins, and the expected calibration error.

ECE = Σ_b (n_b / N) · | accuracy_b − mean confidence_b |

(Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599.) Bins hold equally many images instead of being
equally wide (Nixon et al. 2019, arXiv:1904.01685): a bin of three images says nothing, yet would count in the
sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from ..datasets.labelled import check_labels
from ..errors import AdapterError

__all__ = ["IN_A_BIN", "Reliability", "reliability"]


@dataclass(frozen=True)
class Reliability:
    """bins: one row a bin, from the least to the most confident images: `low`, `high` (of the confidences in
    it), `confidence`, `accuracy` (means), `n`. ece: in [0, 1], over these bins. n: images."""

    bins: pd.DataFrame
    ece: float
    n: int


IN_A_BIN = 20
"""Images that a bin holds at least, if there are so many."""

_MOST_BINS = 10


def reliability(
    logits: Tensor, labels: Tensor, bins: int | None = None, temperature: float = 1.0
) -> Reliability:
    """Reliability of the highest softmax probability, in bins of equally many images.

    logits: (N, C). labels: (N,). bins: None is as many as hold `IN_A_BIN` images each, 1 to 10; images of one
    and the same confidence stay together, so there may be fewer. temperature: the logits are divided by it
    first.

    Raises:
        AdapterError: no image, labels outside the classes, logits that are not finite, bins below 1,
            temperature not above 0.
    """
    if logits.ndim != 2 or len(logits) == 0 or len(logits) != len(labels):
        raise AdapterError(
            f"logits {tuple(logits.shape)} and {len(labels)} labels: give (N, classes) and (N,), at least one"
            " image"
        )
    if (bins is not None and bins < 1) or not temperature > 0:
        raise AdapterError(
            f"bins={bins}, temperature={temperature}: at least 1 bin and a temperature above 0 are needed"
        )
    check_labels("reliability", labels, logits.shape[1])
    if not logits.isfinite().all():
        raise AdapterError("some logits are NaN or infinite; check the image and the model's weights")
    sure, predicted = (logits.double() / temperature).softmax(1).max(1)
    right = (predicted == labels).double()
    wanted = bins or max(1, min(_MOST_BINS, len(labels) // IN_A_BIN))
    # The confidences with which bins 2, 3, ... begin; equal confidences fall on one side.
    starts = sure.sort().values[(torch.arange(1, wanted) * len(labels)) // wanted]
    which = torch.bucketize(sure, starts.unique(), right=True)
    rows = []
    for index in which.unique().tolist():
        inside = which == index
        low, high = (float(edge) for edge in sure[inside].aminmax())
        means = {"confidence": float(sure[inside].mean()), "accuracy": float(right[inside].mean())}
        rows.append({"low": low, "high": high, **means, "n": int(inside.sum())})
    table = pd.DataFrame(rows)
    ece = float((table["n"] / len(labels) * (table["accuracy"] - table["confidence"]).abs()).sum())
    return Reliability(table, ece, int(torch.numel(labels)))
