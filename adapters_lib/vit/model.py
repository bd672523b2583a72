"""The engine: walk a timm vision transformer's stack with adapters plugged in.

    tokens ─ embed ─┬─ block 1 ─ … ─ block L ─┬─ norm ─ pool ─ head

It calls timm's own `patch_embed`, `_pos_embed`, `patch_drop`, `norm_pre`, `blocks`, `norm` and
`forward_head`, so a model without adapters computes exactly what timm computes. `adapters_lib.adapt` builds
one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ..errors import AdapterError
from .architecture import describe, options_of
from .class_names import check_names
from .exits import run_exits, with_all_exits
from .inputs import input_shape
from .intermediates import IntermediateFeatures
from .layout import Layout
from .sites import Adapter, BlockSites, LinearAdapter
from .state_check import check_state

if TYPE_CHECKING:
    from .method import Method
    from .objective import Objective

__all__ = ["AdaptedViT"]


class AdaptedViT(IntermediateFeatures, nn.Module):
    """A frozen timm ViT with the adapters of `methods` at the sites of its blocks.

    Attributes:
        backbone: the timm model; its classifier is the adapted model's head.
        sites: one `BlockSites` per block.
        methods: the dataclasses that were plugged in, in order.
        num_classes: width of the logits.
        head_kind: how the classifier was made, see `heads.make_head`.
        exits: early heads, by the number of the block behind which they stand (see `methods.dyn`).
        objective: how the training loop trains this model, if a method wants it otherwise than by the logits'
            loss alone.
        extra: JSON values that `save_pretrained` keeps, e.g. calibrated thresholds.
        merged: whether `merge` has turned the backbone into plain timm modules.
        backbone_source: {"name", "kwargs"} from which `create_backbone` makes the same backbone.
        weights: where the backbone's weights came from: {"source", "file", "digest"}, see `weight_files`.
        architecture, backbone_options: how the backbone was built (`architecture.describe`, `options_of`);
            by_hand: not by `create_backbone`.
        trained_on: what `fit` trained on, as JSON values (see `meaning.note_training`); None before.
        trained_images: int64 (K,), which images those were (see `datasets.identity.sketch`); None if that is
            not known.

    Examples:
        >>> vit = al.create_backbone()
        >>> model: al.AdaptedViT = al.adapt(vit, [al.ILA(), al.LoRA(rank=4)], num_classes=20)
        >>> model.token_counts()
        [145, 101, 65]
    """

    trained_on: dict[str, Any] | None = None
    trained_images: Tensor | None = None
    _classes: tuple[str, ...] | None = None

    def __init__(self, backbone: VisionTransformer, backbone_source: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.sites: Any = nn.ModuleList(BlockSites(backbone, block) for block in backbone.blocks)
        self.methods: tuple[Method, ...] = ()
        self.exits: Any = nn.ModuleDict()
        self.objective: Objective | None = None
        self.extra: dict[str, Any] = {}
        self.head_kind = "linear"
        self._replaced_by_merge: list[tuple[nn.Module, str, nn.Module]] = []
        self._dtype_when_merged: torch.dtype | None = None
        self.merged = False
        self.by_hand = backbone_source is None
        self.backbone_source = backbone_source or {"name": _timm_name(backbone), "kwargs": {}}
        self.weights: dict[str, Any] = getattr(backbone, "adapters_lib_weights", None) or {"source": "given"}
        self.architecture, self.backbone_options = describe(backbone), options_of(backbone)

    # ---- facts -----------------------------------------------------------------------------------

    @property
    def num_classes(self) -> int:
        return int(self.backbone.num_classes)

    @property
    def classes(self) -> list[str] | None:
        """Names of the outputs, in their order; None if nobody has said. Given to `adapt`, taken over by
        `fit`, kept by every file.

        Setting it raises AdapterError for another number of names than outputs, a name that is no text, or
        one that stands there twice.
        """
        return None if self._classes is None else list(self._classes)

    @classes.setter
    def classes(self, names: Sequence[str] | None) -> None:
        outputs = self.num_classes
        self._classes = None if names is None else check_names(names, outputs)

    @property
    def backbone_name(self) -> str:
        return str(self.backbone_source["name"])

    @property
    def depth(self) -> int:
        return len(self.backbone.blocks)

    @property
    def width(self) -> int:
        return int(self.backbone.embed_dim)

    @property
    def image_size(self) -> int | tuple[int, int]:
        """Pixels that the model was built for: one number if square, else (height, width)."""
        height, width = self.backbone.patch_embed.img_size
        return height if height == width else (height, width)

    @property
    def data_config(self) -> dict[str, Any]:
        """timm's own data configuration: mean, std, interpolation, crop; `input_size` follows what was
        built, (C, T, H, W) for clips."""
        config = timm.data.resolve_model_data_config(self.backbone)
        return {**config, "input_size": input_shape(self.backbone)}

    def first_layout(self) -> Layout:
        """Layout behind the embedding, at the image size for which the model was built."""
        embed = self.backbone.patch_embed
        return Layout(
            int(self.backbone.num_prefix_tokens),
            0,
            tuple(embed.grid_size),
            slices=getattr(embed, "slices", 1),
        )

    def layouts(self) -> list[Layout]:
        """Layouts at the input of block 1 … L and, last, behind block L: L + 1 entries."""
        stages = [self.first_layout()]
        for sites in self.sites:
            stages.append(sites.out_layout(stages[-1]))
        return stages

    def block_layouts(self) -> list[Layout]:
        """Layouts that each block's own attention sees, behind the modules at `enter`: L entries."""
        layouts = []
        for layout, sites in zip(self.layouts(), self.sites, strict=False):
            for module in sites.modules_at("enter"):
                layout = module.out_layout(layout)
            layouts.append(layout)
        return layouts

    def token_counts(self) -> list[int]:
        """Tokens per group of blocks with an equal token count, e.g. [197, 145, 101] for ILA on ViT-B/16
        at 224."""
        counts: list[int] = []
        for layout in self.block_layouts():
            if not counts or counts[-1] != layout.tokens:
                counts.append(layout.tokens)
        return counts

    # ---- the walk --------------------------------------------------------------------------------

    def embed(self, images: Tensor) -> tuple[Tensor, Layout]:
        """Images (B, C, H, W), or clips (B, C, T, H, W) for a clip backbone → tokens (B, N, D) in front of
        block 1.

        Raises:
            AdapterError: the images do not have the size for which the model was built.
        """
        self._check_size(images)
        vit = self.backbone
        patches = vit.patch_embed(images)
        rows, columns = patches.shape[1:3] if vit.dynamic_img_size else vit.patch_embed.grid_size
        x = vit.norm_pre(vit.patch_drop(vit._pos_embed(patches)))
        return x, self.first_layout().with_grid(int(rows), int(columns))

    def run_block(self, index: int, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        """Block `index` (0-based) with its adapters: (B, N, D) → (B, N', D); recomputed in the backward
        pass if timm's switch is on."""
        return self.sites[index](self.backbone.blocks[index], x, layout, self.backbone.grad_checkpointing)  # type: ignore[no-any-return]

    def normalise(self, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        """Drop prompts and apply the final norm: (B, N, D) → (B, N', D)."""
        x, layout = layout.strip_prompts(x)
        return self.backbone.norm(x), layout

    def forward(self, images: Tensor, exits: bool = False) -> Any:
        """Images (B, C, H, W) → logits (B, classes) of the full depth.

        exits: logits of every exit, as `forward_exits` gives them. A wrapper such as DistributedDataParallel
        passes on calls of the model only, so this is how early heads train behind one.
        """
        if exits:
            return self.forward_exits(images)
        if self.merged:  # timm's own walk, which is what is left
            self._check_size(images)
            return self.backbone(images)
        x, layout = self.embed(images)
        recompute = self.backbone.grad_checkpointing
        for block, sites in zip(self.backbone.blocks, self.sites, strict=True):
            x, layout = sites(block, x, layout, recompute)
        x, layout = self.normalise(x, layout)
        logits = self.backbone.forward_head(x)
        return with_all_exits(self, logits) if self.exits and self.training else logits

    def _check_size(self, images: Tensor) -> None:
        vit = self.backbone
        if not vit.dynamic_img_size and tuple(images.shape[-2:]) != tuple(vit.patch_embed.img_size):
            raise AdapterError(
                f"images of {tuple(images.shape[-2:])} pixels, but the backbone was built for"
                f" {tuple(vit.patch_embed.img_size)}; resize the images, or pass image_size=… (or"
                " dynamic_img_size=True) to create_backbone"
            )

    def forward_exits(self, images: Tensor) -> list[Tensor]:
        """Images (B, C, H, W) → logits (B, classes) of every exit, the full depth last."""
        return run_exits(self, *self.embed(images))

    # ---- the frozen part, computed once ----------------------------------------------------------

    @property
    def first_trainable_stage(self) -> int:
        """Number of leading stages without a trainable parameter.

        Stage 0 is the embedding, stage i block i with its sites, stage L+1 norm and pooling, stage L+2 the
        classifier.
        """
        return next((i for i, stage in enumerate(self._stages()) if _trains(stage)), self.depth + 2)

    @property
    def cacheable(self) -> bool:
        """Whether the stages before the first trainable one give the same features at every visit, so that
        they can be kept."""
        noisy = (
            m
            for stage in list(self._stages())[: self.first_trainable_stage]
            for part in stage
            if isinstance(part, nn.Module)
            for m in part.modules()
            if (isinstance(m, nn.Dropout) and m.p > 0) or (getattr(m, "drop_prob", 0) or 0) > 0
        )
        return self.first_trainable_stage > 0 and next(noisy, None) is None

    def run_frozen(self, images: Tensor) -> tuple[Tensor, Layout]:
        """The stages before the first trainable one: images (B, C, H, W) → features (B, N, D), or (B, D) if
        only the classifier trains.

        `run_from(*run_frozen(images))` equals `forward(images)`.

        Raises:
            AdapterError: the embedding itself is trainable, so nothing stands before the first trainable one.
        """
        first = self.first_trainable_stage
        if first == 0:
            raise AdapterError(
                "the embedding is trainable, so no feature is fixed; train without cached features"
            )
        x, layout = self.embed(images)
        for index in range(min(first - 1, self.depth)):
            x, layout = self.run_block(index, x, layout)
        if first > self.depth + 1:
            x, layout = self.normalise(x, layout)
            if self._pools_plainly:
                x = self.backbone.fc_norm(self.backbone.pool(x))
        return x, layout

    def run_from(self, x: Tensor, layout: Layout, first_stage: int | None = None) -> Tensor:
        """The stages from the first trainable one on: what `run_frozen` gave → logits (B, classes).

        A training loop passes `first_stage`, since finding it again takes longer than a linear probe's whole
        step.
        """
        first = self.first_trainable_stage if first_stage is None else first_stage
        for index in range(min(first - 1, self.depth), self.depth):
            x, layout = self.run_block(index, x, layout)
        if first <= self.depth + 1:
            x, layout = self.normalise(x, layout)
        elif self._pools_plainly:
            return self.backbone.head(self.backbone.head_drop(x))
        return self.backbone.forward_head(x)

    @property
    def _pools_plainly(self) -> bool:
        """Whether forward_head is pool → fc_norm → dropout → head (a distilled model averages two heads
        instead)."""
        return type(self.backbone).forward_head is VisionTransformer.forward_head

    def _stages(self) -> Iterator[tuple[nn.Module | nn.Parameter | None, ...]]:
        vit = self.backbone
        tokens = (vit.cls_token, vit.reg_token, getattr(vit, "dist_token", None), vit.pos_embed)
        yield (vit.patch_embed, *tokens, vit.pos_drop, vit.norm_pre)
        for number, (block, sites) in enumerate(zip(vit.blocks, self.sites, strict=True), 1):
            before = str(number - 1)  # an exit reads the stream in front of the next block
            leaving = self.exits[before] if before in self.exits else None  # noqa: SIM401 - ModuleDict.get is new
            yield block, sites, leaving
        yield (vit.norm, vit.attn_pool, vit.fc_norm)
        yield tuple(self.head_modules())

    # ---- parameters ------------------------------------------------------------------------------

    def head_modules(self) -> tuple[nn.Module, ...]:
        """The classifier, as timm names it (two of them for a distilled model)."""
        heads = self.backbone.get_classifier()
        return tuple(heads) if isinstance(heads, tuple) else (heads,)

    def adapters(self) -> Iterator[tuple[str, Adapter]]:
        """Every added module, by its name in this model."""
        return ((name, module) for name, module in self.named_modules() if isinstance(module, Adapter))

    def parameter_groups(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        """All parameters by role: `adapter` and `head` train; `backbone` is what a method unfroze;
        `frozen` the rest."""
        head = {id(p) for module in (*self.head_modules(), self.exits) for p in module.parameters()}
        added = self._added()
        groups: dict[str, list[tuple[str, nn.Parameter]]] = {
            "adapter": [],
            "head": [],
            "backbone": [],
            "frozen": [],
        }
        for name, parameter in self.named_parameters():
            role = "adapter" if id(parameter) in added else "head" if id(parameter) in head else "backbone"
            groups[role if parameter.requires_grad else "frozen"].append((name, parameter))
        return groups

    def _added(self) -> set[int]:
        """Ids of the tensors (parameters and buffers) that adapters brought, the layers that they wrap
        left out."""
        added: set[int] = set()
        wrapped: set[int] = set()
        for _, module in self.adapters():
            added |= {id(t) for t in (*module.parameters(), *module.buffers())}
            if isinstance(module, LinearAdapter) and not isinstance(module.base, Adapter):
                wrapped |= {id(t) for t in (*module.base.parameters(), *module.base.buffers())}
        return added - wrapped

    def unfreeze_class_token(self) -> None:
        """Let the class token train; a backbone that pools has none, and nothing happens."""
        if self.backbone.cls_token is not None:
            self.backbone.cls_token.requires_grad_(True)

    def print_trainable_parameters(self) -> None:
        """Print the counts as peft does, with the adapter and the head apart."""
        counts = {role: sum(p.numel() for _, p in group) for role, group in self.parameter_groups().items()}
        total = sum(counts.values())
        trained = total - counts["frozen"]
        print(
            f"trainable params: {trained:,} (adapter {counts['adapter']:,}, head {counts['head']:,}, backbone"
            f" {counts['backbone']:,}) || all params: {total:,} || trainable%: {100 * trained / total:.4f}"
        )

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """Every trainable parameter, and the buffers (batch-norm statistics) of adapters and head, by
        name; no copies."""
        state: dict[str, Tensor] = {
            name: p.detach() for name, p in self.named_parameters() if p.requires_grad
        }
        trained = self._added() | {id(b) for module in self.head_modules() for b in module.buffers()}
        state.update((name, b) for name, b in self.named_buffers() if id(b) in trained)
        return state

    def load_trainable_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy `state` into the model; all of it is checked before the first tensor is touched.

        Raises:
            AdapterError: a tensor is missing, unexpected, of another shape or type, or not finite.
        """
        own = self.trainable_state_dict()
        check_state(own, state)
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])

    # ---- what one does with it once it is trained: the work itself is in the modules named below

    def merge(self) -> AdaptedViT:
        """Fold the adapters into the backbone's own layers, in place; see `methods.merge`."""
        from ..methods.merge import merge

        return merge(self)

    def unmerge(self) -> AdaptedViT:
        """Put the adapters and the untouched weights back, bit for bit; see `methods.merge`."""
        from ..methods.merge import unmerge

        return unmerge(self)

    def save_pretrained(self, folder: str | Path, classes: Sequence[str] | None = None) -> None:
        """Write what was trained (head included) as safetensors and JSON into `folder`; see
        `checkpoint.save_pretrained`."""
        from ..saving.checkpoint import save_pretrained

        save_pretrained(self, folder, classes)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Upload what `save_pretrained` writes and a model card to `user/name` on the Hugging Face hub;
        see `saving.push`."""
        from ..saving.push import push_to_hub

        return push_to_hub(self, repo_id, **kwargs)

    @staticmethod
    def from_pretrained(folder: str | Path, **kwargs: Any) -> AdaptedViT:
        """Rebuild a model saved by `save_pretrained`, from its folder or from `user/name` on the hub; see
        `checkpoint.load_pretrained`."""
        from ..saving.checkpoint import load_pretrained

        return load_pretrained(folder, **kwargs)


def _trains(stage: tuple[nn.Module | nn.Parameter | None, ...]) -> bool:
    for part in stage:
        parameters = part.parameters() if isinstance(part, nn.Module) else [part] if part is not None else []
        if any(p.requires_grad for p in parameters):
            return True
    return False


def _timm_name(vit: VisionTransformer) -> str:
    config: Any = getattr(vit, "pretrained_cfg", None) or {}  # none, if it was built without create_model
    architecture, tag = config.get("architecture", ""), config.get("tag", "")
    return f"{architecture}.{tag}" if architecture and tag else str(architecture)
