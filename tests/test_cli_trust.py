"""The command line takes any terminal and any value: plain signs where an encoding lacks them, messages in
its own words."""

import argparse
import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from adapters_lib.cli import main
from adapters_lib.cli.arguments import checked_options, key_value
from adapters_lib.cli.devices import device_of
from adapters_lib.cli.wording import spoken
from adapters_lib.errors import AdapterError
from adapters_lib.text import PLAIN, printable

NAMES = ["Bäume → 汉字", "half a pair \udcff", "US$5_$10", "−1 × ½"]
PRINTING = [
    ["methods"],
    ["methods", "--recipes"],
    ["cost", "--method", "ila"],
    ["data", "list"],
    ["data", "describe", "FOLDER"],
    ["--help"],
    ["cost", "--help"],
    ["bench", "exits", "--help"],
    ["data", "describe", "digits", "--root", "→"],
    ["data", "describe", "→"],
    ["cost", "--method", "−:×=\udcff"],
]


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "Wälder → \udcfe"
    for label in NAMES:
        (root / label).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)).save(root / label / f"{i}.png")
    (root / "stray →.png").symlink_to(tmp_path / "none")
    return root


def streams(monkeypatch, encoding, errors="strict"):
    """Standard output and error as files of an encoding, as Python opens pipes."""
    made = []
    for name, how in (("stdout", errors), ("stderr", "backslashreplace")):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=how, write_through=True)
        monkeypatch.setattr(sys, name, stream)
        made.append(stream)
    return made


@pytest.mark.filterwarnings("default::adapters_lib.datasets.task.DataWarning")
@pytest.mark.parametrize(
    ("encoding", "errors"),
    [("cp1252", "strict"), ("ascii", "strict"), ("ascii", "surrogateescape"), ("utf-8", "strict")],
)
def test_every_command_prints_on_every_terminal(monkeypatch, folder, encoding, errors):
    out, err = streams(monkeypatch, encoding, errors)
    for argv in PRINTING:
        argv = [str(folder) if word == "FOLDER" else word for word in argv]
        if str(folder) in argv:
            argv = ["data", "describe", "folder", "--root", str(folder), "--image-size", "8"]
        try:
            code = main(argv)
        except SystemExit as stop:
            code = stop.code
        printed = out.buffer.getvalue() + err.buffer.getvalue()
        assert code in (0, 2), argv
        assert printed.decode(encoding, "surrogateescape"), argv
        assert b"Traceback" not in printed
    assert out.errors == errors  # as it was found
    assert b"tokens" in printed


def test_known_signs_become_plain_letters_and_others_a_question_mark(monkeypatch):
    out, _ = streams(monkeypatch, "ascii")
    with printable():
        print("a → b × 汉 −1 ± ½ \udcff")
    assert out.buffer.getvalue() == b"a -> b x ? -1 +- ? ?\n"
    with pytest.raises(UnicodeEncodeError):
        print("→")
    assert all(value.isascii() for value in PLAIN.values())


def test_utf_8_shows_everything_as_it_is(monkeypatch):
    out, _ = streams(monkeypatch, "utf-8")
    with printable():
        print("a → 汉 \udcff")
    assert out.buffer.getvalue().decode() == "a → 汉 ?\n"


def test_a_stream_without_an_encoding_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", None)
    with printable():
        print("→")
    assert sys.stdout.getvalue() == "→\n"


