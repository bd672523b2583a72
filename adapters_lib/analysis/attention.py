"""Attention maps: captured after the softmax while images pass, without a trace left in the model.

    A = softmax(q kᵀ / √d)    (B, heads, N, N): row i says where token i looks; every row sums to 1

timm's fused kernel never forms A. Inside the capture the blocks asked for compute it openly (the same
attention in another order of operations, equal to rounding); on leaving, hooks are gone and every block is
fused or not, as it was.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import AdapterError
from ..vit.layout import Layout
from ..vit.model import AdaptedViT

__all__ = [
    "AttentionCapture",
    "attention_layouts",
    "capture_attention",
    "check_blocks",
    "mean_distance",
    "on_image",
    "query_rows",
    "walker",
]

# Two captures of one block would undo each other's changes.
_ACTIVE: weakref.WeakSet[nn.Module] = weakref.WeakSet()


class AttentionCapture:
    """A running capture; made by `capture_attention`, used in a `with` statement (or with `attach` and
    `eject`).

    `capture[4]` is what block 4 has seen so far: (images, heads, N, N), batches one after another, detached,
    on the CPU. N may differ from block to block. The maps stay readable after the `with` statement.
    """

    def __init__(
        self, model: nn.Module, blocks: Sequence[int] | None, reduce: Callable[[Tensor], Tensor] | None
    ) -> None:
        every = [_attention_of(block) for block in _blocks_of(model)]
        self.blocks = check_blocks(blocks, len(every))
        self._modules = {block: every[block - 1] for block in self.blocks}
        if missing := [block for block, module in self._modules.items() if module is None]:
            raise AdapterError(
                f"block {missing[0]} forms no attention map that could be read; use a timm ViT with plain"
                " attention"
            )
        self._reduce = reduce
        self._seen: dict[int, list[Tensor]] = {block: [] for block in self.blocks}
        self._undo: list[Callable[[], None]] = []

    def attach(self) -> Self:
        """Start to listen. Raises AdapterError if one of these blocks is being captured already."""
        if busy := [block for block, module in self._modules.items() if module in _ACTIVE]:
            raise AdapterError(
                f"the attention of block {busy[0]} is being captured already; leave that capture first, or"
                " use it"
            )
        for block, module in self._modules.items():
            self._attach(block, module)
        return self

    def _attach(self, block: int, module: Any) -> None:
        was_fused = module.fused_attn

        def keep(_dropout: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            maps = inputs[0].detach()
            self._seen[block].append((maps if self._reduce is None else self._reduce(maps)).cpu())

        # What attention's dropout receives is exactly the map after the softmax.
        handle = module.attn_drop.register_forward_pre_hook(keep)
        module.fused_attn = False
        _ACTIVE.add(module)

        def undo() -> None:
            handle.remove()
            module.fused_attn = was_fused
            _ACTIVE.discard(module)

        self._undo.append(undo)

    def eject(self) -> None:
        """Stop and hand the model back as it was; a second call does nothing."""
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> Self:
        return self.attach()

    def __exit__(self, *_exception: object) -> None:
        self.eject()

    def clear(self) -> None:
        """Forget what was captured so far."""
        for maps in self._seen.values():
            maps.clear()

    def __getitem__(self, block: int) -> Tensor:
        """Raises AdapterError: a block that is not captured, nothing captured yet, or images of several
        sizes."""
        if block not in self._seen:
            raise AdapterError(f"block {block} is not captured; captured: {', '.join(map(str, self.blocks))}")
        maps = self._seen[block]
        if not maps:
            raise AdapterError(
                f"block {block} has seen no image yet; call the model inside the `with` statement"
            )
        if len({m.shape[1:] for m in maps}) > 1:
            raise AdapterError(
                f"block {block} saw batches of different token counts; capture images of one size at a time"
            )
        return torch.cat(maps)

    @property
    def maps(self) -> dict[int, Tensor]:
        """All captured maps by block number."""
        return {block: self[block] for block in self.blocks}


def capture_attention(
    model: nn.Module, blocks: Sequence[int] | None = None, *, reduce: Callable[[Tensor], Tensor] | None = None
) -> AttentionCapture:
    """Capture the attention maps of a timm ViT or an adapted model.

        with capture_attention(model, blocks=[1, 12]) as seen, torch.no_grad():
            model(images)
        seen[12]                                             # (B, heads, N, N)

    Args:
        blocks: numbers from 1; None is all of them.
        reduce: applied to every batch of maps (B, heads, N, N) before it is kept, to save memory, e.g.
            `lambda a: a.mean(1)`.

    Raises:
        AdapterError: a block that does not exist, no block at all, or a model without attention maps.

    Examples:
        >>> model = al.adapt(al.create_backbone(), "ila", num_classes=20).eval()
        >>> with al.capture_attention(model, blocks=[1, 12]) as seen, torch.no_grad():
        ...     logits = model(torch.zeros(1, 3, 96, 96))
        >>> seen[1].shape, seen[12].shape  # ILA leaves the last blocks fewer tokens
        (torch.Size([1, 4, 145, 145]), torch.Size([1, 4, 65, 65]))
    """
    return AttentionCapture(model, blocks, reduce)


def check_blocks(blocks: Sequence[int] | None, depth: int, first: int = 1) -> tuple[int, ...]:
    """`blocks` as a tuple; None gives all from `first` to `depth`. Raises AdapterError for a number
    outside, a repeated one, or none."""
    if blocks is None:
        return tuple(range(first, depth + 1))
    chosen = tuple(blocks)
    if wrong := [
        b for b in chosen if isinstance(b, bool) or not isinstance(b, int) or not first <= b <= depth
    ]:
        raise AdapterError(
            f"block {wrong[0]!r} does not exist; this model's blocks are numbered {first} to {depth}"
        )
    if not chosen or len(set(chosen)) < len(chosen):
        raise AdapterError(
            f"blocks={list(chosen)}: name at least one block, and none twice; blocks=None is all of them"
        )
    return chosen


def walker(model: nn.Module) -> AdaptedViT:
    """`model` if it is adapted, else the engine around a plain timm ViT; nothing of the model is changed
    or copied."""
    _blocks_of(model)
    return model if isinstance(model, AdaptedViT) else AdaptedViT(model)  # type: ignore[arg-type]


def attention_layouts(model: nn.Module) -> list[Layout]:
    """The layout of the tokens that each block's attention sees, block 1 first."""
    return walker(model).block_layouts()


