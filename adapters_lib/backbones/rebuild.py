"""Whether a name and options build the same backbone again: what a saved adapter needs to know."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from ..errors import AdapterError
from ..vit.architecture import describe, differences, options_of
from ..vit.safe_names import is_safe_name
from .create import meta_backbone

__all__ = ["rebuild_options"]


def rebuild_options(
    name: str, kwargs: dict[str, Any], wanted: dict[str, Any], options: dict[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """Keyword arguments with which `create_backbone(name, …)` builds the model that `describe` called
    `wanted`.

    Args:
        kwargs: those that are known to have been given.
        options: `options_of` the model, tried where `kwargs` do not suffice.

    Returns: the arguments, and None; or `kwargs` and the reason why no arguments do.
    """
    if not is_safe_name(name):
        return kwargs, f"{name!r} is no name of timm's models"
    more, lacking = dict(kwargs), ["nothing was built"]
    try:
        # An option that is set may change what is right for another one: pooling and the norm behind it.
        for _ in range(3):
            described, own = _by_name(name, json.dumps(more, sort_keys=True))
            if not (lacking := differences(wanted, described)):
                return more, None
            more |= {
                key: value
                for key, value in options.items()
                if own[key] != value and (key != "img_size" or "image_size" not in more)
            }
    except (AdapterError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        return kwargs, str(error)
    return kwargs, "; ".join(lacking[:3]).replace(" there", " in it").replace(" here", " by name")


@lru_cache(maxsize=64)
def _by_name(name: str, options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """`describe` and `options_of` of what timm builds by a name and options (JSON), without weights."""
    built = meta_backbone(name, **{"weight_init": "skip", **json.loads(options)})
    return describe(built), options_of(built)
