"""Published lists of videos, folders of videos, and data sets of clips: counts, missing and bad files, views, the cache."""

import dataclasses
import json
import multiprocessing
import os
import shutil
import warnings

import numpy as np
import pytest
import torch

import adapters_lib as al
from adapters_lib.data_sets import DATA_SETS, DataWarning, load_data, make_loader, video_tasks
from adapters_lib.data_sets.clip_cache import ClipCache
from adapters_lib.data_sets.clip_crops import multi_scale_crop, spatial_view
from adapters_lib.data_sets.clip_sampling import ClipSampler
from adapters_lib.data_sets.video_lists import Row
from adapters_lib.data_sets.video_sets import ClipViews, VideoClips, fill_cache
from adapters_lib.data_sets.video_tasks import EXPECTED, group_split
from adapters_lib.data_sets.video_writing import write_video
from adapters_lib.errors import AdapterError

CLASSES = ["brush_hair", "cartwheel", "catch"]


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """One short video, 40 × 32; lists may name it again and again."""
    frames = np.random.default_rng(0).integers(0, 256, (12, 32, 40, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, frames)
    return path


def put(film, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(film, path)


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_data(*args, image_size=16, **kwargs)


def small(monkeypatch, name, train, test, classes=3):
    facts = EXPECTED[name]
    counts = {"classes": classes, "train": (train,) * len(facts.train), "test": (test,) * len(facts.test)}
    monkeypatch.setitem(EXPECTED, name, dataclasses.replace(facts, **counts))


@pytest.fixture
def hmdb(tmp_path, monkeypatch, film):
    small(monkeypatch, "hmdb51", 12, 6)
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    for name in CLASSES:
        clips = [f"Film{movie}_{name}_u_nm_np1_ba_goo_{i}.avi" for movie in range(4) for i in range(2)]
        for clip in clips:
            put(film, tmp_path / name / clip)
        for split in (1, 2, 3):
            uses = [1, 1, 1, 1, 2, 2, 0, 0]
            uses = uses[2 * split :] + uses[: 2 * split]
            (lists / f"{name}_test_split{split}.txt").write_text("".join(f"{c} {u} \n" for c, u in zip(clips, uses, strict=True)))
    return tmp_path


@pytest.fixture
def ucf(tmp_path, monkeypatch, film):
    small(monkeypatch, "ucf101", 12, 3)
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("".join(f"{i + 1} {name}\n" for i, name in enumerate(CLASSES)))
    for split in (1, 2, 3):
        train = [(name, f"{name}/v_{name}_g{g:02}_c{c:02}.avi", i + 1) for i, name in enumerate(CLASSES) for g in (1, 2) for c in (1, 2)]
        test = [f"{name}/v_{name}_g09_c01.avi" for name in CLASSES]
        (lists / f"trainlist0{split}.txt").write_text("".join(f"{clip} {label}\r\n" for _, clip, label in train))
        (lists / f"testlist0{split}.txt").write_text("".join(f"{clip}\r\n" for clip in test))
    for clip in [clip for _, clip, _ in train] + test:
        put(film, tmp_path / "UCF-101" / clip)
    return tmp_path


@pytest.fixture
def ssv2(tmp_path, monkeypatch, film):
    small(monkeypatch, "ssv2", 9, 3)
    (tmp_path / "labels").mkdir()
    names = ["Pushing something from left to right", "Pushing something from right to left", "Putting something next to something"]
    (tmp_path / "labels" / "labels.json").write_text(json.dumps({name: str(i) for i, name in enumerate(names)}))
    for part, start, count in (("train", 100, 3), ("validation", 200, 1)):
        templates = [name.replace("something", "[something]") for name in names for _ in range(count)]
        entries = [{"id": str(start + i), "label": "x", "template": t, "placeholders": []} for i, t in enumerate(templates)]
        (tmp_path / "labels" / f"{part}.json").write_text(json.dumps(entries))
        for entry in entries:
            put(film, tmp_path / "20bn-something-something-v2" / f"{entry['id']}.webm")
    return tmp_path


@pytest.fixture
def diving(tmp_path, monkeypatch, film):
    small(monkeypatch, "diving48", 6, 3)
    (tmp_path / "Diving48_vocab.json").write_text(json.dumps([["Back", f"{i}5som", "05Twis", "FREE"] for i in range(3)]))
    for part, count in (("train", 2), ("test", 1)):
        entries = [{"vid_name": f"{part}_{i}", "label": i % 3, "start_frame": 0, "end_frame": 11} for i in range(3 * count)]
        (tmp_path / f"Diving48_V2_{part}.json").write_text(json.dumps(entries))
        for entry in entries:
            put(film, tmp_path / "rgb" / f"{entry['vid_name']}.mp4")
    return tmp_path


def test_the_four_sets_have_the_published_sizes():
    assert (EXPECTED["ssv2"].classes, EXPECTED["ssv2"].train, EXPECTED["ssv2"].test) == (174, (168_913,), (24_777,))
    assert EXPECTED["hmdb51"].train == (70 * 51,) * 3
    assert EXPECTED["hmdb51"].test == (30 * 51,) * 3
    assert [a + b for a, b in zip(EXPECTED["ucf101"].train, EXPECTED["ucf101"].test, strict=True)] == [13_320] * 3
    assert (EXPECTED["diving48"].train, EXPECTED["diving48"].test) == ((15_027,), (1970,))
    assert {"ssv2", "hmdb51", "ucf101", "diving48", "video-folder", "motion-leaves"} <= set(DATA_SETS)


def test_left_and_right_are_not_mirrored_where_they_are_the_label():
    assert DATA_SETS["ssv2"].augment == DATA_SETS["motion-leaves"].augment == DATA_SETS["video-folder"].augment == "crop"


def test_hmdb51_reads_three_splits_and_keeps_films_whole(hmdb):
    tasks = {split: quiet("hmdb51", root=hmdb, split=split, val_fraction=0.3) for split in (1, 2, 3)}
    assert tasks[1].classes == CLASSES
    for task in tasks.values():
        assert [len(part) for part in task.parts().values()] == [6, 6, 6]
        films = [{(p.parent.name, p.name.split("_")[0]) for p in part.paths} for part in task.parts().values()]
        assert not films[0] & films[1]
    assert tasks[1].test.paths != tasks[2].test.paths
    clip, label = tasks[1].test[0]
    assert clip.shape == (3, 8, 16, 16)
    assert clip.dtype == torch.float32
    assert label == 0
    with pytest.raises(AdapterError, match="split=4"):
        quiet("hmdb51", root=hmdb, split=4)


def test_ucf101_reads_lists_with_numbers_from_one(ucf):
    task = quiet("ucf101", root=ucf)
    assert task.classes == CLASSES
    assert task.train.labels.bincount().tolist() == task.val.labels.bincount().tolist() == [2, 2, 2]
    recordings = [{p.name[:-8] for p in part.paths} for part in (task.train, task.val)]
    assert not recordings[0] & recordings[1]


def test_ssv2_matches_templates_with_brackets(ssv2):
    task = quiet("ssv2", root=ssv2)
    assert task.classes[1] == "Pushing something from right to left"
    assert task.test.labels.tolist() == [0, 1, 2]
    assert task.info["sampling"] == "uniform"
    assert [len(task.train), len(task.val)] == [6, 3]


def test_diving48_reads_version_2(diving):
    task = quiet("diving48", root=diving)
    assert task.classes[0] == "Back, 05som, 05Twis, FREE"
    assert [len(part) for part in task.parts().values()] == [3, 3, 3]


def test_missing_videos_are_all_named_at_once_before_anything_is_read(ucf):
    paths = sorted((ucf / "UCF-101").rglob("*.avi"))
    for path in paths[:4]:
        path.unlink()
    with pytest.raises(AdapterError, match="4 of 15 listed videos") as caught:
        quiet("ucf101", root=ucf)
    assert all(path.name in str(caught.value) for path in paths[:4])
    with pytest.warns(DataWarning, match="4 of 15"):
        task = load_data("ucf101", root=ucf, image_size=16, strict=False)
    assert len(task.info["skipped"]) == 4


def test_of_many_missing_videos_twenty_are_named_and_all_are_counted(tmp_path):
    rows = [Row(tmp_path / f"{i}.mp4", 0, str(i)) for i in range(25)]
    with pytest.raises(AdapterError, match=r"25 of 25 .*19\.mp4 and 5 more"):
        video_tasks.sound_samples("x", [rows, []], tmp_path, True, "off")


def test_a_video_that_does_not_decode_is_left_out_and_named(ucf):
    bad = sorted((ucf / "UCF-101").rglob("*g01_c01.avi"))[0]
    bad.unlink()
    bad.write_bytes(b"noise")
    with pytest.warns(DataWarning, match=bad.name):
        task = load_data("ucf101", root=ucf, image_size=16)
    assert task.info["skipped"] == [(bad, "not a video, or damaged")]
    assert bad not in task.train.paths + task.val.paths


def test_other_counts_than_published_are_an_error(ucf, monkeypatch):
    small(monkeypatch, "ucf101", 9537, 3783)
    with pytest.raises(AdapterError, match="expected 9537 training videos, found 12"):
        quiet("ucf101", root=ucf)


@pytest.mark.parametrize(
    ("name", "file", "change", "message"),
    [
        ("ucf101", "ucfTrainTestlist/trainlist01.txt", lambda t: t.replace(" 3", " 7"), "class 7; ids of 3 classes are 1..3"),
        ("ucf101", "ucfTrainTestlist/classInd.txt", lambda t: t.replace("3 ", "9 "), r"label 8 .*0\.\.2"),
        ("diving48", "Diving48_V2_train.json", lambda t: t.replace('"label": 2', '"label": 48'), r"label 48.*0\.\.2"),
        ("ssv2", "labels/labels.json", lambda t: t.replace('"2"', '"174"'), r"label 174 .*0\.\.2"),
        ("ssv2", "labels/train.json", lambda t: t.replace("next to", "near"), "Putting something near something"),
        ("hmdb51", "testTrainMulti_7030_splits/catch_test_split1.txt", lambda t: t.replace(" 1 ", " 5 "), "catch_test_split1.txt, line"),
        ("diving48", "Diving48_V2_test.json", lambda t: t[:-5], "is not JSON"),
    ],
)
def test_bad_rows_are_named_with_file_and_rule(request, name, file, change, message):
    root = request.getfixturevalue({"ucf101": "ucf", "diving48": "diving", "ssv2": "ssv2", "hmdb51": "hmdb"}[name])
    (root / file).write_text(change((root / file).read_text()))
    with pytest.raises(AdapterError, match=message):
        quiet(name, root=root)


@pytest.mark.parametrize("name", ["ssv2", "hmdb51", "ucf101", "diving48"])
def test_a_folder_without_lists_says_what_belongs_there(tmp_path, name):
    with pytest.raises(AdapterError, match="put|unpack"):
        quiet(name, root=tmp_path)
    with pytest.raises(AdapterError, match="motion-leaves"):
        quiet(name, root=tmp_path / "none")


def test_groups_are_drawn_by_seed_and_never_torn(tmp_path):
    rows = [Row(tmp_path / f"{label}-{group}-{i}", label, f"{group}") for label in range(3) for group in range(10) for i in range(4)]
    train, val = group_split("x", rows, 0.2, 0)
    assert len(val) == 3 * 8
    assert not {p.name[:3] for p, _ in train} & {p.name[:3] for p, _ in val}
    assert group_split("x", rows, 0.2, 0)[1] == val
    assert group_split("x", rows, 0.2, 1)[1] != val


# ---- folders, clips, views ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, film):
    for label in ("left", "right"):
        for i in range(4):
            put(film, tmp_path / label / f"{i}.mp4")
    return tmp_path


def test_a_folder_of_videos_is_a_task(folder):
    (folder / "left" / "notes.txt").write_text("no video")
    task = quiet("video-folder", root=folder, frames=4, stride=2)
    assert task.classes == ["left", "right"]
    assert [len(part) for part in task.parts().values()] == [4, 2, 2]
    clips, labels = next(iter(make_loader(task.train, 4, num_workers=2)))
    assert clips.shape == (4, 3, 4, 16, 16)
    assert sorted(labels.tolist()) == [0, 0, 1, 1]
    assert task.test.deterministic
    assert not task.train.deterministic
    assert torch.equal(task.test[0][0], task.test[0][0])


def spoilt(folder):
    paths = [folder / label / f"{i}.mp4" for label in ("left", "right") for i in range(4)]
    clips = VideoClips(paths, [0] * 4 + [1] * 4, 16, (0.5,) * 3, (0.5,) * 3, ClipSampler(4, 2))
    for path in (paths[1], paths[7]):
        path.unlink()
        path.write_bytes(b"spoilt after the check")
    return paths, clips


def test_a_bad_file_is_named_counted_and_stood_in_for_by_the_next_of_its_class(folder):
    paths, clips = spoilt(folder)
    with pytest.warns(DataWarning, match=r"left.1\.mp4: not a video") as caught:
        clip, label = clips[1]
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(clips[1][0], clip)  # told once
    assert label == 0
    assert torch.equal(clip, clips[2][0])
    with pytest.warns(DataWarning, match=r"right.3\.mp4"):
        assert torch.equal(clips[7][0], clips[4][0])
    assert clips.bad_files == [paths[1], paths[7]]


def test_bad_files_found_by_workers_are_known_to_the_main_process(folder):
    paths, clips = spoilt(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # forked workers take the filter over; their warnings go to the terminal
        labels = torch.cat([y for _, y in make_loader(clips, 2, num_workers=2)])
    assert labels.tolist() == clips.labels.tolist()
    assert clips.bad_files == [paths[1], paths[7]]


def test_a_class_without_any_good_file_ends_with_its_name(folder):
    paths, clips = spoilt(folder)
    for path in paths[:4]:
        path.write_bytes(b"")
    with pytest.warns(DataWarning), pytest.raises(AdapterError, match=r"left.0\.mp4.*another video of class 0"):
        clips[0]


def test_three_crops_cover_the_long_side_from_end_to_end():
    ramp = torch.arange(60, dtype=torch.uint8).expand(2, 3, 20, 60)
    views = [spatial_view(ramp, 20, number, 3) for number in range(3)]
    assert [int(view[0, 0, 0, 0]) for view in views] == [0, 20, 40]
    assert torch.equal(views[1], spatial_view(ramp, 20))


def test_a_training_crop_is_the_same_place_in_all_frames_and_never_mirrored_unless_asked():
    ramp = (4 * torch.arange(60, dtype=torch.uint8)).expand(5, 3, 40, 60)
    mirrored = 0
    for _ in range(40):
        crop = multi_scale_crop(ramp, 24)
        assert crop.shape == (5, 3, 24, 24)
        assert torch.equal(crop[0], crop[4])
        assert crop[0, 0, 0, 0] < crop[0, 0, 0, -1]
        flipped = multi_scale_crop(ramp, 24, flip=True)
        mirrored += int(flipped[0, 0, 0, 0] > flipped[0, 0, 0, -1])
    assert 8 < mirrored < 32


class Probe(torch.nn.Module):
    """A stand-in for a clip model: class 1 by the brightness of the clip's corner, which differs from view to view."""

    num_classes = 2

    def forward(self, x):
        corner = x[:, :, 0, :2, :2].mean((1, 2, 3))
        return torch.stack([corner, -corner], 1)


def test_test_views_average_the_logits_of_4_times_3_clips(folder):
    clips = quiet("video-folder", root=folder, frames=4, stride=2).test
    result = al.evaluate_views(Probe(), clips, 5, return_logits=True)
    assert (result["n"], result["views"], result["bad_files"]) == (2, 12, [])
    by_hand = torch.stack([Probe()(clips.view(i, (t, 4), (s, 3))[None])[0] for i in range(2) for t in range(4) for s in range(3)])
    assert torch.allclose(result["logits"], by_hand.unflatten(0, (2, 12)).mean(1), atol=1e-6)
    assert len(by_hand.unique(dim=0)) > 6
    assert al.evaluate_views(Probe(), al.subset(clips, 1), 5)["n"] == 2
    single = al.evaluate_views(Probe(), clips, temporal=1, spatial=1)
    assert single["top1"] == al.evaluate(Probe(), clips)["top1"]
    with pytest.raises(AdapterError, match="at least 1 × 1"):
        ClipViews(clips, 0, 3)
    with pytest.raises(AdapterError, match="not a set of videos"):
        al.evaluate_views(Probe(), torch.utils.data.TensorDataset(torch.zeros(1)))


# ---- the cache -------------------------------------------------------------------------------------------------


def test_the_cache_gives_back_what_was_decoded_without_opening_the_file(folder, tmp_path):
    paths = sorted((folder / "left").glob("*.mp4"))
    cached = VideoClips(paths, [0] * 4, 16, (0.5,) * 3, (0.5,) * 3, ClipSampler(4, 2), cache=ClipCache(tmp_path / "cache", 10**7))
    plain = VideoClips(paths, [0] * 4, 16, (0.5,) * 3, (0.5,) * 3, ClipSampler(4, 2))
    assert fill_cache(cached, progress=False) == cached.cache.size > 0
    for path in paths:
        about = path.stat()
        path.write_bytes(b"\0" * about.st_size)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    decoded = cached[2][0]
    assert decoded.shape == (3, 4, 16, 16)
    os.utime(paths[2])  # a file that changed is another file
    with pytest.warns(DataWarning):
        cached[2]
    with pytest.raises(AdapterError, match="no cache"):
        fill_cache(plain)


def test_the_least_recently_used_clip_goes_first_and_the_bound_holds(tmp_path):
    clip = np.zeros(1000, dtype=np.uint8)
    cache = ClipCache(tmp_path, 5 * 1128)  # five entries with their headers
    for key in range(5):
        cache.get(key, lambda: clip)
        os.utime(cache._path(key), ns=(0, 10**9 * (key + 1)))
    cache.get(0, lambda: pytest.fail("key 0 is in the cache"))
    cache.get(5, lambda: clip)
    assert cache.size <= cache.limit
    kept = {key for key in range(6) if cache._path(key).exists()}
    assert 0 in kept
    assert 5 in kept
    assert 1 not in kept
    assert cache.get("large", lambda: np.zeros(9000, dtype=np.uint8)).shape == (9000,)
    assert not cache._path("large").exists()
    cache.clear()
    assert cache.size == 0


def test_a_damaged_entry_is_made_again(tmp_path):
    cache = ClipCache(tmp_path, 10**6)
    cache.get("a", lambda: np.arange(5))
    cache._path("a").write_bytes(b"\x93NUMPY broken")
    assert cache.get("a", lambda: np.arange(5)).tolist() == list(range(5))
    assert cache.get("a", lambda: pytest.fail("not kept")).tolist() == list(range(5))


def _fill(folder, start):
    cache = ClipCache(folder, 30_000)
    for key in range(start, start + 60):
        assert cache.get(key % 80, lambda: np.full(1000, 1, dtype=np.uint8)).sum() == 1000


def test_processes_share_one_bound(tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.starmap(_fill, [(tmp_path, 0), (tmp_path, 40)])
    files = list(tmp_path.glob("*/*.npy"))
    assert sum(path.stat().st_size for path in files) <= ClipCache(tmp_path, 30_000).size <= 30_000
    assert not list(tmp_path.glob("*/*.part"))


def test_a_cache_of_no_size_is_refused(tmp_path, folder):
    with pytest.raises(AdapterError, match="at least 1"):
        ClipCache(tmp_path, 0)
    with pytest.raises(AdapterError, match="cache_gib=-1"):
        quiet("video-folder", root=folder, cache_gib=-1)
