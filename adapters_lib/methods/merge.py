"""Merging: fold adapters into the layers that they stand in, and take them out again.

After `merge` the backbone is made of plain timm modules with timm's state-dict keys, and costs what the bare
backbone costs. Nothing is changed in place: plain copies take the place of the adapted layers, and `unmerge`
puts the originals back. Folding is done in float32 at least, and rounded once to the weights' own type.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from timm.layers import PatchEmbed
from torch import nn

from ..errors import AdapterError
from ..vit.sites import LinearAdapter
from . import METHODS

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["merge", "unmerge"]

Replacement = tuple[nn.Module, str, nn.Module]
"""(owner, attribute, the module to put there)."""


def merge(model: AdaptedViT) -> AdaptedViT:
    """Turn an adapted model into plain timm modules that compute the same; returns the model, changed in
    place.

    Logits in evaluation mode differ by rounding only. `model.backbone` can then be saved or used as any timm
    model. A batch norm in front of the classifier is folded into it.

    Raises:
        AdapterError: a method cannot be merged (the message says which), or the model is merged already;
            nothing has changed then.
    """
    if model.merged:
        raise AdapterError("this model is merged already; call unmerge() first, or use it as it is")
    if stuck := [method.name for method in model.methods if not method.mergeable]:
        able = ", ".join(sorted(name for name, cls in METHODS.items() if cls.mergeable))
        raise AdapterError(
            f"{', '.join(stuck)} cannot be merged: what it adds is no linear change of a layer of the"
            f" backbone; use the model as it is. These merge: {able}"
        )
    plan = _plan(model)
    model._replaced_by_merge = _put(plan)
    model._dtype_when_merged = _dtype(model)
    model.merged = True
    return model


def unmerge(model: AdaptedViT) -> AdaptedViT:
    """Put back the adapters and the weights they were merged with, bit for bit; returns the model, changed in
    place.

    A model that was cast since, say by `model.to(torch.bfloat16)`, gets them back in its new type.

    Raises:
        AdapterError: the model is not merged.
    """
    if not model.merged:
        raise AdapterError("this model is not merged; call merge() first")
    dtype = _dtype(model)
    for owner, name, original in model._replaced_by_merge:
        # To where the model has gone since: device, type and training mode. If it was not cast, a mixture of
        # types stays one.
        weight = next(getattr(owner, name).parameters(), next(model.backbone.parameters()))
        original.to(weight.device, dtype if dtype != model._dtype_when_merged else None)
        original.train(model.training)
    _put(model._replaced_by_merge)
    model._replaced_by_merge = []
    model.merged = False
    return model


def plain(module: nn.Module) -> Any:
    """The plain layer that an adapter in a layer's place amounts to, innermost first; other modules are
    returned as they are."""
    return module.folded(plain(module.base)) if isinstance(module, LinearAdapter) else module


def _plan(model: AdaptedViT) -> list[Replacement]:
    plan: list[Replacement] = []
    for owner in model.backbone.modules():
        if isinstance(owner, LinearAdapter):
            continue
        for name, child in owner.named_children():
            if not isinstance(child, LinearAdapter):
                continue
            if isinstance(owner, PatchEmbed) and isinstance(child.base, nn.Identity):
                # No norm stands behind the patch projection, so the projection itself takes the adapter in.
                plan += [(owner, "proj", child.folded(owner.proj)), (owner, name, child.base)]
            else:
                plan.append((owner, name, plain(child)))
    for name in ("head", "head_dist"):
        head = getattr(model.backbone, name, None)
        if isinstance(head, nn.Sequential):
            plan.append((model.backbone, name, _fold_norm(head)))
    return plan


def _put(plan: list[Replacement]) -> list[Replacement]:
    """Carry out a plan; return the plan that undoes it."""
    undo = [(owner, name, getattr(owner, name)) for owner, name, _ in plan]
    for owner, name, module in plan:
        setattr(owner, name, module)
    return undo


@torch.no_grad()
def _fold_norm(head: nn.Sequential) -> nn.Linear:
    """Linear(BatchNorm(x)) in evaluation mode as one linear layer."""
    norm, linear = head
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    layer: nn.Linear = copy.deepcopy(linear)  # type: ignore[assignment]
    wide = torch.promote_types(layer.weight.dtype, torch.float32)
    weight = layer.weight.to(wide) / torch.sqrt(norm.running_var.to(wide) + norm.eps)
    layer.weight.copy_(weight)
    layer.bias.copy_(layer.bias.to(wide) - weight @ norm.running_mean.to(wide))
    return layer


def _dtype(model: AdaptedViT) -> torch.dtype:
    return next(model.backbone.parameters()).dtype
