"""The heads of early exits, and how wide an MLP must be for no later head to outweigh it."""

from __future__ import annotations

from itertools import count

from torch import Tensor, nn

from .layout import Layout

__all__ = ["ExitHead", "head_parameters", "hidden_width"]


class ExitHead(nn.Module):
    """LN → Linear D→C, or LN → Linear D→h → GELU → Linear h→C, on the class token or the mean of the patches.

    The stream (B, N, D) behind a block → logits (B, C). Prompts and registers are not read. Parameters: see
    `head_parameters`. MACs per image: D·C, or D·h + h·C.
    """

    def __init__(self, width: int, num_classes: int, hidden: int | None, token: bool) -> None:
        super().__init__()
        self.token = token
        self.norm = nn.LayerNorm(width)
        linear = nn.Linear(width if hidden is None else hidden, num_classes)
        self.classifier = (
            linear if hidden is None else nn.Sequential(nn.Linear(width, hidden), nn.GELU(), linear)
        )

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        pooled = x[:, 0] if self.token else x[:, layout.lead :].mean(1)  # (B, D)
        return self.classifier(self.norm(pooled))  # type: ignore[no-any-return]


def head_parameters(width: int, num_classes: int, hidden: int | None) -> int:
    """Parameters of an `ExitHead`: 2·D + D·C + C, or 2·D + D·h + h + h·C + C."""
    if hidden is None:
        return 2 * width + (width + 1) * num_classes
    return 2 * width + (width + 1) * hidden + (hidden + 1) * num_classes


def hidden_width(width: int, num_classes: int, heaviest: int = 0, least: int = 64) -> int:
    """The smallest width of a hidden layer, a multiple of 8 from `least` on, that no linear head outweighs.

    heaviest: parameters that the MLP must reach besides those of a linear `ExitHead`, e.g. of the backbone's
    own head.

    Our choice. 64 will do up to 69 classes at D = 768; from there on it is about D·C / (D + C): 160 at 198
    classes, 440 at 1,000, 552 at 1,938. Such an MLP has about the parameters and MACs of a linear head, so
    that two of them at 1,000 classes add 0.01 % to the MACs of a ViT-B and 1.8 % to its parameters.
    """
    wanted = max(head_parameters(width, num_classes, None), heaviest)
    return next(h for h in count(least, 8) if head_parameters(width, num_classes, h) >= wanted)
