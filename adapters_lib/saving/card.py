"""Model cards: what an adapter is and how to load it, as Markdown with the YAML header that the Hugging
Face hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import atomic_write
from ..methods import format_method, method_to_dict
from ..text import markdown
from ..vit.inputs import input_shape

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["CARD", "model_card", "write_card"]

CARD = "README.md"
LISTED = 200
"""Names of classes that a card lists; all of them stand in `adapter_config.json`."""

_OURS = "library_name: adapters-lib"


def model_card(
    model: AdaptedViT,
    repo_id: str | None,
    classes: list[str] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> str:
    """The card as Markdown with the hub's YAML header: how to load it and name pictures, methods and options,
    backbone, data configuration, what it was trained on, sizes, classes.

    repo_id: None for a folder that is on no hub. Names from outside show as they are, whatever they hold.
    """
    from huggingface_hub import ModelCardData

    names = [method.name for method in model.methods] or ["linear"]
    clips = len(input_shape(model)) == 4
    header = ModelCardData(
        library_name="adapters-lib",
        pipeline_tag="video-classification" if clips else "image-classification",
        base_model=_base_model(model.backbone_name),
        tags=["adapters", "parameter-efficient-fine-tuning", "vision-transformer", *names],
    )
    counts = {role: sum(p.numel() for _, p in group) for role, group in model.parameter_groups().items()}
    options = [
        f"* `{format_method(m)}`: {_listed(method_to_dict(m)['options'])} ({m.source})" for m in model.methods
    ]
    config = {
        key: value
        for key, value in model.data_config.items()
        if key in ("input_size", "mean", "std", "interpolation", "crop_pct")
    }
    place = f'"{repo_id}"' if repo_id else '"folder"'
    code = ["import adapters_lib as al", "", f"model = al.AdaptedViT.from_pretrained({place})"]
    if not (classes or model.classes):
        code.append('model.classes = ["…"]  # one name for each output, in the order of the labels')
    code.append(f'al.classify(model, "{"videos" if clips else "pictures"}")  # a file or a folder → a table')
    parts = [
        f"---\n{header.to_yaml()}\n---\n\n# {repo_id.partition('/')[2] if repo_id else 'Adapter'}",
        (
            f"A vision transformer adapted with {' + '.join(names)}. These weights are what was trained; the"
            " frozen backbone is not included."
        ),
        "\n".join(["```python", *code, "```"]),
        "## Methods\n\n" + ("\n".join(options) or "* the head alone"),
        (
            f"## Backbone\n\n`{model.backbone_name}`, options {_listed(model.backbone_source['kwargs'])};"
            f" head `{model.head_kind}`."
        ),
        f"## Images\n\n{_listed(config)}",
        *([f"## Trained on\n\n{_trained_on(model.trained_on)}"] if model.trained_on else []),
        (
            f"## Parameters\n\nadapter {counts['adapter']:,}; head {counts['head']:,}; unfrozen in the"
            f" backbone {counts['backbone']:,}; frozen {counts['frozen']:,}"
        ),
    ]
    if metrics:
        parts.append("## Results\n\n" + _listed(dict(metrics)))
    parts.append(f"## Classes\n\n{model.num_classes}" + (_names(classes) if classes else ", without names"))
    return "\n\n".join(parts) + "\n"


def write_card(model: AdaptedViT, folder: Path, classes: list[str] | None) -> None:
    """Write the card of an adapter that is kept in `folder`, unless a README.md of somebody else is there."""
    path = folder / CARD
    if path.is_symlink() or (
        path.exists() and _OURS not in path.read_text(encoding="utf-8", errors="replace")
    ):
        return
    text = model_card(model, None, classes)
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _trained_on(told: Mapping[str, Any]) -> str:
    """What `meaning.note_training` knows of the data, in words."""
    known = {
        "images": told.get("images"),
        "seed of the split": told.get("seed"),
        **(told.get("options") or {}),
    }
    listed = _listed({markdown(key): markdown(value) for key, value in known.items() if value is not None})
    return f"{markdown(told.get('data') or 'data without a name')}: {listed}"


def _names(classes: list[str]) -> str:
    """The names in the order of the labels, a line each, since a name may hold commas."""
    lines = [f"{label}. {markdown(name)}" for label, name in enumerate(classes[:LISTED])]
    rest = len(classes) - len(lines)
    more = f"\n\n… and {rest} more, see `adapter_config.json`" if rest else ""
    return ", numbered as the labels are:\n\n" + "\n".join(lines) + more


def _listed(values: dict[str, Any]) -> str:
    return (
        ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in values.items()
        )
        or "none"
    )


def _base_model(name: str) -> str | None:
    """The backbone's own repository on the hub: timm keeps every tagged model under its name."""
    if name.startswith("hf-hub:"):
        return name.removeprefix("hf-hub:")
    return f"timm/{name}" if "." in name else None
