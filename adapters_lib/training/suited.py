"""Say so where a backbone or a recipe is not made for what is trained: drawings for photographs, or rates of
another backbone."""

from __future__ import annotations

import warnings
from typing import Any

from torch.utils.data import Dataset

from ..backbones.clips import EMBEDDED_CLIPS
from ..backbones.images import EMBEDDED
from ..datasets.task import Origin
from ..errors import OptionWarning, outside_level
from .recipe import Recipe

__all__ = ["warn_unsuited"]


def warn_unsuited(model: Any, data: Dataset, recipe: Recipe) -> None:
    """One OptionWarning, at the user's line, where one is due.

    The embedded backbones saw drawings only: warned is who trains a task of photographs
    (`task.synthetic` False) on their weights; of data that no task has made nobody knows. And a recipe of
    `offline_recipe` holds the learning rate that was chosen on one backbone: warned is who trains another.
    """
    name, origin = model.backbone_name.partition(".")[0], getattr(data, "origin", None)
    embedded = name in (EMBEDDED, EMBEDDED_CLIPS) and model.weights.get("source") == "embedded"
    tuned_for = getattr(recipe, "tuned_for", name)
    parts = []
    if embedded and isinstance(origin, Origin) and not origin.synthetic:
        parts.append(
            f"{name} has seen drawings only, and {origin.data} holds photographs: expect little. Take a"
            ' backbone trained on photographs, such as create_backbone("vit_small_patch16_224") or, with a'
            " file of weights, create_backbone(name, weights=…)"
        )
    if tuned_for != name:
        parts.append(
            f"this recipe's learning rate was chosen for {tuned_for}, not for {name}: give al.Recipe(lr=…)"
            " with a rate that you choose on validation images, on a large backbone a tenth to start with"
        )
    if parts:
        warnings.warn("; ".join(parts), OptionWarning, stacklevel=outside_level())
