"""An adapted model as one file that other programs run: torch.export's `.pt2`, or ONNX.

The file holds the whole model, backbone included, in evaluation mode and for a batch of any size; class
names and how pictures are prepared lie beside the weights. What it answers is compared with the model before
it is put in its place.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..datasets.unlabelled import preparation
from ..errors import AdapterError, unknown
from ..files import atomic_write
from ..vit.exits import exit_blocks, exit_logits
from ..vit.inputs import input_shape, probe_images
from ..vit.modes import evaluating, on_device

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["FORMATS", "META", "export"]

FORMATS = {"torch": ".pt2", "onnx": ".onnx"}
"""Name of a format → the ending of its files."""

META = "adapters_lib.json"
"""Where a file keeps class names and preparation: an extra file of `.pt2`, an entry of ONNX's metadata."""

NEEDED = ("onnx", "onnxscript")
MOST_IMAGES = 2**31  # of a batch, more than any memory holds
CHECKED = (1, 3)  # batch sizes with which the file is compared with the model
LIMIT = 2**31  # bytes of an ONNX file that is one file
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}  # of logits; shorter types: 0.1


def export(
    model: AdaptedViT, path: str | Path, format: str | None = None, exit: int | None = None
) -> dict[str, Any]:
    """Write `model` to one file: images (B, C, H, W), normalised, or clips (B, C, T, H, W) → logits (B,
    classes).

    The model is traced on the CPU and is afterwards where it was; nothing of it changes.

    Args:
        path: ends in .pt2 or .onnx, if `format` does not say which.
        format: "torch": read it by `torch.export.load(path).module()`; "onnx": with onnxruntime or another
            runtime, input `images`, output `logits`. ONNX needs the packages onnx and onnxscript; with
            onnxruntime installed the file is also run once.
        exit: the block behind which the logits are read, for a model with early exits: blocks and heads
            behind it are left out. None: the full depth, without early heads.

    Returns:
        `path`, `format`, `exit`, `input` (shape, the batch as -1), `bytes`, and `checked`: the largest
        difference of logits from the model's, or None if nothing here can run the file.

    Raises:
        AdapterError: unknown format, no such exit, a missing package, a model that cannot be traced (the
            message says why), a file that answers otherwise than the model, or one that cannot be written.
            Nothing is left behind then.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> small = {"image_size": 32, "patch_size": 16, "depth": 1}
        >>> vit = al.create_backbone("vit_tiny_patch16_224", pretrained=False, **small)
        >>> model = al.adapt(vit, "lora", classes=["oak", "elm"])
        >>> with TemporaryDirectory() as folder:
        ...     written = al.export(model, f"{folder}/model.pt2")
        ...     torch.export.load(written["path"]).module()(torch.zeros(5, 3, 32, 32)).shape
        torch.Size([5, 2])
    """
    path = Path(path)
    format = _format(path, format)
    block = _block(model, exit)
    if path.is_dir():
        raise AdapterError(
            f"{path} is a folder; give the name of a file, such as {path / 'model'}{FORMATS[format]}"
        )
    whole = _Answer(model, block)
    with on_device(model, torch.device("cpu")), evaluating(model), _quiet():
        examples = probe_images(model, (input_shape(model)[-2], input_shape(model)[-1]), max(CHECKED))
        about = json.dumps(_about(model, block), ensure_ascii=False)
        content, checked = (_torch if format == "torch" else _onnx)(whole, examples, about)
    atomic_write(path, lambda temporary: temporary.write_bytes(content))
    return {
        "path": str(path),
        "format": format,
        "exit": None if block == model.depth else block,
        "input": [-1, *input_shape(model)],
        "bytes": len(content),
        "checked": checked,
    }


class _Answer(nn.Module):
    """Images → logits behind one block, without the heads on the way."""

    def __init__(self, model: AdaptedViT, block: int) -> None:
        super().__init__()
        self.model, self.block = model, block

    def forward(self, images: Tensor) -> Tensor:
        if self.block == self.model.depth:
            return self.model(images)  # type: ignore[no-any-return]
        x, layout = self.model.embed(images)
        for index in range(self.block):
            x, layout = self.model.run_block(index, x, layout)
        return exit_logits(self.model, self.block, x, layout)


def _format(path: Path, format: str | None) -> str:
    if format is None:
        endings = {ending: name for name, ending in FORMATS.items()}
        if path.suffix.lower() not in endings:
            raise AdapterError(
                f"{path}: its ending names no format; end it in {' or '.join(endings)}, or give format="
            )
        return endings[path.suffix.lower()]
    if format not in FORMATS:
        raise unknown("export format", format, FORMATS)
    return format


