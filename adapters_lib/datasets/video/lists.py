"""The published lists of SSv2, HMDB-51, UCF-101 and Diving-48: one reader each, from a local folder to (path,
label, group) rows.

A group is what must not be torn between training and validation: the clips of one film (HMDB-51) or of one
recording (UCF-101).

    ssv2      [labels/]something-something-v2-{labels,train,validation}.json
              or  labels/{labels,train,validation}.json;
              20bn-something-something-v2/<id>.webm
    hmdb51    testTrainMulti_7030_splits/<class>_test_split<k>.txt:
              "name.avi 1" (1 train, 2 test, 0 neither);  <class>/name.avi
    ucf101    ucfTrainTestlist/{classInd,trainlist0<k>,testlist0<k>}.txt:
              "class/name.avi 1";  UCF-101/class/name.avi
    diving48  Diving48_V2_{train,test}.json, Diving48_vocab.json;  rgb/<vid_name>.mp4

Lists may also lie in the root, or in annotations/; videos in the root, or in videos/. A reader takes a
`Fence` around the root: a list that names a file outside is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import AdapterError
from ..list_files import Fence, list_json, list_text, whole_number

__all__ = ["READERS", "Row", "VideoList"]


class Row(NamedTuple):
    """One video of a list."""

    path: Path
    label: int
    group: str


class VideoList(NamedTuple):
    """What the lists say: class names in the order of the labels, and the rows of training and test."""

    classes: list[str]
    train: list[Row]
    test: list[Row]


def read_ssv2(root: Path, split: int, classes: int, fence: Fence) -> VideoList:
    """Something-Something v2: the validation list serves as test, because the test labels were never
    published."""
    places = [
        "labels/something-something-v2-",
        "labels/",
        "something-something-v2-",
        "annotations/something-something-v2-",
    ]
    files = {
        part: _find(root, [f"{place}{part}.json" for place in places])
        for part in ("labels", "train", "validation")
    }
    labels = {
        str(name): _number(files["labels"], 0, value)
        for name, value in list_json(files["labels"], dict).items()
    }
    names = _names(files["labels"], labels, classes)
    videos = _folder(root, ["20bn-something-something-v2", "videos"])

    def rows(file: Path) -> list[Row]:
        listed = []
        for number, entry in enumerate(list_json(file, list)):
            template = re.sub(r"[\[\]]", "", str(_entry(file, number, entry, "template")))
            if template not in labels:
                raise AdapterError(
                    f"{file}, entry {number}: {template!r} is not in {files['labels'].name}; use lists of one"
                    " release"
                )
            video = str(_entry(file, number, entry, "id"))
            path = fence(videos / f"{video}.webm", f"{file}, entry {number}")
            listed.append(Row(path, labels[template], video))
        return listed

    return VideoList(names, rows(files["train"]), rows(files["validation"]))


def read_hmdb51(root: Path, split: int, classes: int, fence: Fence) -> VideoList:
    """HMDB-51, one of its three splits: 70 training and 30 test clips a class, the rest of a class unused."""
    folder = _folder(root, ["testTrainMulti_7030_splits", "splits", "annotations"])
    files = sorted(folder.glob(f"*_test_split{split}.txt"))
    if len(files) != classes:
        raise AdapterError(
            f"{folder}: {len(files)} files *_test_split{split}.txt, one for each of {classes} classes is"
            " needed; unpack the published test_train_splits.rar there"
        )
    names = [file.name.removesuffix(f"_test_split{split}.txt") for file in files]
    videos = _folder(root, ["hmdb51_org", "videos"])
    parts: dict[int, list[Row]] = {0: [], 1: [], 2: []}
    for label, (name, file) in enumerate(zip(names, files, strict=True)):
        for number, line in _lines(file):
            clip, _, use = line.rpartition(" ")
            if not clip or use not in ("0", "1", "2"):
                raise AdapterError(
                    f"{file}, line {number}: {line!r}; a row is 'name.avi 1', with 1 train, 2 test, 0 neither"
                )
            film = clip.strip().split(f"_{name}_")[0]
            path = fence(videos / name / clip.strip(), f"{file}, line {number}")
            parts[int(use)].append(Row(path, label, film))
    return VideoList(names, parts[1], parts[2])


def read_ucf101(root: Path, split: int, classes: int, fence: Fence) -> VideoList:
    """UCF-101, one of its three splits; classInd.txt numbers the classes from 1."""
    places = ["ucfTrainTestlist/", "splits_classification/", "annotations/", ""]
    index = _find(root, [f"{place}classInd.txt" for place in places])
    labels: dict[str, int] = {}
    for number, line in _lines(index):
        first, _, name = line.partition(" ")
        labels[name.strip()] = _number(index, number, first, "line") - 1
    names = _names(index, labels, classes)
    videos = _folder(root, ["UCF-101", "UCF101", "videos"])

    def rows(part: str) -> list[Row]:
        file = _find(root, [f"{place}{part}list0{split}.txt" for place in places])
        listed = []
        for number, line in _lines(file):
            clip, _, given = line.partition(" ")
            name = clip.partition("/")[0]
            if name not in labels:
                raise AdapterError(
                    f"{file}, line {number}: class {name!r} is not in {index.name}; a row is"
                    " 'class/name.avi 1'"
                )
            if given and not 1 <= _number(file, number, given, "line") <= classes:
                raise AdapterError(
                    f"{file}, line {number}: class {given}; ids of {classes} classes are 1..{classes}"
                )
            if given and int(given) - 1 != labels[name]:
                conflict = f"class {given}, but {index.name} gives {name} the number {labels[name] + 1}"
                raise AdapterError(f"{file}, line {number}: {conflict}; correct the list")
            recording = re.sub(r"_c\d+$", "", Path(clip).stem)  # v_Archery_g08_c01: clip 1 of recording 8
            path = fence(videos / clip, f"{file}, line {number}")
            listed.append(Row(path, labels[name], recording))
        return listed

    return VideoList(names, rows("train"), rows("test"))


def read_diving48(root: Path, split: int, classes: int, fence: Fence) -> VideoList:
    """Diving-48, version 2 of its labels. The files are cut to one dive each, so start_frame and end_frame
    are not needed."""
    places = ["", "annotations/", "labels/"]
    vocabulary = list_json(_find(root, [f"{place}Diving48_vocab.json" for place in places]), list)
    if len(vocabulary) != classes:
        raise AdapterError(
            f"Diving48_vocab.json: {len(vocabulary)} classes, expected {classes}; use the file of version 2"
        )
    names = [", ".join(map(str, name)) if isinstance(name, list) else str(name) for name in vocabulary]
    videos = _folder(root, ["rgb", "videos"])

    def rows(part: str) -> list[Row]:
        file = _find(root, [f"{place}Diving48_V2_{part}.json" for place in places])
        listed = []
        for number, entry in enumerate(list_json(file, list)):
            label = _number(file, number, _entry(file, number, entry, "label"))
            if not 0 <= label < classes:
                raise AdapterError(
                    f"{file}, entry {number}: label {label}; labels of {classes} classes lie in"
                    f" 0..{classes - 1}"
                )
            video = str(_entry(file, number, entry, "vid_name"))
            path = fence(videos / f"{video}.mp4", f"{file}, entry {number}")
            listed.append(Row(path, label, video))
        return listed

    return VideoList(names, rows("train"), rows("test"))


READERS = {"ssv2": read_ssv2, "hmdb51": read_hmdb51, "ucf101": read_ucf101, "diving48": read_diving48}


def _find(root: Path, names: list[str]) -> Path:
    for name in names:
        if (root / name).is_file():
            return root / name
    raise AdapterError(
        f"{root}: no list {names[0]} there (nor {', '.join(names[1:])}); put the published lists there"
    )


def _folder(root: Path, names: list[str]) -> Path:
    return next((root / name for name in names if (root / name).is_dir()), root)


def _lines(file: Path) -> Iterable[tuple[int, str]]:
    lines = list_text(file).splitlines()
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _entry(file: Path, number: int, entry: Any, key: str) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise AdapterError(f"{file}, entry {number}: no {key!r} in it; use the published file")
    return entry[key]


def _number(file: Path, number: int, value: Any, what: str = "entry") -> int:
    return whole_number(f"{file}, {what} {number}", value)


def _names(file: Path, labels: dict[str, int], classes: int) -> list[str]:
    """Class names by number. Raises AdapterError unless the numbers are 0..classes-1, each once."""
    if sorted(labels.values()) != list(range(classes)):
        outside = [value for value in labels.values() if not 0 <= value < classes]
        what = f"label {outside[0]} (counted from 0)" if outside else f"{len(labels)} classes"
        raise AdapterError(
            f"{file}: {what}; the labels of {classes} classes are 0..{classes - 1}, each once; fetch it again"
        )
    return sorted(labels, key=lambda name: labels[name])
