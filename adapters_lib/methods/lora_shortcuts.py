"""Two quicker ways to W x + c + s · B A x, equal to rounding, for a plain layer W and no dropout.

With many tokens it pays to make W' = W + s · B A first, which takes a few products for a whole batch, and to send the tokens through
one matrix in place of three. In training, the gradients follow without W' or its gradient being kept:

    x̄ = W'ᵀ ȳ,   Ā = s · (Bᵀ ȳ) xᵀ,   B̄ = s · ȳ (A x)ᵀ

so the frozen layer's backward pass costs what it costs without LoRA, and each update meets only the outputs that it changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from .lora import LoRALinear

__all__ = ["add_in_place", "folded_linear", "may_fold", "may_write_in_place"]


def may_fold(layer: LoRALinear, x: Tensor) -> bool:
    """Whether making W' pays for the tokens x (…, in), and gives the same.

    Not while a graph is traced (its batch may have any size), nor if somebody listens to the plain layer. With gradients neither under
    autocast, which wants to choose the types itself, nor if W trains as well, nor in half precision, where W' would round a small
    update away.
    """
    base: Any = layer.base
    if type(base) is not nn.Linear or torch.compiler.is_compiling() or x.numel() <= layer.tokens_to_fold * layer.in_features:
        return False
    if base._forward_hooks or base._forward_pre_hooks or base._backward_hooks or base.weight.dtype != layer.lora_a.dtype:
        return False
    if not torch.is_grad_enabled():
        return True
    return not base.weight.requires_grad and x.dtype == base.weight.dtype and x.dtype.itemsize >= 4 and not _casts(x)


def _casts(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)


def may_write_in_place(layer: LoRALinear) -> bool:
    """Whether what the base layer gives belongs to nobody else: no gradients, and no graph that is being traced."""
    return not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def folded_linear(layer: LoRALinear, x: Tensor) -> Tensor:
    """W' x + c: (…, in) → (…, out), with gradients for x, A, B and c."""
    base: Any = layer.base
    if torch.is_grad_enabled():
        return _Folded.apply(x, base.weight, base.bias, layer.lora_a, layer.lora_b, layer.scale, layer.updated)  # type: ignore[no-any-return, no-untyped-call]
    return F.linear(x, _fold(base.weight, layer.lora_a, layer.lora_b, layer.scale, layer.updated), base.bias)


def add_in_place(layer: LoRALinear, x: Tensor) -> Tensor:
    """W x + c, and then the updates written onto the outputs that they change: (…, in) → (…, out), without gradients."""
    out: Tensor = layer.base(x)
    low = F.linear(x, layer.lora_a.flatten(0, 1)).view(-1, layer.rank * len(layer.updated))
    columns, thin = out.view(-1, out.shape[-1]).chunk(layer.slices, 1), low.chunk(len(layer.updated), 1)
    for slot, z, b in zip(layer.updated, thin, layer.lora_b.to(out.dtype).unbind(), strict=True):
        columns[slot].addmm_(z, b.t(), alpha=layer.scale)
    return out


def _fold(weight: Tensor, a: Tensor, b: Tensor, scale: float, updated: tuple[int, ...]) -> Tensor:
    """W' (out, in)."""
    weight, size = weight.clone(), b.shape[1]  # made anew for this batch, so that the batch itself costs what the bare layer costs
    for slot, a_i, b_i in zip(updated, a.unbind(), b.unbind(), strict=True):
        weight[slot * size : (slot + 1) * size].addmm_(b_i, a_i, alpha=scale)
    return weight


class _Folded(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, updated: Any) -> Tensor:
        return F.linear(x, _fold(weight, a, b, scale, updated), bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        x, weight, _, a, b, ctx.scale, ctx.updated = inputs
        ctx.save_for_backward(x, weight, a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        x, weight, a, b = ctx.saved_tensors
        count, size, rank = b.shape
        rows, tokens = grad.flatten(0, -2), x.flatten(0, -2)  # (T, out), (T, in)
        low = F.linear(tokens, a.flatten(0, 1) * ctx.scale).unflatten(1, (count, rank))  # s · A x
        parts = [rows[:, slot * size : (slot + 1) * size] for slot in ctx.updated]
        grad_x = grad @ _fold(weight, a, b, ctx.scale, ctx.updated) if ctx.needs_input_grad[0] else None
        grad_bias = rows.sum(0) if ctx.needs_input_grad[2] else None
        # Both with the long side last, which BLAS likes best.
        thin = torch.cat([b_i.t() @ part.t() for part, b_i in zip(parts, b.unbind(), strict=True)])  # Bᵀ ȳ, (count · r, T)
        grad_a = (thin @ tokens).view_as(a) * ctx.scale
        grad_b = torch.stack([(low_i.t() @ part).t() for part, low_i in zip(parts, low.unbind(1), strict=True)])
        return grad_x, None, grad_bias, grad_a, grad_b, None, None