def _block(model: AdaptedViT, exit: object) -> int:
    if exit is None:
        return model.depth
    known = exit_blocks(model)
    if not isinstance(exit, int) or isinstance(exit, bool) or exit not in known:
        listed = ", ".join(map(str, known))
        raise AdapterError(
            f"exit={exit!r}: this model's exits stand behind blocks {listed}; give one of them. A policy that"
            " decides image by image is no fixed graph and cannot be exported"
        )
    return exit


def _about(model: AdaptedViT, block: int) -> dict[str, Any]:
    """What a program needs besides the graph, as JSON values."""
    prepared = {key: value for key, value in preparation(model).items() if not isinstance(value, torch.dtype)}
    return {
        "library": "adapters_lib",
        "classes": model.classes,
        "backbone": model.backbone_name,
        "exit": None if block == model.depth else block,
        "prepared": prepared,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters tell of their own affairs; errors still come through."""
    logger = logging.getLogger("torch")
    others = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx", "torch.export")]
    before = [each.level for each in (logger, *others)]
    for each in (logger, *others):
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip((logger, *others), before, strict=True):
            each.setLevel(level)


def _traced(whole: nn.Module, examples: Tensor) -> torch.export.ExportedProgram:
    # Without an upper bound torch 2.6 finds its own largest number among the sizes, and refuses.
    any_batch = ({0: torch.export.Dim("batch", min=1, max=MOST_IMAGES)},)
    try:
        return torch.export.export(whole, (examples,), dynamic_shapes=any_batch, strict=False)
    except Exception as error:
        raise AdapterError(
            f"torch.export cannot trace this model with a batch of any size: {_first(error)}; export it"
            " without the method or module that the reason names, or run it in Python"
        ) from error


def _torch(whole: _Answer, examples: Tensor, about: str) -> tuple[bytes, float]:
    buffer = io.BytesIO()
    torch.export.save(_traced(whole, examples), buffer, extra_files={META: about})
    buffer.seek(0)
    again = torch.export.load(buffer).module()
    worst = max(_gap(again(examples[:n]), whole(examples[:n])) for n in CHECKED)
    return buffer.getvalue(), worst


def _onnx(whole: _Answer, examples: Tensor, about: str) -> tuple[bytes, float | None]:
    if lacking := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise AdapterError(
            f'format="onnx" needs {" and ".join(lacking)}, not installed here; pip install {" ".join(NEEDED)}'
            ' onnxruntime, or take format="torch"'
        )
    size = sum(t.numel() * t.element_size() for t in (*whole.parameters(), *whole.buffers()))
    if size >= LIMIT:
        raise AdapterError(
            f"the model's weights take {size / 2**30:.1f} GiB, and an ONNX file holds at most 2; export"
            ' format="torch", or a model in half precision'
        )
    program = _traced(whole, examples)
    try:
        made: Any = torch.onnx.export(
            program, dynamo=True, input_names=["images"], output_names=["logits"], verbose=False
        )
        proto = made.model_proto
    except Exception as error:
        raise AdapterError(
            f'ONNX has no words for an operation of this model: {_first(error)}; export format="torch"'
        ) from error
    entry = proto.metadata_props.add()
    entry.key, entry.value = META, about
    content: bytes = proto.SerializeToString()
    return content, _run(content, whole, examples)


def _run(content: bytes, whole: _Answer, examples: Tensor) -> float | None:
    """The largest difference under onnxruntime; None where that is not installed, or lacks the data type."""
    if importlib.util.find_spec("onnxruntime") is None or examples.dtype not in TOLERANCE:
        return None
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise AdapterError(
            f'onnxruntime cannot load what was exported: {_first(error)}; export format="torch"'
        ) from error
    worst = 0.0
    for n in CHECKED:
        (logits,) = session.run(None, {"images": examples[:n].numpy()})
        worst = max(worst, _gap(torch.from_numpy(np.asarray(logits)), whole(examples[:n])))
    return worst


def _gap(logits: Tensor, wanted: Tensor) -> float:
    """The largest difference of two sets of logits. Raises AdapterError if they are not the same model's."""
    limit = TOLERANCE.get(wanted.dtype, 0.1) * max(1.0, float(wanted.abs().max()))
    gap = (
        float((logits.double() - wanted.double()).abs().max())
        if logits.shape == wanted.shape
        else float("inf")
    )
    if not gap <= limit:  # NaN too
        raise AdapterError(
            f"the exported file answers otherwise than the model (logits differ by {gap:.2g}); nothing was"
            " written: check the model's weights, and try the other format"
        )
    return gap


def _first(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
