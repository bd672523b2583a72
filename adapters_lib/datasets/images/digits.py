"""Handwritten digits that scikit-learn ships (1,797 scans of 8 x 8 pixels; UCI, Alpaydin & Kaynak 1998):
real images without a network."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from ..labelled import TensorImages
from ..request import Request
from ..splits import stratified_split
from ..task import Task

__all__ = ["load"]


def load(request: Request) -> Task:
    """Ten classes, split 60/20/20 by `seed`, class by class; three equal channels, resized to the model's
    size a batch at a time."""
    bunch = load_digits()
    # The scans count 0..16 dark pixels.
    gray = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8))
    images, labels = gray[:, None].repeat(1, 3, 1, 1), torch.from_numpy(bunch.target).long()
    size, how = request.config["input_size"][-1], request.config["interpolation"]
    train, val, test = (
        TensorImages(
            images[chosen],
            labels[chosen],
            request.config["mean"],
            request.config["std"],
            request.augment if part == 0 else None,
            size,
            how,
        )
        for part, chosen in enumerate(stratified_split(labels, [0.2, 0.2], request.seed))
    )
    info = {"split": "60/20/20, stratified by seed", "source": "scikit-learn load_digits"}
    return Task(
        request.name, [str(digit) for digit in range(10)], train, val, test, request.config, info=info
    )
