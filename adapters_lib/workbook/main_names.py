"""The twenty names that a reader meets first, in the order in which they are used; each has a runnable
example in its docstring."""

from __future__ import annotations

__all__ = ["MAIN"]

MAIN = (
    "create_backbone",
    "load_data",
    "parse_method",
    "adapt",
    "AdaptedViT",
    "cost",
    "latency",
    "Recipe",
    "offline_recipe",
    "fit",
    "evaluate",
    "classify",
    "calibrate",
    "predict",
    "load_pretrained",
    "export",
    "capture_attention",
    "rollout_groups",
    "integrated_gradients",
    "mean_interval",
)
"""Attributes of `adapters_lib`."""
