"""What comes from outside as data, and the command line: methods, commands, lists, options, images,
videos."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import timm
import torch
from PIL import Image, features

import adapters_lib as al
from adapters_lib.cli import main
from adapters_lib.cli.arguments import key_value
from adapters_lib.datasets.images.files import MAX_PIXELS, check_files, read_image
from adapters_lib.datasets.images.lists import read_list
from adapters_lib.datasets.list_files import Fence
from adapters_lib.datasets.load import load_data
from adapters_lib.datasets.task import Task
from adapters_lib.datasets.video.decoding import Video, check_videos
from adapters_lib.datasets.video.lists import READERS
from adapters_lib.datasets.video.writing import write_video
from adapters_lib.errors import AdapterError
from adapters_lib.methods import METHODS, format_method, parse_method
from adapters_lib.training import fit as training
from fuzz.engine import Case, kind
from fuzz.mutations import odd_text, odd_value, spoilt, spoilt_text

# ---- methods -------------------------------------------------------------------------------------


@kind("methods")
def methods(rng: random.Random, _place: Path) -> Case:
    """Method texts: sound ones, odd values, spoilt letters."""
    text = _method_text(rng)

    def run() -> tuple[Any, torch.Tensor]:
        method = parse_method(text)
        sizes = {
            "img_size": 32,
            "patch_size": 8,
            "embed_dim": 16,
            "depth": 2,
            "num_heads": 2,
            "num_classes": 3,
        }
        with torch.random.fork_rng():
            torch.manual_seed(0)
            vit = timm.create_model("vit_tiny_patch16_224", **sizes)
        model = al.adapt(vit, method, 3, seed=0).eval()
        with torch.no_grad():
            return method, model(torch.zeros(2, 3, 32, 32))

    def right(result: tuple[Any, torch.Tensor]) -> bool:
        method, logits = result
        return (
            logits.shape == (2, 3)
            and bool(logits.isfinite().all())
            and parse_method(format_method(method)) == method
        )

    return Case(repr(text)[:120], run, right)


def _method_text(rng: random.Random) -> str:
    name = rng.choice(sorted(METHODS))
    fields = dataclasses.fields(METHODS[name])
    pairs = []
    for field in rng.sample(fields, min(len(fields), rng.choice((0, 1, 1, 2, 3)))):
        default = (
            "/".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)
        )
        value = rng.choice(
            (
                default,
                default,
                "1",
                "2",
                "0.5",
                "True",
                "q/v",
                "1/2",
                odd_text(rng),
                str(rng.choice((3, 16, 17, 10**7))),
            )
        )
        pairs.append(f"{field.name}={value}")
    text = f"{name}:{','.join(pairs)}" if pairs else name
    return spoilt_text(text, rng) if rng.random() < 0.3 else text


# ---- command lines -------------------------------------------------------------------------------

# No --download: no test may wait for a network.
ARGUMENTS = {
    "methods": ["--recipes", "--json", "--nonsense"],
    "cost": [
        "--method",
        "--classes",
        "--image-size",
        "--frames",
        "--tubelet",
        "--batch",
        "--threads",
        "--json",
        "--dtype",
    ],
    "data list": ["--json", "--root"],
    "data describe": [
        "--root",
        "--seed",
        "--n-per-class",
        "--image-size",
        "--data-option",
        "--json",
    ],
    "train": [
        "--method",
        "--seed",
        "--epochs",
        "--lr",
        "--batch-size",
        "--recipe",
        "--preset",
        "--data-option",
        "--optimizer",
    ],
    "evaluate": ["--checkpoint", "--batch-size", "--split", "--seed"],
    "exits curve": ["--checkpoint", "--policy", "--timed", "--table"],
    "bench exits": ["--shares", "--batch", "--images", "--threads", "--device"],
    "results table": ["--folder", "--format"],
}
FLAGS = ("--json", "--recipes")


class Reached(Exception):
    """The arguments were taken, and the work would begin now."""


@kind("command lines")
def command_lines(rng: random.Random, place: Path) -> Case:
    """Commands with options in any number and order, half of the values odd; long work is not begun."""
    command = rng.choice(sorted(ARGUMENTS))
    argv = command.split()
    if command == "data describe":
        argv.append(rng.choice(("digits", "folder", "cifar100", "cotton80", odd_text(rng))))
    if command == "results table":
        argv.append(rng.choice(("methods", odd_text(rng))))
    if command in ("evaluate", "exits curve"):
        argv += ["--data", "digits", "--checkpoint", str(place / "none")]
    if command == "train":
        argv += ["--data", "digits"]
    if command == "bench exits":  # nothing that could be timed
        argv += ["--checkpoint", str(place / "none")]
    for option in rng.choices(ARGUMENTS[command], k=rng.choice((0, 1, 2, 2, 3))):
        argv.append(option)
        if option not in FLAGS:
            argv += [_word(rng, option)] if rng.random() < 0.95 else []
    if rng.random() < 0.1:
        argv = [spoilt_text(word, rng) if rng.random() < 0.3 else word for word in argv]
    if not argv or argv[0] not in (
        "methods",
        "cost",
        "data",
        "train",
        "evaluate",
        "exits",
        "bench",
        "results",
    ):
        argv = ["methods", *argv]
    return Case(f"{argv}"[:160], functools.partial(_command, argv, place), lambda done: done)


def _word(rng: random.Random, option: str) -> str:
    good = {
        "--method": ["lora", "ila", "lora:rank=4", _method_text(rng)],
        "--data-option": [
            "augment=None",
            f"{rng.choice(('val_fraction', 'n_train', 'seed', 'x'))}={odd_text(rng)}",
        ],
        "--recipe": [
            "clip_norm=1.0",
            f"{rng.choice(('lr', 'seed', 'epochs', 'num_workers', 'x'))}={odd_text(rng)}",
        ],
        "--image-size": ["32", "96", "100"],
        "--policy": ["entropy"],
        "--dtype": ["float32"],
        "--device": ["cpu", "nowhere"],
        "--format": ["csv"],
    }
    return rng.choice(
        [*good.get(option, ["1", "2", "8", "0.5"]), odd_text(rng), rng.choice(("0", "-1", "nan", "9" * 30))]
    )


def _command(argv: list[str], place: Path) -> bool:
    """Run it as a shell would; True when it ended well, AdapterError when it ended with our one line."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict", write_through=True)
        for _ in range(2)
    )
    before, fit = os.getcwd(), training.fit

    def reached(*_args: Any, **_options: Any) -> None:
        raise Reached

    os.chdir(place)
    training.fit = reached
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(_lenient(err)):
            code: Any = main(argv)
    except SystemExit as stop:
        code = stop.code
    except Reached:
        return True
    finally:
        training.fit = fit
        os.chdir(before)
    stdout, stderr = (stream.buffer.getvalue().decode("ascii") for stream in (out, err))  # type: ignore[attr-defined]
    if code == 0:
        return bool(stdout.strip()) and (
            "--json" not in argv or "--help" in argv or json.loads(stdout) is not None
        )
    if code == 2 and "Traceback" not in stderr:
        lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
        usage = [line for line in stderr.splitlines() if "error: " in line]
        if len(lines) == 1 and not stdout:
            raise AdapterError(lines[0])
        if stderr.startswith("usage: ") and len(usage) >= 1:
            raise AdapterError(f"{usage[-1]}; see --help and give what it asks for")
    raise RuntimeError(f"exit {code}: {stderr[-300:]}")


