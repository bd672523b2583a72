"""Tiny images that can be learnt, and a tiny model to learn them, for the tests of training."""

import timm
import torch
from torch import nn

import adapters_lib as al
from adapters_lib.datasets.labelled import TensorImages


def striped_images(n: int, seed: int = 0, classes: int = 4) -> TensorImages:
    """Noise with one dark stripe, whose place is the class."""
    images = torch.randint(
        0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    labels = torch.arange(n) % classes
    for label in range(min(classes, 4)):
        images[labels == label, :, 8 * label : 8 * label + 8] //= 4
    return TensorImages(images, labels, [0.5] * 3, [0.5] * 3)


def tiny_backbone(seed: int = 0, patch_size: int = 8) -> nn.Module:
    """4 blocks, width 32, 4 × 4 patches of 8 pixels; the same weights in every process."""
    torch.manual_seed(seed)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=patch_size, depth=4, embed_dim=32, num_heads=2
    ).eval()


def tiny_model(method: str, classes: int = 4, backbone_seed: int = 0) -> al.AdaptedViT:
    """That backbone with a method and its own, equal in every process, initial weights."""
    return al.adapt(tiny_backbone(backbone_seed), method, classes, seed=0)