def test_a_pipe_of_windows_gets_the_table():
    env = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    argv = [sys.executable, "-m", "adapters_lib", "cost", "--method", "ila"]
    done = subprocess.run(argv, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode("cp1252")
    assert "145 -> 101" in done.stdout.decode("cp1252")


# ---- the words of the command line ---------------------------------------------------------------


def error_line(capsys, *argv):
    assert main(list(argv)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize(
    ("argv", "wanted", "unwanted"),
    [
        (
            ["data", "describe", "cifar100"],
            ["pass --download", "--root <folder"],
            ["download=True", "root=", "load_data("],
        ),
        (["data", "describe", "folder"], ["no --root; pass --root <a folder"], ["root="]),
        (["data", "describe", "cotton80", "--root", "."], ["pass --root <folder>"], ["root="]),
        (
            ["data", "describe", "leaves-ultra", "--data-option", "n_train=0.5"],
            ["--data-option n_train=0.5"],
            [],
        ),
        (["data", "describe", "digits", "--n-per-class", "99999"], ["lower --n-per-class"], ["n_per_class"]),
        (["train", "--epochs", "0"], ["--epochs 0"], ["epochs=0"]),
        (["train", "--recipe", "clip_norm=-1"], ["--recipe clip_norm=-1"], []),
        (["cost", "--image-size", "100"], ["--image-size 100"], ["image_size"]),
        (["data", "describe", "digits", "--data-option", "seed=3"], ["write --seed instead"], []),
        (["data", "describe", "digits", "--data-option", "backbone=x"], ["leave it out"], []),
    ],
)
def test_a_message_names_options_as_they_are_typed(capsys, tmp_path, monkeypatch, argv, wanted, unwanted):
    monkeypatch.chdir(tmp_path)
    line = error_line(capsys, *argv)
    assert all(text in line for text in wanted), line
    assert not any(text in line for text in unwanted), line


def test_wording_changes_nothing_but_options():
    args = argparse.Namespace(root=None, download=False, seed=0, data_option=[], image_size=None)
    same = "lora:rank=3, name:key=value, /a/root=x, 'seed=3', --seed=4, x.seed=5, p(y=1)"
    assert spoken(same, args) == same
    assert (
        spoken("pass download=True, root=<f>, strict=False", args)
        == "pass --download, --root <f>, --data-option strict=False"
    )
    assert spoken("image_size=None is no image_size", args) == "no --image-size is no --image-size"


# ---- values --------------------------------------------------------------------------------------

HUGE = "9" * 30


@pytest.mark.parametrize(
    "argv",
    [
        ["cost", "--classes", HUGE],
        ["cost", "--classes", "-3"],
        ["cost", "--image-size", "0"],
        ["cost", "--image-size", HUGE],
        ["cost", "--frames", "0"],
        ["cost", "--frames", "8", "--tubelet", "-2"],
        ["cost", "--latency", "--threads", "100000"],
        ["cost", "--latency", "--repeats", "0"],
        ["cost", "--memory", "--batch", "0"],
        ["cost", "--latency", "--device", "meta"],
        ["cost", "--latency", "--device", "cpu:nonsense"],
        ["train", "--seed", "-1"],
        ["train", "--seed", HUGE],
        ["train", "--n-per-class", "0"],
        ["train", "--recipe", "seed=-1"],
        ["train", "--recipe", "num_workers=100000"],
        ["train", "--recipe", f"batch_size={HUGE}"],
        ["train", "--recipe", "lr='high'"],
        ["train", "--recipe", "epochs=[1]"],
        ["train", "--method", f"lora:rank={HUGE}"],
        ["train", "--data", "digits", "--data-option", "name=x"],
        ["train", "--data", "digits", "--data-option", "augment=3"],
        ["evaluate", "--checkpoint", "x", "--data", "digits", "--batch-size", "0"],
        ["exits", "curve", "--checkpoint", "x", "--data", "digits", "--timed", "0"],
        ["exits", "study", "--jobs", "100000"],
        ["exits", "study", "--seeds", "0", "-1"],
        ["exits", "study", "--data-option", "seed=1"],
        ["bench", "exits", "--shares", "nan"],
        ["bench", "exits", "--images", "1"],
        ["bench", "methods", "--train-batch", "1"],
        ["bench", "methods", "--minutes", "nan"],
        ["bench", "latency", "--batch", "1", "0"],
        ["bench", "steps", "--rounds", "0"],
        ["bench", "video", "--frames", "0"],
        ["bench", "video", "--device", "nowhere"],
        ["bench", "decode", "--workers", "100000"],
        ["bench", "decode", "--step-ms", "-1"],
        ["data", "contact-sheet", "digits", "--out", "x.png", "--per-class", "0"],
        ["data", "describe", "leaves-ultra", "--data-option", "n_train=1000000000"],
        ["data", "describe", "leaves-ultra", "--data-option", "granularity=much"],
    ],
    ids=lambda argv: " ".join(argv)[:60],
)
def test_a_value_out_of_bounds_is_one_line_and_leaves_nothing(capsys, tmp_path, monkeypatch, argv):
    monkeypatch.chdir(tmp_path)
    assert len(error_line(capsys, *argv)) < 600
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["k=" + "(" * 5000, "k={[]: 1}", "k=1e999", r"k='\d'", "k=\0", "k=" + "9" * 5000]
)
def test_any_text_is_a_value(text):
    name, value = key_value(text)
    assert name == "k"
    assert value is not None


def test_own_options_of_the_command_are_no_data_options():
    assert checked_options([("n_train", 3)]) == {"n_train": 3}
    for name in ("seed", "root", "download", "image_size", "backbone", "name", "n_per_class"):
        with pytest.raises(AdapterError, match="no option of a data set"):
            checked_options([(name, 1)])


@pytest.mark.parametrize("name", ["nowhere", "", "cuda:99", "cpu:x", "meta", "\0"])
def test_a_device_that_cannot_compute_is_explained(name):
    with pytest.raises(AdapterError, match="leave --device out, or give cpu"):
        device_of(name)
