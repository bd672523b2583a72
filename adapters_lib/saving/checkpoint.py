"""The format adapters are shared in: safetensors and JSON, written whole or not at all, with a digest, and
checked before it is used.

An adapter folder holds `adapter_model.safetensors` (what was trained, head included) and
`adapter_config.json` (how to rebuild the model). The configuration is also in the safetensors header, and
that copy is the one read: two files cannot be replaced at one stroke, so a crash between the two would
otherwise pair new weights with an old configuration.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..backbones.create import create_backbone
from ..errors import AdapterError, OptionWarning
from ..files import save_json
from ..methods.adapt import adapt
from ..vit.architecture import describe, differences
from ..vit.check import check_backbone, unchanged_on_error
from ..vit.frozen import blocks_digest, difference, frozen_print
from ..vit.model import AdaptedViT
from ..vit.state_check import check_state
from .card import write_card
from .header import CONFIG, WEIGHTS, Header, make_header, read_header
from .hub import download, is_hub_id
from .tensors import load_tensors, save_tensors

__all__ = ["load_pretrained", "save_pretrained"]

IMAGES = "trained_on.images"
"""Name of the tensor that tells which images an adapter was trained on (`AdaptedViT.trained_images`)."""


def save_pretrained(model: AdaptedViT, folder: str | Path, classes: Sequence[str] | None = None) -> None:
    """Write what was trained and how to rebuild the model: `adapter_model.safetensors`,
    `adapter_config.json`, and a card, `README.md`.

    A README.md that somebody else wrote is left alone.

    Args:
        classes: names of the classes; None: `model.classes`.

    Raises:
        AdapterError: the disk is full or the folder cannot be written (what was there is kept), the model is
            merged, a weight is NaN or infinite, there is another number of names than outputs, or the
            backbone was created with options that JSON cannot hold.
    """
    if model.merged:
        raise AdapterError(
            "cannot save a merged model, since its adapters are part of the backbone's weights; call"
            " unmerge() first"
        )
    state = model.trainable_state_dict()
    if bad := [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]:
        raise AdapterError(
            f"cannot save: {bad[0]!r} holds NaN or infinity; train again with a lower learning rate"
        )
    config = make_header(model, classes)
    folder = Path(folder)
    images = {} if model.trained_images is None else {IMAGES: model.trained_images}
    save_tensors(folder / WEIGHTS, {**state, **images}, {"config": config})
    save_json(folder / CONFIG, config)
    write_card(model, folder, config["classes"])


def load_pretrained(
    folder: str | Path,
    *,
    backbone: nn.Module | None = None,
    weights: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> AdaptedViT:
    """Rebuild the model that `save_pretrained` wrote, in eval mode; class names are in `model.classes`.

    A file may come from a stranger: it can ask for a model of timm by its name and plain options and for
    nothing else, and what it rebuilds is compared with what was saved (how the backbone is built, its image
    size, all of its frozen weights).

    Args:
        folder: where it was written; or, if there is no such folder, `user/name` on the Hugging Face hub.
        backbone: the frozen timm model to use; None creates it by the name in the configuration, with
            pretrained weights. Changed in place, as by `adapt`; left as it was if anything fails.
        weights: of the backbone that is created, see `create_backbone`; None: as it was, from the hub or from
            the folder ADAPTERS_WEIGHTS.
        revision, token: of the hub's repository: branch, tag or commit; and the right to read it.

    Raises:
        AdapterError: a file is missing, truncated or damaged, asks for what it may not, or the backbone is
            built otherwise or has other weights than the one that the adapter was trained on; the message
            names the difference.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> model = al.adapt(al.create_backbone(), "lora", classes=["oak", "elm"])
        >>> with TemporaryDirectory() as folder:
        ...     model.save_pretrained(folder)
        ...     al.load_pretrained(folder).classes
        ['oak', 'elm']
    """
    place = Path(folder)
    if not place.is_dir() and is_hub_id(str(folder)):
        place = download(str(folder), revision=revision, token=token)
    tensors, metadata = load_tensors(place / WEIGHTS)
    images = tensors.pop(IMAGES, None)
    header = read_header(place / WEIGHTS, metadata)
    if backbone is None:
        backbone = _rebuilt(header, weights)
    elif weights is not None:
        raise AdapterError(
            "weights=… are for a backbone that is created here; load them into the one that you pass, or"
            " leave it out"
        )
    header.check_size(backbone)
    _check_build(header, backbone)
    _check_tensors(header, backbone, tensors, images)
    with unchanged_on_error(backbone), warnings.catch_warnings():
        warnings.simplefilter("ignore", OptionWarning)  # advice for a training that is over
        try:
            model = adapt(backbone, list(header.methods), header.num_classes, head=header.head)
            _check_frozen(header, model)
            model.load_trainable_state_dict(tensors)
        except Exception as error:
            backbone.adapters_lib_adapted = False  # type: ignore[assignment]
            if isinstance(error, AdapterError):
                raise
            raise AdapterError(
                f"{header.file} does not fit this backbone: {error}; use the one it was trained on"
            ) from error
    model.classes = header.classes  # type: ignore[assignment]
    model.extra = header.extra
    model.trained_on, model.trained_images = header.trained_on, images
    return model.eval()


def _rebuilt(header: Header, weights: str | Path | None) -> nn.Module:
    """The backbone by the name and the options in the header. Where everything is in the file, no weights
    are fetched for it."""
    name, options = header.rebuild(weights is not None)
    given: dict[str, Any] = {} if weights is None else {"weights": weights}
    vit = create_backbone(name, pretrained=header.needs_weights or weights is not None, **options, **given)
    return vit if header.dtype is None else vit.to(header.dtype)


def _check_build(header: Header, backbone: nn.Module) -> None:
    if header.architecture is None:
        return
    if lacking := differences(header.architecture, describe(backbone)):
        raise AdapterError(
            f"the adapter in {header.file} was trained on a {header.name!r} that is built otherwise:"
            f" {'; '.join(lacking[:3])}; pass backbone=… built with the same options"
        )


def _check_tensors(
    header: Header, backbone: nn.Module, tensors: dict[str, Tensor], images: Tensor | None
) -> None:
    """Raise an AdapterError unless the methods of the header make the tensors of the file, tried without
    weights or memory for them."""
    if images is not None and (images.dtype != torch.int64 or images.ndim != 1):
        raise AdapterError(
            f"{header.file}: {IMAGES!r} is {images.dtype} {tuple(images.shape)}, but must be int64 (K,); copy"
            " the file again"
        )
    check_backbone(backbone)
    stand_in = {
        id(t): nn.Parameter(t.to("meta"), t.requires_grad) if isinstance(t, nn.Parameter) else t.to("meta")
        for t in (*backbone.parameters(), *backbone.buffers())
    }
    hollow = copy.deepcopy(backbone, memo=stand_in)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptionWarning)  # advice for a training that is over
            model = adapt(hollow, list(header.methods), header.num_classes, head=header.head)
    except AdapterError:
        raise
    except Exception as error:
        raise AdapterError(
            f"{header.file}: its methods cannot be built on this backbone: {error}; use the one it was"
            " trained on"
        ) from error
    check_state(model.trainable_state_dict(), tensors)


def _check_frozen(header: Header, model: AdaptedViT) -> None:
    """Raise an AdapterError unless the frozen weights are those of the training, as far as the file's
    version recorded them."""
    if header.frozen is not None:
        mismatch = difference(header.frozen, frozen_print(model))
    elif header.blocks_digest is not None:
        mismatch = None if blocks_digest(model) == header.blocks_digest else "another digest of the blocks"
    else:
        mismatch = None
    if mismatch:
        raise AdapterError(
            f"the frozen weights of this backbone are not those that the adapter in {header.file} was trained"
            f" on ({header.name!r}{header.weights_in_words}; here"
            f" {model.weights.get('file') or model.weights['source']}): {mismatch}; load the same pretrained"
            " weights (weights=…), or pass backbone=… with them"
        )
