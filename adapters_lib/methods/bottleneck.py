"""The bottleneck that most adapters share: squeeze, bend, stretch."""

from __future__ import annotations

import warnings

from torch import Tensor, nn

from ..errors import AdapterError
from ..sites import Adapter
from ..tokens import Layout

__all__ = ["Bottleneck", "check_bottleneck"]

WIDEST = 16  # times the width of the tokens


class Bottleneck(Adapter):
    """drop(W_up act(W_down h + b) + b'): (B, N, D) → (B, N, D), the delta only.

    Parameters: 2·D·r + r + D. MACs: 2·D·r per token. How it is initialised and where its output goes is the method's affair.
    """

    def __init__(self, width: int, bottleneck: int, act: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.act = act
        self.up = nn.Linear(bottleneck, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, layout: Layout) -> Tensor:
        return self.dropout(self.up(self.act(self.down(h))))  # type: ignore[no-any-return]


def check_bottleneck(name: str, bottleneck: int, width: int, option: str = "bottleneck") -> None:
    """Warn if a bottleneck is wider than the tokens it should squeeze.

    Raises AdapterError for one that is wider than any layer of the model: 16 times the tokens.
    """
    if bottleneck > WIDEST * width:
        raise AdapterError(f"{name}: {option}={bottleneck} for tokens of width {width}; give at most {WIDEST * width}")
    if bottleneck > width:
        warnings.warn(f"{name}: {option} {bottleneck} is wider than the tokens ({width}); it is no bottleneck any more", stacklevel=4)
