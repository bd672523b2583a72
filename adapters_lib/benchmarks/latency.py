"""Milliseconds of every method's forward pass, the table behind "accuracy against milliseconds"; and of its
training step.

All methods and the bare timm model take turns in one process, round after round, so a slow second of the
machine falls on all of them alike. Adapters that merge are timed merged, as they would serve, and as they
train; the column `merged` tells the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
import timm
import torch
from torch import nn

from .. import __version__
from ..backbones.create import create_backbone
from ..backbones.images import EMBEDDED
from ..costs.cost import cost
from ..costs.latency import compare_latency
from ..errors import AdapterError
from ..methods import parse_method
from .methods import adapted_copy, bench_device, bench_training, merged_copy
from .targets import BARE, FLOOR, PEFT

__all__ = ["BARE", "latency_table", "step_table"]

_VERSIONS = {"version": __version__, "torch": torch.__version__, "timm": timm.__version__}


def latency_table(
    methods: Sequence[str],
    backbone: str = EMBEDDED,
    *,
    batches: Sequence[int] = (1, 16),
    classes: int = 20,
    repeats: int = 20,
) -> pd.DataFrame:
    """One row a method and batch size, on random images in evaluation mode, float32, on a GPU if there is
    one.

    Args:
        methods: text forms. The weights are those of a new adapter: time does not depend on them.
        batches: images at once. classes: outputs of the head. repeats: timed rounds, after 3 that are not
            counted.

    Returns:
        Columns method, merged, backbone, batch, latency_ms (median per image) with its quartiles q25_ms and
        q75_ms, ratio to the rows of `BARE` within the same round (median) with ratio_q25 and ratio_q75, macs
        (per image), device, threads, rounds, version, torch, timm.

    Raises:
        AdapterError: no method, an unknown one, or a batch below 1.
    """
    if not methods or min(batches, default=0) < 1:
        raise AdapterError(
            f"methods={list(methods)}, batches={list(batches)}: give at least one method, and batches of at"
            " least 1 image"
        )
    device = bench_device()
    bare: Any = create_backbone(backbone, pretrained=False, num_classes=classes).to(device)
    models: dict[tuple[str, bool], nn.Module] = {(BARE, False): bare}
    for method in methods:
        models[method, False] = adapted_copy(bare, method)
        adds = cost(models[method, False]).trainable["adapter"]
        if adds and (merged := merged_copy(bare, method)) is not None:
            models[method, True] = merged
    macs = {key: cost(model).macs for key, model in models.items()}
    size = bare.patch_embed.img_size
    rows: list[dict[str, Any]] = []
    for batch in batches:
        images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0)).to(device)
        calls = {
            f"{name}{' merged' * merged}": partial(model.eval(), images)
            for (name, merged), model in models.items()
        }
        measured = compare_latency(calls, warmup=3, repeats=repeats, device=device)
        for (name, merged), call in zip(models, calls, strict=True):
            latency, ratio = measured.latencies[call], measured.ratios[call]
            times = {"latency_ms": latency.median, "q25_ms": latency.q25, "q75_ms": latency.q75}
            rows.append(
                {
                    "method": name,
                    "merged": merged,
                    "backbone": backbone,
                    "batch": batch,
                    **{column: value / batch for column, value in times.items()},
                    **dict(zip(("ratio", "ratio_q25", "ratio_q75"), ratio, strict=True)),
                    "macs": macs[name, merged],
                    "device": latency.device,
                    "threads": latency.threads,
                    "rounds": latency.repeats,
                    **_VERSIONS,
                }
            )
    return pd.DataFrame(rows)


def step_table(
    methods: Sequence[str], backbone: str = EMBEDDED, *, batch: int = 4, classes: int = 20, repeats: int = 20
) -> pd.DataFrame:
    """One row a method: forward, backward and AdamW update on random images, float32; no features are kept
    from step to step.

    Args:
        methods: text forms; full fine-tuning comes in addition, as the measure of all others. batch: images
            of a step.
        classes: outputs of the head. repeats: timed rounds, after one that is not counted.

    Returns:
        Columns method, backbone, batch, step_ms (median), ratio to full fine-tuning within the same round
        (median) with ratio_q25 and ratio_q75, peak_mib (memory, counted from shapes) and peak_ratio, device,
        threads, rounds, version, torch, timm.

    Raises:
        AdapterError: no method, an unknown one, or a batch below 2.
    """
    if not methods or batch < 2:
        raise AdapterError(
            f"methods={list(methods)}, batch={batch}: give at least one method, and a batch of at least 2"
            " images"
        )
    names = [name for name in methods if parse_method(name).name != "full"]
    measured = bench_training(backbone, names, batch, classes, repeats)
    where = {"device": bench_device().type, "threads": torch.get_num_threads()}
    rows = []
    for name, step in measured.items():
        if name not in (PEFT, FLOOR):
            ratios = {column: step[column] for column in ("ratio", "ratio_q25", "ratio_q75")}
            peak = {"peak_mib": step["peak_bytes"] / 2**20, "peak_ratio": step["peak_ratio"]}
            made = {**where, "rounds": step["rounds"], **_VERSIONS}
            rows.append(
                {
                    "method": name,
                    "backbone": backbone,
                    "batch": batch,
                    "step_ms": step["ms"],
                    **ratios,
                    **peak,
                    **made,
                }
            )
    return pd.DataFrame(rows)
