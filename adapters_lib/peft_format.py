"""LoRA adapters in peft's file format: `adapter_model.safetensors` and `adapter_config.json`, written and read without peft.

peft puts one pair A, B on the whole fused qkv layer. An update of q and v, with a pair for each, is the same as one pair of twice the
rank: A's rows stacked, B with zero rows for k and zero blocks where q meets v's rows of A. So nothing is lost on the way out; on the
way back the method's own description, kept in the header of the safetensors file, tells the two apart.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .adapting import adapt, check_backbone
from .checkpoint import load_json, load_tensors, save_json, save_tensors
from .engine import AdaptedViT
from .errors import AdapterError
from .methods import LoRA, Method, method_from_dict, method_to_dict
from .methods.lora import LoRALinear

__all__ = ["export_peft", "import_peft"]

_PREFIX = "base_model.model."
_LAYERS = {"qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
_LORA_KEY = re.compile(r"blocks\.(\d+)\.(attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.lora_([AB])\.weight")
_HEAD_KEY = re.compile(r"(head|head_dist)\.(weight|bias)")


def export_peft(model: AdaptedViT, folder: str | Path) -> None:
    """Write a LoRA model's adapter and head so that `peft.PeftModel.from_pretrained(timm_model, folder)` gives equal logits.

    The timm model must have the same architecture, weights and number of classes.

    Raises:
        AdapterError: the model has another method beside LoRA, is merged, or has a head that a plain timm model does not have.
    """
    others = [method.name for method in model.methods if not isinstance(method, LoRA)]
    if others or not model.methods:
        found = ", ".join(others) or "no method"
        raise AdapterError(f"peft's LoRA format holds LoRA alone, but this model has {found}; use save_pretrained")
    if model.merged:
        raise AdapterError("this model is merged, so its LoRA weights are inside the backbone; call unmerge() first")
    if not all(isinstance(head, nn.Linear) for head in model.head_modules()):
        raise AdapterError(
            f"a timm model has no {model.head_kind} head for peft to load; "
            "adapt with head='linear', or use save_pretrained"
        )
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, tuple[int, float]] = {}
    for index, block in enumerate(model.backbone.blocks):
        for layer in _LAYERS.values():
            lora = block.get_submodule(layer)
            if not isinstance(lora, LoRALinear):
                continue
            if isinstance(lora.base, LoRALinear):
                raise AdapterError(f"two LoRA methods update parts of {layer}; name their targets in one LoRA(targets=…) to export it")
            parts = len(lora.updated)
            ranks[layer] = (lora.rank * parts, lora.scale * lora.rank * parts)
            tensors[f"{_PREFIX}blocks.{index}.{layer}.lora_A.weight"] = lora.lora_a.flatten(0, 1)
            tensors[f"{_PREFIX}blocks.{index}.{layer}.lora_B.weight"] = lora.spread_b()
    heads = [name for name in ("head", "head_dist") if isinstance(getattr(model.backbone, name, None), nn.Linear)]
    for name in heads:
        tensors.update({f"{_PREFIX}{name}.{key}": value for key, value in getattr(model.backbone, name).state_dict().items()})
    folder = Path(folder)
    save_tensors(folder / "adapter_model.safetensors", tensors, {"lora": [method_to_dict(m) for m in model.methods]})
    dropout = max(m.dropout for m in model.methods if isinstance(m, LoRA))
    save_json(folder / "adapter_config.json", _config(ranks, heads, dropout, model.backbone_name))


def _config(ranks: dict[str, tuple[int, float]], heads: list[str], dropout: float, backbone: str) -> dict[str, Any]:
    rank, alpha = next(iter(ranks.values()))
    layers = "|".join(re.escape(layer) for layer in ranks)
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": backbone or None,
        # A pattern, not a list of endings: "proj" alone would name the patch projection as well.
        "target_modules": rf"blocks\.\d+\.({layers})",
        "modules_to_save": heads,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {layer: r for layer, (r, _) in ranks.items() if r != rank},
        "alpha_pattern": {layer: a for layer, (_, a) in ranks.items() if a != alpha},
        "lora_dropout": dropout,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
        "task_type": None,
    }


def import_peft(folder: str | Path, backbone: nn.Module) -> AdaptedViT:
    """Adapt `backbone` with a LoRA adapter saved by peft (or by `export_peft`), head included if the file has one.

    Changed in place: `backbone` is taken over, as by `adapt`. If the file does not fit, it is left as it was.

    Raises:
        AdapterError: no such file, not LoRA or a variant of it that is not the plain sum W + BA (DoRA, trained biases), not all blocks
            adapted alike, or shapes that do not fit the backbone.
    """
    folder = Path(folder)
    config = load_json(folder / "adapter_config.json")
    tensors, header = load_tensors(folder / "adapter_model.safetensors")
    for key, plain in (("peft_type", "LORA"), ("use_dora", False), ("bias", "none")):
        if config.get(key, plain) != plain:
            raise AdapterError(f"{folder}: {key}={config[key]!r}, but only plain LoRA ({key}={plain!r}) can be read; merge it with peft")
    updates, heads = _sort(folder, tensors)
    check_backbone(backbone)
    depth = len(backbone.blocks)  # type: ignore[arg-type]
    _check_fit(folder, backbone, updates, depth)
    methods: list[Method] = [method_from_dict(m) for m in header.get("lora", [])] or _methods(config, updates)
    classes = heads["head.weight"].shape[0] if heads else None
    model = adapt(backbone, methods, num_classes=classes)
    with torch.no_grad():
        for (index, layer), pair in updates.items():
            _fill(model.backbone.blocks[index].get_submodule(layer), pair["A"], pair["B"])
        for key, value in heads.items():
            model.backbone.get_parameter(key).copy_(value)
    return model


Updates = dict[tuple[int, str], dict[str, Tensor]]


def _sort(folder: Path, tensors: dict[str, Tensor]) -> tuple[Updates, dict[str, Tensor]]:
    """Split a file's tensors into updates by (block, layer) and the head's."""
    updates: Updates = defaultdict(dict)
    heads = {}
    for key, value in tensors.items():
        name = key.removeprefix(_PREFIX)
        if match := _LORA_KEY.fullmatch(name):
            updates[int(match[1]), match[2]][match[3]] = value
        elif _HEAD_KEY.fullmatch(name):
            heads[name] = value
        else:
            raise AdapterError(
                f"{folder}: {key!r} is neither an update of {', '.join(_LAYERS.values())} nor the head; "
                "merge the adapter with peft and use the merged timm model"
            )
    return updates, heads


def _check_fit(folder: Path, backbone: nn.Module, updates: Updates, depth: int) -> None:
    layers = {layer for _, layer in updates}
    if not layers:
        raise AdapterError(f"{folder}: the file has no LoRA weights; was it saved by peft for a timm ViT?")
    if set(updates) != {(index, layer) for index in range(depth) for layer in layers}:
        blocks = sorted({index for index, _ in updates})
        raise AdapterError(
            f"{folder}: the adapter updates blocks {blocks[0]} to {blocks[-1]}, not each of the {depth} blocks alike; "
            "use the backbone it was trained on, without layers_to_transform"
        )
    for (index, layer), pair in updates.items():
        weight = backbone.get_parameter(f"blocks.{index}.{layer}.weight")
        if set(pair) != {"A", "B"} or (pair["B"].shape[0], pair["A"].shape[1]) != tuple(weight.shape):
            found = {name: tuple(tensor.shape) for name, tensor in sorted(pair.items())}
            raise AdapterError(f"{folder}: {found} do not fit blocks.{index}.{layer} of shape {tuple(weight.shape)}; use the same backbone")


def _methods(config: dict[str, Any], updates: Updates) -> list[Method]:
    """LoRA methods, one for every pair of rank and alpha, that have the layers of a file from peft."""
    groups: dict[tuple[int, float], list[str]] = defaultdict(list)
    for target, layer in _LAYERS.items():
        if (0, layer) in updates:
            rank = updates[0, layer]["A"].shape[0]
            alpha = _pattern(config.get("alpha_pattern") or {}, layer, config["lora_alpha"])
            scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
            groups[rank, scale * rank].append(target)
    dropout = config.get("lora_dropout", 0.0)
    return [LoRA(rank=rank, alpha=alpha, targets=tuple(targets), dropout=dropout) for (rank, alpha), targets in groups.items()]


def _pattern(patterns: dict[str, float], layer: str, default: float) -> float:
    """What peft's `alpha_pattern` says of a layer: its keys are regular expressions for the end of the layer's name."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", f"blocks.0.{layer}")), default)


def _fill(lora: Any, a: Tensor, b: Tensor) -> None:
    """Load peft's A (R, in) and B (out, R) into a layer whose updates may each have their own share of the R rows."""
    lora.lora_a.copy_(a.view_as(lora.lora_a))
    out = lora.lora_b.shape[1]
    for at, slot in enumerate(lora.updated):
        lora.lora_b[at].copy_(b[slot * out : (slot + 1) * out, at * lora.rank : (at + 1) * lora.rank])
