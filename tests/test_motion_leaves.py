"""The video task that needs no download: one frame is at chance, the order of the frames tells everything,
files are written once."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adapters_lib.backbones.clips import to_clip_model
from adapters_lib.benchmarks.decode import bench_decode
from adapters_lib.cli import main
from adapters_lib.datasets.load import load_data
from adapters_lib.datasets.video.decoding import Video
from adapters_lib.datasets.video.motion_leaves import _draws, clip_states, draw_clip
from adapters_lib.datasets.video.motion_states import (
    MOTIONS,
    STATE,
    motion_parameters,
    single_frame_features,
    trajectories,
)
from adapters_lib.datasets.video.writing import write_video
from adapters_lib.errors import AdapterError
from adapters_lib.figures.clip_samples import clip_sheet
from adapters_lib.methods.adapt import adapt

CLASSES = len(MOTIONS)
COUNTS = {"n_train": 2, "n_val": 1, "n_test": 1}
TINY = {"image_size": 32, "frames": 4, "stride": 2, "length": 8, "progress": False, "cache_gib": 0, **COUNTS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("motion")


@pytest.fixture(scope="module")
def task(folder):
    return load_data("motion-leaves", folder=folder, **TINY)


def many(count, seed=0, frames=29):
    rng = np.random.default_rng(seed)
    states = np.concatenate([trajectories(motion, rng.random((count, 6)), frames) for motion in MOTIONS])
    return states, np.repeat(np.arange(CLASSES), count)


def accuracy(train, train_labels, test, test_labels):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    return model.fit(train, train_labels).score(test, test_labels)


def at_chance(hits, n):
    """Within three standard errors of 1 / 16."""
    return abs(hits - 1 / CLASSES) < 3 * np.sqrt((1 - 1 / CLASSES) / CLASSES / n)


@pytest.mark.parametrize("moment", [0, 13, 28])
def test_the_state_in_one_frame_is_at_chance(moment):
    (train, labels), (test, wanted) = many(150), many(150, seed=1)
    hits = accuracy(
        single_frame_features(train[:, moment]), labels, single_frame_features(test[:, moment]), wanted
    )
    assert at_chance(hits, len(wanted))


@pytest.mark.parametrize("motion", range(CLASSES), ids=[motion.name for motion in MOTIONS])
def test_every_frame_of_every_class_has_uniform_and_independent_states(motion):
    states = trajectories(MOTIONS[motion], np.random.default_rng(motion).random((4000, 6)), 29)
    for moment in (0, 9, 28):
        columns = states[:, moment]
        for column in columns.T:
            counts = np.histogram(column, bins=8, range=(0, 1))[0]
            # Chi-square, 7 degrees of freedom: beyond 1 in 10,000.
            assert ((counts - 500) ** 2 / 500).sum() < 30
        features = single_frame_features(columns)
        correlation = np.corrcoef(features.T) - np.eye(features.shape[1])
        assert np.abs(correlation).max() < 0.08


def test_the_motion_tells_every_class():
    (train, labels), (test, wanted) = many(60), many(60, seed=1)
    # Eight frames at stride 4, as a model gets them.
    features = [motion_parameters(states[:, ::4]) for states in (train, test)]
    forest = RandomForestClassifier(100, random_state=0).fit(features[0], labels)
    assert forest.score(features[1], wanted) > 0.98


def test_a_reversed_clip_belongs_to_the_opposite_class():
    draws = np.random.default_rng(0).random((5, 6))
    for forth, back in ((0, 2), (1, 3), (4, 5), (6, 8), (7, 9), (10, 11)):
        step = np.diff(trajectories(MOTIONS[forth], draws, 9), axis=1)
        other = np.diff(trajectories(MOTIONS[back], draws, 9), axis=1)
        assert np.allclose((step + other + 0.5) % 1, 0.5)


def test_pixels_of_one_decoded_frame_are_at_chance(tmp_path):
    frames = {"train": [], "test": []}
    for part, count in (("train", 8), ("test", 8)):
        for label in range(CLASSES):
            states, plants, scenes, seeds = _draws(label, part, 0, count, 13)
            for clip in range(count):
                drawn = draw_clip(plants[clip], scenes[clip], states[clip, ::4], int(seeds[clip]), 16)
                # Predicted frames, too, must not tell how they were predicted.
                write_video(tmp_path / "clip.mp4", drawn)
                with Video(tmp_path / "clip.mp4") as video:
                    frames[part].append(video.read([0, 3]).reshape(2, -1) / 255)
    labels = np.repeat(np.arange(CLASSES), 8)
    for moment in (0, 1):
        train, test = (np.stack(frames[part])[:, moment] for part in ("train", "test"))
        assert at_chance(accuracy(train, labels, test, labels), len(labels))


def test_the_task_is_of_clips_from_h264_files(task, folder):
    assert task.synthetic
    assert task.num_classes == 16
    assert [len(part) for part in task.parts().values()] == [32, 16, 16]
    clip, label = task.train[5]
    assert clip.shape == (3, 4, 32, 32)
    assert label == task.train.labels[5]
    assert not task.train.deterministic
    with Video(task.test.paths[0]) as video:
        assert (len(video), video.fps) == (8, pytest.approx(24))
        assert video._stream.codec_context.name == "h264"
    assert len(list(folder.rglob("*.mp4"))) == 64


def test_files_are_drawn_once_and_more_are_added_to_them(task, folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")}
    again = load_data("motion-leaves", folder=folder, **{**TINY, "n_test": 2})
    assert len(again.test) == 32
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_seed_draws_other_training_clips_and_the_same_test_clips(task, folder):
    other = load_data("motion-leaves", folder=folder, seed=1, **{**TINY, "n_train": 1})
    assert other.test.paths == task.test.paths
    assert not set(other.train.paths) & set(task.train.paths)
    states = clip_states(task, "train")
    assert states.shape == (32, 8, len(STATE))
    assert not np.allclose(states[::2], clip_states(other, "train"))


def test_drawing_is_deterministic_and_follows_the_states():
    states, plants, scenes, seeds = _draws(0, "train", 0, 2, 32)
    clip = draw_clip(plants[0], scenes[0], states[0], int(seeds[0]), 32)
    assert np.array_equal(clip, draw_clip(plants[0], scenes[0], states[0], int(seeds[0]), 32))
    assert clip.shape == (32, 32, 32, 3)
    assert clip.dtype == np.uint8
    still = np.repeat(states[0, :1], 2, axis=0)
    still[1, 0] = (still[0, 0] + 5 / 32) % 1  # five pixels to the right
    pair = draw_clip(plants[0], scenes[0], still, 0, 32).astype(int)
    assert np.abs(np.roll(pair[0], 5, axis=1) - pair[1]).mean() < 12  # the same but for the sensor noise
    assert (
        np.abs(np.roll(pair[0], 5, axis=1) - pair[1]).mean()
        < 0.7 * np.abs(np.roll(pair[0], -5, axis=1) - pair[1]).mean()
    )


def test_a_contact_sheet_has_a_row_for_every_class(task, tmp_path):
    figure = clip_sheet(task, max_classes=3)
    assert [axes.get_ylabel() for axes in figure.axes] == [motion.name for motion in MOTIONS[:3]]
    assert "synthetic" in figure.get_suptitle()
    with pytest.raises(AdapterError, match="at least 1"):
        clip_sheet(task, 0)


def test_the_command_line_describes_and_draws_it(folder, tmp_path, capsys):
    options = [
        f"--data-option=folder={folder}",
        *(f"--data-option={key}={value}" for key, value in TINY.items() if key != "image_size"),
    ]
    assert main(["data", "describe", "motion-leaves", "--image-size", "32", *options, "--json"]) == 0
    assert '"classes": 16' in capsys.readouterr().out
    out = tmp_path / "sheet.png"
    assert (
        main(
            [
                "data",
                "contact-sheet",
                "motion-leaves",
                "--image-size",
                "32",
                "--classes",
                "2",
                "--out",
                str(out),
                *options,
            ]
        )
        == 0
    )
    assert out.stat().st_size > 1000


def test_impossible_numbers_are_explained(folder):
    for options, message in (
        ({"length": 5}, "shorter than a clip, which spans 7"),
        ({"n_test": 0}, "n_test=0"),
        ({"frames": 16}, "length=31"),
        ({"augment": "leaf"}, "augmentation of clips"),
        ({"root": "x"}, "needs no files"),
        ({"granularity": 1}, "granularity"),
    ):
        with pytest.raises(AdapterError, match=message):
            load_data("motion-leaves", **{"folder": folder, **TINY, **options})


def test_a_clip_model_sets_the_frames_and_refuses_images(tiny_vit, folder):
    model = to_clip_model(tiny_vit(), frames=4)
    tiny = {key: value for key, value in TINY.items() if key != "frames"}
    task = load_data("motion-leaves", backbone=model, folder=folder, **tiny)
    clip = task.test[0][0]
    assert clip.shape == (3, 4, 32, 32)
    assert model.forward_features(clip[None]).shape[0] == 1
    with pytest.raises(AdapterError, match="clips of 4 frames"):
        load_data("digits", backbone=model)
    with pytest.raises(AdapterError, match="frames=8, but"):
        load_data("motion-leaves", backbone=model, folder=folder, frames=8, **tiny)


def test_the_bench_reports_decoding_and_the_wait_of_a_training_step(task, folder, capsys):
    result = bench_decode(task, step_ms=1.0, batch=4, workers=1, steps=3, clips=4)
    assert 0 <= result["wait_share"] <= 1
    assert result["wait_share"] == pytest.approx(result["wait_ms"] / (result["wait_ms"] + result["step_ms"]))
    assert result["frames_used"] == 4 <= result["frames_decoded"] <= 8
    options = [
        f"--data-option=folder={folder}",
        *(f"--data-option={key}={value}" for key, value in TINY.items() if key != "image_size"),
    ]
    sizes = [
        "--image-size",
        "32",
        "--step-ms",
        "0",
        "--batch",
        "2",
        "--workers",
        "0",
        "--steps",
        "1",
        "--clips",
        "2",
    ]
    assert main(["bench", "decode", *sizes, *options]) == 0
    assert "clips/s in one process" in capsys.readouterr().out


def test_the_bench_trains_a_clip_model(tiny_vit, task):
    model = adapt(to_clip_model(tiny_vit(), frames=4), "lora", num_classes=CLASSES)
    before = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    result = bench_decode(task, model, batch=2, workers=0, steps=1, clips=1)
    assert result["clips_per_second_training"] > 0
    assert any(
        not torch.equal(a, b)
        for a, b in zip(before, (p for p in model.parameters() if p.requires_grad), strict=True)
    )


def test_a_bench_needs_videos_and_one_kind_of_step(task):
    for data, options, message in (
        (task, {}, "give a model, or step_ms"),
        (task, {"step_ms": 1.0, "steps": 0}, "steps=0"),
        (load_data("digits", image_size=32), {"step_ms": 1.0}, "not a task of videos"),
    ):
        with pytest.raises(AdapterError, match=message):
            bench_decode(data, **options)
