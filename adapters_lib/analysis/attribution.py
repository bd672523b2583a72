"""Attributions: which pixels or tokens made the model say what it said. Captum does the sums; memory stays
bounded.

    integrated gradients   a = (x − x̄) ∫₀¹ ∂f_c/∂x (x̄ + α (x − x̄)) dα,    Σ a = f_c(x) − f_c(x̄)
    occlusion              a = f_c(x) − f_c(x with a window greyed out)

Sundararajan et al. 2017 (arXiv:1703.01365); Zeiler and Fergus 2014. Everything takes a function from images
to logits, so the model, one of its early exits (`exit_forward`) or any other classifier can be asked. Images
are normalised as for the model; a baseline of 0 is then the data's mean color.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from captum.attr import IntegratedGradients, Occlusion
from torch import Tensor, nn

from ..errors import AdapterError
from ..vit.exits import exit_blocks, exit_logits
from ..vit.layout import Layout
from ..vit.modes import evaluating
from .attention import check_blocks, walker

__all__ = [
    "Attribution",
    "Forward",
    "TokenAttribution",
    "exit_forward",
    "integrated_gradients",
    "occlusion",
    "token_attributions",
]

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Attribution:
    """values: (B, C, H, W), in units of the logit. delta: (B,), Σ values − (f(x) − f(baseline)); its size
    is the error of the integral."""

    values: Tensor
    delta: Tensor

    @property
    def pixels(self) -> Tensor:
        """Summed over the color channels: (B, H, W)."""
        return self.values.sum(1)


@dataclass(frozen=True)
class TokenAttribution:
    """values: (B, tokens), summed over the width. delta: (B,) as for `Attribution`. layout: where the
    tokens stand."""

    values: Tensor
    delta: Tensor
    layout: Layout

    @property
    def patches(self) -> Tensor:
        """The patches' part: (B, rows, columns), or (B, slices, rows, columns) of clips."""
        return self.values[:, self.layout.lead :].unflatten(1, self.layout.shape)


def exit_forward(model: nn.Module, exit_block: int) -> Forward:
    """The function from images to the logits of the exit behind block `exit_block`; no deeper block is run.

    Raises:
        AdapterError: there is no exit behind that block.
    """
    walk = walker(model)
    _check_exit(walk.depth, exit_blocks(walk), exit_block)

    def forward(images: Tensor) -> Tensor:
        with evaluating(walk):
            x, layout = walk.embed(images)
            for index in range(exit_block):
                x, layout = walk.run_block(index, x, layout)
            return exit_logits(walk, exit_block, x, layout)

    return forward


def integrated_gradients(
    forward: Forward,
    images: Tensor,
    target: int | Tensor,
    *,
    baseline: float | Tensor = 0.0,
    steps: int = 32,
    internal_batch_size: int = 32,
) -> Attribution:
    """Integrated gradients of the target's logit with respect to the pixels, by Gauss–Legendre quadrature.

    Args:
        forward: (B, C, H, W) → (B, classes); a module is asked in evaluation mode.
        target: a class for all images, or one each, (B,).
        baseline: the image without information: a number, or a tensor that broadcasts to the images.
        steps: points of the integral; look at `delta` to see whether they are enough.
        internal_batch_size: images in memory at a time, whatever B and `steps` are.

    Raises:
        AdapterError: no image, a target that is not a class, steps or internal_batch_size below 1.

    Examples:
        >>> model = al.adapt(al.create_backbone(), "lora", num_classes=20).eval()
        >>> heat = al.integrated_gradients(model, torch.rand(1, 3, 96, 96), target=1, steps=4)
        >>> heat.pixels.shape
        torch.Size([1, 96, 96])
    """
    at_least_one(steps=steps, internal_batch_size=internal_batch_size)
    targets, grounds = prepare(forward, images, target, baseline)
    with asking(forward):
        values, deltas = _integrate(forward, images, grounds, targets, steps, internal_batch_size)
    return Attribution(values, deltas)


