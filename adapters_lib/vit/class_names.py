"""Names of the outputs: one text for each, told apart."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import AdapterError

__all__ = ["check_names"]


def check_names(names: Sequence[str], outputs: int | None = None) -> tuple[str, ...]:
    """The names of classes as a tuple. Raises AdapterError as `AdaptedViT.classes` says."""
    if (
        isinstance(names, str)
        or not isinstance(names, Sequence)
        or not all(isinstance(name, str) for name in names)
    ):
        raise AdapterError(
            f"classes={names!r}; give a list of texts, one for each output, such as task.classes"
        )
    if outputs is not None and len(names) != outputs:
        raise AdapterError(f"{len(names)} class names for {outputs} outputs; give one name for each output")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise AdapterError(
                f"the class name {name!r} stands there twice; names have to tell the outputs apart"
            )
        seen.add(name)
    return tuple(names)
