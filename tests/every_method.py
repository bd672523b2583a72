"""Every registered method on a tiny ViT: what tests that hold for all methods loop over."""

from typing import Any

import torch
from conftest import make_tiny_vit

import adapters_lib as al
from adapters_lib.methods import METHODS

_SMALL: dict[str, Any] = {
    "vpt-shallow": "vpt-shallow:prompts=3",
    "vpt-deep": "vpt-deep:prompts=3",
    "houlsby": "houlsby:bottleneck=4",
    "adaptformer": "adaptformer:bottleneck=4",
    "padapter": "padapter:bottleneck=4",
    "ila": "ila:samplings=1",
    "ila+": "ila+:samplings=1",
    "ila++": "ila++:samplings=1",
    "dyn": ["lora:rank=2", "dyn:at=1"],
}
NAMES = list(METHODS)
MERGEABLE = [name for name, cls in METHODS.items() if cls.mergeable]
AT_SITES = [name for name in NAMES if name not in (*MERGEABLE, "dyn")]
"""Methods with a module at a site of a block; the others train what is there, or stand in a layer's place."""


def methods_of(name: str) -> Any:
    """What to give `adapt` for this name: the method with sizes that fit, early heads with a host."""
    return _SMALL.get(name, name)


def adapted(name: str, dtype: torch.dtype = torch.float32, **options: Any) -> al.AdaptedViT:
    """2 blocks of width 32 on 4 × 4 patches, trainable tensors away from their start; in evaluation mode."""
    torch.manual_seed(0)
    vit = make_tiny_vit(**{"img_size": 16, "depth": 2, **options}).to(dtype)
    model = al.adapt(vit, methods_of(name), 5, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


def some_images(count: int = 3, size: int = 16, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1)).to(dtype)
