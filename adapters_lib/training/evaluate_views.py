"""Testing on several views of each video: logits averaged over 4 stretches of time × 3 crops, as action
recognition does."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F

from ..datasets.labelled import View, labels_of
from ..datasets.video.clips import ClipViews, VideoClips
from ..errors import AdapterError
from .evaluate import collect_logits
from .meaning import in_model_order, refuse_trained

__all__ = ["evaluate_views"]


def evaluate_views(
    model: Any,
    dataset: Any,
    batch_size: int = 16,
    *,
    temporal: int = 4,
    spatial: int = 3,
    return_logits: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Accuracy and loss on videos, each seen in `temporal` × `spatial` views whose logits are averaged.

        logits(video) = mean over views v of model(clip_v)

    Args:
        dataset: the videos, such as `task.test`; its augmentation plays no part.
        batch_size: views at once.
        temporal: clips spread evenly over the video (a short one gives the same clip again).
        spatial: crops along the longer side; on square videos all are the same, so 1 does there.
        options: `num_workers`, `progress`, as in `evaluate`.

    Returns: `top1` and `top5` in percent, `loss` (cross-entropy of the averaged logits, nats), `n` videos,
    `views` a video, `bad_files`, the names of files that another one stood in for; with `return_logits` also
    `logits` (N, C) and `labels` (N,).

    Raises AdapterError when the data set is not of videos, for numbers below 1, and as `evaluate` does.
    """
    clips, chosen = (dataset.data, dataset.indices) if isinstance(dataset, View) else (dataset, None)
    if not isinstance(clips, VideoClips):
        raise AdapterError(f"evaluate_views: {type(clips).__name__} is not a set of videos; use evaluate")
    views: Any = ClipViews(clips, temporal, spatial)
    count, labels = views.count, labels_of(in_model_order(model, dataset, "evaluate_views"))
    refuse_trained(model, dataset, "evaluate_views")
    if chosen is not None:
        views = View(views, (chosen[:, None] * count + chosen.new_tensor(range(count))).flatten())
    logits = collect_logits(model, views, batch_size, **options)[0].unflatten(0, (-1, count)).mean(1)
    ranks = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    result: dict[str, Any] = {
        "top1": 100 * int(ranks[:, 0].sum()) / len(labels),
        "top5": 100 * int(ranks.sum()) / len(labels),
        "loss": float(F.cross_entropy(logits, labels)),
        "n": len(labels),
        "views": count,
        "bad_files": [str(path) for path in clips.bad_files],
    }
    return {**result, "logits": logits, "labels": labels} if return_logits else result
