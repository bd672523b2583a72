"""What the head reads, as a picture: PCA or t-SNE of frozen and adapted features, and a number for what the
picture seems to show.

A projection to two dimensions shows little of D and t-SNE invents distances, so `neighbour_accuracy` judges
the features themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..datasets.labelled import labels_of
from ..datasets.task import make_loader
from ..errors import AdapterError, unknown
from ..vit.modes import evaluating
from .attention import walker

__all__ = ["Projection", "head_features", "neighbour_accuracy", "project"]

METHODS = ("pca", "tsne")


@torch.no_grad()
def head_features(model: nn.Module, images: Dataset, batch_size: int = 64) -> tuple[Tensor, Tensor]:
    """The pooled and normed features in front of the classifier, float32 (N, D), and labels (N,), of a timm
    ViT or an adapted model.

    Raises:
        AdapterError: an empty data set.
    """
    walk = walker(model)
    device = next(model.parameters()).device
    pooled = []
    with evaluating(walk):
        for batch, _ in make_loader(images, batch_size):
            x, layout = walk.embed(batch.to(device))
            for index in range(walk.depth):
                x, layout = walk.run_block(index, x, layout)
            x, _ = walk.normalise(x, layout)
            pooled.append(walk.backbone.forward_head(x, pre_logits=True).float().cpu())
    return torch.cat(pooled), labels_of(images)


@dataclass(frozen=True)
class Projection:
    """points: (N, 2). method: "pca" or "tsne". explained: share of the variance on each of the two axes
    (PCA only)."""

    points: np.ndarray
    method: str
    explained: tuple[float, float] | None = None


def project(
    features: Tensor, method: str = "pca", *, perplexity: float | None = None, seed: int = 0
) -> Projection:
    """Features (N, D) → the plane. t-SNE starts at the PCA and is the same for the same seed (on one
    machine).

    perplexity: of t-SNE, about the number of neighbours; None is 30, or fewer for few images: (N − 1) / 3.

    Raises:
        AdapterError: an unknown method, fewer than 3 images, fewer than 2 features, a perplexity that is not
            below N, or values that are not finite.
    """
    if method not in METHODS:
        raise unknown("projection", method, METHODS)
    x = features.detach().double().cpu().numpy()
    if x.ndim != 2 or len(x) < 3 or x.shape[1] < 2 or not np.isfinite(x).all():
        raise AdapterError(
            f"features {tuple(x.shape)}: a projection needs finite values, (N, D) with at least 3 images and"
            " 2 features"
        )
    if method == "pca":
        pca = PCA(2, svd_solver="full")
        points = pca.fit_transform(x)
        explained = pca.explained_variance_ratio_
        return Projection(points, method, (float(explained[0]), float(explained[1])))
    near = min(30.0, (len(x) - 1) / 3) if perplexity is None else perplexity
    if not 0 < near < len(x):
        raise AdapterError(f"perplexity={near}: must be above 0 and below the number of images, {len(x)}")
    return Projection(TSNE(2, perplexity=near, init="pca", random_state=seed).fit_transform(x), method)


def neighbour_accuracy(features: Tensor, labels: Tensor | Sequence[int], k: int = 5) -> float:
    """Mean share, in percent, of an image's k nearest others (by the angle between features) that have its
    label.

    Chance is about the share of a class. Raises AdapterError for k outside 1 … N − 1, unequal lengths, or a
    feature vector of length zero.
    """
    classes = torch.as_tensor(labels).cpu().numpy()
    x = features.detach().double().cpu().numpy()
    if len(x) != len(classes) or not 1 <= k < len(x):
        raise AdapterError(
            f"k={k} neighbours among {len(x)} images with {len(classes)} labels: one label an image and 1 ≤ k"
            " < N are needed"
        )
    length = np.linalg.norm(x, axis=1, keepdims=True)
    if (length == 0).any():
        raise AdapterError(
            f"the features of image {int((length[:, 0] == 0).argmax())} are all zero and have no direction;"
            " check the model"
        )
    # Leaves the image itself out.
    near = NearestNeighbors(n_neighbors=k).fit(x / length).kneighbors(return_distance=False)
    return float(100 * (classes[near] == classes[:, None]).mean())
