"""The public sets: small copies of their layouts on disk, and the message when they are absent."""

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from adapters_lib.datasets.images.torchvision_sets import SETS
from adapters_lib.datasets.load import DataWarning, load_data
from adapters_lib.errors import AdapterError


def save(path, i=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (10 * i % 256, 100, 200)).save(path)


def write_dtd(root):
    for part in ("train", "val", "test"):
        for label in ("banded", "dotted"):
            save(root / "dtd/dtd/images" / label / f"{part}.jpg")
        (root / "dtd/dtd/labels").mkdir(exist_ok=True)
        (root / f"dtd/dtd/labels/{part}1.txt").write_text(f"banded/{part}.jpg\ndotted/{part}.jpg\n")
    return ["banded", "dotted"], (2, 2, 2)


def write_eurosat(root):
    for label in ("Forest", "River", "SeaLake"):
        for i in range(10):
            save(root / "eurosat/2750" / label / f"{label}_{i}.jpg", i)
    return ["Forest", "River", "SeaLake"], (18, 6, 6)


def write_pets(root):
    home = root / "oxford-iiit-pet"
    for part, count in (("trainval", 10), ("test", 4)):
        rows = []
        for label, breed in enumerate(("Abyssinian", "great_dane"), 1):
            for i in range(count):
                save(home / f"images/{breed}_{part}{i}.jpg", i)
                rows.append(f"{breed}_{part}{i} {label} 1 1")
        (home / "annotations").mkdir(exist_ok=True)
        (home / f"annotations/{part}.txt").write_text("\n".join(rows) + "\n")
    return ["Abyssinian", "Great Dane"], (18, 2, 8)


def write_food(root):
    home = root / "food-101"
    for part, count in (("train", 10), ("test", 2)):
        lists = {label: [f"{label}/{part}{i}" for i in range(count)] for label in ("pho", "waffles")}
        for names in lists.values():
            for name in names:
                save(home / f"images/{name}.jpg")
        (home / "meta").mkdir(exist_ok=True)
        (home / f"meta/{part}.json").write_text(json.dumps(lists))
    return ["pho", "waffles"], (18, 2, 4)


def write_aircraft(root):
    home = root / "fgvc-aircraft-2013b/data"
    for i, part in enumerate(("train", "val", "test")):
        for k in range(2):
            save(home / f"images/{i}{k}.jpg")
        (home / f"images_variant_{part}.txt").write_text(f"{i}0 A300\n{i}1 Boeing 707\n")
    (home / "variants.txt").write_text("A300\nBoeing 707\n")
    return ["A300", "Boeing 707"], (2, 2, 2)


def write_cifar(root):
    home = root / "cifar-100-binary"
    home.mkdir()
    for part, count in (("train", 40), ("test", 8)):
        rows = np.zeros((count, 3074), dtype=np.uint8)
        # The coarse label must not be taken for the fine one.
        rows[:, 0], rows[:, 1] = 19, np.arange(count) % 4
        rows[:, 2:1026] = 255  # the red plane
        rows.tofile(home / f"{part}.bin")
    (home / "fine_label_names.txt").write_text("apple\naquarium_fish\nbaby\nbear\n")
    return ["apple", "aquarium_fish", "baby", "bear"], (36, 4, 8)


