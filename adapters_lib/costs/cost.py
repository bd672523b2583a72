"""What a model costs: parameters by role, MACs and FLOPs, tokens; and, on request, memory and measured
latency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from html import escape
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from ..vit.inputs import image_size_of, probe_images, vit_of
from ..vit.model import AdaptedViT
from ..vit.modes import evaluating
from .latency import Latency
from .macs import count_macs, on_shapes
from .memory import Memory

__all__ = ["Cost", "cost"]


@dataclass(frozen=True)
class Cost:
    """Costs of one image, or one clip, (batch 1) in evaluation mode.

    ``trainable``: parameters that train, by role: "adapter", "head", "backbone" (class token, norms or biases
    of the backbone that a method unfreezes; everything in full fine-tuning); ``frozen``: those that do not.
    ``macs``: multiply-accumulate operations in matrix products and convolutions, see
    `adapters_lib.costs.macs`. ``tokens``: one entry per group of neighbouring blocks with equal token count,
    class and register tokens included. ``image_size``: (height, width) in pixels. ``frames``: of a clip, else
    None.
    """

    trainable: dict[str, int]
    frozen: int
    macs: int
    tokens: list[int]
    image_size: tuple[int, int]
    memory: Memory | None = None
    latency: Latency | None = None
    frames: int | None = None

    @property
    def flops(self) -> int:
        """One MAC is a multiplication and an addition: 2 FLOPs."""
        return 2 * self.macs

    @property
    def total(self) -> int:
        return sum(self.trainable.values()) + self.frozen

    def to_dict(self) -> dict[str, Any]:
        """Numbers, lists and dicts only, ready for JSON; memory and latency only when they are there."""
        content = asdict(self) | {
            "flops": self.flops,
            "total": self.total,
            "image_size": list(self.image_size),
        }
        return {name: value for name, value in content.items() if value is not None}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Cost:
        """What `to_dict` gave; further keys are left aside."""
        known = {name: content[name] for name in ("trainable", "frozen", "macs", "tokens")}
        memory, latency = content.get("memory"), content.get("latency")
        return cls(
            **known,
            image_size=tuple(content["image_size"]),
            memory=Memory(**memory) if memory else None,
            latency=Latency(**latency) if latency else None,
            frames=content.get("frames"),
        )

    def rows(self) -> list[tuple[str, str]]:
        """(what, how much) as text, in the order in which it is shown."""
        trained = sum(self.trainable.values())
        parts = ", ".join(f"{role} {n:,}" for role, n in self.trainable.items())
        size = f"{self.image_size[0]}×{self.image_size[1]} pixels"
        subject = f"image of {size}" if self.frames is None else f"clip of {self.frames} frames of {size}"
        rows = [
            (
                "trainable",
                f"{trained:,} parameters ({parts}), {100 * trained / max(self.total, 1):.2f} % of all",
            ),
            ("frozen", f"{self.frozen:,} parameters"),
            ("compute", f"{_giga(self.macs)}MACs = {_giga(self.flops)}FLOPs per {subject}"),
            ("tokens", " → ".join(map(str, self.tokens))),
        ]
        return rows + [
            (name, str(value))
            for name, value in (("memory", self.memory), ("latency", self.latency))
            if value
        ]

    def __str__(self) -> str:
        return "\n".join(f"{name:10}{text}" for name, text in self.rows())

    def _repr_html_(self) -> str:
        left = "style='text-align:left'"
        rows = "".join(
            f"<tr><th {left}>{name}</th><td {left}>{escape(text)}</td></tr>" for name, text in self.rows()
        )
        return f"<table>{rows}</table>"

    def measured(self, memory: Memory | None = None, latency: Latency | None = None) -> Cost:
        """The same cost with measurements attached."""
        return replace(self, memory=memory or self.memory, latency=latency or self.latency)


def cost(model: nn.Module, image_size: int | Sequence[int] | None = None) -> Cost:
    """Costs of an adapted model, or of a plain timm vision transformer, for one image.

    Works from shapes, so ViT-B at 448 pixels takes a fraction of a second and no memory, and nothing in
    ``model`` changes; a model whose path depends on the values of its input is run once on noise instead.
    Raises AdapterError for a model without ``patch_embed`` and ``blocks``, and for an image size that the
    model was not built for.

    Examples:
        >>> counted = al.cost(al.adapt(al.create_backbone(), "adaptformer", num_classes=20))
        >>> counted.trainable["head"], counted.tokens
        (2580, [145])
    """
    size = image_size_of(model, image_size)
    roles = _parameters(model)
    frozen = roles.pop("frozen")
    with torch.no_grad(), evaluating(model), _tokens_seen(model) as tokens:
        try:
            with on_shapes(model) as run:
                macs = count_macs(run, probe_images(model, size))
        except RuntimeError:  # the path depends on values; an error that is the model's own shows again here
            tokens.clear()
            macs = count_macs(model, probe_images(model, size))
    frames = getattr(vit_of(model).patch_embed, "frames", None)
    return Cost(roles, frozen, macs, [n for n, _ in groupby(tokens)], size, frames=frames)


@contextmanager
def _tokens_seen(model: nn.Module) -> Iterator[list[int]]:
    """Yields a list that each block's attention extends by the number of tokens that it reads."""
    seen: list[int] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].shape[1])

    hooks = [getattr(block, "attn", block).register_forward_pre_hook(note) for block in vit_of(model).blocks]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _parameters(model: nn.Module) -> dict[str, int]:
    """Number of parameters by role: adapter, head, backbone, frozen."""
    if isinstance(model, AdaptedViT):
        return {role: sum(p.numel() for _, p in group) for role, group in model.parameter_groups().items()}
    classifier = model.get_classifier()  # type: ignore[operator]  # every timm model has it; a distilled one returns two layers
    heads = classifier if isinstance(classifier, tuple) else (classifier,)
    in_head = {id(p) for head in heads for p in head.parameters()}
    counts = dict.fromkeys(("adapter", "head", "backbone", "frozen"), 0)
    for parameter in model.parameters():
        role = "frozen" if not parameter.requires_grad else "head" if id(parameter) in in_head else "backbone"
        counts[role] += parameter.numel()
    return counts


def _giga(count: int) -> str:
    """1234567890 → "1.23 G"."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} "
