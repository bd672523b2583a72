"""Dyn-Adapter: heads at early blocks, trained sparsely beside any other method, so that easy images can leave early.

    L = Σ_i λ_i(t) · L_i / Σ_i λ_i(t),   L_i = (1 − δ) CE(z_i, y) + δ τ² KL(softmax(z_S / τ) ‖ softmax(z_i / τ)),   L_S = CE(z_S, y)

with the logits z_1 … z_S of the exits, the last of which is the backbone's own head, and t the share of training that is done.

Zhang, Chen, Zhang, Chu, Song, "Dyn-Adapter: Towards Disentangled Representation for Efficient Visual Recognition", ECCV 2024,
arXiv:2407.14302. The authors published no code.
Stated in the paper: a frozen backbone with a host method; heads at a fixed interval of blocks, an MLP at early and a lighter head at
later stages; a weight λ that changes during training; dropout in the adapters, higher in shallow blocks; a random mask on the
adapters' gradient; inference that leaves at the first exit whose confidence passes a threshold.
Our choice, each an option: every number below, the form of the heads, the schedules of λ, the distillation, where the dropout stands,
and that the mask comes before the optimiser's moments (as in Child-Tuning-F, Xu et al. 2021, arXiv:2109.05687).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import AdapterError
from ..exits.walk import exit_blocks, run_exits
from ..objective import Criterion, Objective
from ..sites import Adapter
from ..tokens import Layout
from .base import Method, register

if TYPE_CHECKING:
    from ..engine import AdaptedViT

__all__ = ["HEADS", "SCHEDULES", "DynExits", "ExitHead", "exit_weights", "mask_gradients"]

HEADS = ("balanced", "linear", "mlp", "reversed")
SCHEDULES = ("uniform", "depth_weighted", "early_up", "early_down")
POOLS = ("backbone", "token", "avg")


class ExitHead(nn.Module):
    """LN → Linear D→C, or LN → Linear D→hidden → GELU → Linear hidden→C, on the class token or the mean of the patches.

    The stream (B, N, D) behind a block → logits (B, C). Prompts and registers are not read. Parameters: 2·D + D·C + C, or
    2·D + D·h + h + h·C + C.
    """

    def __init__(self, width: int, num_classes: int, hidden: int | None, token: bool) -> None:
        super().__init__()
        self.token = token
        self.norm = nn.LayerNorm(width)
        linear = nn.Linear(width if hidden is None else hidden, num_classes)
        self.classifier = linear if hidden is None else nn.Sequential(nn.Linear(width, hidden), nn.GELU(), linear)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        pooled = x[:, 0] if self.token else x[:, layout.lead :].mean(1)  # (B, D)
        return self.classifier(self.norm(pooled))  # type: ignore[no-any-return]


def exit_weights(schedule: str, blocks: tuple[int, ...], progress: float, low: float = 0.1) -> list[float]:
    """λ of every exit, not normalised, when the share `progress` of training is done.

    `uniform`: 1; `depth_weighted`: block / depth; `early_up`: `low` → 1 in a straight line for all exits but the last, which has 1;
    `early_down`: 1 → `low`.
    """
    if schedule == "depth_weighted":
        return [block / blocks[-1] for block in blocks]
    early = {"uniform": 1.0, "early_up": low + (1 - low) * progress, "early_down": 1 - (1 - low) * progress}[schedule]
    return [early] * (len(blocks) - 1) + [1.0]


@register
@dataclass(frozen=True, kw_only=True)
class DynExits(Method, Objective):
    """Early heads and the way to train them; list it beside a host: `adapt(vit, [LoRA(), DynExits()])`.

    An exit reads the stream that the next block would see: behind block k and every module of other methods there. `model(x)` still gives
    the logits of the full depth.

    every: T, a head behind blocks T, 2T, … below the last, which keeps the backbone's own. at: these blocks instead. heads: `balanced`
    (MLP in the first half of the depth, linear later), `linear`, `mlp`, `reversed`. hidden: width of the MLP. pool: `backbone` reads
    the class token if the backbone's head does, else the mean of the patches; `token` and `avg` insist. schedule: λ, see
    `exit_weights`. low: the smallest λ. forward_sparsity: dropout in the adapters' bottlenecks, from this in the first block in a
    straight line to 0 in the last; 0 is off. backward_keep: probability with which an element of an adapter's gradient is kept (and
    divided by it); 1 is off. distil: δ; 0 is off. temperature: τ.
    """

    name: ClassVar[str] = "dyn"
    source: ClassVar[str] = "Zhang et al. 2024, arXiv:2407.14302"
    mergeable: ClassVar[bool] = True  # nothing to fold: the heads stand beside the backbone

    every: int = 3
    at: tuple[int, ...] | None = None
    heads: str = "balanced"
    hidden: int = 64
    pool: str = "backbone"
    schedule: str = "early_up"
    low: float = 0.1
    forward_sparsity: float = 0.2
    backward_keep: float = 0.7
    distil: float = 0.0
    temperature: float = 2.0

    def check(self) -> None:
        self.at_least("every", 1)
        self.at_least("hidden", 1)
        self.at_most("hidden", 65_536)
        self.one_of("heads", HEADS)
        self.one_of("pool", POOLS)
        self.one_of("schedule", SCHEDULES)
        self.fraction("forward_sparsity")
        for option, least in (("low", 0.0), ("backward_keep", 1e-3), ("distil", 0.0)):
            if not least <= (value := getattr(self, option)) <= 1:
                raise AdapterError(f"dyn: {option}={value}, but it must lie in [{least:g}, 1]")
        if not self.temperature > 0:
            raise AdapterError(f"dyn: temperature={self.temperature}, but it must be above 0")

    @property
    def turn(self) -> int:
        return 3  # behind all others, whose bottlenecks it looks for

    def blocks(self, depth: int) -> tuple[int, ...]:
        """The blocks (from 1) behind which there is an exit, the last block included.

        Raises:
            AdapterError: a block that does not exist or is named twice, or no exit in front of the last block.
        """
        early = tuple(range(self.every, depth, self.every)) if self.at is None else tuple(b for b in self.at if b != depth)
        if wrong := [block for block in early if not 1 <= block <= depth]:
            known = f"blocks are numbered 1 to {depth}, name some of these"
            raise AdapterError(f"dyn: at={self.at}, but block {wrong[0]} does not exist; {known}")
        if len(set(early)) < len(early):
            raise AdapterError(f"dyn: at={self.at} names a block twice; one exit behind a block is enough")
        if not early:
            option = f"every={self.every}" if self.at is None else f"at={self.at}"
            raise AdapterError(f"dyn: {option} leaves no exit in front of the last of {depth} blocks; choose earlier blocks")
        return (*sorted(early), depth)

    def plug(self, model: AdaptedViT) -> None:
        blocks = self.blocks(model.depth)
        if self.pool == "token" and model.backbone.cls_token is None:
            raise AdapterError('dyn: pool="token", but this backbone has no class token; use pool="avg"')
        token = self.pool == "token" or (self.pool == "backbone" and model.backbone.global_pool == "token")
        dtype = next(model.backbone.parameters()).dtype
        for block in blocks[:-1]:
            early = 2 * block <= model.depth
            mlp = {"balanced": early, "linear": False, "mlp": True, "reversed": not early}[self.heads]
            head = ExitHead(model.width, model.num_classes, self.hidden if mlp else None, token)
            model.exits[str(block)] = head.to(dtype)
        if self.forward_sparsity:
            _drop_in_bottlenecks(model, self.forward_sparsity)
        model.objective = self

    # ---- training --------------------------------------------------------------------------------------------

    def outputs(self, model: AdaptedViT, x: Tensor, layout: Layout | None = None, cut: int | None = None) -> list[Tensor]:
        """Logits (B, C) of every exit, in order."""
        return model.forward_exits(x) if layout is None else run_exits(model, x, layout, (model.cut if cut is None else cut) - 1)

    def loss(self, model: AdaptedViT, outputs: list[Tensor], y: Tensor, criterion: Criterion, progress: float) -> Tensor:
        *early, last = outputs
        losses = [self._early_loss(z, last, y, criterion) for z in early] + [criterion(last, y)]
        weights = exit_weights(self.schedule, exit_blocks(model), progress, self.low)
        return torch.stack([w * loss for w, loss in zip(weights, losses, strict=True)]).sum() / sum(weights)

    def before_update(self, model: AdaptedViT, seed: int) -> None:
        model.extra.pop("exits", None)  # thresholds were calibrated for the weights as they were
        if self.backward_keep < 1:
            mask_gradients([p for _, p in model.parameter_groups()["adapter"]], self.backward_keep, seed)

    def _early_loss(self, z: Tensor, last: Tensor, y: Tensor, criterion: Criterion) -> Tensor:
        hard = criterion(z, y)
        if not self.distil:
            return hard
        teacher = F.log_softmax(last.detach() / self.temperature, dim=1)
        student = F.log_softmax(z / self.temperature, dim=1)
        soft = self.temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return (1 - self.distil) * hard + self.distil * soft


def mask_gradients(parameters: list[nn.Parameter], keep: float, seed: int) -> None:
    """Keep each element of each gradient with probability `keep` and divide it by `keep`, else set it to zero; in place.

    The same seed gives the same masks on the same kind of device.
    """
    generators: dict[torch.device, torch.Generator] = {}
    for parameter in parameters:
        if parameter.grad is None:
            continue
        device = parameter.grad.device
        if device not in generators:
            generators[device] = torch.Generator(device).manual_seed(seed)
        kept = torch.rand(parameter.grad.shape, generator=generators[device], device=device) < keep
        parameter.grad.mul_(kept).div_(keep)


@dataclass(frozen=True)
class _Dropout:
    """A hook that drops out features: those that a layer reads, or those that it gives."""

    p: float

    def of_input(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (F.dropout(inputs[0], self.p, layer.training), *inputs[1:])

    def of_output(self, layer: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return F.dropout(out, self.p, layer.training)


def _drop_in_bottlenecks(model: AdaptedViT, most: float) -> None:
    """Dropout between the squeeze and the stretch of every adapter, less the deeper it stands; adapters without a bottleneck have none."""
    last = max(model.depth - 1, 1)
    for index, parts in enumerate(zip(model.backbone.blocks, model.sites, strict=True)):
        drop = _Dropout(most * (1 - index / last))
        for module in (m for part in parts for m in part.modules() if isinstance(m, Adapter) and drop.p > 0):
            up, down = getattr(module, "up", None), getattr(module, "down", None)
            if hasattr(module, "bottleneck_dropout"):
                module.bottleneck_dropout = nn.Dropout(drop.p)
            elif isinstance(up, nn.Module):
                up.register_forward_pre_hook(drop.of_input)
            elif isinstance(down, nn.Module):
                down.register_forward_hook(drop.of_output)
