"""CKA: do two layers see the same similarities between images? 1 is yes; near 0 is no more than chance.

    K = X Xᵀ with zero diagonal (X: one row an image), L likewise,
    HSIC(K, L) = 1 / (n (n − 3)) · [ tr(K L) + (1ᵀK1)(1ᵀL1) / ((n − 1)(n − 2)) − 2 / (n − 2) · 1ᵀ K L 1 ]
    CKA = mean HSIC(K, L) / √(mean HSIC(K, K) · mean HSIC(L, L)),     means over mini-batches

The estimator is unbiased (Song et al. 2012), so mini-batches of any size above three estimate the same number
(Nguyen et al. 2021, arXiv:2010.15327). For attention, a row of X is an image's maps of all heads, flattened:
layers may differ in their number of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..datasets.task import collate
from ..errors import AdapterError
from ..vit.modes import evaluating
from .attention import capture_attention, check_blocks

__all__ = ["MinibatchCKA", "attention_cka", "cka", "gram", "unbiased_hsic"]


def gram(features: Tensor) -> Tensor:
    """Features (n, ...) → K = X Xᵀ with zero diagonal, float64 (n, n).

    Features are centred first, which leaves the unbiased HSIC as it is and keeps digits: attention maps of
    two images are nearly equal.
    """
    x = features.flatten(1).double()
    x = x - x.mean(0)
    k = x @ x.T
    return k.fill_diagonal_(0)


def unbiased_hsic(k: Tensor, l: Tensor) -> Tensor:
    """HSIC of two matrices (..., n, n) with zero diagonal; may be negative, as an unbiased estimate of a
    small number is.

    Raises:
        AdapterError: fewer than four samples, or matrices of different sizes.
    """
    n = k.shape[-1]
    if n != l.shape[-1]:
        raise AdapterError(f"HSIC of {n} and {l.shape[-1]} samples; both must come from the same images")
    if n < 4:
        raise AdapterError(
            f"CKA of {n} samples: the unbiased estimator divides by n − 3; give batches of at least 4 images"
        )
    pairs = (k * l).sum((-2, -1))
    totals = k.sum((-2, -1)) * l.sum((-2, -1)) / ((n - 1) * (n - 2))
    rows = (k.sum(-1) * l.sum(-1)).sum(-1) * 2 / (n - 2)
    return (pairs + totals - rows) / (n * (n - 3))


class MinibatchCKA:
    """Collects HSIC over mini-batches: `update` with the same images for both lists of layers, then
    `compute`."""

    def __init__(self) -> None:
        self._cross: Any = 0.0
        self._rows: Any = 0.0
        self._columns: Any = 0.0
        self.batches = 0

    def update(self, rows: Sequence[Tensor], columns: Sequence[Tensor] | None = None) -> None:
        """Add a batch: one tensor (n, ...) a layer. columns: the layers of another model; None compares
        `rows` with themselves."""
        if not rows or (columns is not None and not columns):
            raise AdapterError("CKA of no layer; give at least one tensor a model")
        ks = torch.stack([gram(x) for x in rows])
        self.update_grams(ks, None if columns is None else torch.stack([gram(x) for x in columns]))

    def update_grams(self, rows: Tensor, columns: Tensor | None = None) -> None:
        """As `update`, from what `gram` makes of each layer: (layers, n, n)."""
        columns = rows if columns is None else columns
        self._cross = self._cross + unbiased_hsic(rows[:, None], columns[None])
        self._rows = self._rows + unbiased_hsic(rows, rows)
        self._columns = self._columns + unbiased_hsic(columns, columns)
        self.batches += 1

    def compute(self) -> Tensor:
        """CKA, float64 (rows, columns), within [0, 1]: an estimate below 0 is given as 0, one above 1 as 1.

        Raises:
            AdapterError: no batch yet, or a layer whose HSIC with itself is not positive (it does not tell
                the images apart, or there are too few of them), for which CKA is not defined.
        """
        if not self.batches:
            raise AdapterError("CKA has seen no batch; call update first")
        for side, own in (("row", self._rows), ("column", self._columns)):
            if (bad := (~(own > 0)).nonzero()).numel():
                layer = int(bad[0])
                value = f"{float(own[layer]) / self.batches:.2g}"
                rule = "so it does not tell these images apart; give more, or more different, images"
                raise AdapterError(f"CKA: {side} layer {layer + 1} has HSIC {value} with itself, {rule}")
        return (self._cross / (self._rows[:, None] * self._columns[None]).sqrt()).clamp(0, 1)


def cka(x: Tensor, y: Tensor) -> float:
    """CKA of two sets of features of the same images, (n, ...) each, from one batch. Raises AdapterError
    as `MinibatchCKA`."""
    if len(x) != len(y):
        raise AdapterError(f"CKA of {len(x)} and {len(y)} samples; both must come from the same images")
    both = MinibatchCKA()
    both.update([x], [y])
    return float(both.compute())


@torch.no_grad()
def attention_cka(
    model: nn.Module,
    images: Dataset,
    other: nn.Module | None = None,
    *,
    blocks: Sequence[int] | None = None,
    batch_size: int = 32,
) -> Tensor:
    """CKA between the attention maps of every pair of blocks, float64 (blocks, blocks): the figure of the ILA
    paper.

    Args:
        images: a data set of `(image, label)`, taken in a fixed random order, so that mini-batches mix the
            classes.
        other: compare the blocks of `model` (rows) with those of this model (columns).
        blocks: numbers from 1; None is all.
        batch_size: at least 4; the batches hold so many images or up to twice as many, so that none is left
            over.

    Raises:
        AdapterError: fewer than four images or a batch size below 4; blocks that do not exist; layers for
            which CKA is not defined.
    """
    n = len(images)  # type: ignore[arg-type]
    if n < 4 or batch_size < 4:
        raise AdapterError(f"CKA of {n} images in batches of {batch_size}: at least 4 of each are needed")
    models: Mapping[str, nn.Module] = {"rows": model, **({} if other is None else {"columns": other})}
    for each in models.values():
        check_blocks(blocks, len(getattr(each, "backbone", each).blocks))  # type: ignore[arg-type]
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    minibatches = MinibatchCKA()
    for chosen in order.tensor_split(max(1, n // batch_size)):
        batch = _fetch(images, chosen.tolist())
        minibatches.update_grams(**{side: _grams(each, batch, blocks) for side, each in models.items()})
    return minibatches.compute()


def _grams(model: nn.Module, batch: Tensor, blocks: Sequence[int] | None) -> Tensor:
    """(blocks, n, n). Only these are kept: the maps themselves would take gigabytes for a ViT-B at 448
    pixels."""
    with evaluating(model), capture_attention(model, blocks, reduce=gram) as seen:
        model(batch.to(next(model.parameters()).device))
    return torch.stack(list(seen.maps.values()))


def _fetch(images: Any, indices: list[int]) -> Tensor:
    if hasattr(images, "__getitems__"):
        return collate(images.__getitems__(indices))[0]  # type: ignore[no-any-return]
    return torch.stack([images[i][0] for i in indices])
