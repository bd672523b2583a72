"""What a backbone must be to be adapted, and what happens to it when adapting fails: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from ..errors import AdapterError
from .host import plain_kind
from .model import AdaptedViT

__all__ = ["check_backbone", "check_blocks", "unchanged_on_error"]


def check_backbone(backbone: nn.Module) -> None:
    """Raise an AdapterError that says what is missing unless the engine can walk `backbone` exactly as
    timm does."""
    kind = type(backbone).__name__
    advice = (
        'use a plain ViT such as "vit_base_patch16_224", "deit3_small_patch16_224" or the embedded'
        ' "micro_vit"'
    )
    if isinstance(backbone, AdaptedViT) or getattr(backbone, "adapters_lib_adapted", False):
        raise AdapterError(
            "this model is adapted already; pass all methods in one list, or create a fresh backbone"
        )
    if not isinstance(backbone, VisionTransformer):
        parts = ("patch_embed", "_pos_embed", "norm_pre", "blocks", "norm", "forward_head")
        missing = [part for part in parts if not hasattr(backbone, part)]
        lacks = (
            f"lacks {', '.join(missing)}"
            if missing
            else "calls its blocks in its own way (relative or rotary positions)"
        )
        raise AdapterError(
            f"{kind} cannot be adapted: it is not timm's VisionTransformer and {lacks}; {advice}"
        )
    if type(backbone).forward_features is not VisionTransformer.forward_features:
        raise AdapterError(
            f"{kind} cannot be adapted: it has a forward_features of its own, which the engine would not"
            f" follow; {advice}"
        )
    if not isinstance(backbone.patch_drop, nn.Identity):
        raise AdapterError(
            "patch_drop_rate > 0 removes patches at random, so no grid is left to adapt; create the backbone"
            " without it"
        )


def check_blocks(backbone: VisionTransformer, method: str) -> None:
    odd = {plain_kind(block).__name__ for block in backbone.blocks if plain_kind(block) is not Block}
    if odd:
        names = ", ".join(sorted(odd))
        raise AdapterError(
            f"{method} stands inside timm's pre-norm Block (norm1, attn, ls1, norm2, mlp, ls2), but this"
            f" model has {names}; use a method that stands between blocks or in linear layers, or a plain ViT"
        )


_HELD = ("_modules", "_parameters", "_forward_hooks", "_forward_pre_hooks")


@contextmanager
def unchanged_on_error(model: nn.Module) -> Iterator[None]:
    """Undo every replaced sub-module, hook, class, frozen or unfrozen parameter and class count of `model`
    if the body raises."""
    kept = [(m, type(m), [dict(getattr(m, name)) for name in _HELD]) for m in model.modules()]
    flags = [(p, p.requires_grad) for p in model.parameters()]
    num_classes = getattr(model, "num_classes", None)
    try:
        yield
    except BaseException:
        for module, kind, contents in kept:
            module.__class__ = kind
            for name, content in zip(_HELD, contents, strict=True):
                held = getattr(module, name)
                held.clear()
                held.update(content)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        if num_classes is not None:
            model.num_classes = num_classes
        raise
