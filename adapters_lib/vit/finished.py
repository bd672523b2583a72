"""What one does with a model once it is trained: merge it, save it, share it. The work itself is in the
modules named below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from ..errors import AdapterError

if TYPE_CHECKING:
    from .model import AdaptedViT

__all__ = ["FinishedModel", "check_names"]


def check_names(names: Sequence[str], outputs: int | None = None) -> tuple[str, ...]:
    """The names of classes as a tuple. Raises AdapterError as `FinishedModel.classes` says."""
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


class FinishedModel:
    """Base of `AdaptedViT` that holds its verbs, and what a user of it has to know.

    Attributes:
        trained_on: what `fit` trained on, as JSON values (see `meaning.note_training`); None before.
        trained_images: int64 (K,), which images those were (see `datasets.identity.sketch`); None if that is
            not known.
    """

    trained_on: dict[str, Any] | None = None
    trained_images: Tensor | None = None
    _classes: tuple[str, ...] | None = None

    @property
    def classes(self) -> list[str] | None:
        """Names of the outputs, in their order; None if nobody has said. Given to `adapt`, taken over by
        `fit`, kept by every file.

        Setting it raises AdapterError for another number of names than outputs, a name that is no text, or
        one that stands there twice.
        """
        return None if self._classes is None else list(self._classes)

    @classes.setter
    def classes(self, names: Sequence[str] | None) -> None:
        outputs = cast("AdaptedViT", self).num_classes
        self._classes = None if names is None else check_names(names, outputs)

    def merge(self) -> AdaptedViT:
        """Fold the adapters into the backbone's own layers, in place; see `methods.merge`."""
        from ..methods.merge import merge

        return merge(cast("AdaptedViT", self))

    def unmerge(self) -> AdaptedViT:
        """Put the adapters and the untouched weights back, bit for bit; see `methods.merge`."""
        from ..methods.merge import unmerge

        return unmerge(cast("AdaptedViT", self))

    def save_pretrained(self, folder: str | Path, classes: Sequence[str] | None = None) -> None:
        """Write what was trained (head included) as safetensors and JSON into `folder`; see
        `checkpoint.save_pretrained`."""
        from ..saving.checkpoint import save_pretrained

        save_pretrained(cast("AdaptedViT", self), folder, classes)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Upload what `save_pretrained` writes and a model card to `user/name` on the Hugging Face hub;
        see `saving.push`."""
        from ..saving.push import push_to_hub

        return push_to_hub(cast("AdaptedViT", self), repo_id, **kwargs)

    @staticmethod
    def from_pretrained(folder: str | Path, **kwargs: Any) -> AdaptedViT:
        """Rebuild a model saved by `save_pretrained`, from its folder or from `user/name` on the hub; see
        `checkpoint.load_pretrained`."""
        from ..saving.checkpoint import load_pretrained

        return load_pretrained(folder, **kwargs)
