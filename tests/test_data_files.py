"""Image files of all kinds, and folders of them, sound and broken."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from adapters_lib.datasets.images.files import check_files, read_image
from adapters_lib.datasets.load import DataWarning, ImageFiles, load_data
from adapters_lib.errors import AdapterError

SIDE = 20


def picture(seed=0, size=(SIDE, SIDE)):
    """Smooth colors, so that JPEG keeps them."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize(size, Image.Resampling.BILINEAR)


def write_folder(root, counts, suffix=".jpg"):
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for i in range(count):
            picture(i).save(root / label / f"{i:02d}{suffix}")
    return root


def truncate(path, keep=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


def quiet(*args, **kwargs):
    """load_data with every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_data(*args, image_size=16, **kwargs)


# --- one file ---


def test_grey_bilevel_and_palette_files_become_rgb(tmp_path):
    for mode in ("L", "1", "P"):
        picture().convert(mode).save(tmp_path / f"{mode}.png")
        image = read_image(tmp_path / f"{mode}.png")
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), np.asarray(picture().convert(mode).convert("RGB")))


def test_a_cmyk_jpeg_keeps_its_colors(tmp_path):
    picture().convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    with Image.open(tmp_path / "print.jpg") as raw:
        assert raw.mode == "CMYK"
    difference = np.asarray(read_image(tmp_path / "print.jpg")).astype(int) - np.asarray(picture())
    assert abs(difference).mean() < 6


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path):
    values = np.array([[0, 257, 25700], [32896, 65278, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert np.asarray(read_image(tmp_path / "deep.png"))[..., 0].tolist() == [[0, 1, 100], [128, 254, 255]]


def test_transparent_pixels_are_laid_on_white(tmp_path):
    clear = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    clear.putpixel((1, 0), (0, 0, 0, 0))
    clear.save(tmp_path / "rgba.png")
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 0, 0, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=1)
    for name in ("rgba.png", "palette.png"):
        assert np.asarray(read_image(tmp_path / name)).tolist() == [[[200, 0, 0], [255, 255, 255]]]


def test_the_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to see it upright
    picture(size=(30, 10)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = np.asarray(read_image(tmp_path / "turned.jpg")).astype(int)
    expected = np.asarray(picture(size=(30, 10)).transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert upright.shape == (30, 10, 3)
    assert abs(upright - expected).mean() < 4


def test_broken_files_are_named_with_the_reason(tmp_path):
    picture(size=(200, 200)).save(tmp_path / "cut.jpg")
    truncate(tmp_path / "cut.jpg")
    (tmp_path / "text.jpg").write_text("these are words")
    (tmp_path / "empty.png").touch()
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "float.tiff")
    names = {
        "cut.jpg": "truncated",
        "text.jpg": "not an image",
        "empty.png": "not an image",
        "float.tiff": "8 or 16 bits",
        "gone.jpg": "no such",
    }
    for name, reason in names.items():
        with pytest.raises(AdapterError, match=rf"{name}: .*{reason}"):
            read_image(tmp_path / name)
    reasons = dict(check_files([tmp_path / name for name in names], "full"))
    assert all(reason in reasons[tmp_path / name] for name, reason in names.items())


def test_only_a_full_check_finds_a_truncated_jpeg_and_a_header_check_finds_text(tmp_path):
    picture(size=(200, 200)).save(tmp_path / "cut.jpg")
    truncate(tmp_path / "cut.jpg")
    (tmp_path / "text.jpg").write_text("these are words")
    files = [tmp_path / "cut.jpg", tmp_path / "text.jpg"]
    assert [path.name for path, _ in check_files(files, "header")] == ["text.jpg"]
    assert [path.name for path, _ in check_files(files, "auto")] == ["cut.jpg", "text.jpg"]
    assert check_files(files, "off") == []
    with pytest.raises(AdapterError, match="did you mean 'full'"):
        check_files(files, "ful")


def test_a_pickle_with_an_image_name_is_refused_unread(tmp_path):
    (tmp_path / "trap.jpg").write_bytes(b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.")
    assert check_files([tmp_path / "trap.jpg"])[0][1] == "not an image"


def test_cached_files_are_decoded_once_and_give_the_same_images(tmp_path):
    root = write_folder(tmp_path, {"a": 4, "b": 4})
    plain, cached = (
        quiet("folder", root=root, augment=None),
        quiet("folder", root=root, augment=None, cache=True),
    )
    for path in root.rglob("*.jpg"):
        truncate(path, 0.1)
    with pytest.raises(AdapterError, match="replace or remove"):
        plain.train[0]
    assert cached.train[0][0].shape == (3, 16, 16)
    assert plain.train.pixels is None
    assert {pixels.mode for pixels in cached.train.pixels} == {"RGB"}


def test_image_files_need_one_label_a_path(tmp_path):
    with pytest.raises(AdapterError, match="1 paths and 2 labels"):
        ImageFiles([tmp_path / "a.jpg"], [0, 1], lambda image: torch.zeros(3, 4, 4), deterministic=True)


# --- folders ---


def test_a_flat_folder_is_split_by_seed_with_every_class_in_every_part(tmp_path):
    root = write_folder(tmp_path, {"ash": 20, "beech": 10, "cedar": 3})
    task = quiet("folder", root=root)
    assert task.classes == ["ash", "beech", "cedar"]
    assert task.train.labels.bincount().tolist() == [14, 6, 1]
    assert task.val.labels.bincount().tolist() == [3, 2, 1]
    assert task.test.labels.bincount().tolist() == [3, 2, 1]
    files = [set(part.paths) for part in (task.train, task.val, task.test)]
    assert len(set.union(*files)) == sum(map(len, files)) == 33
    assert task.train.paths == quiet("folder", root=root, seed=0).train.paths
    assert task.train.paths != quiet("folder", root=root, seed=1).train.paths
    image, label = task.train[0]
    assert image.shape == (3, 16, 16)
    assert label == 0
    assert task.info["skipped"] == []
    assert not task.synthetic


def test_train_val_and_test_folders_are_taken_as_they_are(tmp_path):
    for part, count in (("train", 4), ("val", 2), ("test", 1)):
        write_folder(tmp_path / part, {"a": count, "b": count}, ".PNG")
    task = quiet("folder", root=tmp_path)
    assert [len(part) for part in (task.train, task.val, task.test)] == [8, 4, 2]
    assert task.info["split"] == "folders"


def test_without_a_val_folder_val_is_drawn_from_train(tmp_path):
    write_folder(tmp_path / "train", {"a": 10, "b": 5})
    write_folder(tmp_path / "test", {"a": 2, "b": 2})
    task = quiet("folder", root=tmp_path, val_fraction=0.2)
    assert task.train.labels.bincount().tolist() == [8, 4]
    assert task.val.labels.bincount().tolist() == [2, 1]


def test_without_a_test_folder_val_serves_as_test_and_the_task_says_so(tmp_path):
    write_folder(tmp_path / "train", {"a": 10, "b": 10})
    write_folder(tmp_path / "valid", {"a": 3, "b": 3})
    task = quiet("folder", root=tmp_path)
    assert len(task.test) == 6
    assert "val serves as test" in task.info["split"]
    assert all("train" in path.parts for path in task.val.paths)


def test_what_cannot_be_used_is_left_out_and_named(tmp_path):
    root = write_folder(tmp_path, {"good": 6, "fine": 6, "lone": 1, "empty": 0})
    (root / "good" / "words.jpg").write_text("no image")
    picture(size=(200, 200)).save(root / "good" / "cut.jpg")
    truncate(root / "good" / "cut.jpg")
    picture().save(root / "stray.png")
    (root / "good" / "notes.txt").write_text("no image's ending")
    (root / "good" / "._00.jpg").write_text("ignored")
    with pytest.warns(
        DataWarning, match=r"folder: left out 5: .*stray\.png.*task\.info\['skipped'\]"
    ) as caught:
        task = load_data("folder", root=root, image_size=16)
    assert len(caught) == 1
    reasons = {str(path.relative_to(root)): reason for path, reason in task.info["skipped"]}
    assert reasons.keys() == {
        "good/words.jpg",
        "good/cut.jpg",
        "good/notes.txt",
        "stray.png",
        "lone",
        "empty",
    }
    assert reasons["good/notes.txt"] == ".txt is no ending of an image"
    assert reasons["good/words.jpg"] == "not an image"
    assert "truncated" in reasons["good/cut.jpg"]
    assert reasons["lone"].startswith("class with 1 image")
    assert reasons["empty"] == "class without a usable image"
    assert task.classes == ["fine", "good"]
    assert len(task.train) + len(task.val) + len(task.test) == 12
    assert ["lone", reasons["lone"]] in [
        [path.rsplit("/")[-1], why] for path, why in task.describe()["info"]["skipped"]
    ]


def test_a_class_that_only_test_has_and_a_folder_beside_the_parts_are_named(tmp_path):
    write_folder(tmp_path / "train", {"a": 4, "b": 4})
    write_folder(tmp_path / "test", {"a": 1, "c": 1})
    write_folder(tmp_path, {"extra": 1})
    with pytest.warns(DataWarning, match="class in test that train does not have"):
        task = load_data("folder", root=tmp_path, image_size=16)
    assert {path.name for path, _ in task.info["skipped"]} == {"c", "extra"}
    assert task.test.labels.tolist() == [0]


def test_fewer_than_two_usable_classes_is_an_error_with_the_reasons(tmp_path):
    root = write_folder(tmp_path, {"good": 5, "lone": 1})
    with pytest.raises(AdapterError, match=r"1 usable class.*lone \(class with 1 image"):
        load_data("folder", root=root)
    empty = tmp_path / "nothing"
    empty.mkdir()
    with pytest.raises(AdapterError, match="0 usable class.*each a folder of images.*nothing else is there"):
        load_data("folder", root=empty)
    (empty / "notes.txt").write_text("none")
    with pytest.raises(AdapterError, match=r"left out: notes.txt \(.txt is no ending of an image"):
        load_data("folder", root=empty)


def test_a_missing_root_is_an_error_that_says_what_to_pass(tmp_path):
    with pytest.raises(AdapterError, match="one folder of images a class"):
        load_data("folder")
    with pytest.raises(AdapterError, match="absent is not a folder"):
        load_data("folder", root=tmp_path / "absent")


def test_split_fractions_that_leave_no_training_images_are_refused(tmp_path):
    root = write_folder(tmp_path, {"a": 5, "b": 5})
    with pytest.raises(AdapterError, match="sum below 1"):
        load_data("folder", root=root, val_fraction=0.5, test_fraction=0.5)
