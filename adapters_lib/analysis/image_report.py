"""Your own folder of images: a folder to practise on, what was left out and why, and a report on a trained
model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest
from torch import Tensor

from ..costs.cost import Cost, cost
from ..datasets.labelled import labels_of
from ..datasets.load import load_data
from ..datasets.task import Task
from ..errors import AdapterError
from ..options import whole_number
from ..training.evaluate import collect_logits
from ..vit.model import AdaptedViT
from .confusion import Confusion, confusion
from .reliability import Reliability, reliability

__all__ = [
    "Report",
    "best_temperature",
    "parts_table",
    "practice_folder",
    "report",
    "skipped_table",
]

TEMPERATURES = (0.25, 8.0)
"""Least and largest."""


def practice_folder(
    root: str | Path, *, classes: int = 6, n: int = 30, seed: int = 0, size: int = 128, odd: bool = True
) -> Path:
    """Write `root/<class>/leaf_00.jpg` …: JPEGs of synthetic cultivars, as a stand-in for photographs; files
    that exist are overwritten.

    odd: also what real folders hold: a CMYK JPEG and a grey PNG, which can be used; a text file named .jpg, a
    JPEG that ends half-way, a class with a single image and a file beside the class folders, which cannot.

    Raises:
        AdapterError: fewer than 2 classes or 3 images a class.
    """
    for what, value in {"classes": classes, "n": n, "size": size}.items():
        whole_number(f"practice_folder: {what}", value, -(2**31), 100_000)
    if classes < 2 or n < 3:
        raise AdapterError(
            f"classes={classes}, n={n}: a folder to train on needs at least 2 classes of 3 images"
        )
    root = Path(root)
    task: Any = load_data(
        "leaves-ultra",
        image_size=size,
        seed=seed,
        cultivars=classes + odd,
        n_train=n,
        n_val=1,
        n_test=1,
        augment=None,
    )
    for label in range(classes):
        folder = root / f"cultivar {label + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(task.train.images[task.train.labels == label]):
            _image(pixels).save(folder / f"leaf_{number:02d}.jpg", quality=92)
    if odd:
        _write_odd(root, [_image(pixels) for pixels in task.val.images])
    return root


def _image(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def _write_odd(root: Path, leaves: Sequence[Image.Image]) -> None:
    first, second = root / "cultivar 1", root / "cultivar 2"
    leaves[0].convert("CMYK").save(first / "for the printer (CMYK).jpg", quality=92)
    leaves[1].convert("L").save(second / "scanned (grey).png")
    (first / "notes.jpg").write_text("These are words, whatever the name says.\n")
    whole = first / "leaf_00.jpg"
    (second / "interrupted copy.jpg").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (root / "cultivar, only once").mkdir(exist_ok=True)
    leaves[-1].save(root / "cultivar, only once" / "leaf.jpg", quality=92)
    leaves[0].save(root / "forgotten.jpg", quality=92)


def skipped_table(task: Task) -> pd.DataFrame:
    """One row a file or class that was left out: `what` (its path below the folder) and `why`. Empty when
    all was used."""
    root = Path(task.info.get("root", ""))
    rows = [
        (str(path.relative_to(root)) if path.is_relative_to(root) else str(path), why)
        for path, why in task.info.get("skipped", [])
    ]
    return pd.DataFrame(rows, columns=["what", "why"])


def parts_table(task: Task) -> pd.DataFrame:
    """Number of training, validation and test images, a row a class."""
    labels = {part: labels_of(data) for part, data in task.parts().items()}
    counts = {part: torch.bincount(of, minlength=task.num_classes).tolist() for part, of in labels.items()}
    return pd.DataFrame(counts, index=pd.Index(task.classes, name="class"))


@dataclass(frozen=True)
class Report:
    """What a model does on a task's test images.

    top1, low, high: percent, with the 95 % interval over test images (Wilson); n of them. right: (n,),
    whether each was answered rightly, in the order of the data set. majority: percent right by always naming
    the commonest test class. seen: the confusion matrix, with `per_class`. before, after: reliability as it
    is, and with the temperature that was chosen on validation images. cost: of one image.
    """

    top1: float
    low: float
    high: float
    n: int
    right: NDArray[np.bool_]
    majority: float
    seen: Confusion
    temperature: float
    before: Reliability
    after: Reliability
    cost: Cost

    def table(self) -> pd.DataFrame:
        """The numbers as text, a row each."""
        roles = self.cost.trainable
        rows = [
            ("top-1 on test images", f"{self.top1:.1f} % [{self.low:.1f}, {self.high:.1f}], n = {self.n}"),
            ("always the commonest class", f"{self.majority:.1f} %"),
            (
                "worst class",
                "{} ({:.0f} % of {})".format(*self.seen.per_class.iloc[0][["class", "top1", "n"]]),
            ),
            (
                "expected calibration error",
                (
                    f"{100 * self.before.ece:.1f} %; {100 * self.after.ece:.1f} % at temperature"
                    f" {self.temperature:.2f}"
                ),
            ),
            (
                "trained parameters",
                f"adapter {roles['adapter']:,}, head {roles['head']:,}, backbone {roles['backbone']:,}",
            ),
            ("arithmetic", f"{self.cost.macs / 1e9:.2f} GMACs an image"),
        ]
        return pd.DataFrame(rows, columns=["", "value"]).set_index("")


def report(model: AdaptedViT, task: Task) -> Report:
    """Look at the test images once. The temperature is chosen on the validation images."""
    logits, labels = collect_logits(model, task.test)
    temperature = best_temperature(*collect_logits(model, task.val))
    right = (logits.argmax(1) == labels).numpy()
    hits, n = int(right.sum()), len(right)
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return Report(
        top1=100 * hits / n,
        low=100 * interval.low,
        high=100 * interval.high,
        n=n,
        right=right,
        majority=100 * float(torch.bincount(labels).max()) / n,
        seen=confusion(logits, labels, model.classes or task.classes),
        temperature=temperature,
        before=reliability(logits, labels),
        after=reliability(logits, labels, temperature=temperature),
        cost=cost(model),
    )


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature within the bounds of `TEMPERATURES` that the logits (N, C) are divided by for the
    smallest cross-entropy (Guo et al. 2017)."""


    def loss(log_t: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits.double() / math.exp(log_t), labels))

    low, high = map(math.log, TEMPERATURES)
    return math.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x)
