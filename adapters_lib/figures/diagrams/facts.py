"""What the diagrams ask the library instead of saying it themselves: sizes, places, token counts, costs.

All is asked of a ViT-B/16 at 224 pixels on the meta device, which has shapes and no weights.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ...backbones.create import meta_backbone
from ...methods import METHODS
from ...methods.adapt import adapt
from ...vit.layout import Layout
from ...vit.model import AdaptedViT

__all__ = [
    "BACKBONE",
    "CLASSES",
    "CLIP_FRAMES",
    "adapted",
    "clip_model",
    "layouts",
    "option",
    "sizes",
    "trains_class_token",
]

BACKBONE = "vit_base_patch16_224"
CLASSES = 100
CLIP_FRAMES = 8


@cache
def adapted(name: str) -> AdaptedViT:
    """The backbone adapted by a method with its defaults; early heads stand beside a LoRA."""
    return adapt(meta_backbone(BACKBONE), ["lora", "dyn"] if name == "dyn" else name, CLASSES)


@cache
def clip_model() -> AdaptedViT:
    """The same backbone as a model of clips, with a head to train."""
    return adapt(meta_backbone(BACKBONE, frames=CLIP_FRAMES), "linear", CLASSES)


def option(name: str, key: str) -> Any:
    """The default of a method's option."""
    return getattr(METHODS[name](), key)


def layouts(name: str) -> list[Layout]:
    """What each block's attention sees."""
    return adapted(name).block_layouts()


def sizes(name: str, **more: object) -> str:
    """A line such as "ViT-B/16 at 224 px: L = 12, N = 197, D = 768, r = 8".

    more: further symbols; one that is None is left out.
    """
    model = adapted(name)
    counts = " → ".join(map(str, model.token_counts()))
    known = {"L": model.depth, "N": counts, "D": model.width, **more}
    symbols = ",  ".join(f"${key}$ = {value}" for key, value in known.items() if value is not None)
    return f"ViT-B/16 at {model.image_size} px:  {symbols}"


def trains_class_token(name: str) -> bool:
    """Whether the method trains the class token."""
    token = adapted(name).backbone.cls_token
    return token is not None and bool(token.requires_grad)
