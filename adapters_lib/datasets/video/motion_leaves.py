"""motion-leaves: synthetic leaves that drift, turn, sway and grow, as real H.264 files; a task in which one
frame is at chance.

The video task that needs no download. Classes are ways of moving (see `motion_states`); the plant, the paper
and the light are drawn anew for each clip and have nothing to do with the class. Clips are drawn once,
written as MP4 files into a folder, and read back through the same decoding as any other video. A leaf that
leaves the frame on one side comes in on the other.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm.auto import tqdm

from ...errors import AdapterError
from ...files import output_folder
from ...options import real_number
from ..leaves.drawing import LEAF_FIELDS, SCENE_FIELDS, draw
from ..leaves.parameters import HELD_BACK, JITTER, SPLITS, species
from ..request import Request
from ..task import Task
from .clips import clip_cache, clips_task
from .motion_states import MOTIONS, Motion, trajectories
from .sampling import ClipSampler
from .writing import write_video

__all__ = ["FPS", "clip_states", "draw_clip", "load"]

VERSION = 1  # part of the folder's name: raise it when the same numbers would give other pixels
FPS = 24
MOST_CLIPS, MOST_PIXELS = 1_000_000, 2**30  # a clip is drawn in memory, and all of them onto the disk
SCALE = (0.36, 0.76)  # of a leaf at growth 0 and 1; at 1.04 its tip would reach the next copy of the frame
STREAM = 77  # keeps these random numbers apart from those of the leaf images


def load(
    request: Request,
    *,
    frames: int = 8,
    stride: int = 4,
    sampling: str = "strided",
    positions: int | None = None,
    length: int = 32,
    n_train: int = 24,
    n_val: int = 8,
    n_test: int = 20,
    folder: str | os.PathLike[str] | None = None,
    cache_gib: float = 1.0,
    progress: bool = True,
) -> Task:
    """Draw the clips that are not yet in `folder`, and load the task; `load_data("motion-leaves", ...)` is
    the usual way here.

    Args:
        config: its input_size gives the side in pixels at which clips are drawn.
        seed: of the training and validation clips; the test clips are the same for all seeds.
        augment: None, "crop" or "crop-flip" (which makes drifting left and right one class).
        frames, stride, sampling, positions: see `ClipSampler`.
        length: frames of a file, at 24 a second.
        n_train, n_val, n_test: clips a class.
        folder: where the files go; default data/cache/motion-leaves. Files that are there are used again.
        cache_gib: size of the cache of decoded clips, in GiB, beside the files; 0 for none.

    Raises AdapterError for numbers below 1 or a file that is shorter than a clip.
    """
    sampler = ClipSampler(frames, stride, sampling, positions)
    size = request.config["input_size"][-1]
    counts = {"train": n_train, "val": n_val, "test": n_test}
    for what, value in {**{f"n_{part}": n for part, n in counts.items()}, "length": length}.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise AdapterError(f"{request.name}: {what}={value!r}; give a whole number of at least 1")
    clips = len(MOTIONS) * sum(counts.values())
    if clips > MOST_CLIPS or length * size**2 > MOST_PIXELS:
        many = f"{clips:,} clips of {length:,} frames of {size}² pixels"
        raise AdapterError(
            f"{request.name}: {many}; ask for at most {MOST_CLIPS:,} clips, of at most"
            f" {MOST_PIXELS:,} pixels each"
        )
    real_number(f"{request.name}: cache_gib", cache_gib, 0, 2**20)  # before anything is drawn
    needed = sampler.span if sampling == "strided" else frames
    if length < needed:
        raise AdapterError(
            f"{request.name}: files of {length} frames are shorter than a clip, which spans {needed}; pass"
            f" length={needed} or more"
        )
    home = Path(folder) if folder is not None else output_folder("data/cache") / "motion-leaves"
    parts = {
        part: _files(
            home / f"v{VERSION}-{size}px-{length}f" / _stream_name(part, request.seed),
            part,
            request.seed,
            count,
            length,
            size,
            progress,
        )
        for part, count in counts.items()
    }
    info = {
        "source": "synthetic leaves in motion, drawn by adapters_lib, H.264",
        "seed": request.seed,
        "length": length,
        **{f"n_{part}": count for part, count in counts.items()},
        "folder": str(home),
    }
    cache = clip_cache(cache_gib, home / "decoded")
    classes = [motion.name for motion in MOTIONS]
    return clips_task(
        request,
        classes,
        parts,
        sampler=sampler,
        cache=cache,
        synthetic=True,
        info=info,
    )


def clip_states(task: Task, part: str = "test") -> np.ndarray:
    """The true states of every file of one part, in the order of its labels: (N, length, 4), columns
    `motion_states.STATE`.

    Raises AdapterError when the task is not of motion leaves.
    """
    if task.name != "motion-leaves":
        raise AdapterError(f"{task.name} has no states of moving leaves; use motion-leaves")
    count, length, seed = task.info[f"n_{part}"], task.info["length"], task.info["seed"]
    return np.concatenate([_draws(m, part, seed, count, length)[0] for m in range(len(MOTIONS))])


def draw_clip(plant: np.ndarray, scene: np.ndarray, states: np.ndarray, seed: int, size: int) -> np.ndarray:
    """Draw one clip: uint8 (T, size, size, 3).

    Args:
        plant: (leaf fields,) and scene: (scene fields,) in [0, 1], as for `leaves.drawing.draw`; the scene's
            place, turn, size and gradient of light are replaced.
        states: (T, 4) in [0, 1), columns `motion_states.STATE`.
        seed: of the sensor noise, which differs from frame to frame.
    """
    # (T, 2) rows and columns: whole pixels are rolled, the rest is drawn.
    whole, rest = np.divmod(states[:, 1::-1] * size, 1.0)
    scenes = np.repeat(scene[None], len(states), axis=0)
    physical = {
        "rotation": 360 * states[:, 2],
        "scale": SCALE[0] + (SCALE[1] - SCALE[0]) * states[:, 3],
        "shift_x": rest[:, 1] * 2 / size,
        "shift_y": -rest[:, 0] * 2 / size,
        "light_x": np.zeros(len(states)),  # a gradient would show where the frame's edges are joined
        "light_y": np.zeros(len(states)),
    }
    for column, field in enumerate(SCENE_FIELDS):
        if field.name in physical:
            scenes[:, column] = (physical[field.name] - field.low) / (field.high - field.low)
    drawn = (
        draw(np.repeat(plant[None], len(states), axis=0), scenes, seed + np.arange(len(states)), size)
        .permute(0, 2, 3, 1)
        .numpy()
    )
    return np.stack(
        [np.roll(image, tuple(shift), (0, 1)) for image, shift in zip(drawn, whole.astype(int), strict=True)]
    )


def _stream_name(part: str, seed: int) -> str:
    return part if part == "test" else f"{part}-{seed}"


def _draws(
    label: int, part: str, seed: int, count: int, length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """States (count, length, 4), plants, scenes and noise seeds of one class. The first clips stay the
    same when more are asked for."""
    motion: Motion = MOTIONS[label]
    fields, scene_fields = len(LEAF_FIELDS), len(SCENE_FIELDS)
    stream = 0 if part == "test" else seed
    draws = np.random.Generator(np.random.PCG64([stream, SPLITS[part], label, STREAM])).random(
        (count, 8 + 2 * fields + scene_fields)
    )
    kinds = species()
    jitter = (
        JITTER
        * np.array([f.name not in HELD_BACK for f in LEAF_FIELDS])
        * (draws[:, 8 : 8 + fields] - draws[:, -fields:])
    )
    plants = np.clip(kinds[(draws[:, 6] * len(kinds)).astype(int)] + jitter, 0.0, 1.0)
    scenes = draws[:, 8 + fields : 8 + fields + scene_fields]
    return trajectories(motion, draws[:, :6], length), plants, scenes, (draws[:, 7] * 2**52).astype(np.int64)


def _files(
    folder: Path, part: str, seed: int, count: int, length: int, size: int, progress: bool
) -> list[tuple[Path, int]]:
    """(file, label) of every clip of one part, class after class; those that are missing are drawn and
    written."""
    samples = [
        (folder / f"{label:02d}" / f"{number:04d}.mp4", label)
        for label in range(len(MOTIONS))
        for number in range(count)
    ]
    if all(path.is_file() for path, _ in samples):
        return samples
    folder.mkdir(parents=True, exist_ok=True)
    # Another process may be drawing the same clips: wait for it, then draw what is left.
    with FileLock(folder / "lock"):
        missing = sum(not path.is_file() for path, _ in samples)
        with tqdm(
            total=missing,
            desc=f"draw motion leaves ({part})",
            unit="clip",
            disable=not progress or not missing,
        ) as bar:
            for label in range(len(MOTIONS)):
                (folder / f"{label:02d}").mkdir(exist_ok=True)
                states, plants, scenes, seeds = _draws(label, part, seed, count, length)
                for number, (path, _) in enumerate(samples[label * count : (label + 1) * count]):
                    if not path.is_file():
                        write_video(
                            path,
                            draw_clip(
                                plants[number], scenes[number], states[number], int(seeds[number]), size
                            ),
                            FPS,
                        )
                        bar.update()
    return samples