def token_attributions(
    model: nn.Module,
    images: Tensor,
    target: int | Tensor,
    block: int,
    *,
    exit_block: int | None = None,
    baseline: float | Tensor = 0.0,
    steps: int = 32,
    internal_batch_size: int = 32,
) -> TokenAttribution:
    """Integrated gradients with respect to the tokens behind `block` (0: the embedding), from those of the
    baseline image.

    For a timm ViT it equals captum's `LayerIntegratedGradients` on that block; it also works where a method
    takes blocks apart or changes the number of tokens. exit_block: explain the logits of this early exit
    instead of the last. Other arguments as `integrated_gradients`.

    Raises:
        AdapterError: a block or an exit that does not exist, an exit in front of the block, query prompts
            (VQT), which bypass it.
    """
    at_least_one(steps=steps, internal_batch_size=internal_batch_size)
    walk = walker(model)
    last = walk.depth if exit_block is None else exit_block
    _check_exit(walk.depth, exit_blocks(walk), last)
    check_blocks([block], last, first=0)
    if block > 0 and any(sites.reader is not None for sites in walk.sites):
        raise AdapterError(
            "query prompts carry information past the blocks, so tokens in between do not explain the logits;"
            " use block=0"
        )
    targets, grounds = prepare(walk, images, target, baseline)
    layouts: list[Layout] = []

    def to_tokens(some: Tensor) -> Tensor:
        x, layout = walk.embed(some)
        for index in range(block):
            x, layout = walk.run_block(index, x, layout)
        layouts.append(layout)
        return x

    def from_tokens(x: Tensor) -> Tensor:
        layout = layouts[0]
        for index in range(block, last):
            x, layout = walk.run_block(index, x, layout)
        return exit_logits(walk, last, x, layout)

    with evaluating(walk), torch.no_grad():
        parts = images.split(internal_batch_size), grounds.split(internal_batch_size)
        tokens, blank = (torch.cat([to_tokens(some) for some in part]) for part in parts)
    with evaluating(walk):
        values, deltas = _integrate(from_tokens, tokens, blank, targets, steps, internal_batch_size)
    return TokenAttribution(values.sum(-1), deltas, layouts[0])


def occlusion(
    forward: Forward,
    images: Tensor,
    target: int | Tensor,
    *,
    window: int = 8,
    stride: int | None = None,
    baseline: float | Tensor = 0.0,
    internal_batch_size: int = 32,
) -> Tensor:
    """How much the target's logit falls when a square is replaced by the baseline: (B, H, W), the mean over
    the squares on a pixel.

    window: side of the square in pixels. stride: its step; None is `window`, so that squares do not overlap.
    Others as `integrated_gradients`.

    Raises:
        AdapterError: as there; a window larger than the image, a stride below 1 or larger than the window.
    """
    step = window if stride is None else stride
    at_least_one(window=window, stride=step, internal_batch_size=internal_batch_size)
    if window > min(images.shape[-2:]) or step > window:
        size = tuple(images.shape[-2:])
        raise AdapterError(
            f"window={window}, stride={step} on images of {size} pixels: the window must fit, and the stride"
            " not jump over pixels"
        )
    targets, grounds = prepare(forward, images, target, baseline)
    channels, falls = images.shape[1], []
    captum = Occlusion(forward)
    with asking(forward), torch.no_grad():
        for some, ground, classes in _chunks(internal_batch_size, images, grounds, targets):
            at_once = max(1, internal_batch_size // len(some))
            falls.append(
                captum.attribute(
                    some,
                    (channels, window, window),
                    (channels, step, step),
                    ground,
                    classes,
                    perturbations_per_eval=at_once,
                )
            )
    return torch.cat(falls)[:, 0]  # a square covers all channels, which so have the same value


def _integrate(
    forward: Forward, ends: Tensor, starts: Tensor, targets: Tensor, steps: int, internal_batch_size: int
) -> tuple[Tensor, Tensor]:
    """Captum's integrated gradients in chunks: with more images than `internal_batch_size` captum would
    give up on that limit."""
    captum = IntegratedGradients(forward)
    values, deltas = [], []
    for end, start, classes in _chunks(internal_batch_size, ends, starts, targets):
        value, delta = captum.attribute(
            end,
            start,
            classes,
            n_steps=steps,
            internal_batch_size=internal_batch_size,
            return_convergence_delta=True,
        )
        values.append(value.detach())
        deltas.append(delta.detach())
    return torch.cat(values), torch.cat(deltas)


def _chunks(size: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(t.split(size) for t in tensors), strict=True)


def prepare(
    forward: Forward, images: Tensor, target: int | Tensor, baseline: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Targets (B,) and baselines (B, C, H, W), checked."""
    if images.ndim != 4 or len(images) == 0:
        raise AdapterError(f"attribution of images {tuple(images.shape)}: give at least one, as (B, C, H, W)")
    targets = torch.as_tensor(target, device=images.device)
    if targets.is_floating_point() or targets.numel() not in (1, len(images)):
        raise AdapterError(
            f"target {tuple(targets.shape)} {targets.dtype} for {len(images)} images: give one class, or one"
            " an image"
        )
    targets = targets.reshape(-1).expand(len(images))
    with asking(forward), torch.no_grad():
        classes = forward(images[:1]).shape[-1]
    if wrong := [t for t in targets.tolist() if not 0 <= t < classes]:
        raise AdapterError(f"target {wrong[0]} is not a class; the logits are of classes 0 to {classes - 1}")
    ground = torch.as_tensor(baseline, dtype=images.dtype, device=images.device)
    return targets, ground.expand_as(images).contiguous()


def asking(forward: Forward) -> AbstractContextManager[None]:
    return evaluating(forward) if isinstance(forward, nn.Module) else nullcontext()


def _check_exit(depth: int, exits: tuple[int, ...], block: int) -> None:
    if block not in exits:
        raise AdapterError(
            f"there is no exit behind block {block}; there is one behind {', '.join(map(str, exits))} (of"
            f" {depth} blocks)"
        )


def at_least_one(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise AdapterError(f"{name}={value}: give at least 1")
