"""How a timm ViT is built, in words that can be compared: what its name does not tell when it was made by
hand or with options.

A saved adapter carries `describe` of its backbone. What is rebuilt from a name and options, or handed over,
has to give the same description.
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

__all__ = ["describe", "differences", "options_of"]

_FACTS = (
    "global_pool",
    "num_prefix_tokens",
    "num_reg_tokens",
    "has_class_token",
    "no_embed_class",
    "pool_include_prefix",
    "dynamic_img_size",
)
_EMBED_FACTS = ("img_size", "patch_size", "frames", "tubelet", "dynamic_img_pad")
_BLOCK = re.compile(r"blocks\.(\d+)\.(.*)")


def describe(vit: Any) -> dict[str, Any]:
    """Everything but weights and dropping that decides what a timm ViT computes, as JSON values; the
    classifier is left out.

    Returns: facts by name (pooling, tokens, sizes in pixels); `layers`: by name, the shapes of its tensors, ε
    of a norm, or the function; what all blocks share stands once, as `blocks.*.…`.
    """
    facts: dict[str, Any] = {"kind": type(vit).__name__, "blocks": len(vit.blocks)}
    facts |= {name: getattr(vit, name, None) for name in _FACTS}
    facts |= {f"patch_embed.{name}": _plain(getattr(vit.patch_embed, name, None)) for name in _EMBED_FACTS}
    facts["heads"] = sorted(
        {
            int(block.attn.num_heads)
            for block in vit.blocks
            if hasattr(getattr(block, "attn", None), "num_heads")
        }
    )
    tensors = {
        name: getattr(vit, name, None) for name in ("cls_token", "reg_token", "dist_token", "pos_embed")
    }
    facts["tokens"] = {name: list(tensor.shape) for name, tensor in tensors.items() if tensor is not None}
    head = {id(module) for name in ("head", "head_dist") if (module := getattr(vit, name, None)) is not None}
    leaves = {
        name: _leaf(module)
        for name, module in vit.named_modules()
        if id(module) not in head and not list(module.children())
    }
    facts["layers"] = _collapsed({name: text for name, text in leaves.items() if text}, len(vit.blocks))
    return facts


def differences(before: dict[str, Any], after: dict[str, Any], path: str = "") -> list[str]:
    """Readable differences of two nested dicts: 'recipe.lr is 0.1 there, 0.01 here'."""
    lines: list[str] = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += differences(old, new, f"{path}{key}.")
        elif old != new:
            lines.append(f"{path}{key} is {old!r} there, {new!r} here")
    return lines


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _leaf(module: nn.Module) -> str:
    """'' for what computes nothing in evaluation (identity, dropout, stochastic depth)."""
    shapes = [f"{name} {'×'.join(map(str, p.shape))}" for name, p in module.named_parameters(recurse=False)]
    if hasattr(module, "eps") and shapes:
        return f"{', '.join(shapes)}, eps {module.eps}"
    if shapes:
        return ", ".join(shapes)
    if isinstance(module, nn.Identity | nn.Dropout) or hasattr(module, "drop_prob"):
        return ""
    return f"{type(module).__name__}({module.extra_repr()})"


def _collapsed(leaves: dict[str, str], blocks: int) -> dict[str, str]:
    """Entries that all blocks have alike as one, `blocks.*.<name>`."""
    groups: dict[str, dict[str, str]] = {}
    others: dict[str, str] = {}
    for name, text in leaves.items():
        if match := _BLOCK.fullmatch(name):
            groups.setdefault(match[2], {})[name] = text
        else:
            others[name] = text
    for name, members in groups.items():
        if len(members) == blocks and len(set(members.values())) == 1:
            others[f"blocks.*.{name}"] = next(iter(members.values()))
        else:
            others |= members
    return others


def options_of(vit: Any) -> dict[str, Any]:
    """Arguments of timm's VisionTransformer that can be read off a model, without the size of its
    classifier."""
    embed, block = vit.patch_embed, vit.blocks[0]
    attention = getattr(block, "attn", None)
    hidden = getattr(getattr(getattr(block, "mlp", None), "fc1", None), "out_features", None)
    scale = getattr(getattr(block, "ls1", None), "gamma", None)
    size = embed.img_size
    return {
        "img_size": size[0] if size[0] == size[1] else list(size),
        "patch_size": embed.patch_size[0],
        "in_chans": embed.proj.in_channels,
        "embed_dim": vit.embed_dim,
        "depth": len(vit.blocks),
        "num_heads": getattr(attention, "num_heads", None),
        "mlp_ratio": hidden / vit.embed_dim if hidden else None,
        "qkv_bias": getattr(getattr(attention, "qkv", None), "bias", None) is not None,
        "qk_norm": not isinstance(getattr(attention, "q_norm", nn.Identity()), nn.Identity),
        "init_values": 1e-5 if scale is not None else None,
        "class_token": bool(vit.has_class_token),
        "reg_tokens": int(vit.num_reg_tokens),
        "no_embed_class": bool(vit.no_embed_class),
        "global_pool": vit.global_pool,
        "fc_norm": not isinstance(vit.fc_norm, nn.Identity),
        "pre_norm": not isinstance(vit.norm_pre, nn.Identity),
        "dynamic_img_size": bool(vit.dynamic_img_size),
        "dynamic_img_pad": bool(getattr(embed, "dynamic_img_pad", False)),
    }
