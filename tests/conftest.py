"""What all tests share: a tiny timm ViT, built in milliseconds."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests, and the kernels that they start, share the cores
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before timm reads it: no test may wait for a network

import numpy as np
import pytest
import timm
import torch
from torch import nn

torch.set_num_threads(1)
torch.backends.cudnn.allow_tf32 = False  # on a GPU: float32 is float32 where two computations have to agree


def make_tiny_vit(**options: object) -> nn.Module:
    """4 blocks of width 32 with 2 heads on 8 × 8 patches of 4 pixels, plus a class token: 65 tokens."""
    shape = {"img_size": 32, "patch_size": 4, "embed_dim": 32, "depth": 4, "num_heads": 2, "num_classes": 5}
    return timm.create_model("vit_tiny_patch16_224", **{**shape, **options}).eval()


@pytest.fixture
def tiny_vit() -> Callable[..., nn.Module]:
    return make_tiny_vit


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One short video, 40 × 32; lists and folders may name it again and again."""
    from adapters_lib.datasets.video.writing import write_video

    frames = np.random.default_rng(0).integers(0, 256, (12, 32, 40, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, frames)
    return path
