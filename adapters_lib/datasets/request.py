"""What `load_data` asks of every data set, beside the set's own options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """How a set is wanted, already checked by `load_data`.

    name: a key of `DATA_SETS`. config: timm's data config of the model, with input_size (3, H, W), mean, std,
    interpolation and crop. seed: of what is drawn, or of a split that is not official. root: folder of the
    files, None for the set's own place. augment: views of training images, None for none. download: let
    torchvision fetch the set.
    """

    name: str
    config: dict[str, Any]
    seed: int = 0
    root: Path | None = None
    augment: str | None = None
    download: bool = False

    def folder(self, default: Path) -> Path:
        """`root`, or the set's own place."""
        return self.root if self.root is not None else default
