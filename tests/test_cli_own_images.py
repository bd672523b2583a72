"""The commands for one's own pictures and projects: predict, export, what evaluate reports, and a training
from a file."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from test_cli import answer, complaint, tiny_backbone  # noqa: F401
from tiny_clips import clip_model

import adapters_lib.cli.predict
import adapters_lib.vit.model
from adapters_lib.analysis.image_report import practice_folder
from adapters_lib.cli import main
from adapters_lib.datasets.load import DataWarning
from adapters_lib.vit.model import AdaptedViT

pytestmark = pytest.mark.usefixtures("tiny_backbone")
SHORT = ["--epochs", "1", "--batch-size", "8"]
DIGITS = ["--data", "digits", "--n-per-class", "4", "--data-option", "augment=None"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return practice_folder(tmp_path_factory.mktemp("mine") / "leaves", classes=2, n=6, size=40)


def _trained(capsys, out: Path, photos: Path, *more: str) -> dict:
    data = ["--data", "folder", "--root", str(photos), "--data-option", "augment=None"]
    with pytest.warns(DataWarning):
        return answer(capsys, "train", *data, *SHORT, *more, "--out", str(out))


# ---- predict


def test_predict_names_every_image_of_a_folder_and_lists_the_rest(capsys, tmp_path, photos):
    _trained(capsys, tmp_path / "run", photos, "--method", "lora:rank=2")
    csv = tmp_path / "tables" / "labels.csv"
    argv = ["predict", str(photos), "--checkpoint", str(tmp_path / "run"), "--top", "2", "--out", str(csv)]
    printed = answer(capsys, *argv)
    assert printed["images"] == len(printed["labels"]) == 2 * 6 + 2 + 2
    assert {Path(row["file"]).name for row in printed["skipped"]} == {"notes.jpg", "interrupted copy.jpg"}
    assert {row["class_1"] for row in printed["labels"]} <= {"cultivar 1", "cultivar 2"}
    assert printed["relative"] is None
    table = pd.read_csv(csv)
    assert list(table.columns) == ["file", "class_1", "probability_1", "class_2", "probability_2"]
    assert list(table["file"]) == [row["file"] for row in printed["labels"]]
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert "16 named, 2 left out" in out
    assert out.count("notes.jpg: not an image") == 1
    assert "classify: 100%" in err
    assert "notes.jpg" not in err  # it is said once


def test_predict_uses_the_stored_exits_unless_told_not_to(capsys, tmp_path, photos):
    run = str(tmp_path / "run")
    _trained(capsys, Path(run), photos, "--method", "lora:rank=2", "--method", "dyn:at=1")
    model = AdaptedViT.from_pretrained(run)
    model.extra["exits"] = {"thresholds": [0.0], "policy": "max_softmax"}
    model.save_pretrained(run)
    (picture, *_) = sorted(photos.rglob("leaf_0*.jpg"))
    early = answer(capsys, "predict", str(picture), "--checkpoint", run)
    assert early["labels"][0]["exit"] == 1
    assert early["relative"] < 1
    deep = answer(capsys, "predict", str(picture), "--checkpoint", run, "--full-depth")
    assert deep["labels"][0]["exit"] == 2
    assert deep["relative"] == 1
    assert main(["predict", str(picture), "--checkpoint", run]) == 0
    assert "(exit behind block 1)" in capsys.readouterr().out


def test_predict_names_the_videos_of_a_folder(capsys, tmp_path, film, monkeypatch):
    model = clip_model("linear", 2)
    model.classes = ["up", "down"]
    monkeypatch.setattr(AdaptedViT, "from_pretrained", staticmethod(lambda folder: model))
    (tmp_path / "film.mp4").write_bytes(film.read_bytes())
    printed = answer(capsys, "predict", str(tmp_path), "--checkpoint", "x")
    assert [Path(row["file"]).name for row in printed["labels"]] == ["film.mp4"]


def test_a_checkpoint_without_names_asks_for_a_file_of_them(capsys, tmp_path, photos):
    from adapters_lib.methods.adapt import adapt

    folder = tmp_path / "old"
    adapt(adapters_lib.backbones.create.create_backbone("micro_vit"), "linear", 2).save_pretrained(folder)
    argv = ["predict", str(photos / "cultivar 2"), "--checkpoint", str(folder)]
    assert "what its 2 outputs are called; give --classes FILE" in complaint(capsys, *argv)
    names = tmp_path / "names.txt"
    names.write_text("oak\nash\n")
    printed = answer(capsys, *argv, "--classes", str(names))
    assert {row["class_1"] for row in printed["labels"]} <= {"oak", "ash"}
    names.write_text("oak\n")
    assert "1 class names for 2 outputs" in complaint(capsys, *argv, "--classes", str(names))


def test_predict_leaves_nothing_behind_a_mistake(capsys, tmp_path, photos):
    run, empty, csv = tmp_path / "run", tmp_path / "empty", tmp_path / "labels.csv"
    _trained(capsys, run, photos)
    empty.mkdir()
    (empty / "notes.txt").write_text("words")
    argv = ["--checkpoint", str(run), "--out", str(csv)]
    assert "no image in the folder" in complaint(capsys, "predict", str(empty), *argv)
    assert "no such file" in complaint(capsys, "predict", str(tmp_path / "gone"), *argv)
    assert "leave --device out" in complaint(capsys, "predict", str(photos), *argv, "--device", "nowhere")
    assert "is a folder; give a file" in complaint(
        capsys, "predict", str(photos), "--checkpoint", str(run), "--out", str(empty)
    )
    assert not csv.exists()


# ---- evaluate


def test_evaluate_tells_of_classes_confusions_and_calibration_and_writes_them(capsys, tmp_path):
    run, report = str(tmp_path / "run"), tmp_path / "report"
    trained = answer(capsys, "train", *DIGITS, *SHORT, "--out", run)
    argv = ["evaluate", "--checkpoint", run, *DIGITS, "--report", str(report)]
    about = answer(capsys, *argv, "--device", "cpu")
    counts = torch.tensor(about["confusion"]["counts"])
    assert int(counts.sum()) == about["n"]
    assert 100 * int(counts.trace()) / about["n"] == pytest.approx(trained["test"]["top1"])
    assert {row["class"] for row in about["per_class"]} == set(about["classes"])
    assert 0 < about["ece"] < 1
    stems = {"confusion", "per_class", "pairs", "calibration"}
    wanted = {f"{stem}.csv" for stem in stems}
    wanted |= {f"{stem}.{end}" for stem in ("confusion", "calibration") for end in ("png", "pdf")}
    assert {path.name for path in report.iterdir()} == wanted == {Path(path).name for path in about["report"]}
    table = pd.read_csv(report / "confusion.csv", index_col=0)
    assert table.to_numpy().tolist() == counts.tolist()
    assert pd.read_csv(report / "per_class.csv")["n"].sum() == about["n"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "confusion, images (a row for the true class, a column for what was said):" in out
    assert re.search(rf"^0 {re.escape(about['classes'][0])} +{counts[0, 0]} ", out, re.MULTILINE)
    assert "calibration: expected error" in out
    assert "most confused pairs:" in out
    (tmp_path / "file").write_text("")
    assert "is a file; give a folder" in complaint(capsys, *argv[:-1], str(tmp_path / "file"))


def test_evaluate_in_bfloat16_is_near_and_fp16_needs_a_gpu(capsys, tmp_path):
    run = str(tmp_path / "run")
    trained = answer(capsys, "train", *DIGITS, *SHORT, "--out", run)
    argv = ["evaluate", "--checkpoint", run, *DIGITS]
    short = answer(capsys, *argv, "--precision", "bf16")
    assert short["loss"] != trained["test"]["loss"]
    assert short["loss"] == pytest.approx(trained["test"]["loss"], abs=0.05)
    assert "fp16 needs a GPU" in complaint(capsys, *argv, "--precision", "fp16").replace('"', "")


# ---- export


def test_export_writes_one_file_that_answers_as_the_checkpoint_does(capsys, tmp_path):
    run, file = str(tmp_path / "run"), tmp_path / "model.pt2"
    answer(capsys, "train", *DIGITS, *SHORT, "--method", "lora:rank=2", "--out", run)
    printed = answer(capsys, "export", "--checkpoint", run, "--out", str(file))
    assert printed["format"] == "torch"
    assert printed["input"] == [-1, 3, 32, 32]
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        wanted = AdaptedViT.from_pretrained(run)(images)
        torch.testing.assert_close(torch.export.load(file).module()(images), wanted)
    assert main(["export", "--checkpoint", run, "--out", str(file)]) == 0
    assert "any number of inputs of 3 × 32 × 32" in capsys.readouterr().out
    assert "behind blocks 2;" in complaint(
        capsys, "export", "--checkpoint", run, "--out", str(tmp_path / "x.pt2"), "--exit", "1"
    )
    assert not (tmp_path / "x.pt2").exists()


# ---- train --config

SAME = ("backbone", "methods", "head", "data", "recipe", "history", "test")


@pytest.mark.parametrize("name", ["result.json", "run.json"])
def test_what_a_run_leaves_trains_the_same_run_again(capsys, tmp_path, name):
    more = ["--seed", "3", "--head", "linear_xavier", "--recipe", "clip_norm=1.0", "--lr", "0.01"]
    data = ["--data", "leaves-ultra", "--data-option", "cultivars=3", "--data-option", "n_train=4"]
    first = answer(
        capsys, "train", *data, *more, *SHORT, "--method", "adpt:bottleneck=4", "--out", str(tmp_path / "a")
    )
    again = answer(capsys, "train", "--config", str(tmp_path / "a" / name), "--out", str(tmp_path / "b"))
    for row in (*first["history"], *again["history"]):
        del row["seconds"], row["images_per_second"]
    assert {key: again[key] for key in SAME} == {key: first[key] for key in SAME}
    assert again["config"] == first["config"]
    assert again["recipe"]["clip_norm"] == 1.0


def test_the_command_line_comes_before_the_file_and_the_file_before_the_defaults(capsys, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(
        'data = "digits"\nn_per_class = 4\nmethod = "lora:rank=2"\nlr = 0.01\nseed = 5\n'
        '[recipe]\nepochs = 1\nbatch_size = 8\nclip_norm = 2.0\n[data_option]\naugment = "None"\n'
    )
    run = answer(capsys, "train", "--config", str(file))
    assert run["methods"] == ["lora:rank=2"]
    assert (run["recipe"]["lr"], run["recipe"]["seed"], run["recipe"]["clip_norm"]) == (0.01, 5, 2.0)
    assert run["data"]["train"] == 40
    assert run["config"]["data_option"] == {"augment": None}
    argv = ["--method", "linear", "--lr", "0.5", "--seed", "6", "--recipe", "clip_norm=None"]
    run = answer(capsys, "train", "--config", str(file), *argv, "--n-per-class", "2")
    assert run["methods"] == ["linear"]
    assert (run["recipe"]["lr"], run["recipe"]["seed"], run["recipe"]["clip_norm"]) == (0.5, 6, None)
    assert run["data"]["train"] == 20
    other = ["--data", "leaves-ultra", "--data-option", "cultivars=2", "--data-option", "n_train=4"]
    assert answer(capsys, "train", "--config", str(file), *other)["data"]["train"] == 8


def test_run_json_of_other_images_or_weights_is_refused(capsys, tmp_path):
    out = tmp_path / "a"
    answer(capsys, "train", *DIGITS, *SHORT, "--out", str(out))
    config = ["train", "--config", str(out / "run.json")]
    assert "trained on 40 images, and these are" in complaint(capsys, *config)
    run = json.loads((out / "run.json").read_text())
    run["manifest"]["backbone"]["frozen"]["digest"] = "0" * 64
    (out / "run.json").write_text(json.dumps(run))
    assert "the backbone has other weights" in complaint(capsys, *config, "--n-per-class", "4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bakbone = 'x'", "did you mean 'backbone'"),
        ("[recipe]\nepocs = 3", "did you mean 'epochs'"),
        ("n_per_class = 'many'", "is 'many'; give a whole number"),
        ("method = [3]", "give texts such as lora:rank=16"),
        ("recipe = 3", "give a table"),
        ("lr = 'high'", "lr"),
        ("x = [", "check the path and the TOML"),
        ("[data_option]\nroot = 'x'", "write --root instead"),
        ("[backbone_option]\ncheckpoint_path = 'x'", "which a file may not ask for"),
    ],
)
def test_a_mistake_in_the_file_is_named(capsys, tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text(text)
    assert message in complaint(capsys, "train", "--config", "run.toml")
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds no table of settings, but a list"),
        ({"history": [], "recipe": {}}, "written by an earlier version"),
        ({"manifest": {"train": {"images": 3}}}, "load_data did not make"),
    ],
)
def test_a_json_file_that_holds_no_settings_is_explained(capsys, tmp_path, content, message):
    file = tmp_path / "x.json"
    file.write_text(json.dumps(content))
    assert message in complaint(capsys, "train", "--config", str(file))
    assert "cannot read" in complaint(capsys, "train", "--config", str(tmp_path / "gone.json"))


def test_tensorboard_writes_beside_the_run_or_says_what_is_missing(capsys, tmp_path, monkeypatch):
    out = tmp_path / "a"
    argv = ["train", *DIGITS, *SHORT, "--tensorboard"]
    assert "give a folder --out" in complaint(capsys, *argv)
    answer(capsys, *argv, "--out", str(out), "--device", "cpu")
    assert list((out / "tensorboard").glob("events.*"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install tensorboard" in complaint(capsys, *argv, "--out", str(tmp_path / "b"))


def test_a_device_that_is_not_there_trains_nothing(capsys, tmp_path):
    for argv in (["train", *DIGITS], ["evaluate", "--checkpoint", "x", "--data", "digits"]):
        assert "leave --device out" in complaint(capsys, *argv, "--device", "nowhere")


# ---- bench export


@pytest.mark.parametrize("installed", [True, False])
def test_bench_export_times_the_file_beside_the_model(capsys, monkeypatch, installed):
    import importlib.util

    find = importlib.util.find_spec
    if installed:
        pytest.importorskip("onnxruntime")
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "onnx" in name else find(name))
    argv = [
        "bench",
        "export",
        "--backbone",
        "micro_vit",
        "--batch",
        "1",
        "2",
        "--rounds",
        "2",
        "--classes",
        "3",
    ]
    result = answer(capsys, *argv)
    engines = ["pytorch", "torch.export", *(["onnxruntime"] if installed else [])]
    assert [(row["batch"], row["engine"]) for row in result["results"]] == [
        (batch, engine) for batch in (1, 2) for engine in engines
    ]
    assert all(row["ratio"] == 1 for row in result["results"] if row["engine"] == "pytorch")
    assert (result["onnxruntime"] is None) is not installed
    if not installed:
        assert main(argv) == 0
        assert "onnxruntime is not installed" in capsys.readouterr().out