def query_rows(maps: Tensor, model: nn.Module, layout: Layout) -> Tensor:
    """Where the tokens that the head reads look: (..., N, N) → (..., rows, columns) over patches; clips:
    (..., slices, rows, columns).

    The class token's row; for a backbone whose head pools patches, the mean of the patches' rows. The shares
    of class token, registers and prompts are left out, so a map sums to less than 1.

    Raises:
        AdapterError: maps and layout disagree about the number of tokens.
    """
    if maps.shape[-2:] != (layout.tokens, layout.tokens):
        rule = (
            f"the layout has {layout.tokens} tokens; take the layout of the same block, at the size for which"
            " the model was built"
        )
        raise AdapterError(f"maps of {maps.shape[-2]} × {maps.shape[-1]} tokens, but {rule}")
    vit: Any = getattr(model, "backbone", model)
    reads_token = vit.cls_token is not None and vit.global_pool == "token"
    row = maps[..., 0, :] if reads_token else maps[..., layout.lead :, :].mean(-2)
    return row[..., layout.lead :].unflatten(-1, layout.shape)


def on_image(
    maps: Tensor,
    grid: tuple[int, int],
    image_size: tuple[int, int],
    mode: str = "nearest-exact",
    *,
    rim: float = 0.0,
) -> Tensor:
    """Maps over patches (B, rows, columns) → over pixels (B, H, W), in their true place.

    A module that down-samples without padding cuts the rim off: its 10 × 10 cells are the inner cells of a 12
    × 12 grid. So the maps get their rim back, with the value `rim`, up to `grid`, that of the patch
    embedding, before they are enlarged; stretching them would show the wrong place.

    Raises:
        AdapterError: the grids cannot be centred on each other.
    """
    short = [whole - part for whole, part in zip(grid, maps.shape[-2:], strict=True)]
    if maps.ndim != 3 or min(short) < 0 or any(s % 2 for s in short):
        rule = "give (B, rows, columns), cut by the same number of cells on each side"
        raise AdapterError(f"maps {tuple(maps.shape)} do not fit a grid of {grid}: {rule}")
    top, left = (s // 2 for s in short)
    smooth = {"align_corners": False} if mode in ("bilinear", "bicubic") else {}
    return F.interpolate(
        F.pad(maps[:, None].float(), (left, left, top, top), value=rim), image_size, mode=mode, **smooth
    )[:, 0]  # type: ignore[arg-type]


def mean_distance(maps: Tensor, layout: Layout, patch_size: int | tuple[int, int]) -> Tensor:
    """Mean attention distance of each head, in pixels: (B, heads, N, N) → (heads,).

        d = mean over images and patches i of  Σ_j A_ij ‖x_i − x_j‖ / Σ_j A_ij,     j over the patches only

    Of a clip the distance is that in the image plane, whatever the time between the two patches.

    Dosovitskiy et al. 2021 (arXiv:2010.11929), figure 7. Raises AdapterError when the maps do not have the
    layout's tokens.
    """
    if maps.ndim != 4 or maps.shape[-1] != layout.tokens:
        raise AdapterError(
            f"maps {tuple(maps.shape)}: (B, heads, {layout.tokens}, {layout.tokens}) is needed for this"
            " layout"
        )
    sides = torch.tensor([patch_size] * 2 if isinstance(patch_size, int) else patch_size, dtype=torch.float64)
    cells = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in layout.grid)) * sides
    cells = cells.repeat(layout.slices, 1)  # (patches, 2)
    patches = maps[..., layout.lead :, layout.lead :].double().cpu()
    weights = patches / patches.sum(-1, keepdim=True).clamp_min(1e-30)
    return (weights * torch.cdist(cells, cells)).sum(-1).mean((0, 2))


def _blocks_of(model: nn.Module) -> Any:
    vit = getattr(model, "backbone", model)
    if not hasattr(vit, "patch_embed") or not hasattr(vit, "blocks"):
        raise AdapterError(
            f"{type(vit).__name__} has no patch_embed and blocks; give a timm vision transformer or a model"
            " from adapt()"
        )
    return vit.blocks


def _attention_of(block: nn.Module) -> nn.Module | None:
    """The module that computes attention: `block.attn`, or the block itself where timm fuses the two."""
    for module in (getattr(block, "attn", None), block):
        if (
            isinstance(module, nn.Module)
            and hasattr(module, "fused_attn")
            and isinstance(getattr(module, "attn_drop", None), nn.Module)
        ):
            return module
    return None
