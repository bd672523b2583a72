"""Sharing adapters on the Hugging Face hub: `model.push_to_hub("user/name")` and `AdaptedViT.from_pretrained("user/name")`.

What goes there is what `save_pretrained` writes, and a model card. The backbone does not: it is named, and fetched from where it is.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AdapterError
from ..methods import format_method, method_to_dict

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["download", "is_hub_id", "model_card", "push_to_hub", "write_card"]

CARD = "README.md"
_OURS = "library_name: adapters-lib"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(text: str) -> bool:
    """Whether a text has the form `user/name`."""
    return _HUB_ID.fullmatch(text) is not None and ".." not in text and len(text) <= 96


def push_to_hub(
    model: AdaptedViT,
    repo_id: str,
    *,
    classes: list[str] | None = None,
    metrics: Mapping[str, float] | None = None,
    private: bool = False,
    token: str | None = None,
    overwrite: bool = False,
    message: str = "Upload adapter",
) -> str:
    """Upload the adapter, the head and a model card; returns the repository's address.

    Args:
        repo_id: `user/name`; created if it does not exist.
        classes: names of the classes; None: `model.classes`.
        metrics: results to state on the card, e.g. what `evaluate` returned.
        private: of a repository that is created now.
        token: None: the one of `hf auth login`, or the variable HF_TOKEN.
        overwrite: replace an adapter that is there already; it stays in the repository's history.

    Raises:
        AdapterError: no such form of a name, nobody is logged in, the repository holds an adapter or a card already, the model is
            merged, or the hub cannot be reached or refuses. Nothing has been uploaded then.
    """
    from huggingface_hub import HfApi, get_token

    from .checkpoint import CONFIG, WEIGHTS, save_pretrained

    if not is_hub_id(repo_id):
        raise AdapterError(f'repo_id={repo_id!r} is no name of a repository on the hub; write "user/name"')
    if not (token or get_token()):
        raise AdapterError("nobody is logged in to the Hugging Face hub; run `hf auth login`, set HF_TOKEN, or pass token=…")
    api = HfApi(token=token, library_name="adapters-lib")
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, classes)
        names = classes if classes is not None else model.classes
        (Path(folder) / CARD).write_text(model_card(model, repo_id, names, metrics), encoding="utf-8")
        with _explained(f"{repo_id!r} could not be uploaded", "check the name, the rights of your token and the network, and try again"):
            taken = set(api.list_repo_files(repo_id)) & {WEIGHTS, CONFIG, CARD} if api.repo_exists(repo_id) else set()
            if taken and not overwrite:
                raise AdapterError(f"{repo_id} holds {', '.join(sorted(taken))} already; choose another name, or pass overwrite=True")
            api.create_repo(repo_id, private=private, exist_ok=True)
            api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    return f"https://huggingface.co/{repo_id}"


def download(repo_id: str, *, revision: str | None = None, token: str | None = None) -> Path:
    """Fetch an adapter's weights, in whose header the configuration stands, and return the local folder (huggingface_hub's cache).

    Raises:
        AdapterError: no such repository or file, no right to read it, or no network.
    """
    from huggingface_hub import hf_hub_download

    from .checkpoint import WEIGHTS

    remedy = "check the path or the name on the hub, log in if it is private, or fetch it once with a network"
    with _explained(f"there is no folder {repo_id!r}, and no adapter of that name could be fetched from the hub", remedy):
        return Path(hf_hub_download(repo_id, WEIGHTS, revision=revision, token=token, library_name="adapters-lib")).parent


@contextmanager
def _explained(what: str, remedy: str) -> Iterator[None]:
    """Turn the hub client's errors, and those of the connection below it, into ours."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise AdapterError(f"{what} ({type(error).__name__}: {str(error).strip().partition(chr(10))[0]}); {remedy}") from error
    except Exception as error:
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests")):
            raise
        raise AdapterError(f"{what} ({type(error).__name__}: {error}); {remedy}") from error


def model_card(model: AdaptedViT, repo_id: str | None, classes: list[str] | None = None, metrics: Mapping[str, float] | None = None) -> str:
    """The card as Markdown with the hub's YAML header: methods and options, backbone, data configuration, sizes, classes, how to load.

    repo_id: None for a folder that is on no hub.
    """
    from huggingface_hub import ModelCardData

    names = [method.name for method in model.methods] or ["linear"]
    header = ModelCardData(
        library_name="adapters-lib",
        pipeline_tag="image-classification",
        base_model=_base_model(model.backbone_name),
        tags=["adapters", "parameter-efficient-fine-tuning", "vision-transformer", *names],
    )
    counts = {role: sum(p.numel() for _, p in group) for role, group in model.parameter_groups().items()}
    options = [f"* `{format_method(m)}`: {_listed(method_to_dict(m)['options'])} ({m.source})" for m in model.methods]
    config = {key: value for key, value in model.data_config.items() if key in ("input_size", "mean", "std", "interpolation", "crop_pct")}
    place = f'"{repo_id}"' if repo_id else '"folder"'
    parts = [
        f"---\n{header.to_yaml()}\n---\n\n# {repo_id.partition('/')[2] if repo_id else 'Adapter'}",
        f"A vision transformer adapted with {' + '.join(names)}. These weights are what was trained; the frozen backbone is not included.",
        f"```python\nimport adapters_lib as al\n\nmodel = al.AdaptedViT.from_pretrained({place})\n```",
        "## Methods\n\n" + ("\n".join(options) or "* the head alone"),
        f"## Backbone\n\n`{model.backbone_name}`, options {_listed(model.backbone_source['kwargs'])}; head `{model.head_kind}`.",
        f"## Images\n\n{_listed(config)}",
        f"## Parameters\n\nadapter {counts['adapter']:,}; head {counts['head']:,}; unfrozen in the backbone {counts['backbone']:,}; "
        f"frozen {counts['frozen']:,}",
    ]
    if metrics:
        parts.append("## Results\n\n" + _listed(dict(metrics)))
    parts.append(f"## Classes\n\n{model.num_classes}" + (": " + ", ".join(classes) if classes else ", without names"))
    return "\n\n".join(parts) + "\n"


def write_card(model: AdaptedViT, folder: Path, classes: list[str] | None) -> None:
    """Write the card of an adapter that is kept in `folder`, unless a README.md of somebody else is there."""
    from ..files import atomic_write

    path = folder / CARD
    if path.is_symlink() or (path.exists() and _OURS not in path.read_text(encoding="utf-8", errors="replace")):
        return
    text = model_card(model, None, classes)
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()) or "none"


def _base_model(name: str) -> str | None:
    """The backbone's own repository on the hub: timm keeps every tagged model under its name."""
    if name.startswith("hf-hub:"):
        return name.removeprefix("hf-hub:")
    return f"timm/{name}" if "." in name else None
