"""`threads`: settings for a process that computes, for the shell: `env $(python -m adapters_lib threads)
jupyter lab`."""

from __future__ import annotations

import argparse

from ..cores import thread_settings

__all__ = ["COMPUTES", "add_arguments", "run", "show"]

COMPUTES = False
"""The settings are those of the caller's surroundings, before this process makes any for itself."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> dict[str, str]:
    """{"OMP_NUM_THREADS": cores, "OMP_WAIT_POLICY": "PASSIVE"}, without those that the user has set."""
    return thread_settings()


def show(result: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in result.items())
