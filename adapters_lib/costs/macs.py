"""Count multiply-accumulate operations (MACs) from shapes alone.

``torch.utils.flop_counter`` watches every operator that runs. Alone it has blind spots: an operator without a
formula counts as nothing, and which attention operator runs depends on device, data type and version of
torch, so that the same model may cost 17.58 or 16.87 GMACs. Here every fused attention is given the formula
of its definition, and the operators that only some devices use are added, so one model has one number: fused
or not, on CPU, GPU or the meta device.

What is counted, each as the number of scalar multiplications of its definition (1 MAC = 2 FLOPs): matrix
products; convolutions; attention's two products; and the scale and shift of layer norms, one MAC per element
(0.02 % of a ViT-B, without which ViT-Ti/16 would be 0.5 % below its published 1.26 GMACs). What is not: means
and variances, batch norms, activations, softmax, other element-wise operations, look-ups. Masked or causal
attention counts in full. The backward pass of fused attention counts as twice its forward pass (four
products), though some kernels compute the scores once more.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["count_macs", "on_shapes"]

Shape = tuple[int, ...]


def _attention(query: Shape, key: Shape, value: Shape, *_args: Any, **_kwargs: Any) -> int:
    """QKᵀ and AV: (B, H, S, d) × (B, H, d, T), then (B, H, S, T) × (B, H, T, v)."""
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _attention_backward(
    _gradient: Shape, query: Shape, key: Shape, value: Shape, *_args: Any, **_kwargs: Any
) -> int:
    return 2 * _attention(query, key, value)


def _linear(x: Shape, weight: Shape, *_args: Any, **_kwargs: Any) -> int:
    return 2 * prod(x) * weight[0]


def _matrix_vector(matrix: Shape, *_args: Any, **_kwargs: Any) -> int:
    return 2 * prod(matrix)


def _added_matrix_vector(_bias: Shape, matrix: Shape, *_args: Any, **_kwargs: Any) -> int:
    return 2 * prod(matrix)


def _added_matrix_product(_bias: Shape, a: Shape, b: Shape, *_args: Any, **_kwargs: Any) -> int:
    return 2 * prod(a) * b[-1]


def _layer_norm(x: Shape, _normalized: Shape, weight: Shape | None, *_args: Any, **_kwargs: Any) -> int:
    return 2 * prod(x) if weight is not None else 0


def _matrix_product(a: Shape, b: Shape, *_args: Any, **_kwargs: Any) -> int:
    return 2 * prod(a) * b[-1]


# Names, not attributes: an operator that this version of torch does not have is simply left out.
_FORMULAS: dict[str, Callable[..., int]] = {
    "_scaled_dot_product_flash_attention": _attention,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_efficient_attention": _attention,
    "_scaled_dot_product_cudnn_attention": _attention,
    "_scaled_dot_product_fused_attention_overrideable": _attention,
    "_scaled_dot_product_attention_math_for_mps": _attention,
    "_scaled_dot_product_flash_attention_backward": _attention_backward,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    "_scaled_dot_product_efficient_attention_backward": _attention_backward,
    "_scaled_dot_product_cudnn_attention_backward": _attention_backward,
    "_scaled_dot_product_fused_attention_overrideable_backward": _attention_backward,
    "native_layer_norm": _layer_norm,
    "linear": _linear,
    "mv": _matrix_vector,
    "dot": _matrix_vector,
    "vdot": _matrix_vector,
    "addmv": _added_matrix_vector,
    "addmv_": _added_matrix_vector,
    "addmm_": _added_matrix_product,
    "addbmm": _added_matrix_product,
    "addbmm_": _added_matrix_product,
    "baddbmm_": _added_matrix_product,
    "_addmm_activation": _added_matrix_product,
    "_int_mm": _matrix_product,
}


class _WholeCall(nullcontext[None]):
    """In place of the counter's tally per module, whose hooks fail on a view of a parameter that is made
    without gradients."""

    parents = frozenset({"Global"})


def count_macs(fn: Callable[..., object], *args: Any, **kwargs: Any) -> int:
    """MACs of one call ``fn(*args, **kwargs)``, whatever it runs: a module, a step with its backward pass,
    one exit's share.

    ``fn`` really runs, on the tensors given; hand it tensors on the meta device, or a module through
    `on_shapes`, to count without computing. Operations inside ``torch.compile`` are not seen.
    """
    table = {
        getattr(torch.ops.aten, name): formula
        for name, formula in _FORMULAS.items()
        if hasattr(torch.ops.aten, name)
    }
    # nn.MultiheadAttention's fused inference kernel hides its products.
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        counter = FlopCounterMode(display=False, custom_mapping=table)
        counter.mod_tracker = _WholeCall()  # type: ignore[assignment]
        with counter:
            fn(*args, **kwargs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return int(counter.get_total_flops()) // 2


@contextmanager
def on_shapes(model: nn.Module) -> Iterator[Callable[..., Tensor]]:
    """Yields ``model`` as a function that computes shapes only: no arithmetic, no memory, at any image size.

    Inside the context new tensors are stand-ins without data, and the function uses such stand-ins for all
    parameters and buffers, so weights, gradients and batch-norm statistics of ``model`` stay untouched. Code
    that needs values (``.item()``, ``if tensor:``) raises RuntimeError.
    """
    tensors: dict[str, Tensor] = dict(model.named_parameters()) | dict(model.named_buffers())
    if any(tensor.is_meta for tensor in tensors.values()):
        yield model
        return
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        learning = torch.is_grad_enabled()  # without gradients the stand-ins are constants
        stand_ins: dict[str, Tensor] = {
            name: mode.from_tensor(tensor.detach()).requires_grad_(tensor.requires_grad and learning)
            for name, tensor in tensors.items()
        }
        yield partial(torch.func.functional_call, model, stand_ins)
