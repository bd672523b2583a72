"""What leaving costs: MACs up to each exit, every head on the way included; and the heads' parameters,
apart from adapters."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..costs.macs import count_macs, on_shapes
from ..errors import AdapterError
from ..vit.exits import exit_blocks, exit_logits
from ..vit.inputs import image_size_of, probe_images
from ..vit.modes import evaluating

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["ExitCosts", "check_exits", "exit_costs"]


@dataclass(frozen=True)
class ExitCosts:
    """Costs of one image by exit, in the order of depth.

    blocks: where the exits stand. macs: cumulative, the trunk up to the exit and every head on the way.
    alone: the trunk and this exit's head only, which is what a network of fixed depth costs. full: MACs of
    `model(x)`, the full depth without early heads. head_parameters: of every exit's head; the last is the
    backbone's classifier.
    """

    blocks: tuple[int, ...]
    macs: tuple[int, ...]
    alone: tuple[int, ...]
    full: int
    head_parameters: tuple[int, ...]

    def expected(self, shares: Sequence[float]) -> float:
        """Mean MACs of an image when the share `shares[k]` of them leaves at exit k: Σ_k share_k · F_k."""
        return float(sum(share * macs for share, macs in zip(shares, self.macs, strict=True)))

    @property
    def reachable(self) -> tuple[float, float]:
        """The least and the largest expected cost, as fractions of `full`."""
        return self.macs[0] / self.full, self.macs[-1] / self.full

    def to_dict(self) -> dict[str, Any]:
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ExitCosts:
        """What `to_dict` gave."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        return cls(**fields)


class _UpTo(nn.Module):
    """The model up to one exit, with or without the heads on the way, as a module of its own, so that its
    shapes can be run."""

    def __init__(self, model: AdaptedViT, block: int, heads: bool) -> None:
        super().__init__()
        self.model, self.block, self.heads = model, block, heads

    def forward(self, images: Tensor) -> Tensor:
        x, layout = self.model.embed(images)
        blocks = exit_blocks(self.model)
        for block in range(1, self.block + 1):
            x, layout = self.model.run_block(block - 1, x, layout)
            if self.heads and block in blocks and block < self.block:
                exit_logits(self.model, block, x, layout)
        return exit_logits(self.model, self.block, x, layout)


_known: weakref.WeakKeyDictionary[nn.Module, dict[Any, ExitCosts]] = weakref.WeakKeyDictionary()


def exit_costs(model: AdaptedViT, image_size: int | Sequence[int] | None = None) -> ExitCosts:
    """Count from shapes, for one image in evaluation mode; remembered until modules are added or replaced.

    Raises:
        AdapterError: the model has no early exits, or was not built for this image size.
    """
    check_exits(model)
    size = image_size_of(model, image_size)
    key = (size, model.merged, *map(id, model.modules()))
    mine = _known.setdefault(model, {})
    if key not in mine:
        mine.clear()
        mine[key] = _count(model, size)
    return mine[key]


def check_exits(model: AdaptedViT) -> None:
    """Raise an AdapterError unless the model has an exit in front of its last block."""
    if not len(model.exits):
        raise AdapterError(
            "this model has no early exits; adapt the backbone with al.DynExits() in the list, e.g."
            " [al.LoRA(), al.DynExits()]"
        )


def _count(model: AdaptedViT, size: tuple[int, int]) -> ExitCosts:
    blocks = exit_blocks(model)

    def macs(module: nn.Module) -> int:
        with on_shapes(module) as run:
            return count_macs(run, probe_images(model, size))

    with torch.no_grad(), evaluating(model):
        cumulative = tuple(macs(_UpTo(model, block, heads=True)) for block in blocks)
        alone = tuple(macs(_UpTo(model, block, heads=False)) for block in blocks)
    heads = [model.exits[str(block)].parameters() for block in blocks[:-1]]
    heads.append(p for module in model.head_modules() for p in module.parameters())
    return ExitCosts(
        blocks, cumulative, alone, alone[-1], tuple(sum(p.numel() for p in head) for head in heads)
    )
