"""A tiny clip model and clips that only their order in time tells apart, for the tests of video."""

import torch
from conftest import make_tiny_vit
from torch import Tensor, nn
from torch.utils.data import Dataset

import adapters_lib as al
from adapters_lib.backbones.clips import to_clip_model


def clip_vit(
    frames: int = 8,
    tubelet: int = 2,
    positions: str = "separable",
    time_scale: float = 1.0,
    **options: object,
) -> nn.Module:
    """4 slices of 8 × 8 patches of 4 pixels, the same weights every time."""
    torch.manual_seed(0)
    return to_clip_model(make_tiny_vit(**options), frames, tubelet, positions, time_scale)


def clip_model(methods: object, classes: int = 5, **options: object) -> al.AdaptedViT:
    return al.adapt(clip_vit(**options), methods, classes, seed=0)


class MemoryClips(Dataset):
    """Noise clips; in class 1 the pictures get brighter, in class 0 darker."""

    deterministic = True

    def __init__(self, n: int = 16) -> None:
        self.labels = torch.arange(n) % 2
        ramp = torch.linspace(-2, 2, 8)[:, None, None] * (2 * self.labels - 1).view(-1, 1, 1, 1, 1)
        self.clips = 0.1 * torch.randn(n, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1)) + ramp

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.clips[index], int(self.labels[index])
