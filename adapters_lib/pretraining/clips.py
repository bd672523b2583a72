"""Teach the embedded micro ViT to see motion: pre-training of `micro_vit_clips` on wild leaves that drift,
turn and grow.

The image model of `pretrain` becomes a clip model (`video.to_clip_model`: tubelets, separable positions, no
class token) and goes on learning, all weights, from what the generator knows:

    loss = mean((ŝ − s)²) + mean((v̂ − v)²)

    s   the leaf's state in every time slice (place, cosine and sine of its turn, growth), off its mean token
    v   its four speeds, read off the mean of all tokens

both scaled to unit variance; the two linear layers that read them are thrown away. The states are a denser
target beside the speeds: the image model was taught to ignore how a leaf is turned, so a speed of turning has
little to start from. Training without them was not tried.

Training begins with half of every slice's tokens dropped at random (Liu et al. 2023, "PatchDropout"), which
halves its cost. Every random number of a step follows from (seed, step), so a stopped run goes on from its
checkpoint as if it had never stopped.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.clips import CLIP_KWARGS, EMBEDDED_CLIPS
from ..backbones.create import create_backbone
from ..backbones.images import EMBEDDED
from ..datasets.video.motion_states import STATE
from ..datasets.video.wild_motion import MOVES, TOP_SPEED, WildClips, draw_wild_clips, roll, state_targets
from .images import MEAN, STD
from .recipes import PretrainClipsConfig
from .steps import halved, run_steps, set_up, write

__all__ = ["pretrain_clips"]


class _Learner(nn.Module):
    """The clip model and the two throw-away layers."""

    def __init__(self) -> None:
        super().__init__()
        vit: Any = create_backbone(EMBEDDED, num_classes=0, **CLIP_KWARGS)
        self.vit = vit
        self.states = nn.Linear(vit.embed_dim, 7)
        self.speeds = nn.Linear(vit.embed_dim, len(STATE))

    def forward(self, clips: Tensor, keep: float = 1.0) -> tuple[Tensor, Tensor]:
        """(B, 3, T, H, W) → states (B, slices, 7) and speeds (B, 4), of unit variance."""
        # (B, S, P, D).
        x = self.vit._pos_embed(self.vit.patch_embed(clips)).unflatten(1, (self.vit.patch_embed.slices, -1))
        if keep < 1:
            stay = torch.rand(x.shape[:3], device=x.device).argsort(2)[
                ..., : max(1, round(keep * x.shape[2]))
            ]
            x = x.gather(2, stay[..., None].expand(-1, -1, -1, x.shape[3]))
        slices = x.shape[1]
        # (B, S, D).
        x = self.vit.blocks(self.vit.norm_pre(x.flatten(1, 2))).unflatten(1, (slices, -1)).mean(2)
        return self.states(self.vit.fc_norm(x)), self.speeds(self.vit.fc_norm(x.mean(1)))


def _tensors(clips: WildClips, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised clips (B, 3, T, H, W), the targets of every slice (its first frame's) and of the clip."""
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1, 1) for v in (MEAN, STD))
    x = (clips.pixels.to(device).permute(0, 2, 1, 3, 4).float() / 255 - mean) / std
    spread = torch.from_numpy(TOP_SPEED).float() * (MOVES / 3) ** 0.5
    return (
        x,
        state_targets(clips.states[:, :: CLIP_KWARGS["tubelet"]]).to(device),
        (clips.speeds / spread).to(device),
    )


def _pick(clips: WildClips, index: Tensor) -> WildClips:
    return WildClips(clips.pixels[index], clips.states[index], clips.speeds[index])


@torch.no_grad()
def _explained(model: _Learner, clips: WildClips, device: torch.device) -> dict[str, float]:
    """R² on clips that were not trained on: of every speed (`speed_x`, …) and of the states together
    (`states`)."""
    model.eval()
    squares, states, speeds = [], [], []
    for index in torch.arange(len(clips)).split(100):
        x, s, v = _tensors(_pick(clips, index), device)
        guess_s, guess_v = model(x)
        states.append((guess_s - s).square().mean((1, 2)))
        speeds.append((guess_v - v).square())
        squares.append(v.square())
    model.train()
    lost = torch.cat(speeds).mean(0) / torch.cat(squares).mean(0)
    r2 = {f"speed_{name}": 1 - float(value) for name, value in zip(STATE, lost, strict=True)}
    return {
        name: round(value, 4) for name, value in {**r2, "states": 1 - float(torch.cat(states).mean())}.items()
    }


def pretrain_clips(
    config: PretrainClipsConfig, out: str | Path, command: str | None = None
) -> dict[str, Any]:
    """Pre-train and write `out`/micro_vit_clips.safetensors (float16) and `out`/micro_vit_clips.json (what it
    is, R², recipe, curve).

    Goes on from `out`/checkpoint.safetensors when there is one of the same recipe. Progress goes to stderr,
    line by line.

    Returns: the content of the JSON file. Raises AdapterError when the checkpoint belongs to another recipe,
    or on a non-finite loss (the last checkpoint stays).
    """
    folder, device, model, optimizer = set_up(config, out, _Learner)
    size = CLIP_KWARGS["image_size"]
    train, val = (
        draw_wild_clips(count, split, config.seed, size, CLIP_KWARGS["frames"], progress=True)
        for count, split in ((config.clips, "upstream"), (config.val_clips, "upstream-val"))
    )

    def loss_of(step: int) -> Tensor:
        chosen = _pick(train, torch.randint(len(train), (config.batch_size,)))
        down, right = torch.randint(size, (2, config.batch_size))
        x, s, v = _tensors(roll(chosen, down, right, torch.rand(config.batch_size) < 0.5), device)
        guess_s, guess_v = model(x, config.keeps(step))
        return F.mse_loss(guess_s, s) + F.mse_loss(guess_v, v)

    def measure(step: int, _last: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"clips": (step + 1) * config.batch_size}, _explained(model, val, device)

    curve = run_steps(config, folder, model, optimizer, config.steps, loss_of, measure)
    return _export(folder, config, model, val, device, curve, command)


def _export(
    folder: Path,
    config: PretrainClipsConfig,
    model: _Learner,
    val: WildClips,
    device: torch.device,
    curve: list[dict[str, Any]],
    command: str | None,
) -> dict[str, Any]:
    """Write weights and description; R² is that of the float16 weights as written."""
    weights = halved(model.vit)
    about = {
        "from": EMBEDDED,
        "kwargs": CLIP_KWARGS,
        "trained_on": (
            f"{config.clips} clips of synthetic wild leaves that drift, turn and grow"
            " (adapters_lib.datasets.video.wild_motion)"
        ),
        "left_out": "swaying, pulsing, and every species",
        "r2": _explained(model, val, device),
        "val_clips": config.val_clips,
        "device": device.type,
        "torch": torch.__version__,
        "command": command,
        "config": dataclasses.asdict(config),
        "curve": curve,
    }
    write(folder, EMBEDDED_CLIPS, weights, about)
    return about
