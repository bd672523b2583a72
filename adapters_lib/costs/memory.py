"""Peak memory of a computation, in bytes.

On a GPU the allocator keeps the number. On a CPU nobody does, and the process's resident size depends on
everything else in it; so there we watch every operator and add up the storages that it allocates, until they
are freed. That count is exact, repeatable and the same on every machine, and it works on tensors without
data, so the peak of a ViT-B at batch 64 is known in a second on a laptop. It leaves out what kernels allocate
for themselves for the time of one call, and the allocator's rounding.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ..vit.inputs import image_size_of, probe_images
from ..vit.modes import evaluating
from .macs import on_shapes

__all__ = ["Memory", "memory_use", "peak_memory"]


class _LiveBytes(TorchDispatchMode):
    """Bytes of the storages allocated since the start that are still alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {x.untyped_storage()._cdata for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **kwargs)
        for x in tree_iter(out):
            # A view or an in-place result allocates nothing.
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in given:
                self._add(x.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self.alive:
            return
        self.alive[key] = storage.nbytes()
        self.now += self.alive[key]
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self.alive.pop(key, 0)


def peak_memory(fn: Callable[..., object], *args: Any, **kwargs: Any) -> int:
    """Most bytes that ``fn(*args, **kwargs)`` holds at once, on top of what was allocated before the call
    (weights, inputs).

    With a tensor or module on a GPU among ``fn`` and its arguments: the allocator's own peak. Otherwise:
    storages alive, as above.
    """
    device = _cuda_device(fn, args, kwargs)
    if device is None:
        with _LiveBytes() as tracker:
            fn(*args, **kwargs)
        return tracker.peak
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    fn(*args, **kwargs)
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


@dataclass(frozen=True)
class Memory:
    """Bytes at a given batch size: ``weights`` alone; at the peak of ``inference``; at the peak of a
    ``training`` step.

    The two peaks include the weights and the images. ``training`` includes gradients and ``optimizer`` (its
    state, also given apart).
    """

    weights: int
    inference: int
    training: int
    optimizer: int
    batch: int

    def to_dict(self) -> dict[str, int]:
        return asdict(self)

    def __str__(self) -> str:
        weights, inference, training = (
            f"{n / 2**20:,.1f} MiB" for n in (self.weights, self.inference, self.training)
        )
        return f"weights {weights}, inference {inference}, training step {training} (batch {self.batch})"


def memory_use(
    model: nn.Module, batch: int = 8, image_size: int | Sequence[int] | None = None, optimizer_states: int = 2
) -> Memory:
    """Peak memory of ``model`` at inference and in a training step, worked out from shapes: nothing is
    computed or allocated.

    ``optimizer_states``: tensors that the optimiser keeps per trainable parameter: 2 for AdamW, 1 for SGD
    with momentum. In the parameters' own data type, without mixed precision. Raises AdapterError for an
    impossible image size or batch.
    """
    size = image_size_of(model, image_size)
    weights = sum(t.untyped_storage().nbytes() for t in {*model.parameters(), *model.buffers()})
    state = optimizer_states * sum(
        p.numel() * p.element_size() for p in model.parameters() if p.requires_grad
    )

    def infer(run: Callable[..., Tensor]) -> None:
        with torch.no_grad():
            run(probe_images(model, size, batch))

    def step(run: Callable[..., None]) -> None:
        run(probe_images(model, size, batch))

    with evaluating(model):
        with on_shapes(model) as run:
            inference = peak_memory(infer, run)
        model.train()
        with on_shapes(_Step(model)) as run:
            training = peak_memory(step, run)
    return Memory(weights, weights + inference, weights + training + state, state, batch)


class _Step(nn.Module):
    """Forward and backward in one call, because blocks that are recomputed must find the stand-ins in the
    backward pass as well."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> None:
        logits = self.model(images)
        if logits.requires_grad:
            F.cross_entropy(
                logits, torch.zeros(len(images), dtype=torch.long, device=logits.device)
            ).backward()


def _cuda_device(*nested: Any) -> torch.device | None:
    for x in tree_iter(nested):
        tensors = [x] if isinstance(x, Tensor) else x.parameters() if isinstance(x, nn.Module) else []
        for tensor in tensors:
            if tensor.device.type == "cuda":
                return tensor.device
    return None
