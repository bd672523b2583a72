"""What tells one backbone's frozen weights from another's: a digest of every tensor that is not trained, a
sketch of resampled ones.

An adapter is worth nothing on other weights than its own, so a saved one carries `frozen_print` and is
refused where that differs.

Position embedding and patch projection may be resampled to another image size, and that rounds differently
from one machine to the next. They are therefore compared by a few sums, within a thousandth of their size;
all other tensors bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .model import AdaptedViT

__all__ = ["blocks_digest", "difference", "frozen_digest", "frozen_print", "tensor_digest"]

SUMS = 4
TOLERANCE = 1e-3
"""Of the root of the sum of squares: far above what rounding does (1e-6), far below what another training
does."""


def frozen_digest(model: AdaptedViT) -> str:
    """SHA-256 over all frozen tensors of the model, resampled ones included: whether features of it can be
    used again on this machine."""
    return str(_measured(model)["whole"])


def frozen_print(model: AdaptedViT) -> dict[str, Any]:
    """What a saved adapter knows its backbone by, as JSON values.

    Returns: `tensors`, how many are frozen; `digest` of all but the resampled ones; `resampled`: by name,
    shape, size and sums.
    """
    measured = _measured(model)
    return {key: measured[key] for key in ("tensors", "digest", "resampled")}


def difference(saved: dict[str, Any], present: dict[str, Any]) -> str | None:
    """In what two `frozen_print`s differ, in words; None if they are of the same weights."""
    if saved.get("tensors") != present["tensors"]:
        return f"{saved.get('tensors')} frozen tensors there, {present['tensors']} here"
    if saved.get("digest") != present["digest"]:
        return f"digest {str(saved.get('digest'))[:12]} there, {present['digest'][:12]} here"
    theirs, ours = saved.get("resampled") or {}, present["resampled"]
    for name in sorted(theirs.keys() | ours.keys()):
        if name not in theirs or name not in ours:
            return f"{name} is frozen only {'there' if name in theirs else 'here'}"
        if list(theirs[name]["shape"]) != list(ours[name]["shape"]):
            return f"{name} has shape {tuple(theirs[name]['shape'])} there, {tuple(ours[name]['shape'])} here"
        allowed = TOLERANCE * max(ours[name]["size"], 1e-12)
        if any(abs(a - b) > allowed for a, b in zip(theirs[name]["sums"], ours[name]["sums"], strict=True)):
            return f"the values of {name} differ"
    return None


def tensor_digest(tensors: dict[str, Tensor], *texts: str) -> str:
    """SHA-256 of tensors by name (name, type, shape and bytes, in the order of the names) and of texts."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        _add(digest, tensors[name])
    for text in texts:
        digest.update(f"\0{text}".encode())
    return digest.hexdigest()


def blocks_digest(model: AdaptedViT) -> str:
    """What adapters of version 0.2 and earlier carry as `frozen_digest`: a hash of the frozen weights of
    the blocks alone."""
    digest = hashlib.blake2b(digest_size=16)
    for parameter in model.backbone.blocks.parameters():
        if not parameter.requires_grad:
            _add(digest, parameter)
    return digest.hexdigest()


def _add(digest: Any, tensor: Tensor) -> None:
    values = tensor.detach().to("cpu").contiguous()
    digest.update(f"{tuple(values.shape)} {values.dtype}".encode())
    digest.update(values.reshape(-1).view(torch.uint8).numpy().data)


def _frozen(model: AdaptedViT) -> Iterator[tuple[str, Tensor]]:
    """Parameters that do not train and buffers that no adapter brought, by their names in the model."""
    brought = model._added() | {id(b) for module in model.head_modules() for b in module.buffers()}
    yield from ((name, p) for name, p in model.named_parameters() if not p.requires_grad)
    yield from ((name, b) for name, b in model.named_buffers() if id(b) not in brought)


def _measured(model: AdaptedViT) -> dict[str, Any]:
    """All of it in one pass, kept until a frozen tensor is replaced or written to."""
    tensors = list(_frozen(model))
    key = [(name, t.data_ptr(), t._version, t.shape, t.dtype, t.device) for name, t in tensors]
    cached = model.__dict__.get("_frozen_cache")
    if cached is not None and cached[0] == key:
        return cached[1]  # type: ignore[no-any-return]
    vit = model.backbone
    soft = {
        id(vit.pos_embed): "pos_embed",
        **{id(p): f"patch_embed.{n}" for n, p in vit.patch_embed.named_parameters()},
    }
    digest, whole = hashlib.sha256(), hashlib.sha256()
    resampled = {}
    for _, tensor in tensors:
        if (name := soft.get(id(tensor))) is None:
            _add(digest, tensor)
        else:
            _add(whole, tensor)
            resampled[name] = _sketch(tensor)
    whole.update(digest.digest())
    measured = {
        "tensors": len(tensors),
        "digest": digest.hexdigest(),
        "resampled": resampled,
        "whole": whole.hexdigest(),
    }
    model.__dict__["_frozen_cache"] = (key, measured)
    return measured


def _sketch(tensor: Tensor) -> dict[str, Any]:
    """shape, size (root of the sum of squares) and sums against `SUMS` waves, in float64."""
    values = tensor.detach().to("cpu", torch.float64).flatten()
    places = torch.arange(len(values), dtype=torch.float64)
    sums = [float(values @ torch.cos(0.739 * (wave + 1) * places)) for wave in range(SUMS)]
    return {"shape": list(tensor.shape), "size": float(values.norm()), "sums": sums}