def _lenient(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """As Python makes standard error."""
    stream.reconfigure(errors="backslashreplace")
    return stream


# ---- lists ---------------------------------------------------------------------------------------

CODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1")


def _encoded(text: str, coding: str) -> bytes:
    return text.encode(coding, "replace" if coding == "latin-1" else "surrogatepass")


@kind("lists")
def lists(rng: random.Random, place: Path) -> Case:
    """CSV and text lists of images: encodings, headers, spoilt rows, paths that lead away."""
    separator = rng.choice((",", " "))
    wanted = [
        (f"{'ü' * rng.randrange(2)}img {i}.png", rng.randrange(3)) for i in range(rng.choice((1, 3, 8)))
    ]
    rows = [f"{name}{separator}{label}" for name, label in wanted]
    sound = rng.random() < 0.4
    if not sound:
        for _ in range(rng.choice((1, 2))):
            at = rng.randrange(len(rows))
            rows[at] = rng.choice(
                (
                    f"{odd_text(rng)}{separator}1",
                    f"a.png{separator}{odd_text(rng)}",
                    spoilt_text(rows[at], rng),
                )
            )
    header = ["path,class"] if separator == "," and rng.random() < 0.3 else []
    coding = rng.choice(CODINGS)
    data = _encoded(rng.choice(("\n", "\r\n")).join([*header, *rows, ""]), coding)
    if not sound and rng.random() < 0.3:
        data = spoilt(data, rng)
    (place / "root").mkdir()
    (place / "root" / "list").write_bytes(data)

    def right(samples: list[tuple[Path, int]]) -> bool:
        inside = all(_within(path, place / "root") for path, _ in samples)
        fits = all(type(label) is int and 0 <= label < 3 for _, label in samples)
        return inside and fits and (not sound or [(path.name, label) for path, label in samples] == wanted)

    return Case(
        f"{coding} {data[:80]!r}",
        lambda: read_list(place / "root" / "list", place / "root", 3, separator),
        right,
    )


def _within(path: Path, root: Path) -> bool:
    return os.path.realpath(path).startswith(os.path.realpath(root) + os.sep)


def _ucf(rng: random.Random) -> dict[str, str]:
    names = [f"{label}/v_{label}_g0{i}_c01.avi" for label in ("Bow", "Run") for i in range(3)]
    rows = "".join(f"{name} {1 + name.startswith('Run')}\n" for name in names)
    return {"classInd.txt": "1 Bow\n2 Run\n", "trainlist01.txt": rows, "testlist01.txt": "\n".join(names)}


def _hmdb(rng: random.Random) -> dict[str, str]:
    return {
        f"{label}_test_split1.txt": "".join(f"film{i}_{label}_x.avi {i % 3}\n" for i in range(4))
        for label in ("bow", "run")
    }


def _diving(rng: random.Random) -> dict[str, str]:
    rows = json.dumps([{"vid_name": f"v{i}", "label": i % 2, "end_frame": 9} for i in range(4)])
    return {
        "Diving48_vocab.json": '[["a", "b"], "c"]',
        "Diving48_V2_train.json": rows,
        "Diving48_V2_test.json": rows,
    }


def _ssv2(rng: random.Random) -> dict[str, str]:
    rows = json.dumps([{"id": str(i), "template": f"Doing [{'x' if i % 2 else 'y'}]"} for i in range(4)])
    labels = '{"Doing x": "0", "Doing y": "1"}'
    return {
        f"something-something-v2-{part}.json": text
        for part, text in zip(("labels", "train", "validation"), (labels, rows, rows), strict=True)
    }


PUBLISHED: dict[str, Callable[[random.Random], dict[str, str]]] = {
    "ucf101": _ucf,
    "hmdb51": _hmdb,
    "diving48": _diving,
    "ssv2": _ssv2,
}


@kind("video lists")
def video_lists(rng: random.Random, place: Path) -> Case:
    """The four published lists of videos, one of their files spoilt as text, as JSON or as bytes."""
    name = rng.choice(sorted(PUBLISHED))
    files = PUBLISHED[name](rng)
    sound, coding, shown = rng.random() < 0.3, rng.choice(CODINGS), ""
    victim = rng.choice(sorted(files))
    for file, text in files.items():
        if file == victim and not sound:
            text = (
                _spoilt_json(text, rng)
                if file.endswith("json") and rng.random() < 0.6
                else spoilt_text(text, rng)
            )
            shown = f"{file}: {text[:80]!r}"
        data = _encoded(text, coding)
        (place / file).write_bytes(
            spoilt(data, rng, 1) if file == victim and not sound and rng.random() < 0.2 else data
        )

    def right(listed: Any) -> bool:
        rows = [*listed.train, *listed.test]
        fits = all(_within(row.path, place) and type(row.label) is int and 0 <= row.label < 2 for row in rows)
        return fits and len(listed.classes) == 2 and (not sound or len(rows) >= 4)

    return Case(f"{name} {coding} {shown}", lambda: READERS[name](place, 1, 2, Fence(place)), right)


def _spoilt_json(text: str, rng: random.Random) -> str:
    """Valid JSON with one value that has no business there."""
    content = json.loads(text)
    if not content:
        return text
    place = rng.choice(list(content)) if isinstance(content, dict) else rng.randrange(len(content))
    value = rng.choice(
        (None, 1.7, -1, True, [], {}, "x", "../../x", "\0", 10**40, float("nan"), float("inf"), "9" * 400)
    )
    if isinstance(content, list) and isinstance(content[place], dict) and rng.random() < 0.8:
        content[place][rng.choice(sorted(content[place]))] = value
    else:
        content[place] = value
    return json.dumps(content)


# ---- options -------------------------------------------------------------------------------------

OPTIONS = {
    "digits": ("seed", "image_size", "n_per_class", "augment", "root", "download", "x"),
    "leaves-ultra": (
        "seed",
        "n_train",
        "n_val",
        "n_test",
        "species",
        "cultivars",
        "granularity",
        "plants",
        "image_size",
    ),
    "folder": ("val_fraction", "test_fraction", "verify", "cache", "max_pixels", "seed", "augment", "root"),
    "video-folder": (
        "frames",
        "stride",
        "sampling",
        "positions",
        "cache_gib",
        "verify",
        "val_fraction",
        "outside_root",
    ),
}
GOOD: dict[str, tuple[Any, ...]] = {
    "seed": (0, 3, 2**62),
    "image_size": (16, 24),
    "n_per_class": (1, 3),
    "augment": (None, "default"),
    "n_train": (1, 3),
    "n_val": (1, 2),
    "species": (1, 2),
    "cultivars": (2, 3),
    "granularity": (0.1, 1, None),
    "plants": (0, 5),
    "val_fraction": (0.2, 0.3),
    "test_fraction": (0.2, 0.3),
    "verify": ("auto", "off", "header"),
    "cache": (True, False),
    "max_pixels": (64, 10**6),
}
SMALL = {"n_train": 2, "n_val": 1, "n_test": 1, "cultivars": 2, "image_size": 16}


@kind("options")
def options(rng: random.Random, place: Path) -> Case:
    """Options of data sets, as Python values, as JSON and as `key=value` texts."""
    name = rng.choice(sorted(OPTIONS))
    given: dict[str, Any] = dict(SMALL) if name == "leaves-ultra" else {"image_size": 16}
    if name == "folder":
        given["root"] = _picture_folder(place)
    for option in rng.sample(OPTIONS[name], rng.choice((1, 1, 2, 3))):
        value = rng.choice(GOOD[option]) if option in GOOD and rng.random() < 0.7 else odd_value(rng)
        how = rng.random()
        if how < 0.3 and value not in (object, b"x"):
            value = json.loads(json.dumps(value))
        elif how < 0.5:
            value = key_value(f"{option}={value}")[1]
        given[option] = value

    def right(task: Any) -> bool:
        if not isinstance(task, Task):
            return False
        image, label = task.train[0]
        return bool(image.isfinite().all()) and 0 <= label < task.num_classes

    return Case(f"{name} {given}"[:200], lambda: load_data(name, **given), right)


def _picture_folder(place: Path) -> Path:
    for label in ("a", "b"):
        (place / "root" / label).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(place / "root" / label / f"{i}.png")
    return place / "root"


# ---- images --------------------------------------------------------------------------------------

EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0"  # orientation 3


@functools.cache
def _pictures() -> tuple[tuple[str, bytes, np.ndarray], ...]:
    """(ending, bytes, the pixels that they decode to) of small images of every format."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 4), dtype=np.uint8)
    base, made = Image.fromarray(noise), []
    plans: list[tuple[str, Image.Image, dict[str, Any]]] = [
        (
            "jpg",
            base.convert("RGB"),
            {"quality": 90, "exif": EXIF, "icc_profile": b"p" * 200, "comment": b"c"},
        ),
        ("jpg", base.convert("RGB"), {"quality": 90, "progressive": True}),
        ("jpg", base.convert("CMYK"), {}),
        ("png", base, {"icc_profile": b"p" * 200, "exif": EXIF}),
        ("png", base.convert("P"), {"transparency": 1}),
        ("png", Image.fromarray(noise[..., 0].astype(np.uint16) * 257), {}),
        ("gif", base.convert("P"), {"save_all": True, "append_images": [base.convert("L")]}),
        ("bmp", base.convert("RGB"), {}),
        ("tif", base.convert("RGB"), {"compression": "tiff_lzw"}),
        ("tif", base, {"compression": "tiff_deflate"}),
        ("ppm", base.convert("RGB"), {}),
    ]
    plans += [("webp", base, {"exif": EXIF, "icc_profile": b"p" * 200})] if features.check("webp") else []
    plans += [("avif", base.convert("RGB"), {})] if features.check("avif") else []
    with tempfile.TemporaryDirectory() as folder:
        for number, (ending, image, how) in enumerate(plans):
            path = Path(folder) / f"{number}.{ending}"
            image.save(path, **how)
            made.append((ending, path.read_bytes(), np.asarray(read_image(path))))
    return tuple(made)


@kind("images")
def images(rng: random.Random, place: Path) -> Case:
    """Image files with spoilt bytes, and files of one format under another's name."""
    ending, data, pixels = rng.choice(_pictures())
    sound = rng.random() < 0.1
    if not sound:
        data = spoilt(data, rng)
        if rng.random() < 0.1:
            data = data[: rng.randrange(1 + len(data))] + rng.choice(_pictures())[1]
    path = place / f"x.{ending if rng.random() < 0.8 else 'jpg'}"
    path.write_bytes(data)

    def run() -> Image.Image:
        defects = [check_files([path], verify) for verify in ("header", "full")]
        if defects[1] and not defects[1][0][1]:
            raise RuntimeError("a defect without a reason")
        image = read_image(path)  # raises where a check of everything found something
        if defects[1]:
            raise RuntimeError(f"check_files says {defects[1]}, but it is read")
        return image

    def right(image: Image.Image) -> bool:
        whole = image.mode == "RGB" and 0 < image.width * image.height <= MAX_PIXELS
        return whole and (not sound or np.array_equal(np.asarray(image), pixels))

    return Case(f"{path.name}, {len(data)} bytes, {'sound' if sound else 'spoilt'}", run, right)


# ---- videos --------------------------------------------------------------------------------------


@functools.cache
def _films() -> tuple[tuple[str, bytes], ...]:
    frames = np.random.default_rng(0).integers(0, 256, (10, 32, 40, 3), dtype=np.uint8)
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for name, codec in (
            ("a.mp4", "h264"),
            ("b.mp4", "mpeg4"),
            ("c.mkv", "h264"),
            ("d.webm", "libvpx-vp9"),
            ("e.avi", "mpeg4"),
        ):
            write_video(Path(folder) / name, frames, codec=codec)
            made.append((name, (Path(folder) / name).read_bytes()))
        with av.open(f"{folder}/f.mpg", "w") as container:
            stream = container.add_stream("mpeg1video", rate=24)
            stream.width, stream.height, stream.pix_fmt = 40, 32, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        made.append(("f.mpg", Path(folder, "f.mpg").read_bytes()))
    return tuple(made)


SCRIPTS = (b"ffconcat version 1.0\nfile other.mp4\n", b"#EXTM3U\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n")


@kind("videos")
def videos(rng: random.Random, place: Path) -> Case:
    """Video files with spoilt bytes, scripts and playlists under a video's name, the start of one in
    another."""
    name, data = rng.choice(_films())
    how = rng.random()
    if how < 0.05:
        data = rng.choice(SCRIPTS)
    elif how < 0.9:
        data = spoilt(data, rng)
    if how > 0.85:
        data = data[: rng.randrange(1, 64)] + rng.choice((*SCRIPTS, rng.choice(_films())[1]))
    path = place / name
    path.write_bytes(data)
    (place / "other.mp4").write_bytes(_films()[0][1])

    def run() -> np.ndarray:
        check_videos([path], "full", progress=False)
        with Video(path) as video:
            last = len(video) - 1
            if last >= 5000:
                raise RuntimeError(f"{last} frames in {len(data)} bytes")
            frames = video.read([0, last // 2, last], short_side=16)
            if not (np.diff(video.times) > 0).all() or not np.isfinite(video.fps):
                raise RuntimeError(f"times {video.times[:5]}")
            return frames

    def right(frames: np.ndarray) -> bool:
        return (
            data not in SCRIPTS
            and frames.dtype == np.uint8
            and frames.ndim == 4
            and frames.shape[0] == 3
            and frames.shape[3] == 3
        )

    return Case(f"{name}, {len(data)} bytes", run, right)


if sys.platform == "win32":  # pragma: no cover
    raise RuntimeError("the time limit of the fuzz tests needs signals of POSIX")
