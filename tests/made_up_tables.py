"""Results tables of made-up numbers with the keys of the real grids: for tests of figures only, never
stored beside real ones."""

import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import adapters_lib as al
from adapters_lib.experiments.exit_study import SETTINGS
from adapters_lib.experiments.grids import ALL_METHODS, GRIDS
from adapters_lib.experiments.run import Experiment, grid, pack_hits

N_TEST = 80


def _number(*parts: object) -> float:
    """In [0, 1), from a text: the same on every machine."""
    return zlib.crc32(repr(parts).encode()) / 2**32


def made_up_row(run: Experiment) -> dict:
    right = 40 + 6 * _number(run.name) + 60 * run.data_options.get("granularity", 0.12)
    hits = [_number(image) < (right + 3 * _number(run.name, run.seed)) / 100 for image in range(N_TEST)]
    trained = int(2580 * 900 ** _number("size", run.name))
    return {
        "key": run.key,
        "method": run.name,
        "data": run.data,
        "seed": run.seed,
        "top1": 100 * sum(hits) / N_TEST,
        "n_test": N_TEST,
        "hits": pack_hits(torch.tensor(hits)),
        "trained": trained,
        "adapter": trained - 2580,
        "head": 2580,
        "macs": int(3e8 + 2e8 * _number("macs", run.name)),
        "memory_mib": 100 + 300 * _number("memory", run.name),
        "version": al.__version__,
        "configuration": json.dumps(run.configuration(), sort_keys=True),
    }


def made_up(name: str) -> pd.DataFrame:
    """Rows as the command of the table `name` would store them."""
    if name == "latency":
        return _latency()
    if name in ("exits", "exits_curves"):
        return _exits() if name == "exits" else _curves()
    runs = grid(["linear", "lora", "padapter"], "motion-leaves") if name == "video" else GRIDS[name]()
    return pd.DataFrame([made_up_row(run) for run in runs])


def store(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        made_up(name).to_csv(folder / f"{name}.csv", index=False)
    return folder


def _latency() -> pd.DataFrame:
    rows = []
    for batch in (1, 16):
        for name in ("bare timm", *ALL_METHODS):
            for merged in (False, True) if name in ("lora", "ssf") else (False,):
                ms = 8 + 4 * _number(name, merged, batch)
                time = {"latency_ms": ms, "q25_ms": 0.95 * ms, "q75_ms": 1.1 * ms}
                where = {"device": "cpu", "threads": 1, "version": al.__version__}
                rows.append({"method": name, "merged": merged, "batch": batch, **time, **where})
    return pd.DataFrame(rows)


def _exits() -> pd.DataFrame:
    rows = []
    for setting in SETTINGS:
        for seed in range(3):
            top1 = 55 + 4 * _number(setting) + _number(setting, seed)
            same = {"setting": setting, "host": "lora", "data": "leaves-mixed", "seed": seed}
            same["configuration"] = json.dumps({"version": al.__version__})
            rows.append(
                {**same, "key": f"{setting}{seed}-full", "point": "full", "top1": top1 + 2, "mean_block": 12}
            )
            for point, shares in (
                (("half", [0.4, 0.3, 0.2, 0.1]), ("best", [0.1, 0.2, 0.3, 0.4])) if setting != "host" else ()
            ):
                moved = 0.1 * _number(setting, point, seed)
                common = {
                    "shares": json.dumps([shares[0] - moved, shares[1] + moved, *shares[2:]]),
                    "coarse_block": 5 + moved,
                }
                controls = {"random": top1 - 5, "fixed_depth": top1 - 2}
                rows.append(
                    {
                        **same,
                        "key": f"{setting}{seed}-{point}",
                        "point": point,
                        "top1": top1,
                        **common,
                        **controls,
                        "fine_block": 9 - moved,
                    }
                )
    return pd.DataFrame(rows)


def _curves() -> pd.DataFrame:
    parts = []
    for setting in ("naive", "all"):
        for seed in range(3):
            x = np.linspace(0.28, 1.02, 13) + 0.005 * seed
            rise = 40 + 20 * (1 - np.exp(-4 * x)) + _number(setting, seed)
            columns = {
                "relative": x,
                "top1": rise,
                "fixed_depth": rise - 3 * (1 - x),
                "ms": 9 * x + 0.3,
                "full_ms": 9.0,
            }
            key = [f"{setting}{seed}-{number}" for number in range(len(x))]
            parts.append(pd.DataFrame({"key": key, "setting": setting, "seed": seed, **columns}))
    return pd.concat(parts, ignore_index=True)
