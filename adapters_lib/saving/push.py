"""Sharing adapters on the Hugging Face hub: `model.push_to_hub("user/name")`.

What goes there is what `save_pretrained` writes, and a model card. The backbone does not: it is named, and
fetched from where it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AdapterError
from .card import CARD, model_card
from .checkpoint import save_pretrained
from .header import CONFIG, WEIGHTS
from .hub import explained, is_hub_id

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["push_to_hub"]


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
        AdapterError: no such form of a name, nobody is logged in, the repository holds an adapter or a card
            already, the model is merged, or the hub cannot be reached or refuses. Nothing has been uploaded
            then.
    """
    from huggingface_hub import HfApi, get_token

    if not is_hub_id(repo_id):
        raise AdapterError(f'repo_id={repo_id!r} is no name of a repository on the hub; write "user/name"')
    if not (token or get_token()):
        raise AdapterError(
            "nobody is logged in to the Hugging Face hub; run `hf auth login`, set HF_TOKEN, or pass token=…"
        )
    api = HfApi(token=token, library_name="adapters-lib")
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, classes)
        names = classes if classes is not None else model.classes
        (Path(folder) / CARD).write_text(model_card(model, repo_id, names, metrics), encoding="utf-8")
        with explained(
            f"{repo_id!r} could not be uploaded",
            "check the name, the rights of your token and the network, and try again",
        ):
            taken = (
                set(api.list_repo_files(repo_id)) & {WEIGHTS, CONFIG, CARD}
                if api.repo_exists(repo_id)
                else set()
            )
            if taken and not overwrite:
                raise AdapterError(
                    f"{repo_id} holds {', '.join(sorted(taken))} already; choose another name, or pass"
                    " overwrite=True"
                )
            api.create_repo(repo_id, private=private, exist_ok=True)
            api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    return f"https://huggingface.co/{repo_id}"
