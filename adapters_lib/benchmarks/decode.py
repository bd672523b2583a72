"""Is reading videos the bottleneck? Clips decoded per second, and the share of a training step that is
spent waiting for data."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..datasets.task import Task, make_loader
from ..datasets.video.clips import VideoClips, read_clip
from ..datasets.video.decoding import Video
from ..errors import AdapterError

__all__ = ["bench_decode"]


def bench_decode(
    task: Task,
    model: Any = None,
    *,
    step_ms: float | None = None,
    batch: int = 8,
    workers: int = 2,
    steps: int = 20,
    clips: int = 64,
) -> dict[str, Any]:
    """Measure reading on a task of videos.

    Args:
        model: an adapted clip model, whose training steps (forward, backward, SGD) are done while workers
            read ahead.
        step_ms: milliseconds that a step takes, slept in the place of a model's.
        batch, workers, steps: clips a step, loader processes, steps timed after a first one.
        clips: decoded in this process for the rate, without a cache.

    Returns: `clips_per_second` and `decode_ms` (median) of one process, `frames_decoded` a clip (those up to
    a wanted one included), `frames_used`; `step_ms` and `wait_ms` (means) and `wait_share` = wait / (wait +
    step); `start_s`, until the first batch is there; `clips_per_second_training`; `workers`, `batch`,
    `cores`, `cache`.

    Raises AdapterError unless exactly one of `model` and `step_ms` is given, when the task is not of videos,
    or for numbers below 1.
    """
    train: Any = task.train
    if not isinstance(train, VideoClips):
        raise AdapterError(
            f"bench decode: {task.name} is not a task of videos; use motion-leaves or a set of videos"
        )
    if (model is None) == (step_ms is None):
        raise AdapterError("bench decode: give a model, or step_ms in its place, and not both")
    if min(batch, steps, clips) < 1 or workers < 0 or (step_ms is not None and step_ms < 0):
        raise AdapterError(
            f"bench decode: batch={batch}, steps={steps}, clips={clips}, workers={workers}; at least 1, 1, 1"
            " and 0 are needed"
        )
    return {
        "data": task.name,
        "size": train.size,
        "workers": workers,
        "batch": batch,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cache": train.cache is not None,
        **_rate(train, clips),
        **_training(train, _sleeper(step_ms) if model is None else _trainer(model), batch, workers, steps),
    }


def _rate(train: VideoClips, clips: int) -> dict[str, float]:
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:clips].tolist()
    times, decoded = [], []
    for index in chosen:
        start = time.perf_counter()
        read_clip(train.paths[index], train.sampler.random, train.size)
        times.append(time.perf_counter() - start)
        with Video(train.paths[index]) as video:
            video.read(train.sampler.view(video.times))
            decoded.append(video.decoded)
    return {
        "clips_per_second": len(times) / sum(times),
        "decode_ms": 1e3 * statistics.median(times),
        "frames_decoded": statistics.mean(decoded),
        "frames_used": train.sampler.frames,
    }


def _training(
    train: VideoClips, step: Callable[[Tensor, Tensor], None], batch: int, workers: int, steps: int
) -> dict[str, float]:
    def batches() -> Iterator[Any]:
        epoch = 0
        while True:
            yield from make_loader(
                train,
                min(batch, len(train)),
                True,
                torch.Generator().manual_seed(epoch),
                workers,
                drop_last=True,
            )
            epoch += 1

    start = time.perf_counter()
    source = batches()
    step(*next(source))
    first = time.perf_counter() - start
    waited = worked = 0.0
    for _ in range(steps):
        mark = time.perf_counter()
        clips, labels = next(source)
        got = time.perf_counter()
        step(clips, labels)
        waited, worked = waited + got - mark, worked + time.perf_counter() - got
    return {
        "steps": steps,
        "step_ms": 1e3 * worked / steps,
        "wait_ms": 1e3 * waited / steps,
        "wait_share": waited / (waited + worked) if waited + worked else 0.0,
        "clips_per_second_training": steps * min(batch, len(train)) / (waited + worked),
        "start_s": first,
    }


def _sleeper(step_ms: float | None) -> Callable[[Tensor, Tensor], None]:
    return lambda clips, labels: time.sleep((step_ms or 0.0) / 1e3)


def _trainer(model: Any) -> Callable[[Tensor, Tensor], None]:
    device = next(model.parameters()).device
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    model.train()

    def step(clips: Tensor, labels: Tensor) -> None:
        loss = F.cross_entropy(model(clips.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step
