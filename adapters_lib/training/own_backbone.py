"""A recipe to begin with on a backbone of one's own choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from ..backbones.clips import EMBEDDED_CLIPS
from ..backbones.images import EMBEDDED
from ..methods import parse_method
from .offline_recipes import REAL_BACKBONE, offline_recipe, rate_of, rates_of
from .recipe import Recipe

__all__ = ["recipe_for"]

LARGER = 0.1
"""A larger backbone's rate as a share of the embedded one's: the median over the nine methods for which both
were chosen on validation images (`offline_recipes.json`, `lr` and `lr_real`); they lie between 0.1 and 1."""

_CLIPS, _PHOTOGRAPHS = "motion-leaves", "elpv"


def recipe_for(backbone: str, methods: str | Sequence[str], **changes: Any) -> Recipe:
    """The recipe that fits this backbone: for the embedded ones `offline_recipe`, whose rates were chosen on
    them; for any other one the rates that were chosen on photographs with CLIP ViT-B/16, or, for a method
    without one, `LARGER` of the embedded backbone's.

    For a backbone that no rate was chosen on it is where to start: try a third and three times the rate on
    validation images.

    Args:
        backbone: its name, as `create_backbone` takes it.
        methods: text form, one or a list.
        changes: other fields of `Recipe`.

    Raises:
        AdapterError: an unknown method, or a field out of its bounds.

    Examples:
        >>> from adapters_lib.training import recipe_for
        >>> recipe_for("vit_base_patch16_224", "lora", epochs=10).lr
        0.001
    """
    name = backbone.partition(".")[0]
    if name in (EMBEDDED, EMBEDDED_CLIPS):
        return offline_recipe(methods, data=_CLIPS if name == EMBEDDED_CLIPS else "leaves-ultra", **changes)
    texts = [methods] if isinstance(methods, str) else list(methods)
    hosts = [text for text in texts if parse_method(text).name != "dyn"] or ["linear"]
    lr = min(map(_start, hosts))
    recipe = offline_recipe(texts, data=_PHOTOGRAPHS, **{"lr": lr, **changes})
    if name == REAL_BACKBONE:
        return recipe
    return Recipe(**{field.name: getattr(recipe, field.name) for field in fields(Recipe)})


def _start(text: str) -> float:
    smaller = float(f"{LARGER * offline_recipe(text).lr:.6g}")
    return rate_of(parse_method(text), rates_of("lr_real"), smaller)
