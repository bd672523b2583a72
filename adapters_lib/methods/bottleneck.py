"""The bottleneck that most adapters share: squeeze, bend, stretch."""

from __future__ import annotations

import warnings

from torch import Tensor, nn

from ..errors import AdapterError
from ..vit.layout import Layout
from ..vit.sites import Adapter

__all__ = ["STARTS", "Bottleneck", "check_bottleneck", "start_at_zero_"]

STARTS = ("published", "zero")
"""Values of the option `start`: the paper's own, or an up-projection of zeros, which adds nothing."""

WIDEST = 16  # times the width of the tokens


class Bottleneck(Adapter):
    """drop(W_up drop_inside(act(W_down h + b)) + b'): (B, N, D) → (B, N, D), the delta only.

    Parameters: 2·D·r + r + D. MACs: 2·D·r per token. How it is initialised and where its output goes is the
    method's affair.

    dropout: on the output. inside: in the slot `bottleneck_dropout`.
    """

    def __init__(
        self, width: int, bottleneck: int, act: nn.Module, dropout: float = 0.0, inside: float = 0.0
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.act = act
        self.bottleneck_dropout: nn.Module = nn.Dropout(inside) if inside else nn.Identity()
        self.up = nn.Linear(bottleneck, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, layout: Layout) -> Tensor:
        return self.stretch(self.act(self.down(h)))

    def stretch(self, u: Tensor) -> Tensor:
        """The bottleneck's features (B, N, r), behind the activation → (B, N, D), with both dropouts."""
        return self.dropout(self.up(self.bottleneck_dropout(u)))  # type: ignore[no-any-return]


def start_at_zero_(up: nn.Linear) -> None:
    """Set weight and bias of an up-projection to zero: the branch that ends in it adds nothing at first."""
    nn.init.zeros_(up.weight)
    nn.init.zeros_(up.bias)


def check_bottleneck(name: str, bottleneck: int, width: int, option: str = "bottleneck") -> None:
    """Warn if a bottleneck is wider than the tokens it should squeeze.

    Raises AdapterError for one that is wider than any layer of the model: 16 times the tokens.
    """
    if bottleneck > WIDEST * width:
        raise AdapterError(
            f"{name}: {option}={bottleneck} for tokens of width {width}; give at most {WIDEST * width}"
        )
    if bottleneck > width:
        rule = (
            f"{name}: {option} {bottleneck} is wider than the tokens ({width}); it is no bottleneck any more"
        )
        warnings.warn(rule, stacklevel=4)
