"""New pictures to names: whatever a user has, through any adapted model, merged or not, with exits or
without.

It stands beside `predict` because a model with exits answers by it; reading and preparing the pictures is the
affair of `datasets.unlabelled`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..datasets.images.files import MAX_PIXELS
from ..datasets.task import DataWarning
from ..datasets.unlabelled import Unlabelled, unlabelled
from ..errors import AdapterError
from ..options import MOST_BATCH, real_number, whole_number
from ..vit.modes import evaluating, in_precision
from .costs import exit_costs
from .predict import predict

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["classify"]

NAMED = 5  # files that a warning names

Answer = tuple[Tensor, Tensor, Tensor]
"""Probabilities (B, K) and classes (B, K), the likeliest first, and exit indices (B,), all on the CPU."""


def classify(
    model: AdaptedViT,
    images: Any,
    top: int = 5,
    *,
    batch_size: int = 64,
    temperature: float = 1.0,
    thresholds: Sequence[float] | Tensor | None = None,
    policy: str | None = None,
    full_depth: bool = False,
    precision: str = "no",
    max_pixels: int = MAX_PIXELS,
    progress: bool = False,
) -> pd.DataFrame:
    """Name the likeliest classes of pictures, or of videos for a clip model.

    Pictures are prepared as in the model's training, whatever their size and mode; the model computes where
    it is.

    Args:
        model: with names in `model.classes`.
        images: a folder (searched at any depth), a file, a PIL image, a list of these, or pixels as a uint8
            tensor (N, C, H, W), or (N, C, T, H, W) for clips.
        top: names a picture, at most as many as there are classes.
        temperature: the logits are divided by it; see `analysis.best_temperature`.
        thresholds, policy: when to leave at an exit, see `exits.predict`; None: those that `calibrate` left
            in the model, if any, else the full depth.
        full_depth: use no early exit.
        precision: "no" (float32), "bf16", "fp16" or "auto".
        max_pixels: of the largest picture that is decoded.

    Returns:
        One row a picture, in the order given (a folder's by path): `file`, then `class_1`, `probability_1`,
        `class_2`, … (probabilities in [0, 1]). For a model with early exits also `exit`, the block behind
        which the picture left, and `macs`, spent on it. What could not be read is listed in
        `table.attrs["skipped"]`, a list of {"file", "why"}, and in one DataWarning; files that are something
        else by their ending stand in the list only.

    Raises:
        AdapterError: the model knows no names, nothing can be read, images of another number of channels, a
            folder without images, thresholds that do not fit (see `predict`), logits that are not finite, an
            option out of its bounds.

    Examples:
        >>> model = al.adapt(al.create_backbone(), "lora", classes=["oak", "elm"])
        >>> pixels = torch.zeros(2, 3, 96, 96, dtype=torch.uint8)  # or paths, a folder, PIL images
        >>> al.classify(model, pixels, top=1).columns.tolist()
        ['file', 'class_1', 'probability_1']
    """
    whole_number("classify: top", top, 1)
    whole_number("classify: batch_size", batch_size, 1, MOST_BATCH)
    real_number("classify: temperature", temperature, 0, above=True)
    if full_depth and thresholds is not None:
        raise AdapterError("full_depth=True uses no exit, so thresholds have no meaning; leave one out")
    if (names := model.classes) is None:
        raise AdapterError(
            f"the model does not know what its {model.num_classes} outputs are called; set model.classes = "
            "[…], one name for each output in the order of the labels, or adapt with classes=task.classes"
        )
    data = unlabelled(model, images, max_pixels)
    early = bool(len(model.exits)) and not full_depth and (thresholds is not None or "exits" in model.extra)
    early = early or thresholds is not None  # without exits `predict` says so
    device, count = next(model.parameters()).device, min(top, len(names))
    seen: list[int] = []
    answers: list[Answer] = []
    with (
        evaluating(model),
        torch.inference_mode(),
        in_precision(device, precision),
        tqdm(total=len(data), desc="classify", unit="file", disable=not progress) as bar,
    ):
        for numbers, batch in data.batches(batch_size):
            batch = batch.to(device=device, dtype=next(model.parameters()).dtype)
            if early:
                prediction = predict(model, batch, thresholds, policy)
                logits, index = prediction.logits, prediction.exit_index
            else:
                logits = model(batch).float()
                index = torch.full((len(batch),), len(model.exits))
            _check_finite(logits, [data.names[n] for n in numbers])
            best = (logits / temperature).softmax(1).topk(count)
            answers.append((best.values.cpu(), best.indices.cpu(), index.cpu()))
            seen += numbers
            bar.update(numbers[-1] + 1 - bar.n)
    _tell(data, len(seen))
    table = _table([data.names[n] for n in seen], answers, np.array(names, dtype=object))
    if len(model.exits):
        table = _with_exits(table, model, answers, early)
    table.attrs["skipped"] = [{"file": file, "why": why} for file, why in (*data.skipped, *data.foreign)]
    return table


def _check_finite(logits: Tensor, names: Sequence[str]) -> None:
    if not bool((good := logits.isfinite().all(1)).all()):
        where = int((~good).nonzero()[0])
        raise AdapterError(
            f"{names[where]}: the model's logits are NaN or infinite; check its weights (has training"
            " diverged?)"
        )


def _tell(data: Unlabelled, read: int) -> None:
    """One warning for all that could not be read; an error if that is everything."""
    if not data.skipped:
        return
    listed = "; ".join(f"{file}: {why}" for file, why in data.skipped[:NAMED])
    more = f"; and {len(data.skipped) - NAMED} more" if len(data.skipped) > NAMED else ""
    if not read:
        raise AdapterError(f"nothing could be read: {listed}{more}; give images that open elsewhere")
    warnings.warn(
        f'{len(data.skipped)} left out: {listed}{more}. All: table.attrs["skipped"]',
        DataWarning,
        stacklevel=3,
    )


def _table(files: list[str], answers: Sequence[Answer], names: np.ndarray) -> pd.DataFrame:
    probabilities, classes = (torch.cat([answer[i] for answer in answers]).numpy() for i in (0, 1))
    columns: dict[str, Any] = {"file": files}
    for rank in range(classes.shape[1]):
        columns[f"class_{rank + 1}"] = names[classes[:, rank]]
        columns[f"probability_{rank + 1}"] = probabilities[:, rank]
    return pd.DataFrame(columns)


def _with_exits(
    table: pd.DataFrame, model: AdaptedViT, answers: Sequence[Answer], early: bool
) -> pd.DataFrame:
    costs = exit_costs(model)
    index = torch.cat([answer[2] for answer in answers]).numpy()
    macs = np.array(costs.macs, dtype=np.int64)[index] if early else costs.full
    return table.assign(exit=np.array(costs.blocks)[index], macs=macs)