WRITERS = {
    "dtd": write_dtd,
    "eurosat": write_eurosat,
    "oxford-pet": write_pets,
    "food101": write_food,
    "fgvc-aircraft": write_aircraft,
    "cifar100": write_cifar,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_small_copy_of_the_layout_loads_with_classes_and_parts(name, tmp_path):
    classes, sizes = WRITERS[name](tmp_path)
    with pytest.warns(DataWarning, match=rf"expected {SETS[name].classes} classes, found {len(classes)}"):
        task = load_data(name, root=tmp_path, image_size=16, strict=False)
    assert task.classes == classes
    assert tuple(len(part) for part in (task.train, task.val, task.test)) == sizes
    assert set(task.test.labels.tolist()) == set(range(len(classes)))
    image, label = task.train[0]
    assert image.shape == (3, 16, 16)
    assert image.dtype == torch.float32
    assert label == int(task.train.labels[0])


@pytest.mark.parametrize("name", ["eurosat", "cifar100"])
def test_a_copy_with_too_few_images_is_an_error_by_default(name, tmp_path):
    WRITERS[name](tmp_path)
    with pytest.raises(AdapterError, match=rf"expected {SETS[name].images} images, found \d+ .*strict=False"):
        load_data(name, root=tmp_path)


def test_a_complete_copy_loads_without_a_warning(tmp_path, monkeypatch):
    write_dtd(tmp_path)
    from dataclasses import replace

    monkeypatch.setitem(SETS, "dtd", replace(SETS["dtd"], classes=2, images=6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = load_data("dtd", root=tmp_path)
    assert task.info["split"] == "official"
    (tmp_path / "dtd/dtd/images/banded/val.jpg").unlink()
    with pytest.raises(AdapterError, match=r"found 5; not usable: .*val\.jpg \(no such file\)"):
        load_data("dtd", root=tmp_path)


@pytest.mark.parametrize("name", SETS)
def test_an_absent_set_says_what_to_fetch_how_many_where_to_and_what_works_offline(name, tmp_path):
    with pytest.raises(AdapterError) as caught:
        load_data(name, root=tmp_path)
    message, known = str(caught.value), SETS[name]
    assert (
        f"expected {known.images} images of {known.classes} classes in {tmp_path / known.folder}, found 0"
        in message
    )
    assert known.page in message
    assert "download=True" in message
    assert "load_data('leaves-ultra')" in message


def test_a_partial_download_is_counted(tmp_path):
    for i in range(3):
        save(tmp_path / f"flowers-102/jpg/image_{i:05d}.jpg")
    with pytest.raises(AdapterError, match=r"expected 8189 images of 102 classes in .*, found 3 images"):
        load_data("flowers102", root=tmp_path)


def test_cifar_pixels_are_planes_and_labels_the_fine_ones(tmp_path):
    write_cifar(tmp_path)
    with pytest.warns(DataWarning):
        task = load_data("cifar100", root=tmp_path, strict=False, augment=None)
    assert task.test.images.shape == (8, 3, 32, 32)
    assert task.test.images[0].flatten(1).float().mean(1).tolist() == [255, 0, 0]
    assert task.test.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert task.train.deterministic


def test_a_cut_cifar_file_and_the_pickled_version_are_refused(tmp_path):
    write_cifar(tmp_path)
    file = tmp_path / "cifar-100-binary/train.bin"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(AdapterError, match="not a whole number of 3074-byte images"):
        load_data("cifar100", root=tmp_path)
    file.unlink()
    (tmp_path / "cifar-100-python").mkdir()
    with pytest.raises(AdapterError, match="would have to be unpickled"):
        load_data("cifar100", root=tmp_path)


def test_a_failed_download_says_to_fetch_by_hand(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("adapters_lib.datasets.images.cifar.download_and_extract_archive", no_network)
    with pytest.raises(AdapterError, match=r"no route to host.*the download failed; fetch it by hand"):
        load_data("cifar100", root=tmp_path, download=True)


def test_svhn_arrays_grow_to_the_models_size_and_are_never_mirrored(tmp_path, monkeypatch):
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    for part, count in (("train", 40), ("test", 20)):
        digits = np.arange(count) % 10 + 1  # the file says 10 for the digit 0
        savemat(
            tmp_path / f"{part}_32x32.mat",
            {"X": np.zeros((32, 32, 3, count), dtype=np.uint8), "y": digits[:, None].astype(np.uint8)},
        )
    monkeypatch.setattr(SVHN, "_check_integrity", lambda self: True)
    with pytest.warns(DataWarning, match="expected 99289 images, found 60"):
        task = load_data("svhn", root=tmp_path, image_size=48, strict=False)
    assert task.classes == [str(digit) for digit in range(10)]
    assert task.test.labels.bincount().tolist() == [2] * 10
    assert task.train.augment == "shift"
    assert task.train[0][0].shape == (3, 48, 48)


def test_flowers_take_the_official_parts_of_the_mat_files(tmp_path, monkeypatch):
    from scipy.io import savemat
    from torchvision.datasets import Flowers102

    home = tmp_path / "flowers-102"
    for i in range(1, 7):
        save(home / f"jpg/image_{i:05d}.jpg", i)
    savemat(home / "imagelabels.mat", {"labels": np.array([1, 2, 1, 2, 1, 2])})  # 1-based in the file
    savemat(
        home / "setid.mat", {"trnid": np.array([1, 2]), "valid": np.array([5, 6]), "tstid": np.array([3, 4])}
    )
    monkeypatch.setattr(Flowers102, "_check_integrity", lambda self: True)
    with pytest.warns(DataWarning, match="expected 8189 images, found 6"):
        task = load_data("flowers102", root=tmp_path, image_size=16, strict=False)
    assert [path.name for path in task.val.paths] == ["image_00005.jpg", "image_00006.jpg"]
    assert task.test.labels.tolist() == [0, 1]
