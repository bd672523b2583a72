"""`adapt`: freeze a timm ViT, give it a head, plug methods in. All of it, or none of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from ..errors import AdapterError
from ..options import MOST_CLASSES, check_seed, whole_number
from ..vit.check import check_backbone, check_blocks, unchanged_on_error
from ..vit.class_names import check_names
from ..vit.heads import make_head
from ..vit.model import AdaptedViT
from . import Method, parse_method
from .compose import check_together

__all__ = ["adapt"]


def adapt(
    backbone: nn.Module,
    methods: Method | str | Sequence[Method | str] = (),
    num_classes: int | None = None,
    *,
    classes: Sequence[str] | None = None,
    head: str = "linear",
    seed: int | None = None,
) -> AdaptedViT:
    """Adapt a timm ViT with one method or a list of them.

    Changed in place: `backbone` is taken over, not copied. Its parameters are frozen, its classifier is
    replaced by a fresh one of `num_classes` outputs (None keeps the classifier it has), and methods may wrap
    its linear layers. If anything fails, the backbone is left as it was.

    Args:
        backbone: a plain ViT from timm (`create_backbone`): class token or pooling, register or distillation
            tokens; or a clip model (`create_clip_backbone`), whose norm behind the pooling trains with the
            head.
        methods: dataclasses such as `LoRA(rank=8)`, or their text form `"lora:rank=8"`; those that change the
            number of tokens are plugged in first, so that the others see the final token counts. The others
            act in the order of the list.
        num_classes: outputs of the new head, at least 1.
        classes: their names, in the order of the labels, such as `task.classes`; `num_classes` follows from
            them.
        head: `linear`, or another kind of classifier or of its start, see `heads.make_head`; a paper's own is
            `PRESETS[…].head` of its recipe. All but `linear` need `num_classes` or `classes`.
        seed: fixes the initial weights of head and adapters without touching the global generator.

    Returns:
        The adapted model; the head is trainable, and whatever the methods add or unfreeze.

    Raises:
        AdapterError: the model cannot be adapted (the message says what is missing), is adapted already, an
            option is out of range, or two methods contradict each other.

    Examples:
        >>> model = al.adapt(al.create_backbone(), "lora:rank=4", classes=["oak", "elm"]).eval()
        >>> model(torch.zeros(1, 3, 96, 96)).shape
        torch.Size([1, 2])
    """
    chosen = _as_methods(methods)
    check_together(chosen)
    if classes is not None:
        num_classes = _count(check_names(classes), num_classes)
    check_backbone(backbone)
    assert isinstance(backbone, VisionTransformer)
    if num_classes is not None and whole_number("num_classes", num_classes, -(2**31), MOST_CLASSES) < 1:
        raise AdapterError(
            f"num_classes={num_classes}: a classifier needs at least 1 class; count the classes of your task"
        )
    if seed is not None:
        check_seed(seed, "adapt: seed")
    if num_classes is None and backbone.num_classes < 1:
        raise AdapterError("the backbone has no classifier (num_classes=0); pass num_classes=…")
    if num_classes is None and head != "linear":
        raise AdapterError(
            f"head={head!r} is a new classifier, but num_classes=None keeps the one that is there; pass"
            " num_classes=…"
        )
    with unchanged_on_error(backbone), _seeded(seed), torch.device(next(backbone.parameters()).device):
        backbone.requires_grad_(False)
        model = AdaptedViT(backbone, getattr(backbone, "adapters_lib_source", None))
        model.methods = chosen
        if num_classes is not None:
            backbone.reset_classifier(num_classes)
        if head != "linear":
            _replace_classifiers(model, head)
        dtype = next(backbone.parameters()).dtype
        for module in model.head_modules():
            module.to(dtype).requires_grad_(True)  # older versions of timm make a new classifier in float32
        if hasattr(backbone.patch_embed, "frames"):
            # A clip's head begins with the norm behind the pooling (Li et al. 2025).
            backbone.fc_norm.requires_grad_(True)
        for method in sorted(chosen, key=lambda m: m.turn):
            if method.looks_inside:
                check_blocks(backbone, method.name)
            method.attach(model)
        for _, adapter in model.adapters():
            adapter.to(dtype)
    model.classes = classes  # type: ignore[assignment]
    backbone.adapters_lib_adapted = True  # type: ignore[assignment]
    return model


def _count(names: Sequence[str], num_classes: int | None) -> int:
    if num_classes is not None and num_classes != len(names):
        raise AdapterError(
            f"num_classes={num_classes}, but classes has {len(names)} names; leave num_classes out, it"
            " follows from them"
        )
    return len(names)


def _replace_classifiers(model: AdaptedViT, kind: str) -> None:
    vit = model.backbone
    for name in ("head", "head_dist"):
        old = getattr(vit, name, None)
        if isinstance(old, nn.Linear):
            setattr(
                vit,
                name,
                make_head(kind, old.in_features, old.out_features).to(old.weight.dtype).train(vit.training),
            )
    model.head_kind = kind


def _as_methods(methods: Method | str | Sequence[Method | str]) -> tuple[Method, ...]:
    listed = list(methods) if isinstance(methods, Sequence) and not isinstance(methods, str) else [methods]
    chosen = tuple(parse_method(m) if isinstance(m, str) else m for m in listed)
    for method in chosen:
        if not isinstance(method, Method):
            remedy = (
                f"write {method.__name__}()"
                if isinstance(method, type)
                else 'give al.LoRA(rank=8), "lora:rank=8", or a list of these'
            )
            raise AdapterError(f"methods={methods!r}: {method!r} is no method; {remedy}")
    return chosen


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    with torch.random.fork_rng() if seed is not None else nullcontext():
        if seed is not None:
            torch.manual_seed(seed)
        yield
