"""What one does with a model once it is trained: merge it, save it, share it. The work itself is in the modules named below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from .engine import AdaptedViT

__all__ = ["FinishedModel"]


class FinishedModel:
    """Base of `AdaptedViT` that holds its verbs."""

    def merge(self) -> AdaptedViT:
        """Fold the adapters into the backbone's own layers, in place; see `merging.merge`."""
        from .merging import merge

        return merge(cast("AdaptedViT", self))

    def unmerge(self) -> AdaptedViT:
        """Put the adapters and the untouched weights back, bit for bit; see `merging.unmerge`."""
        from .merging import unmerge

        return unmerge(cast("AdaptedViT", self))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write what was trained (head included) as safetensors and JSON into `folder`; see `checkpoint.save_pretrained`."""
        from .checkpoint import save_pretrained

        save_pretrained(cast("AdaptedViT", self), folder)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Upload what `save_pretrained` writes and a model card to `user/name` on the Hugging Face hub; see `hub.push_to_hub`."""
        from .hub import push_to_hub

        return push_to_hub(cast("AdaptedViT", self), repo_id, **kwargs)

    @staticmethod
    def from_pretrained(folder: str | Path, **kwargs: Any) -> AdaptedViT:
        """Rebuild a model saved by `save_pretrained`, from its folder or from `user/name` on the hub; see `checkpoint.load_pretrained`."""
        from .checkpoint import load_pretrained

        return load_pretrained(folder, **kwargs)
