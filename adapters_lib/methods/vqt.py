"""VQT: tokens that only ask. Query prompts read every block's attention; what they learn goes to the head.

    q = Q(LN P),  K, V of the block's own tokens only;  p = P + Attn(q, K, V);  p ← p + MLP(LN p);
    head([x_cls, p_1, …, p_L])

Tu, Mai, Chao, "Visual Query Tuning: Towards Effective Usage of Intermediate Representations for Parameter and
Memory Efficient Transfer Learning", CVPR 2023, arXiv:2212.03220. No other token sees the prompts, so the
frozen stream needs no gradients. Prompts start as VPT's; every part of the head's input, flattened to a
vector, has length one (F.normalize). Site adapters of other methods change what the prompts read, but do not
act on the prompts themselves; adapters inside linear layers do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from timm.layers import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import AdapterError
from ..vit.heads import make_head
from ..vit.method import Method
from ..vit.sites import AttentionReader, first_outputs
from .registry import register
from .vpt import prompt_bound

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["VQT", "QueryHead", "QueryPrompts"]


class QueryPrompts(AttentionReader):
    """T query-only prompts for one block; their outputs (B, T, D) wait for the head. Parameters: T·D.

    `hear` is a forward hook on the block's qkv layer. MACs: of the prompts' qkv only the third that makes
    queries.
    """

    def __init__(self, count: int, width: int, bound: float, dropout: float) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.empty(1, count, width).uniform_(-bound, bound))
        self.dropout = nn.Dropout(dropout)
        self._heard: list[Tensor] = []
        self._answers: list[Tensor] = []

    def hear(self, _qkv: nn.Module, _inputs: Any, out: Tensor) -> None:
        """Keep what the block's qkv layer gave, (B, N, 3·A)."""
        self._heard = [out]

    def read(self, block: Any, h: Tensor) -> Tensor:
        """The block's attention on h (B, N, D), untouched; the prompts overhear its keys and values."""
        out: Tensor = block.attn(h)
        self._answers = [self._ask(block, self._heard.pop())]
        return out

    def _ask(self, block: Any, qkv: Tensor) -> Tensor:
        """Run the prompts through the block with the keys and values in qkv (B, N, 3·A): (B, T, D)."""
        attn = block.attn
        batch, tokens, _ = qkv.shape
        # (B, heads, N, d) each.
        _, k, v = qkv.reshape(batch, tokens, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
        p = self._dropped_out(batch)  # (1 or B, T, D)
        # Nobody reads the prompts' own keys and values, so they are not made.
        q = first_outputs(attn.qkv, block.norm1(p), qkv.shape[-1] // 3)
        q = attn.q_norm(q.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2))  # (1 or B, heads, T, d)
        drop = attn.attn_drop.p if attn.training else 0.0
        seen = F.scaled_dot_product_attention(q.expand(batch, -1, -1, -1), attn.k_norm(k), v, dropout_p=drop)
        seen = seen.transpose(1, 2).flatten(2)  # (B, T, A)
        seen = attn.norm(seen) if hasattr(attn, "norm") else seen
        p = p + block.drop_path1(block.ls1(attn.proj_drop(attn.proj(seen))))
        return p + block.drop_path2(block.ls2(block.mlp(block.norm2(p))))  # type: ignore[no-any-return]

    def _dropped_out(self, batch: int) -> Tensor:
        """The prompts: (1, T, D) for all images alike, (B, T, D) if each image has a mask of its own."""
        if self.training and self.dropout.p > 0:
            return self.dropout(self.prompts.expand(batch, -1, -1))  # type: ignore[no-any-return]
        return self.prompts

    def take(self) -> Tensor:
        """Hand over the outputs of the last pass, (B, T·D), and keep nothing.

        Raises:
            AdapterError: the block has not run since the last call.
        """
        if not self._answers:
            raise AdapterError("vqt: the head was called, but the blocks were not; call the whole model")
        return self._answers.pop().flatten(1)


class QueryHead(nn.Module):
    """A classifier on the pooled token (B, D) and all answers of query prompts: (B, D + L·T·D) → logits."""

    def __init__(self, readers: list[QueryPrompts], classifier: nn.Module, normalise: bool) -> None:
        super().__init__()
        self.classifier = classifier
        self.normalise = normalise
        self._readers = tuple(readers)  # a tuple, so that their parameters are not counted twice

    def forward(self, x: Tensor) -> Tensor:
        parts = [x, *(reader.take() for reader in self._readers)]
        if self.normalise:
            parts = [F.normalize(part, dim=1) for part in parts]
        return self.classifier(torch.cat(parts, dim=1))  # type: ignore[no-any-return]


@register
@dataclass(frozen=True, kw_only=True)
class VQT(Method):
    """Query prompts in every block and a head on all that they collect.

    The head's own weights for the pooled token are kept, those for the prompts are new.

    Args:
        prompts: T; 1 in the authors' VTAB runs.
        dropout: on the prompts, with a mask for every image.
        normalise: give every part of the head's input length one.
        class_token: whether the class token trains, as in the ILA paper's comparison.
    """

    name: ClassVar[str] = "vqt"
    color: ClassVar[str] = "#332288"
    marker: ClassVar[str] = "X"
    source: ClassVar[str] = "Tu et al. 2023, arXiv:2212.03220"
    looks_inside: ClassVar[bool] = True

    prompts: int = 1
    dropout: float = 0.1
    normalise: bool = True
    class_token: bool = False

    @property
    def turn(self) -> int:
        return 3  # behind all that wraps the qkv layer, whose outermost output it hears

    def check(self) -> None:
        self.at_least("prompts", 1)
        self.at_most("prompts", 4096)  # more tokens than any image here has
        self.fraction("dropout")

    def conflicts(self, other: Method) -> str | None:
        if other.name == "dyn":
            return (
                "vqt's head reads what every block answered, so no image can leave early; choose another host"
            )
        return super().conflicts(other)

    def attach(self, model: AdaptedViT) -> None:
        vit = model.backbone
        if len(model.head_modules()) > 1:
            raise AdapterError(
                "vqt: this distilled backbone has two classifiers; use one with a single classifier"
            )
        for block in vit.blocks:
            if type(block.attn) is not Attention or getattr(block.attn, "gate", None) is not None:
                raise AdapterError(
                    "vqt reads timm's plain Attention, which this backbone does not have; use a plain ViT"
                )
        readers = []
        for block, sites in zip(vit.blocks, model.sites, strict=True):
            reader = QueryPrompts(self.prompts, model.width, prompt_bound(model), self.dropout)
            sites.add_reader(reader)
            attention: Any = block.attn
            attention.qkv.register_forward_hook(reader.hear)
            readers.append(reader)
        vit.head = self._head(model, readers)  # type: ignore[assignment]
        if self.class_token:
            model.unfreeze_class_token()

    def _head(self, model: AdaptedViT, readers: list[QueryPrompts]) -> QueryHead:
        (old,) = model.head_modules()
        features = model.width * (1 + len(readers) * self.prompts)
        classifier = make_head(model.head_kind, features, model.num_classes)
        before = old if isinstance(old, nn.Linear) else old[-1]  # type: ignore[index]
        after = classifier if isinstance(classifier, nn.Linear) else classifier[-1]  # type: ignore[index]
        with torch.no_grad():
            after.weight[:, : model.width].copy_(before.weight)
            if before.bias is not None:
                after.bias.copy_(before.bias)
        return QueryHead(readers, classifier.to(before.weight.dtype), self.normalise).train(old.training)
