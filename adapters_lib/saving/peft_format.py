"""LoRA adapters in peft's file format: `adapter_model.safetensors` and `adapter_config.json`, written and
read without peft.

peft puts one pair A, B on the whole fused qkv layer. An update of q and v, with a pair for each, is the same
as one pair of twice the rank: A's rows stacked, B with zero rows for k and zero blocks where q meets v's rows
of A. So nothing is lost on the way out; on the way back the method's own description, kept in the header of
the safetensors file, tells the two apart.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AdapterError
from ..files import save_json
from ..methods import LoRA, Method, method_from_dict, method_to_dict
from ..methods.adapt import adapt
from ..methods.lora import LoRALinear
from ..vit.check import check_backbone, unchanged_on_error
from ..vit.model import AdaptedViT
from .peft_config import read_config, scale_of, targeted
from .tensors import load_tensors, save_tensors

__all__ = ["export_peft", "import_peft"]

_PREFIX = "base_model.model."
_LAYERS = {"qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
_LORA_KEY = re.compile(r"blocks\.(\d+)\.(attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.lora_([AB])\.weight")
_HEAD_KEY = re.compile(r"(head|head_dist)\.(weight|bias)")


def export_peft(model: AdaptedViT, folder: str | Path) -> None:
    """Write a LoRA model's adapter and head so that `peft.PeftModel.from_pretrained(timm_model, folder)`
    gives equal logits.

    The timm model must have the same architecture, weights and number of classes.

    Raises:
        AdapterError: the model has another method beside LoRA, is merged, or has a head that a plain timm
            model does not have.
    """
    others = [method.name for method in model.methods if not isinstance(method, LoRA)]
    if others or not model.methods:
        names = ", ".join(others) or "no method"
        raise AdapterError(
            f"peft's LoRA format holds LoRA alone, but this model has {names}; use save_pretrained"
        )
    if model.merged:
        raise AdapterError(
            "this model is merged, so its LoRA weights are inside the backbone; call unmerge() first"
        )
    if not all(isinstance(head, nn.Linear) for head in model.head_modules()):
        raise AdapterError(
            f"a timm model has no {model.head_kind} head for peft to load; adapt with head='linear', or use"
            " save_pretrained"
        )
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, tuple[int, float]] = {}
    for index, block in enumerate(model.backbone.blocks):
        for layer in _LAYERS.values():
            lora = block.get_submodule(layer)
            if not isinstance(lora, LoRALinear):
                continue
            if isinstance(lora.base, LoRALinear):
                raise AdapterError(
                    f"two LoRA methods update parts of {layer}; name their targets in one LoRA(targets=…) to"
                    " export it"
                )
            parts = len(lora.updated)
            ranks[layer] = (lora.rank * parts, lora.scale * lora.rank * parts)
            tensors[f"{_PREFIX}blocks.{index}.{layer}.lora_A.weight"] = lora.lora_a.flatten(0, 1)
            tensors[f"{_PREFIX}blocks.{index}.{layer}.lora_B.weight"] = lora.spread_b()
    heads = [
        name for name in ("head", "head_dist") if isinstance(getattr(model.backbone, name, None), nn.Linear)
    ]
    for name in heads:
        tensors.update(
            {
                f"{_PREFIX}{name}.{key}": value
                for key, value in getattr(model.backbone, name).state_dict().items()
            }
        )
    folder = Path(folder)
    save_tensors(
        folder / "adapter_model.safetensors", tensors, {"lora": [method_to_dict(m) for m in model.methods]}
    )
    dropout = max(m.dropout for m in model.methods if isinstance(m, LoRA))
    save_json(folder / "adapter_config.json", _config(ranks, heads, dropout, model.backbone_name))


def _config(
    ranks: dict[str, tuple[int, float]], heads: list[str], dropout: float, backbone: str
) -> dict[str, Any]:
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
    """Adapt `backbone` with a LoRA adapter saved by peft (or by `export_peft`), head included if the file has
    one.

    Changed in place: `backbone` is taken over, as by `adapt`. Every field of the configuration, every pattern
    and every block is checked first; if anything does not fit, the backbone is left as it was.

    Raises:
        AdapterError: no such file, not LoRA or a variant of it that is not the plain sum W + BA or that
            changes the backbone's own weights (DoRA, trained biases, PiSSA, …), blocks that differ in rank or
            scale, tensors that the configuration does not name, or shapes that do not fit the backbone.
    """
    folder = Path(folder)
    config = read_config(folder)
    tensors, header = load_tensors(folder / "adapter_model.safetensors")
    updates, heads = _sort(folder, tensors)
    check_backbone(backbone)
    _check_fit(folder, backbone, updates)
    _check_targets(folder, config, backbone, updates)
    classes = _check_heads(folder, config, backbone, heads)
    scales = _scales(folder, config, updates)
    methods = _own_methods(folder, header) or _methods(config, updates, scales)
    with unchanged_on_error(backbone):
        try:
            model = adapt(backbone, methods, num_classes=classes)
            with torch.no_grad():
                for (index, layer), pair in updates.items():
                    _fill(
                        folder,
                        model.backbone.blocks[index].get_submodule(layer),
                        pair["A"],
                        pair["B"],
                        scales[layer],
                    )
                for key, value in heads.items():
                    model.backbone.get_parameter(key).copy_(value)
            _check_complete(folder, model, updates)
        except AdapterError:
            backbone.adapters_lib_adapted = False  # type: ignore[assignment]
            raise
    return model


Updates = dict[tuple[int, str], dict[str, Tensor]]


def _sort(folder: Path, tensors: dict[str, Tensor]) -> tuple[Updates, dict[str, Tensor]]:
    """Split a file's tensors into updates by (block, layer) and the head's; all of them are finite
    numbers."""
    updates: Updates = defaultdict(dict)
    heads = {}
    for key, value in tensors.items():
        if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            what = "holds NaN or infinity" if value.is_floating_point() else f"is {value.dtype}"
            raise AdapterError(f"{folder}: {key!r} {what}; save the adapter again")
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


def _check_fit(folder: Path, backbone: nn.Module, updates: Updates) -> None:
    depth, layers = len(backbone.blocks), {layer for _, layer in updates}  # type: ignore[arg-type]
    if not layers:
        raise AdapterError(f"{folder}: the file has no LoRA weights; was it saved by peft for a timm ViT?")
    if set(updates) != {(index, layer) for index in range(depth) for layer in layers}:
        blocks = sorted({index for index, _ in updates})
        raise AdapterError(
            f"{folder}: the adapter updates blocks {blocks[0]} to {blocks[-1]}, not each of the {depth}"
            " blocks alike; use the backbone it was trained on, without layers_to_transform"
        )
    for (index, layer), pair in sorted(updates.items()):
        module = dict(backbone.blocks[index].named_modules()).get(layer)  # type: ignore[index,operator,union-attr]
        if type(module) is not nn.Linear:
            kind = type(module).__name__ if module is not None else "no such layer"
            raise AdapterError(
                f"{folder}: blocks.{index}.{layer} of this backbone is {kind}, not a linear layer; use the"
                " same backbone"
            )
        shape, sound = (
            tuple(module.weight.shape),
            set(pair) == {"A", "B"} and all(t.ndim == 2 for t in pair.values()),
        )
        if (
            not sound
            or (pair["B"].shape[0], pair["A"].shape[1]) != shape
            or pair["A"].shape[0] != pair["B"].shape[1]
        ):
            shapes = {name: tuple(tensor.shape) for name, tensor in sorted(pair.items())}
            raise AdapterError(
                f"{folder}: {shapes} do not fit blocks.{index}.{layer} of shape {shape}; use the same"
                " backbone"
            )


def _check_targets(folder: Path, config: dict[str, Any], backbone: nn.Module, updates: Updates) -> None:
    """What peft would update by this configuration has to be what the file updates: peft loads no more and
    no less."""
    named = {
        name
        for name, module in backbone.named_modules()
        if not list(module.children()) and targeted(config, name)
    }
    stored = {f"blocks.{index}.{layer}" for index, layer in updates}
    if named != stored:
        if lost := sorted(named - stored):
            rule = f"target_modules names {lost[0]}, but the file has no update of it"
        else:
            rule = f"the file has an update of {min(stored - named)}, but target_modules does not name it"
        raise AdapterError(f"{folder}: {rule}; merge the adapter with peft and use the merged timm model")


def _check_heads(
    folder: Path, config: dict[str, Any], backbone: nn.Module, heads: dict[str, Tensor]
) -> int | None:
    """Number of classes of the head in the file; None without one."""
    saved = set(config["modules_to_save"] or ())
    if saved != {name.partition(".")[0] for name in heads}:
        raise AdapterError(
            f"{folder}: modules_to_save is {sorted(saved)}, but the file holds {sorted(heads) or 'no head'};"
            " save it again"
        )
    if not heads:
        return None
    own = {
        name
        for name in ("head", "head_dist")
        if isinstance(getattr(backbone, name, None), nn.Linear | nn.Identity)
    }
    classes = len(next(iter(heads.values())))
    width = backbone.num_features
    wanted = {
        f"{name}.{kind}": (classes, width) if kind == "weight" else (classes,)
        for name in own
        for kind in ("weight", "bias")
    }
    shapes = {name: tuple(value.shape) for name, value in heads.items()}
    if shapes != wanted or classes < 1:
        raise AdapterError(
            f"{folder}: a head of {shapes} does not fit this backbone, which needs {wanted}; use the same"
            " backbone"
        )
    return classes


def _scales(folder: Path, config: dict[str, Any], updates: Updates) -> dict[str, float]:
    """The factor in front of BA by layer. Raises AdapterError unless all blocks have the same, and the
    rank that the patterns say."""
    scales: dict[str, tuple[int, float]] = {}
    for (index, layer), pair in sorted(updates.items()):
        rank = pair["A"].shape[0]
        expected, scale = scale_of(config, f"blocks.{index}.{layer}")
        if expected != rank:
            raise AdapterError(
                f"{folder}: blocks.{index}.{layer} has rank {rank} in the file, but r and rank_pattern say"
                f" {expected}; save it again"
            )
        if scales.setdefault(layer, (rank, scale)) != (rank, scale):
            raise AdapterError(
                f"{folder}: rank {rank} and scale {scale:g} in blocks.{index}.{layer}, but {scales[layer][0]}"
                f" and {scales[layer][1]:g} in another block; LoRA has one of each here, so merge the adapter"
                " with peft and use the merged timm model"
            )
    return {layer: scale for layer, (_, scale) in scales.items()}


def _own_methods(folder: Path, header: dict[str, Any]) -> list[Method]:
    """The methods that `export_peft` wrote down, which tell updates of q, k and v apart."""
    entries = header.get("lora", [])
    if not isinstance(entries, list) or not all(
        isinstance(m, dict) and isinstance(m.get("name"), str) for m in entries
    ):
        raise AdapterError(
            f"{folder}: the list of methods in the file's header cannot be read; export it again"
        )
    methods = [method_from_dict(m) for m in entries]
    if other := [method.name for method in methods if not isinstance(method, LoRA)]:
        raise AdapterError(
            f"{folder}: the file's header speaks of {other[0]}, but this format holds LoRA alone; export it"
            " again"
        )
    return methods


def _methods(config: dict[str, Any], updates: Updates, scales: dict[str, float]) -> list[Method]:
    """LoRA methods, one for every pair of rank and alpha, that have the layers of a file from peft."""
    groups: dict[tuple[int, float], list[str]] = defaultdict(list)
    for target, layer in _LAYERS.items():
        if layer in scales:
            rank = updates[0, layer]["A"].shape[0]
            groups[rank, scales[layer] * rank].append(target)
    dropout = config["lora_dropout"]
    return [
        LoRA(rank=rank, alpha=alpha, targets=tuple(targets), dropout=dropout)
        for (rank, alpha), targets in groups.items()
    ]


def _fill(folder: Path, lora: Any, a: Tensor, b: Tensor, scale: float) -> None:
    """Load peft's A (R, in) and B (out, R) into a layer whose updates may each have their own share of the
    R rows, and compare."""
    if not isinstance(lora, LoRALinear) or lora.lora_a.numel() != a.numel():
        raise AdapterError(
            f"{folder}: the methods in the file's header do not make its tensors; export it again"
        )
    lora.lora_a.copy_(a.view_as(lora.lora_a))
    out = lora.lora_b.shape[1]
    for at, slot in enumerate(lora.updated):
        lora.lora_b[at].copy_(b[slot * out : (slot + 1) * out, at * lora.rank : (at + 1) * lora.rank])
    same = torch.equal(lora.lora_a.flatten(0, 1), a.to(lora.lora_a)) and torch.equal(
        lora.spread_b(), b.to(lora.lora_b)
    )
    if not same or abs(lora.scale - scale) > 1e-9 * abs(scale):
        raise AdapterError(
            f"{folder}: the methods in the file's header stand for another update than its tensors; export it"
            " again"
        )


def _check_complete(folder: Path, model: AdaptedViT, updates: Updates) -> None:
    """No layer may have an update that the file does not hold."""
    present = {
        (i, layer)
        for i, block in enumerate(model.backbone.blocks)
        for layer in _LAYERS.values()
        if _is_lora(block, layer)
    }
    if present != set(updates):
        raise AdapterError(
            f"{folder}: the methods in the file's header update other layers than its tensors; export it"
            " again"
        )


def _is_lora(block: nn.Module, layer: str) -> bool:
    return isinstance(dict(block.named_modules()).get(layer), LoRALinear)
