"""The Ultra-FGVC sets and VTAB-1k from lists and folders: counts, classes, files."""

import warnings

import pytest
from PIL import Image

from adapters_lib.datasets.images import ultra_fgvc, vtab
from adapters_lib.datasets.load import DATA_SETS, DataWarning, load_data
from adapters_lib.errors import AdapterError

PER_CLASS = 3  # images of each class in train + val, and as many in test; as in Cotton80
CLASSES = 4


@pytest.fixture
def cotton(tmp_path, monkeypatch):
    """A small Cotton80: four classes, with lists."""
    monkeypatch.setitem(ultra_fgvc.EXPECTED, "cotton80", (CLASSES, 12, 12))
    (tmp_path / "images").mkdir()
    for part in ("train", "test"):
        rows = []
        for label in range(CLASSES):
            for i in range(PER_CLASS):
                name = f"{part}_{label}_{i}.jpg"
                Image.new("RGB", (40, 30), (60 * label, 20 * i, 90)).save(tmp_path / "images" / name)
                rows.append(f"{name},{label}")
        (tmp_path / f"{part}.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_data(*args, image_size=16, **kwargs)


def test_the_ten_sets_have_the_published_sizes():
    assert ultra_fgvc.EXPECTED["cotton80"] == (80, 240, 240)
    assert ultra_fgvc.EXPECTED["soygene"] == (1110, 12763, 11143)
    assert sum(counts == (198, 990, 990) for counts in ultra_fgvc.EXPECTED.values()) == 5
    assert len(ultra_fgvc.EXPECTED) == 10
    assert set(ultra_fgvc.EXPECTED) <= set(DATA_SETS)


def test_lists_give_a_seeded_validation_part_with_every_class(cotton):
    task = quiet("cotton80", root=cotton)
    assert task.train.labels.bincount().tolist() == [2] * CLASSES
    assert task.val.labels.bincount().tolist() == [1] * CLASSES
    assert task.test.labels.bincount().tolist() == [3] * CLASSES
    assert task.val.paths == quiet("cotton80", root=cotton, seed=0).val.paths
    assert any(task.val.paths != quiet("cotton80", root=cotton, seed=seed).val.paths for seed in (1, 2))
    assert task.info["found"] == {"classes": 4, "images in train + val": 12, "in test": 12}


def test_images_are_squashed_to_1_34_times_the_size_then_cropped(cotton):
    task = quiet("cotton80", root=cotton)
    for data, crop in ((task.train, "RandomCrop"), (task.test, "CenterCrop")):
        resize, cropped = data.transform.transforms[:2]
        assert tuple(resize.size) == (21, 21)
        assert type(cropped).__name__ == crop
        assert data[0][0].shape == (3, 16, 16)
    assert task.data_config["crop_mode"] == "squash"
    assert not task.train.deterministic
    assert task.test.deterministic


@pytest.mark.parametrize("size", [(224, 300), (448, 600), (384, 514)])
def test_the_recipe_resizes_as_the_paper_does(cotton, size):
    task = load_data("cotton80", root=cotton, image_size=size[0])
    assert tuple(task.test.transform.transforms[0].size) == (size[1], size[1])


def test_a_header_may_name_the_columns_in_any_order(cotton):
    rows = [line.split(",") for line in (cotton / "train.csv").read_text().split()]
    (cotton / "train.csv").write_text(
        "class_id,dir\r\n" + "".join(f"{label},{name}\r\n" for name, label in rows)
    )
    assert len(quiet("cotton80", root=cotton).train) == 8


def test_val_lists_are_pooled_with_train(cotton):
    rows = (cotton / "train.csv").read_text().split()
    (cotton / "train.csv").write_text("\n".join(rows[0::3] + rows[1::3]))
    (cotton / "val.csv").write_text("\n".join(rows[2::3]))
    assert len(quiet("cotton80", root=cotton).train) == 8


def test_folders_count_as_lists_do_and_a_parent_folder_is_searched(cotton):
    for part in ("train", "test"):
        for row in (cotton / f"{part}.csv").read_text().split():
            name, label = row.split(",")
            home = cotton / "all" / "Cotton80" / part / label
            home.mkdir(parents=True, exist_ok=True)
            (cotton / "images" / name).rename(home / name)
    task = quiet("cotton80", root=cotton / "all")
    assert task.classes == ["0", "1", "2", "3"]
    assert len(task.test) == 12


def test_missing_images_are_an_error_with_expected_and_found(cotton):
    (cotton / "images" / "train_1_0.jpg").unlink()
    with pytest.raises(
        AdapterError,
        match=(
            r"expected 12 images in train \+ val, found 11; not usable: train_1_0\.jpg \(no such"
            r" file\).*strict=False"
        ),
    ):
        load_data("cotton80", root=cotton)
    with pytest.warns(
        DataWarning, match=r"expected 12 images in train \+ val, found 11; not usable"
    ) as caught:
        task = load_data("cotton80", root=cotton, strict=False)
    assert [warning.filename for warning in caught] == [__file__]
    assert task.train.labels.bincount().tolist() == [2, 1, 2, 2]


def test_an_absent_set_says_what_to_get_and_names_the_offline_default(tmp_path):
    with pytest.raises(
        AdapterError,
        match=(
            r"expected 240 training and 240 test images of 80 classes.*found none.*train\.csv.*leaves-ultra"
        ),
    ):
        load_data("cotton80", root=tmp_path)
    with pytest.raises(AdapterError, match="cannot be downloaded"):
        load_data("soyageing-r3", root=tmp_path, download=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.jpg,4", r"line 13: class 4; ids of 4 classes are 0\.\.3 \(is it 1-based\?\)"),
        ("a.jpg,-1", "class -1"),
        ("a.jpg,oak", "class 'oak'"),
        ("a.jpg", "a row is 'path,class'"),
    ],
)
def test_a_bad_row_is_named_by_line(cotton, row, message):
    with (cotton / "train.csv").open("a") as stream:
        stream.write(row + "\n")
    with pytest.raises(AdapterError, match=message):
        load_data("cotton80", root=cotton)


