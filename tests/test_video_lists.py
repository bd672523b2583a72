"""Published lists of videos: their formats and counts, missing and bad files, splits that keep groups
whole."""

import dataclasses
import json

import pytest
import torch
from small_videos import put, quiet

from adapters_lib.datasets.load import DATA_SETS, DataWarning, load_data
from adapters_lib.datasets.video import tasks as video_tasks
from adapters_lib.datasets.video.lists import Row
from adapters_lib.datasets.video.tasks import EXPECTED, group_split
from adapters_lib.errors import AdapterError

CLASSES = ["brush_hair", "cartwheel", "catch"]


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
            (lists / f"{name}_test_split{split}.txt").write_text(
                "".join(f"{c} {u} \n" for c, u in zip(clips, uses, strict=True))
            )
    return tmp_path


@pytest.fixture
def ucf(tmp_path, monkeypatch, film):
    small(monkeypatch, "ucf101", 12, 3)
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("".join(f"{i + 1} {name}\n" for i, name in enumerate(CLASSES)))
    for split in (1, 2, 3):
        train = [
            (name, f"{name}/v_{name}_g{g:02}_c{c:02}.avi", i + 1)
            for i, name in enumerate(CLASSES)
            for g in (1, 2)
            for c in (1, 2)
        ]
        test = [f"{name}/v_{name}_g09_c01.avi" for name in CLASSES]
        (lists / f"trainlist0{split}.txt").write_text(
            "".join(f"{clip} {label}\r\n" for _, clip, label in train)
        )
        (lists / f"testlist0{split}.txt").write_text("".join(f"{clip}\r\n" for clip in test))
    for clip in [clip for _, clip, _ in train] + test:
        put(film, tmp_path / "UCF-101" / clip)
    return tmp_path


@pytest.fixture
def ssv2(tmp_path, monkeypatch, film):
    small(monkeypatch, "ssv2", 9, 3)
    (tmp_path / "labels").mkdir()
    names = [
        "Pushing something from left to right",
        "Pushing something from right to left",
        "Putting something next to something",
    ]
    (tmp_path / "labels" / "labels.json").write_text(
        json.dumps({name: str(i) for i, name in enumerate(names)})
    )
    for part, start, count in (("train", 100, 3), ("validation", 200, 1)):
        templates = [name.replace("something", "[something]") for name in names for _ in range(count)]
        entries = [
            {"id": str(start + i), "label": "x", "template": t, "placeholders": []}
            for i, t in enumerate(templates)
        ]
        (tmp_path / "labels" / f"{part}.json").write_text(json.dumps(entries))
        for entry in entries:
            put(film, tmp_path / "20bn-something-something-v2" / f"{entry['id']}.webm")
    return tmp_path


@pytest.fixture
def diving(tmp_path, monkeypatch, film):
    small(monkeypatch, "diving48", 6, 3)
    (tmp_path / "Diving48_vocab.json").write_text(
        json.dumps([["Back", f"{i}5som", "05Twis", "FREE"] for i in range(3)])
    )
    for part, count in (("train", 2), ("test", 1)):
        entries = [
            {"vid_name": f"{part}_{i}", "label": i % 3, "start_frame": 0, "end_frame": 11}
            for i in range(3 * count)
        ]
        (tmp_path / f"Diving48_V2_{part}.json").write_text(json.dumps(entries))
        for entry in entries:
            put(film, tmp_path / "rgb" / f"{entry['vid_name']}.mp4")
    return tmp_path


def test_the_four_sets_have_the_published_sizes():
    assert (EXPECTED["ssv2"].classes, EXPECTED["ssv2"].train, EXPECTED["ssv2"].test) == (
        174,
        (168_913,),
        (24_777,),
    )
    assert EXPECTED["hmdb51"].train == (70 * 51,) * 3
    assert EXPECTED["hmdb51"].test == (30 * 51,) * 3
    assert [a + b for a, b in zip(EXPECTED["ucf101"].train, EXPECTED["ucf101"].test, strict=True)] == [
        13_320
    ] * 3
    assert (EXPECTED["diving48"].train, EXPECTED["diving48"].test) == ((15_027,), (1970,))
    assert {"ssv2", "hmdb51", "ucf101", "diving48", "video-folder", "motion-leaves"} <= set(DATA_SETS)


def test_left_and_right_are_not_mirrored_where_they_are_the_label():
    assert (
        DATA_SETS["ssv2"].augment
        == DATA_SETS["motion-leaves"].augment
        == DATA_SETS["video-folder"].augment
        == "crop"
    )


def test_hmdb51_reads_three_splits_and_keeps_films_whole(hmdb):
    tasks = {split: quiet("hmdb51", root=hmdb, split=split, val_fraction=0.3) for split in (1, 2, 3)}
    assert tasks[1].classes == CLASSES
    for task in tasks.values():
        assert [len(part) for part in task.parts().values()] == [6, 6, 6]
        films = [
            {(p.parent.name, p.name.split("_")[0]) for p in part.paths} for part in task.parts().values()
        ]
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
    ((path, reason),) = task.info["skipped"]
    assert path == bad
    assert reason.startswith("not a video of the kinds read here")
    assert bad not in task.train.paths + task.val.paths


def test_other_counts_than_published_are_an_error(ucf, monkeypatch):
    small(monkeypatch, "ucf101", 9537, 3783)
    with pytest.raises(AdapterError, match="expected 9537 training videos, found 12"):
        quiet("ucf101", root=ucf)


@pytest.mark.parametrize(
    ("name", "file", "change", "message"),
    [
        (
            "ucf101",
            "ucfTrainTestlist/trainlist01.txt",
            lambda t: t.replace(" 3", " 7"),
            "class 7; ids of 3 classes are 1..3",
        ),
        ("ucf101", "ucfTrainTestlist/classInd.txt", lambda t: t.replace("3 ", "9 "), r"label 8 .*0\.\.2"),
        (
            "diving48",
            "Diving48_V2_train.json",
            lambda t: t.replace('"label": 2', '"label": 48'),
            r"label 48.*0\.\.2",
        ),
        ("ssv2", "labels/labels.json", lambda t: t.replace('"2"', '"174"'), r"label 174 .*0\.\.2"),
        (
            "ssv2",
            "labels/train.json",
            lambda t: t.replace("next to", "near"),
            "Putting something near something",
        ),
        (
            "hmdb51",
            "testTrainMulti_7030_splits/catch_test_split1.txt",
            lambda t: t.replace(" 1 ", " 5 "),
            "catch_test_split1.txt, line",
        ),
        ("diving48", "Diving48_V2_test.json", lambda t: t[:-5], "is not JSON"),
    ],
)
def test_bad_rows_are_named_with_file_and_rule(request, name, file, change, message):
    root = request.getfixturevalue(
        {"ucf101": "ucf", "diving48": "diving", "ssv2": "ssv2", "hmdb51": "hmdb"}[name]
    )
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
    rows = [
        Row(tmp_path / f"{label}-{group}-{i}", label, f"{group}")
        for label in range(3)
        for group in range(10)
        for i in range(4)
    ]
    train, val = group_split("x", rows, 0.2, 0)
    assert len(val) == 3 * 8
    assert not {p.name[:3] for p, _ in train} & {p.name[:3] for p, _ in val}
    assert group_split("x", rows, 0.2, 0)[1] == val
    assert group_split("x", rows, 0.2, 1)[1] != val
