"""PAdapter: a bottleneck adapter with a learnable prompt inside the bottleneck.

    z = W_d x + b;   y = s · (W_u ReLU([…]) + b_u)

Li, Ye, Wen, Xu, Wang, Liu, "PAdapter: Adapter combined with prompt for image and video classification", Image
and Vision Computing 154 (2025) 105395. The prompts P and Q, one row a token, are joined to the bottleneck's
features along the channels, before the ReLU:

    form      mode `add`              mode `cat`     channels that W_u reads
    x_p       [z, z+P]                [z, P]         2r
    p_x_p     [z+P, z, z+Q]           [P, z, Q]      3r
    p_2x_p    [z₁+P, z, z₂+Q]         [P, z, Q]      4r   (z has 2r channels, z₁ and z₂ are its halves)

In mode `cat` the prompts' share of y does not depend on the image: it is a bias for each position. W_u and
all biases are zero at the start, so the module is exactly the identity (sequential) or zero (parallel).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import AdapterError
from ..vit.layout import Layout
from ..vit.method import Method
from ..vit.sites import Adapter
from .bottleneck import check_bottleneck
from .registry import register

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["FixedPrompts", "PAdapter", "PromptedAdapter"]

_SITE = {
    "p_a_m": "before",
    "a_p_m": "between",
    "a_m_p": "after",
    "p+a_m": "around_attention",
    "a_p+m": "around_mlp",
    "p+b": "around_block",
}
_SEQUENTIAL = ("p_a_m", "a_p_m", "a_m_p")
_PROMPTS = {"x_p": 1, "p_x_p": 2, "p_2x_p": 2}
_UP_INPUTS = {"x_p": 2, "p_x_p": 3, "p_2x_p": 4}


class FixedPrompts(nn.Module):
    """Prompts that stay as they start: buffers, so that they are saved with the adapter; read like a list."""

    def __init__(self, prompts: Iterable[Tensor]) -> None:
        super().__init__()
        for number, prompt in enumerate(prompts):
            self.register_buffer(str(number), prompt)

    def __len__(self) -> int:
        return len(self._buffers)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.buffers())

    def __getitem__(self, number: int) -> Tensor:
        return list(self)[number]


class PromptedAdapter(Adapter):
    """One PAdapter: (B, N, D) → (B, N, D), with its own residual if `sequential`, else the delta only.

    Parameters for x_p: D·r + r + L·r + 2·r·D + D, and 1 for a learnable scale; without the prompt's L·r
    unless it trains.
    """

    def __init__(
        self,
        width: int,
        bottleneck: int,
        tokens: int,
        *,
        form: str = "x_p",
        mode: str = "add",
        scale: float = 1.0,
        learn_scale: bool = True,
        sequential: bool = True,
        train_prompt: bool = True,
    ) -> None:
        super().__init__()
        self.form, self.mode, self.sequential = form, mode, sequential
        self.down = nn.Linear(width, 2 * bottleneck if form == "p_2x_p" else bottleneck)
        prompts = [torch.empty(1, tokens, bottleneck) for _ in range(_PROMPTS[form])]
        self.prompts = nn.ParameterList(prompts) if train_prompt else FixedPrompts(prompts)
        self.bottleneck_dropout: nn.Module = nn.Identity()
        self.up = nn.Linear(_UP_INPUTS[form] * bottleneck, width)
        if learn_scale:
            self.scale: nn.Parameter | float = nn.Parameter(torch.tensor([float(scale)]))
        else:
            self.scale = float(scale)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for tensor in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(tensor)
        for prompt in self.prompts:
            nn.init.xavier_uniform_(prompt)  # ± √(6 / (r·(L + 1)))

    def join(self, z: Tensor) -> Tensor:
        """[…] of the table: (B, N, r or 2r) → (B, N, 2r, 3r or 4r)."""
        prompts = [prompt.expand(z.shape[0], z.shape[1], -1) for prompt in self.prompts]
        if self.mode == "add":
            halves = z.chunk(2, dim=-1) if self.form == "p_2x_p" else (z,) * len(prompts)
            prompts = [half + prompt for half, prompt in zip(halves, prompts, strict=True)]
        parts = [z, *prompts] if self.form == "x_p" else [prompts[0], z, prompts[1]]
        return torch.cat(parts, dim=-1)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        _check_tokens(self.prompts[0].shape[1], x.shape[1])
        u = self.bottleneck_dropout(F.relu(self.join(self.down(x))))
        y = self.up(u) * self.scale
        return x + y if self.sequential else y  # type: ignore[no-any-return]


def _check_tokens(prompts: int, tokens: int) -> None:
    if prompts not in (1, tokens):
        raise AdapterError(
            f"PAdapter: {prompts} prompts but the model has {tokens} tokens; leave num_tokens=None, or share"
            " one prompt with num_tokens=1"
        )


@register
@dataclass(frozen=True, kw_only=True)
class PAdapter(Method):
    """One `PromptedAdapter` a block, on the un-normalised stream.

    Args:
        bottleneck: r.
        form: `x_p`, `p_x_p` or `p_2x_p`.
        mode: `add` or `cat`.
        position: sequential `p_a_m` (before the block), `a_p_m` (between attention and MLP), `a_m_p` (after
            the block); or parallel `p+a_m` (read at the block's input, added after attention), `a_p+m` (read
            after attention, added after the MLP), `p+b` (read at the input, added to the block's output).
        num_tokens: rows of a prompt; None follows the tokens of every block, whatever other methods make of
            them; 1 shares one row among all tokens.
        scale: s.
        learn_scale: whether s trains.
        train_prompt: whether the prompts do; without it they stay as they were drawn at the start, which
            shows what is the prompt's doing and what the wider bottleneck's.
    """

    name: ClassVar[str] = "padapter"
    color: ClassVar[str] = "#CC79A7"
    marker: ClassVar[str] = "*"
    source: ClassVar[str] = "Li et al. 2025, Image and Vision Computing 154, 105395"
    looks_inside: ClassVar[bool] = True

    bottleneck: int = 32
    form: str = "x_p"
    mode: str = "add"
    position: str = "p_a_m"
    num_tokens: int | None = None
    scale: float = 1.0
    learn_scale: bool = True
    train_prompt: bool = True

    def check(self) -> None:
        self.at_least("bottleneck", 1)
        self.one_of("form", tuple(_PROMPTS))
        self.one_of("mode", ("add", "cat"))
        self.one_of("position", tuple(_SITE))
        if self.num_tokens is not None:
            self.at_least("num_tokens", 1)

    def attach(self, model: AdaptedViT) -> None:
        check_bottleneck(self.name, self.bottleneck, model.width)
        layouts = model.block_layouts()
        for layout in layouts:
            _check_tokens(self.num_tokens or layout.tokens, layout.tokens)
        for sites, layout in zip(model.sites, layouts, strict=True):
            module = PromptedAdapter(
                model.width,
                self.bottleneck,
                self.num_tokens or layout.tokens,
                form=self.form,
                mode=self.mode,
                scale=self.scale,
                learn_scale=self.learn_scale,
                sequential=self.position in _SEQUENTIAL,
                train_prompt=self.train_prompt,
            )
            sites.add(_SITE[self.position], module)
