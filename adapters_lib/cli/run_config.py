"""A training from a file: the settings of `train` as TOML or JSON, written by a person or left by a run.

A file of settings has the options of `train` as keys (`image_size` for --image-size), options that repeat as
tables: [recipe], [data_option]. `result.json` of a run folder has them under "config"; `run.json` describes
the run itself, and they are read off it. Which of them is there, the content tells.
"""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import AdapterError, unknown
from ..files import load_json
from ..options import described, fits

__all__ = ["KINDS", "check_same_data", "check_same_weights", "described_run", "read_config"]

KINDS: dict[str, Any] = {
    "backbone": str,
    "backbone_option": dict,
    "method": str | list,
    "image_size": int,
    "frames": int,
    "tubelet": int,
    "fresh_norm": bool,
    "random_weights": bool,
    "data": str,
    "root": str,
    "download": bool,
    "n_per_class": int,
    "seed": int,
    "data_option": dict,
    "head": str,
    "preset": str,
    "recipe": dict,
    "out": str,
    "device": str,
    "tensorboard": bool,
}
"""Keys of a file of settings, and what their values are. backbone_option: of `create_backbone`, numbers and
words only (see `vit.safe_names`)."""

CLIPS = ("image_size", "frames", "tubelet", "fresh_norm")
"""Options of a backbone that `train` has options of its own for."""


def read_config(path: str) -> dict[str, Any]:
    """The settings in a file; fields of the recipe all stand under "recipe".

    Raises:
        AdapterError: no such file, neither TOML nor JSON, an unknown key (the nearest is named), a value of
            another kind, or a run that tells no data set by name.
    """
    content = _content(path)
    run = described_run(content)
    if run is not None:
        return _of_run(path, run)
    if "history" in content and "config" not in content:
        raise AdapterError(
            f"{path} was written by an earlier version, which did not keep the settings; give run.json of the"
            " same folder"
        )
    settings = content["config"] if isinstance(content.get("config"), dict) else content
    return _checked(path, settings)


def described_run(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The description of a run if this is the content of `run.json`, else None."""
    manifest = content.get("manifest")
    return manifest if isinstance(manifest, dict) else None


def _content(path: str) -> dict[str, Any]:
    if Path(path).suffix.lower() == ".toml":
        try:
            content: Any = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise AdapterError(f"cannot read {path}: {error}; check the path and the TOML in it") from error
        tables = ("recipe", "data_option", "backbone_option")  # TOML has no null
        for table in (content.get(name) for name in tables):
            if isinstance(table, dict):
                table.update({key: None for key, value in table.items() if value == "None"})
    else:
        content = load_json(path)
    if not isinstance(content, dict):
        raise AdapterError(f"{path} holds no table of settings, but a {type(content).__name__}")
    return content


def _checked(path: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    from ..training.recipe import Recipe
    from ..vit.safe_names import check_options

    recipe_fields = [field.name for field in fields(Recipe)]
    checked = {key: value for key, value in settings.items() if value is not None}
    own = {key: checked.pop(key) for key in list(checked) if key in recipe_fields and key not in KINDS}
    for key, value in checked.items():
        if key not in KINDS:
            raise unknown(f"setting in {path}:", key, [*KINDS, *recipe_fields])
        if not fits(value, KINDS[key]):
            raise AdapterError(f"{path}: {key} is {str(value)[:60]!r}; give {_kind_in_words(KINDS[key])}")
    methods = checked.get("method", [])
    checked["method"] = [methods] if isinstance(methods, str) else methods
    if not all(isinstance(text, str) for text in checked["method"]):
        raise AdapterError(f"{path}: method is {str(methods)[:60]!r}; give texts such as lora:rank=16")
    checked["recipe"] = {**own, **checked.get("recipe", {})}
    for name in checked["recipe"]:
        if name not in recipe_fields:
            raise unknown(f"recipe field in {path}:", name, recipe_fields)
    if "backbone_option" in checked:
        check_options(checked.get("backbone", "micro_vit"), checked["backbone_option"], path)
    return checked


def _kind_in_words(kind: Any) -> str:
    return (
        "a table" if kind is dict else "a text or a list of them" if kind == str | list else described(kind)
    )


def _of_run(path: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that made the run that `run.json` describes."""
    split = (manifest.get("train") or {}).get("split") or {}
    if not split.get("data") or split.get("seed") is None:
        raise AdapterError(
            f"{path}: the run was trained on a data set that load_data did not make, so no file can name it;"
            " write a file of settings with data=…, or train it from Python again"
        )
    source = manifest["backbone"]
    options = dict(source["kwargs"])
    own = {key: options.pop(key) for key in CLIPS if key in options}
    settings = {
        "backbone": source["name"],
        "backbone_option": options or None,
        **own,
        "method": manifest["methods"],
        "head": manifest.get("head"),
        "data": split["data"],
        "seed": split["seed"],
        "data_option": split.get("options") or {},
        "recipe": manifest["recipe"],
    }
    return _checked(path, settings)


def check_same_weights(path: str, manifest: Mapping[str, Any], model: Any) -> None:
    """Raise an AdapterError unless the model's frozen weights are those of the run that `run.json`
    describes."""
    from ..vit.frozen import difference, frozen_print

    there = manifest["backbone"].get("frozen")
    if isinstance(there, dict) and (reason := difference(there, frozen_print(model))) is not None:
        raise AdapterError(
            f"the backbone has other weights than in the run of {path} ({reason}); a run from random weights"
            " needs random_weights=True, one from other weights a backbone of its own"
        )


def check_same_data(path: str, manifest: Mapping[str, Any], train: Any) -> None:
    """Compare training images with those of the run that `run.json` describes, which does not know their
    folder and how many of a class were drawn.

    Raises:
        AdapterError: another number of them, or other labels. DataWarning: other pixels, or prepared
            otherwise.
    """
    from ..datasets.identity import identity, labels_digest
    from ..datasets.labelled import labels_of
    from ..datasets.task import DataWarning

    there, count = manifest["train"], len(labels_of(train))
    if there.get("images") != count or there.get("labels") != labels_digest(train):
        raise AdapterError(
            f"the run of {path} was trained on {there.get('images')} images, and these are {count}, or have"
            " other labels; run.json does not keep n_per_class, root and augmentation: give them as options,"
            " or take result.json of the same folder, which does"
        )
    if there.get("content") not in (None, identity(train)):
        warnings.warn(
            f"the images differ from those of the run of {path}, or are prepared or augmented otherwise; its"
            " result.json keeps all settings",
            DataWarning,
            stacklevel=2,
        )
