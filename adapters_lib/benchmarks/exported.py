"""Is an exported file faster than the model it came from? PyTorch, torch.export's program and onnxruntime in
turn, in one process, with as many threads."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..costs.latency import compare_latency
from ..saving.export import export
from ..vit.inputs import input_shape, probe_images
from ..vit.modes import evaluating

if TYPE_CHECKING:
    from ..vit.model import AdaptedViT

__all__ = ["MODEL", "bench_exported"]

MODEL = "pytorch"
"""Row that the others are compared with: the model itself."""


def bench_exported(
    model: AdaptedViT, *, batches: Sequence[int] = (1, 16), repeats: int = 20, exit: int | None = None
) -> dict[str, Any]:
    """Milliseconds of a forward pass on the CPU, float32, on random images.

    Args:
        batches: images at once. repeats: timed rounds, after 3 that are not counted. exit: see `export`; the
            model itself always runs at full depth.

    Returns:
        {"backbone", "methods", "exit", "threads", "onnxruntime": its version, or None where it is not
        installed and left out, "results": [{"batch", "engine", "ms", "q25_ms", "q75_ms", "ratio" to the model
        within the same round (median), "ratio_q25", "ratio_q75", "rounds"}]}.

    Raises:
        AdapterError: as `export`.
    """
    model.cpu()
    version, rows = _version(), []
    with tempfile.TemporaryDirectory() as folder, evaluating(model):
        engines: dict[str, Callable[[Tensor], object]] = {MODEL: model}
        engines["torch.export"] = _program(model, Path(folder) / "model.pt2", exit)
        if version is not None:
            engines["onnxruntime"] = _session(model, Path(folder) / "model.onnx", exit)
        for batch in batches:
            images = probe_images(model, (input_shape(model)[-2], input_shape(model)[-1]), batch)
            calls = {name: _call(run, images) for name, run in engines.items()}
            compared = compare_latency(calls, repeats=repeats, device="cpu")
            for name, time in compared.latencies.items():
                ratio, low, high = compared.ratios[name]
                row: dict[str, Any] = {"batch": batch, "engine": name, "ms": time.median}
                row |= {"q25_ms": time.q25, "q75_ms": time.q75, "rounds": time.repeats}
                rows.append({**row, "ratio": ratio, "ratio_q25": low, "ratio_q75": high})
    return {
        "backbone": model.backbone_name,
        "methods": [method.name for method in model.methods],
        "exit": exit,
        "threads": torch.get_num_threads(),
        "onnxruntime": version,
        "results": rows,
    }


def _version() -> str | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    return str(onnxruntime.__version__)


def _call(run: Callable[[Tensor], object], images: Tensor) -> Callable[[], object]:
    return lambda: run(images)


def _program(model: AdaptedViT, path: Path, exit: int | None) -> Callable[[Tensor], object]:
    export(model, path, exit=exit)
    return torch.export.load(path).module()


def _session(model: AdaptedViT, path: Path, exit: int | None) -> Callable[[Tensor], object]:
    import onnxruntime

    export(model, path, exit=exit)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images.numpy()})
