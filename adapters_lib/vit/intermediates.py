"""Features of an adapted model by timm's own names: `forward_features`, `forward_intermediates` and its like.

Signatures and what is returned are timm's; what differs is what adapters change. Behind a block means behind
every module there, as an early exit reads the stream. Prompts are not returned. Each map has the grid that
its block left behind: 12 × 12, 10 × 10, … once a module between blocks has shrunk it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from timm.models._features import feature_take_indices
from torch import Tensor

from ..errors import AdapterError, unknown
from .layout import Layout

if TYPE_CHECKING:
    from .model import AdaptedViT

__all__ = ["IntermediateFeatures"]


class IntermediateFeatures:
    """Base of `AdaptedViT` that walks it for features in place of logits."""

    def forward_features(
        self, images: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Images (B, C, H, W) → tokens (B, N', D) behind the last block and the final norm, prefix in front.

        Raises:
            AdapterError: a mask of the attention, which no adapter knows what to do with.
        """
        _no_mask(attn_mask, is_causal)
        model = cast("AdaptedViT", self)
        x, layout = model.embed(images)
        for index in range(model.depth):
            x, layout = model.run_block(index, x, layout)
        return model.normalise(x, layout)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens (B, N', D) of `forward_features` → logits (B, classes); pre_logits: what the head reads."""
        return cast("AdaptedViT", self).backbone.forward_head(x, pre_logits=pre_logits)

    def forward_intermediates(
        self,
        images: Tensor,
        indices: int | list[int] | tuple[int, ...] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        output_dict: bool = False,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Any:
        """What stands behind some of the blocks, adapters included.

        Args:
            images: (B, C, H, W), or clips (B, C, T, H, W) for a clip backbone.
            indices: blocks from 0, negative ones from the end; a number n: the last n; None: all.
            return_prefix_tokens: give (map, prefix tokens (B, prefix, D)) in place of each map, if any.
            norm: apply the final norm to each of them.
            stop_early: run no block behind the last one asked for.
            output_fmt: `NCHW`, maps (B, D, rows, columns), of a clip (B, D, slices, rows, columns); or `NLC`,
                patches (B, N, D).
            intermediates_only: leave out the final features.
            output_dict: a dictionary with `image_intermediates`, `image_features` and, if asked for,
                `image_intermediates_prefix`.

        Returns:
            (features as `forward_features` gives them, list of intermediates), the list alone, or the
            dictionary.

        Raises:
            AdapterError: an unknown output_fmt, or a mask.
            AssertionError: timm's, for a block that does not exist.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise unknown("output_fmt", output_fmt, ("NCHW", "NLC"))
        _no_mask(attn_mask, is_causal)
        model = cast("AdaptedViT", self)
        asked, last = feature_take_indices(model.depth, indices)  # type: ignore[arg-type]
        x, layout = model.embed(images)
        taken: list[tuple[Tensor, Layout]] = []
        for index in range(last + 1 if stop_early else model.depth):
            x, layout = model.run_block(index, x, layout)
            if index in asked:
                bare, place = layout.strip_prompts(x)
                taken.append((model.backbone.norm(bare) if norm else bare, place))
        patches = [(_map(y, at) if output_fmt == "NCHW" else y[:, at.lead :]) for y, at in taken]
        prefixes = [y[:, : at.prefix] for y, at in taken] if return_prefix_tokens and layout.prefix else None
        if output_dict:
            output: dict[str, Any] = {"image_intermediates": patches}
            if prefixes is not None:
                output["image_intermediates_prefix"] = prefixes
            return (
                output if intermediates_only else output | {"image_features": model.normalise(x, layout)[0]}
            )
        listed = patches if prefixes is None else list(zip(patches, prefixes, strict=True))
        return listed if intermediates_only else (model.normalise(x, layout)[0], listed)

    def get_intermediate_layers(
        self,
        images: Tensor,
        n: int | list[int] | tuple[int, ...] = 1,
        reshape: bool = False,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        attn_mask: Tensor | None = None,
    ) -> list[Any]:
        """The intermediates of the last n blocks, or of the blocks n (from 0), as DINO has it.

        reshape: maps in place of patches (B, N, D). The other arguments as for `forward_intermediates`.
        """
        fmt = "NCHW" if reshape else "NLC"
        layers: list[Any] = self.forward_intermediates(
            images,
            n,
            return_prefix_tokens,
            norm,
            output_fmt=fmt,
            intermediates_only=True,
            attn_mask=attn_mask,
        )
        return layers


def _map(x: Tensor, layout: Layout) -> Tensor:
    """The patches of x (B, N, D) as (B, D, rows, columns), of a clip (B, D, slices, rows, columns)."""
    return x[:, layout.lead :].transpose(1, 2).unflatten(2, layout.shape).contiguous()


def _no_mask(attn_mask: Tensor | None, is_causal: bool) -> None:
    if attn_mask is not None or is_causal:
        raise AdapterError(
            "attn_mask, is_causal: an adapted model takes no mask, as adapters would not follow it; pass none"
        )
