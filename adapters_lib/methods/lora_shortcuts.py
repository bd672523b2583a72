"""Two quicker ways to W x + c + s · B A x, equal to rounding, for a plain layer W and no dropout.

With many tokens it pays to make W' = W + s · B A first, which takes a few products for a whole batch, and to
send the tokens through one matrix in place of three. In training, the gradients follow without W' or its
gradient being kept:

    x̄ = W'ᵀ ȳ,   Ā = s · (Bᵀ ȳ) xᵀ,   B̄ = s · ȳ (A x)ᵀ

so the frozen layer's backward pass costs what it costs without LoRA, and each update meets only the outputs
that it changes.
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

    Not while a graph is traced (its batch may have any size), nor if somebody listens to the plain layer.
    With gradients neither under autocast, which wants to choose the types itself, nor if W trains as well,
    nor in half precision, where W' would round a small update away.
    """
    base: Any = layer.base
    if torch.compiler.is_compiling() or x.numel() <= layer.tokens_to_fold * layer.in_features:
        return False
    if type(base) is not nn.Linear or base._forward_hooks or base._forward_pre_hooks:
        return False
    if base.weight.dtype != layer.lora_a.dtype:
        return False
    if not torch.is_grad_enabled():
        return True
    if base.weight.requires_grad or base._backward_hooks or torch.is_autocast_enabled(x.device.type):
        return False
    return x.dtype == base.weight.dtype and x.dtype.itemsize >= 4


def may_write_in_place(layer: LoRALinear) -> bool:
    """Whether what the base layer gives belongs to nobody else: no gradients, and no graph being traced."""
    return not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def folded_linear(layer: LoRALinear, x: Tensor) -> Tensor:
    """W' x + c: (…, in) → (…, out), with gradients for x, A, B and c."""
    base: Any = layer.base
    update = (layer.lora_a, layer.lora_b, layer.scale, layer.updated)
    if torch.is_grad_enabled():
        out: Tensor = _Folded.apply(x, base.weight, base.bias, *update)  # type: ignore[no-untyped-call]
        return out
    return F.linear(x, _fold(base.weight, *update), base.bias)


def add_in_place(layer: LoRALinear, x: Tensor) -> Tensor:
    """W x + c, then the updates written onto the outputs they change: (…, in) → (…, out), no gradients."""
    out: Tensor = layer.base(x)
    low = F.linear(x, layer.lora_a.flatten(0, 1)).view(-1, layer.rank * len(layer.updated))
    columns, thin = out.view(-1, out.shape[-1]).chunk(layer.slices, 1), low.chunk(len(layer.updated), 1)
    for slot, z, b in zip(layer.updated, thin, layer.lora_b.to(out.dtype).unbind(), strict=True):
        columns[slot].addmm_(z, b.t(), alpha=layer.scale)
    return out


def _fold(weight: Tensor, a: Tensor, b: Tensor, scale: float, updated: tuple[int, ...]) -> Tensor:
    """W' (out, in), made anew for every batch, so that the batch itself costs what the bare layer costs."""
    weight, size = weight.clone(), b.shape[1]
    for slot, a_i, b_i in zip(updated, a.unbind(), b.unbind(), strict=True):
        weight[slot * size : (slot + 1) * size].addmm_(b_i, a_i, alpha=scale)
    return weight


class _Folded(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(  # type: ignore[override]
        x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, updated: Any
    ) -> Tensor:
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
        # Both products with the long side last, which BLAS does up to three times as fast.
        thin = torch.cat([b_i.t() @ part.t() for b_i, part in zip(b.unbind(), parts, strict=True)])  # Bᵀ ȳ
        grad_a = (thin @ tokens).view_as(a) * ctx.scale
        grad_b = torch.stack([(z.t() @ part).t() for z, part in zip(low.unbind(1), parts, strict=True)])
        return grad_x, None, grad_bias, grad_a, grad_b, None, None
