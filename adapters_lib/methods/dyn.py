"""Dyn-Adapter: heads at early blocks, trained sparsely beside a host method, so that easy images leave early.

    L = Σ_i λ_i(t) · L_i / Σ_i λ_i(t),   L_S = CE(z_S, y)
    L_i = (1 − δ) CE(z_i, y) + δ τ² KL(softmax(z_S / τ) ‖ softmax(z_i / τ))

with the logits z_1 … z_S of the exits, the last of which is the backbone's own head, and t the share of
training that is done.

Zhang, Chen, Zhang, Chu, Song, "Dyn-Adapter: Towards Disentangled Representation for Efficient Visual
Recognition", ECCV 2024, arXiv:2407.14302. The authors published no code.
Stated in the paper: a frozen backbone with a host method; heads at a fixed interval of blocks, an MLP at
early and a lighter head at later stages; a weight λ that changes during training; dropout in the adapters,
higher in shallow blocks; a random mask on the adapters' gradient; inference that leaves at the first exit
whose confidence passes a threshold.
Our choice, each an option: every number below, the form of the heads and their width (`hidden_width`), the
schedules of λ, the distillation. Our choice too: where the dropout stands and that it replaces a host's own
there, and that the mask comes before the optimiser's moments (`methods.sparsity`).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import AdapterError, OptionWarning
from ..vit.exit_heads import ExitHead, hidden_width
from ..vit.exits import exit_blocks, run_exits
from ..vit.layout import Layout
from ..vit.method import Method
from ..vit.objective import Criterion, Objective
from .registry import register
from .sparsity import drop_in_bottlenecks, idle_sparsity, mask_gradients

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["ALONE", "HEADS", "SCHEDULES", "DynExits", "exit_weights"]

HEADS = ("balanced", "linear", "mlp", "reversed")
SCHEDULES = ("uniform", "depth_weighted", "early_up", "early_down")
POOLS = ("backbone", "token", "avg")

ALONE = "dyn:forward_sparsity=0,backward_sparsity=0"
"""Exits on the frozen backbone: without a host there is no adapter to train sparsely."""


def exit_weights(schedule: str, blocks: tuple[int, ...], progress: float, low: float = 0.1) -> list[float]:
    """λ of every exit, not normalised, when the share `progress` of training is done.

    `uniform`: 1; `depth_weighted`: block / depth; `early_up`: `low` → 1 in a straight line for all exits but
    the last, which has 1; `early_down`: 1 → `low`.
    """
    if schedule == "depth_weighted":
        return [block / blocks[-1] for block in blocks]
    risen = (1 - low) * progress
    early = {"uniform": 1.0, "early_up": low + risen, "early_down": 1 - risen}[schedule]
    return [early] * (len(blocks) - 1) + [1.0]


@register
@dataclass(frozen=True, kw_only=True)
class DynExits(Method, Objective):
    """Early heads and the way to train them; list it beside a host: `adapt(vit, [LoRA(), DynExits()])`.

    An exit reads the stream that the next block would see: behind block k and every module of other methods
    there. `model(x)` still gives the logits of the full depth.

    Args:
        every: T, a head behind blocks T, 2T, … below the last, which keeps the backbone's own.
        at: these blocks instead.
        heads: `balanced` (MLP in the first half of the depth, linear later), `linear`, `mlp`, `reversed`.
        hidden: width of the MLP; None: the `hidden_width` with which no later head is heavier. A number
            insists.
        pool: `backbone` reads the class token if the backbone's head does, else the mean of the patches;
            `token` and `avg` insist.
        schedule: λ, see `exit_weights`.
        low: the smallest λ.
        forward_sparsity: rate of dropout in the adapters' bottlenecks, from this in the first block in a
            straight line to 0 in the last. It replaces a dropout that the host has there (repadapter,
            adaptformer, convpass); one on an adapter's input or output stays. 0 is off, and the host keeps
            all of its own.
        backward_sparsity: rate at which elements of an adapter's gradient are dropped; the others are divided
            by one minus it. 0 is off.
        distil: δ; 0 is off.
        temperature: τ.

    Warns:
        OptionWarning: at `adapt`, of a sparsity that has nothing to act on, or of a `hidden` with which
            `balanced` is not lighter later, or `reversed` not heavier.
    """

    name: ClassVar[str] = "dyn"
    color: ClassVar[str] = "#785EF0"
    marker: ClassVar[str] = "<"
    source: ClassVar[str] = "Zhang et al. 2024, arXiv:2407.14302"
    mergeable: ClassVar[bool] = True  # nothing to fold: the heads stand beside the backbone

    every: int = 3
    at: tuple[int, ...] | None = None
    heads: str = "balanced"
    hidden: int | None = None
    pool: str = "backbone"
    schedule: str = "early_up"
    low: float = 0.1
    forward_sparsity: float = 0.2
    backward_sparsity: float = 0.3
    distil: float = 0.0
    temperature: float = 2.0

    def check(self) -> None:
        self.at_least("every", 1)
        if self.hidden is not None:
            self.at_least("hidden", 1)
            self.at_most("hidden", 65_536)
        self.one_of("heads", HEADS)
        self.one_of("pool", POOLS)
        self.one_of("schedule", SCHEDULES)
        self.fraction("forward_sparsity")
        self.fraction("backward_sparsity")
        for option in ("low", "distil"):
            if not 0 <= (value := getattr(self, option)) <= 1:
                raise AdapterError(f"dyn: {option}={value}, but it must lie in [0, 1]")
        if not self.temperature > 0:
            raise AdapterError(f"dyn: temperature={self.temperature}, but it must be above 0")

    @classmethod
    def upgrade(cls, options: dict[str, Any]) -> dict[str, Any]:
        """`backward_keep` was the rate of what stays."""
        if "backward_keep" in options:
            options["backward_sparsity"] = round(1 - float(options.pop("backward_keep")), 12)
        return super().upgrade(options)

    @property
    def turn(self) -> int:
        return 3  # behind all others, whose bottlenecks it drops out

    def blocks(self, depth: int) -> tuple[int, ...]:
        """The blocks (from 1) behind which there is an exit, the last block included.

        Raises:
            AdapterError: a block that does not exist or is named twice, or no exit in front of the last.
        """
        placed = range(self.every, depth, self.every) if self.at is None else self.at
        early = [block for block in placed if block != depth]
        if wrong := [block for block in early if not 1 <= block <= depth]:
            known = f"blocks are numbered 1 to {depth}, name some of these"
            raise AdapterError(f"dyn: at={self.at}, but block {wrong[0]} does not exist; {known}")
        if len(set(early)) < len(early):
            raise AdapterError(f"dyn: at={self.at} names a block twice; one exit behind a block is enough")
        if not early:
            option = f"every={self.every}" if self.at is None else f"at={self.at}"
            raise AdapterError(
                f"dyn: {option} leaves no exit in front of the last of {depth} blocks; choose earlier blocks"
            )
        return (*sorted(early), depth)

    def attach(self, model: AdaptedViT) -> None:
        blocks = self.blocks(model.depth)
        if self.pool == "token" and model.backbone.cls_token is None:
            raise AdapterError('dyn: pool="token", but this backbone has no class token; use pool="avg"')
        token = self.pool == "token" or (self.pool == "backbone" and model.backbone.global_pool == "token")
        dtype = next(model.backbone.parameters()).dtype
        last = sum(p.numel() for module in model.head_modules() for p in module.parameters())
        hidden = self.hidden or hidden_width(model.width, model.num_classes, last)
        for block in blocks[:-1]:
            early = 2 * block <= model.depth
            mlp = {"balanced": early, "linear": False, "mlp": True, "reversed": not early}[self.heads]
            head = ExitHead(model.width, model.num_classes, hidden if mlp else None, token)
            model.exits[str(block)] = head.to(dtype)
        if self.forward_sparsity:
            drop_in_bottlenecks(model, self.forward_sparsity)
        model.objective = self
        for problem in (self._disorder(model, last), self._idleness(model)):
            if problem:
                warnings.warn(f"dyn: {problem}", OptionWarning, stacklevel=3)  # said to the caller of `adapt`

    def _disorder(self, model: AdaptedViT, last: int) -> str | None:
        """What is wrong if heads are not lighter later (`balanced`) or heavier (`reversed`).

        last: parameters of the backbone's own head.
        """
        sizes = [sum(p.numel() for p in head.parameters()) for head in model.exits.values()]
        falling = {"balanced": [*sizes, last], "reversed": sizes[::-1]}.get(self.heads, [])
        for lighter, heavier in pairwise(falling):
            if lighter < heavier:
                place = "in front of" if self.heads == "balanced" else "behind"
                enough = f"leave hidden=None, here {hidden_width(model.width, model.num_classes, last)}"
                remedy = "use heads='mlp'" if self.hidden is None else enough
                wrong = f"a head of {lighter:,} parameters stands {place} one of {heavier:,}"
                return f"heads={self.heads!r}, but {wrong}; {remedy}"
        return None

    def _idleness(self, model: AdaptedViT) -> str | None:
        """What is wrong if a sparsity that is on has nothing to act on."""
        idle = [option for option in idle_sparsity(model) if getattr(self, option)]
        if not idle:
            return None
        lack = {"forward_sparsity": "bottleneck before the last block", "backward_sparsity": "adapter weight"}
        lacking = " and ".join(f"{option}={getattr(self, option)} finds no {lack[option]}" for option in idle)
        hosts = ", ".join(method.name for method in model.methods if method is not self) or "no host"
        remedy = ",".join(f"{option}=0" for option in idle)
        do = "it does" if len(idle) == 1 else "they do"
        return f"beside {hosts}, {lacking}, so {do} nothing; write dyn:{remedy}, or use a host such as lora"

    # ---- training -----------------------------------------------------------------------------------------

    def outputs(
        self, model: AdaptedViT, x: Tensor, layout: Layout | None = None, first_stage: int | None = None
    ) -> list[Tensor]:
        """Logits (B, C) of every exit, in order."""
        if layout is None:
            return model.forward_exits(x)
        return run_exits(
            model, x, layout, (model.first_trainable_stage if first_stage is None else first_stage) - 1
        )

    def loss(
        self, model: AdaptedViT, outputs: list[Tensor], y: Tensor, criterion: Criterion, progress: float
    ) -> Tensor:
        *early, last = outputs
        losses = [self._early_loss(z, last, y, criterion) for z in early] + [criterion(last, y)]
        weights = exit_weights(self.schedule, exit_blocks(model), progress, self.low)
        return torch.stack([w * loss for w, loss in zip(weights, losses, strict=True)]).sum() / sum(weights)

    def before_update(self, model: AdaptedViT, seed: int) -> None:
        model.extra.pop("exits", None)  # thresholds were calibrated for the weights as they were
        if self.backward_sparsity:
            mask_gradients([p for _, p in model.parameter_groups()["adapter"]], self.backward_sparsity, seed)

    def _early_loss(self, z: Tensor, last: Tensor, y: Tensor, criterion: Criterion) -> Tensor:
        hard = criterion(z, y)
        if not self.distil:
            return hard
        teacher = F.log_softmax(last.detach() / self.temperature, dim=1)
        student = F.log_softmax(z / self.temperature, dim=1)
        soft = self.temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return (1 - self.distil) * hard + self.distil * soft
