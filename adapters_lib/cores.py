"""How many threads to compute with: as many as the process has cores, not as many as the machine has.

In a container or on a shared server torch starts a thread for every core it sees, although others use them or
a quota holds them back; two threads that wait for each other on one free core are many times slower than one.
And threads that wait in a busy loop, as OpenMP's do by default for a while, take the core from the one that
they wait for.
"""

from __future__ import annotations

import os
import sys

__all__ = ["available_cores", "chosen_threads", "thread_settings", "use_cores"]

_CHOSEN = "OMP_NUM_THREADS"
_WAITING = "OMP_WAIT_POLICY"


def available_cores() -> int:
    """Cores that this process may really use: the least of the machine's, its affinity and the quota of
    its cgroup, at least 1."""
    import joblib  # not before it is needed: a third of a second

    return max(1, int(joblib.cpu_count()))


def chosen_threads() -> int:
    """Threads with which a process started now computes: the user's OMP_NUM_THREADS (the first number, if it
    lists some for nested loops), else one for each of `available_cores`."""
    return int(os.environ.get(_CHOSEN, str(available_cores())).partition(",")[0])


def thread_settings() -> dict[str, str]:
    """Environment variables for a process that computes: threads and passive waiting, without those that the
    user has set.

    They count only for a process that has not loaded OpenMP (torch) yet.
    """
    wanted = {_CHOSEN: str(available_cores()), _WAITING: "PASSIVE"}
    return {name: value for name, value in wanted.items() if name not in os.environ}


def use_cores() -> None:
    """Compute with `available_cores` threads from here on, here and in processes started later, unless the
    user set OMP_NUM_THREADS.

    The doors call it: the command line, the grids, the tuner of rates. Importing the library changes nothing.
    """
    settings = thread_settings()
    if _WAITING in settings:
        os.environ[_WAITING] = settings[_WAITING]  # for this process too, if torch is not loaded yet
    if _CHOSEN not in settings:
        return
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(min(torch.get_num_threads(), available_cores()))
    else:
        os.environ[_CHOSEN] = settings[_CHOSEN]
