"""Photographs: solar cells from an installed package and apples from a clone, each split as its rule says."""

import hashlib
import importlib
import json
from pathlib import Path

import pytest
import torch
from small_photographs import write_cells, write_package, write_turntable

import adapters_lib as al
from adapters_lib.cli import main
from adapters_lib.datasets.images import elpv
from adapters_lib.datasets.load import files_digest

FEW = {"n_train": 2, "n_val": 1, "strict": False, "image_size": 32}


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """The data folder of a fake elpv_dataset that import finds first."""
    home = write_package(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    return home


@pytest.fixture
def no_package(monkeypatch) -> None:
    monkeypatch.setattr(elpv.importlib.util, "find_spec", lambda name: None)


# --- solar cells ---


def test_cells_are_read_from_the_installed_package_without_running_its_code(package):
    task = al.load_data("elpv", **FEW)
    assert task.classes == list(elpv.CLASSES)
    assert {path.parents[1] for path in task.test.paths} == {package}
    assert task.train.labels.bincount().tolist() == [2] * 4
    assert task.val.labels.bincount().tolist() == [1] * 4
    assert task.test.labels.bincount().tolist() == [17, 5, 3, 9]  # the rest
    assert not task.synthetic


def test_a_grey_cell_gets_three_equal_channels_at_the_models_size(package, tiny_vit):
    image, _ = al.load_data("elpv", backbone=tiny_vit(), **{**FEW, "image_size": None}, augment=None).train[0]
    assert image.shape == (3, 32, 32)
    gray = image * 0.5 + 0.5 if image.min() < 0 else image
    assert torch.allclose(gray[0], gray[1], atol=1e-5)
    assert torch.allclose(gray[0], gray[2], atol=1e-5)


def test_the_licence_stands_in_the_task_in_the_description_and_is_said_once(package, capsys):
    elpv._name_license.cache_clear()
    tasks = [al.load_data("elpv", **FEW) for _ in range(2)]
    assert capsys.readouterr().out.count("CC BY-NC-SA 4.0") == 1
    assert "CC BY-NC-SA 4.0" in tasks[0].describe()["info"]["licence"]
    options = ("--data-option", "strict=False", "--data-option", "n_train=2", "--data-option", "n_val=1")
    assert main(["data", "describe", "elpv", *options, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert "CC BY-NC-SA 4.0" in described["info"]["licence"]
    assert described["info"]["of each class"]["defective"] == 12
    assert described["info"]["cells"] == {"mono": 23, "poly": 23}


def test_a_contact_sheet_shows_cells(package, tmp_path, capsys):
    options = ("--data-option", "strict=False", "--data-option", "n_train=2", "--data-option", "n_val=1")
    sheet = tmp_path / "cells.png"
    assert main(["data", "contact-sheet", "elpv", *options, "--per-class", "2", "--out", str(sheet)]) == 0
    assert sheet.stat().st_size > 1000


def test_the_split_follows_the_seed_and_its_parts_share_no_cell(package):
    def names(task):
        return [{path.name for path in part.paths} for part in task.parts().values()]

    first, again, other = (names(al.load_data("elpv", seed=seed, **FEW)) for seed in (0, 0, 1))
    assert first == again
    assert first[0] != other[0]
    assert not first[0] & first[1]
    assert not first[2] & (first[0] | first[1])
    assert sum(map(len, first)) == 46


def test_with_a_test_fraction_the_held_out_cells_are_the_same_whatever_is_trained_on(package):
    held = {"n_val": 1, "test_fraction": 0.5, "strict": False}
    small, large, every = (al.load_data("elpv", n_train=n, **held) for n in (1, 2, None))
    assert small.test.paths == large.test.paths == every.test.paths
    assert small.val.paths == large.val.paths == every.val.paths
    assert set(small.train.paths) < set(large.train.paths) < set(every.train.paths)
    assert every.test.labels.bincount().tolist() == [10, 4, 3, 6]
    assert len(every.train) + len(every.val) + len(every.test) == 46
    assert "all training" in every.info["split"]


def test_mono_and_poly_are_known_of_every_cell_of_a_part(package):
    task = al.load_data("elpv", **FEW)
    kinds = elpv.cell_types(task.test)
    assert len(kinds) == len(task.test)
    rows = dict(line.split()[::2] for line in (package / "labels.csv").read_text().splitlines())
    assert kinds == [rows[f"images/{path.name}"] for path in task.test.paths]
    assert elpv.cell_types(al.subset(task.test, 2)) == [
        kinds[i] for i in al.subset(task.test, 2).indices.tolist()
    ]
    with pytest.raises(al.AdapterError, match="no images in files"):
        elpv.cell_types(al.load_data("digits").test)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_train": 6}, r"class 'defect 2/3 likely' has 6 images, but 6 for training, 1 .*lower n_train"),
        ({"n_train": None}, "n_train=None takes all that is not held out.*test_fraction=0.4"),
        ({"test_fraction": 1.5}, "test_fraction=1.5; give a share above 0 and below 1"),
        ({"n_train": 0}, "n_train"),
        ({"strict": True}, r"is not that of version 1\.0\.0\.post1 \(SHA-256 .*strict=False"),
    ],
)
def test_numbers_that_the_cells_do_not_allow_are_refused(package, options, message):
    with pytest.raises(al.AdapterError, match=message):
        al.load_data("elpv", **{**FEW, **options})


def test_without_the_package_one_is_told_what_to_install(no_package):
    with pytest.raises(al.AdapterError, match="elpv_dataset is not installed. pip install .*elpv-dataset"):
        al.load_data("elpv")


def test_a_damaged_package_is_told_apart_from_none(package, tmp_path):
    rows = (package / "labels.csv").read_text()
    (package / "labels.csv").write_text(rows.replace("1.0", "0.5", 1))
    with pytest.raises(al.AdapterError, match=r"labels.csv, line 35: .*0, 1/3, 2/3 or 1"):
        al.load_data("elpv", **FEW)
    (package / "labels.csv").write_text(rows.replace("images/", "../", 1))
    with pytest.raises(al.AdapterError, match="line 1: '../cell0001.png' lies outside"):
        al.load_data("elpv", **FEW)
    (package / "labels.csv").unlink()
    with pytest.raises(al.AdapterError, match="has no labels.csv; install the package again"):
        al.load_data("elpv", **FEW)


def test_a_cell_that_cannot_be_read_is_left_out_and_named_or_refused(package, monkeypatch):
    digest = hashlib.sha256((package / "labels.csv").read_bytes()).hexdigest()
    monkeypatch.setattr(elpv, "LABELS_DIGEST", digest)
    monkeypatch.setattr(elpv, "COUNTS", (20, 8, 6, 12))
    (package / "images" / "cell0003.png").write_bytes(b"no picture")
    with pytest.warns(al.datasets.DataWarning, match=r"cell0003.png"):
        task = al.load_data("elpv", **FEW)
    assert task.info["of each class"]["functional"] == 19
    with pytest.raises(al.AdapterError, match="expected 20 of 'functional', found 19.*cell0003.png"):
        al.load_data("elpv", **{**FEW, "strict": True})


def test_cells_may_lie_in_a_folder_of_ones_own(tmp_path, no_package):
    home = write_cells(tmp_path / "cells")
    assert len(al.load_data("elpv", root=home, **FEW).train) == 8
    with pytest.raises(al.AdapterError, match="no labels.csv in .*leave root out and install"):
        al.load_data("elpv", root=tmp_path, **FEW)


def test_the_digest_of_files_changes_with_a_pixel_and_not_with_the_place(package, tmp_path):
    options = {"n_train": 2, "n_val": 1, "strict": False}
    before = files_digest("elpv", 0, options)
    assert len(before) == 16
    assert before == files_digest("elpv", 1, {**options, "n_train": 3})  # the split is known by its seed
    moved = write_cells(tmp_path / "elsewhere" / "deeper")
    assert files_digest("elpv", 0, {**options, "root": moved}) == before
    (package / "images" / "cell0003.png").write_bytes((package / "images" / "cell0004.png").read_bytes())
    assert files_digest("elpv", 0, options) != before


# --- apples ---

TREES = ("Training/Apple 10", "Training/Apple Golden 1", "Test/Apple 5")
OTHERS = ("Training/Apple Rotten 1", "Test/Apple worm 1", "Training/Cherry 1")


def test_apples_of_a_clone_are_split_by_the_angle_and_rotten_and_wormy_ones_left_out(tmp_path):
    write_turntable(tmp_path, (*TREES, *OTHERS))
    (tmp_path / "Training" / "Apple 10" / "r2_4_100.jpg").write_bytes(b"another axis")
    task = al.load_data("apples", root=tmp_path, strict=False, image_size=32)
    assert task.classes == ["apple_10", "apple_5", "apple_golden_1"]

    def frames(part):
        return sorted({int(path.name.split("_")[1]) for path in part.paths})

    assert frames(task.train) == list(range(0, 35, 4))  # M = 100
    assert frames(task.val) == [40, 44]
    assert frames(task.test) == list(range(52, 90, 4))
    assert len(task.test) == 3 * 10
    assert "CC BY-SA 4.0" in task.info["licence"]
    with pytest.raises(al.AdapterError, match="expected 30 kinds of apple, found 3"):
        al.load_data("apples", root=tmp_path, image_size=32)


def test_the_selection_and_the_clone_give_the_same_parts(tmp_path):
    write_turntable(tmp_path / "clone", TREES)
    clone = al.load_data("apples", root=tmp_path / "clone", strict=False)
    for part, data in clone.parts().items():
        for path, label in zip(data.paths, data.labels.tolist(), strict=True):
            target = tmp_path / "apples" / part / clone.classes[label] / f"{path.name.split('_')[1]}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    selection = al.load_data("apples", root=tmp_path / "apples", strict=False)
    assert selection.classes == clone.classes
    for part in ("train", "val", "test"):
        sides = [
            sorted((y, path.read_bytes()) for path, y in zip(data.paths, data.labels.tolist(), strict=True))
            for data in (getattr(clone, part), getattr(selection, part))
        ]
        assert sides[0] == sides[1]


def test_at_most_so_many_apples_are_trained_on_and_the_test_side_stays(tmp_path):
    write_turntable(tmp_path, TREES)
    few, other, whole = (
        al.load_data("apples", root=tmp_path, strict=False, seed=seed, n_train=n)
        for seed, n in ((0, 3), (1, 3), (0, 50))
    )
    assert few.train.labels.bincount().tolist() == [3, 3, 3]
    assert few.train.paths != other.train.paths
    assert whole.train.labels.bincount().tolist() == [9, 9, 9]
    assert few.test.paths == other.test.paths == whole.test.paths


def test_the_folder_may_be_named_by_a_variable(tmp_path, monkeypatch):
    write_turntable(tmp_path / "fruits-360-3-body-problem", TREES)
    monkeypatch.setenv("ADAPTERS_DATA", str(tmp_path))
    assert len(al.load_data("apples", strict=False).classes) == 3


def test_without_apples_one_is_told_what_to_clone(tmp_path, monkeypatch):
    monkeypatch.delenv("ADAPTERS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(al.AdapterError, match="git clone .*fruits-360-3-body-problem.*ADAPTERS_DATA"):
        al.load_data("apples")
    (tmp_path / "Training").mkdir()
    (tmp_path / "Test").mkdir()
    with pytest.raises(al.AdapterError, match=r"of 0 kind\(s\) of apple.*complete\?"):
        al.load_data("apples", root=tmp_path)