def test_lists_without_rows_or_with_unknown_columns_are_refused(cotton):
    (cotton / "test.csv").write_text("picture,kind\na.jpg,1\n")
    with pytest.raises(AdapterError, match="columns picture, kind"):
        load_data("cotton80", root=cotton)
    (cotton / "test.csv").write_text("\n")
    with pytest.raises(AdapterError, match="lists no image"):
        load_data("cotton80", root=cotton)
    (cotton / "train.csv").unlink()
    with pytest.raises(AdapterError, match=r"no train\.csv"):
        load_data("cotton80", root=cotton)


# --- VTAB-1k ---


@pytest.fixture
def kitti(tmp_path, monkeypatch):
    """A small VTAB-1k with one task of four classes."""
    monkeypatch.setattr(vtab, "COUNTS", {"train": 8, "val": 4})
    home = tmp_path / "kitti"
    for file, count in (("train800.txt", 8), ("val200.txt", 4), ("test.txt", 6)):
        folder = home / "images" / file.removesuffix(".txt")
        folder.mkdir(parents=True)
        rows = []
        for i in range(count):
            Image.new("RGB", (24, 12), (20 * i, 0, 0)).save(folder / f"a b {i}.png")
            rows.append(f"images/{folder.name}/a b {i}.png {i % 4}")
        (home / file).write_text("\n".join(rows) + "\n")
    return tmp_path


def test_vtab_takes_the_benchmarks_lists_and_does_not_crop(kitti):
    task = quiet("vtab:kitti", root=kitti)
    assert [len(part) for part in (task.train, task.val, task.test)] == [8, 4, 6]
    assert task.train.deterministic
    assert tuple(task.test.transform.transforms[0].size) == (16, 16)
    assert task.train[0][0].shape == (3, 16, 16)
    assert quiet("vtab:kitti", root=kitti / "kitti").train.paths == task.train.paths


def test_vtab_checks_its_counts_labels_and_files(kitti):
    with (kitti / "kitti" / "train800.txt").open("a") as stream:
        stream.write("images/train800/a b 0.png 3\n")
    with pytest.raises(AdapterError, match="expected 8 train, found 9"):
        load_data("vtab:kitti", root=kitti)
    with pytest.warns(DataWarning, match="expected 8 train, found 9"):
        load_data("vtab:kitti", root=kitti, strict=False)
    (kitti / "kitti" / "test.txt").write_text("images/a.png 4\n")
    with pytest.raises(AdapterError, match=r"line 1: class 4; ids of 4 classes"):
        load_data("vtab:kitti", root=kitti)
    (kitti / "kitti" / "test.txt").unlink()
    with pytest.raises(AdapterError, match=r"test\.txt not found.*leaves-ultra"):
        load_data("vtab:kitti", root=kitti)


def test_a_lost_vtab_test_image_is_an_error(kitti):
    (kitti / "kitti" / "images" / "test" / "a b 2.png").unlink()
    with pytest.raises(AdapterError, match=r"expected 6 test, found 5.*a b 2\.png \(no such file\)"):
        load_data("vtab:kitti", root=kitti)


def test_vtab_has_nineteen_tasks_and_suggests_near_names():
    assert len(vtab.CLASSES) == 19
    with pytest.raises(AdapterError, match="did you mean 'vtab:kitti'"):
        load_data("vtab:kiti")
