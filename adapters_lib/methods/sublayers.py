"""Dropout on what a frozen sub-layer adds to the stream: x + drop(Attn(LN x)), x + drop(MLP(LN x)).

Some authors train their adapters with it, e.g. Rios et al. 2024 (arXiv:2409.11051). It stands at the block's
sites and not in timm's own modules, so whoever takes the adapters away has the backbone as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from timm.models.vision_transformer import Block
from torch import Tensor, nn

from ..errors import AdapterError
from ..vit.host import plain_kind
from ..vit.layout import Layout

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["SublayerDropout", "drop_sublayers"]


class SublayerDropout(nn.Module):
    """Drops elements of a sub-layer's output (B, N, D) in training. No `Adapter`: it has nothing to train."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(p)

    def forward(self, out: Tensor, layout: Layout) -> Tensor:
        return self.dropout(out)  # type: ignore[no-any-return]


def drop_sublayers(name: str, model: AdaptedViT, p: float) -> None:
    """Put dropout behind attention and MLP of every block; p = 0 puts none. Of two p, the larger one holds.

    Raises:
        AdapterError: the blocks are not timm's `Block`, which alone has these places.
    """
    if not p:
        return
    if odd := {
        plain_kind(block).__name__ for block in model.backbone.blocks if plain_kind(block) is not Block
    }:
        others = ", ".join(sorted(odd))
        raise AdapterError(
            f"{name}: sublayer_dropout={p} needs timm's pre-norm Block, but this model has {others}; choose"
            " sublayer_dropout=0"
        )
    for sites in model.sites:
        for site in ("after_attention", "after_mlp"):
            there = [module for module in sites.modules_at(site) if isinstance(module, SublayerDropout)]
            if there:
                there[0].dropout.p = max(there[0].dropout.p, p)
            else:
                sites.add(site, SublayerDropout(p))
