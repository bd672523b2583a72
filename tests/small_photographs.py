"""Small stand-ins for the two sets of photographs: no test needs an image of the real ones."""

from pathlib import Path

import numpy as np
from PIL import Image

LEVELS = ("0.0", "0.3333333333333333", "0.6666666666666666", "1.0")


def write_cells(folder: Path, counts: tuple[int, ...] = (20, 8, 6, 12), size: int = 24) -> Path:
    """labels.csv and images/ as in the package elpv-dataset; the darker, the likelier a defect."""
    (folder / "images").mkdir(parents=True)
    random, rows, number = np.random.default_rng(0), [], 0
    for level, (text, count) in enumerate(zip(LEVELS, counts, strict=True)):
        for index in range(count):
            number += 1
            gray = random.integers(0, 60, (size, size)) + 180 - 55 * level
            name = f"images/cell{number:04}.png"
            Image.fromarray(gray.astype(np.uint8), mode="L").save(folder / name)
            rows.append(f"{name}  {text}  {'mono' if index % 2 else 'poly'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_package(site: Path, counts: tuple[int, ...] = (20, 8, 6, 12)) -> Path:
    """A package `elpv_dataset` in a folder that a test puts on sys.path; returns its data folder."""
    home = site / "elpv_dataset"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("raise RuntimeError('the code of the package is not run')\n")
    return write_cells(home / "data", counts)


def write_turntable(folder: Path, names: tuple[str, ...], frames: int = 101, size: int = 16) -> None:
    """A clone's folders `<part>/<kind>/r0_<K>_100.jpg`, K from 0."""
    random = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        color = random.integers(0, 256, 3)
        for number in range(frames):
            pixels = np.clip(color + random.integers(-20, 20, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"r0_{number}_100.jpg")
