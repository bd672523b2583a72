"""Adapters on the Hugging Face hub: `AdaptedViT.from_pretrained("user/name")` fetches one; `push` uploads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import AdapterError
from .header import WEIGHTS

__all__ = ["download", "explained", "is_hub_id"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(text: str) -> bool:
    """Whether a text has the form `user/name`."""
    return _HUB_ID.fullmatch(text) is not None and ".." not in text and len(text) <= 96


def download(repo_id: str, *, revision: str | None = None, token: str | None = None) -> Path:
    """Fetch an adapter's weights, in whose header the configuration stands, and return the local folder
    (huggingface_hub's cache).

    Raises:
        AdapterError: no such repository or file, no right to read it, or no network.
    """
    from huggingface_hub import hf_hub_download

    remedy = "check the path or the name on the hub, log in if it is private, or fetch it once with a network"
    with explained(
        f"there is no folder {repo_id!r}, and no adapter of that name could be fetched from the hub", remedy
    ):
        return Path(
            hf_hub_download(repo_id, WEIGHTS, revision=revision, token=token, library_name="adapters-lib")
        ).parent


@contextmanager
def explained(what: str, remedy: str) -> Iterator[None]:
    """Turn the hub client's errors, and those of the connection below it, into ours."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        OSError,
    ) as error:
        raise AdapterError(
            f"{what} ({type(error).__name__}: {str(error).strip().partition(chr(10))[0]}); {remedy}"
        ) from error
    except Exception as error:
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests")):
            raise
        raise AdapterError(f"{what} ({type(error).__name__}: {error}); {remedy}") from error
