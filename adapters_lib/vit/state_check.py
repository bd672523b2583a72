"""Tensors by name, checked against those that they are to replace, before the first of them is touched."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import AdapterError

__all__ = ["check_state"]


def check_state(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Raise an AdapterError unless `state` has the names, shapes and types of `own`, and nothing but
    finite numbers."""
    if missing := sorted(own.keys() - state.keys()):
        what = f"{len(missing)} tensors that this model trains, first {missing[0]!r}"
        raise AdapterError(
            f"the state lacks {what}; use one of the same method, options and backbone, and its whole file"
        )
    if extra := sorted(state.keys() - own.keys()):
        what = f"{len(extra)} tensors that this model does not train, first {extra[0]!r}"
        raise AdapterError(f"the state has {what}; use one of the same method, options and backbone")
    for name, tensor in own.items():
        check_tensor(name, state[name], tensor)


def check_tensor(name: str, tensor: Tensor, wanted: Tensor) -> None:
    """Raise an AdapterError unless `tensor` has the shape and type of `wanted` and is finite."""
    if tensor.shape != wanted.shape:
        raise AdapterError(
            f"{name!r} has shape {tuple(tensor.shape)} in the state but {tuple(wanted.shape)} in the model; "
            "use the same backbone, number of classes and options"
        )
    if tensor.dtype != wanted.dtype:
        raise AdapterError(
            f"{name!r} is {tensor.dtype} in the state but {wanted.dtype} in the model; nothing is converted"
            " in silence: cast the model to the state's type first, or make the state from a model of this"
            " type"
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise AdapterError(
            f"{name!r} holds NaN or infinity in the state; use a file that was saved before the training"
            " diverged"
        )
