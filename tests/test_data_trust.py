"""Image folders and lists from outside: nothing is decoded unchecked, left out in silence, or taken from
elsewhere."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, features

from adapters_lib.datasets.images import ultra_fgvc
from adapters_lib.datasets.images.files import ImageError, check_files, read_image
from adapters_lib.datasets.images.lists import read_list
from adapters_lib.datasets.list_files import list_text
from adapters_lib.datasets.load import DataWarning, load_data
from adapters_lib.datasets.scan import scan
from adapters_lib.errors import AdapterError

SIDE = 16


def picture(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))


def class_folders(root, count=4):
    for name in ("elm", "oak"):
        (root / name).mkdir()
        for i in range(count):
            picture(i).save(root / name / f"{i}.png")
    return root


def load(root, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        task = load_data("folder", root=root, image_size=SIDE, **options)
    skipped = {os.path.relpath(path, root): why for path, why in task.info["skipped"]}
    return {os.path.relpath(path, root) for data in task.parts().values() for path in data.paths}, skipped


# ---- pixels --------------------------------------------------------------------------------------


def chunk(name, body, crc=None):
    return (
        struct.pack(">I", len(body))
        + name
        + body
        + struct.pack(">I", zlib.crc32(name + body) if crc is None else crc)
    )


def claims(width, height):
    """A PNG that says it is so large, and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(9460, 9459), (12_000, 12_000), (100_000, 100_000), (2**31 - 1, 1)])
def test_too_many_pixels_are_refused_by_the_header_with_size_limit_and_remedy(tmp_path, size):
    (tmp_path / "bomb.png").write_bytes(claims(*size))
    rule = (
        rf"bomb\.png: {size[0]} × {size[1]} pixels are more than the 89,478,485 allowed; shrink .*raise"
        r" max_pixels"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match=rule):
            read_image(tmp_path / "bomb.png")
        for verify in ("full", "header"):
            assert (
                "shrink the image, or raise max_pixels" in check_files([tmp_path / "bomb.png"], verify)[0][1]
            )


def test_a_folder_leaves_large_images_out_and_takes_them_where_the_limit_allows(tmp_path):
    root = class_folders(tmp_path)
    Image.new("RGB", (40, 30)).save(root / "oak" / "large.png")
    used, skipped = load(root, max_pixels=1000)
    assert skipped == {
        "oak/large.png": (
            "40 × 30 pixels are more than the 1,000 allowed; shrink the image, or raise max_pixels"
        )
    }
    assert "oak/large.png" not in used
    assert "oak/large.png" in load(root, max_pixels=1200)[0]
    for wrong in (0, 2.5, True, "many"):
        with pytest.raises(AdapterError, match="max_pixels"):
            load(root, max_pixels=wrong)


def test_a_picture_above_pillows_own_limit_is_read_when_asked(tmp_path, monkeypatch):
    picture().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "a.png").size == (SIDE, SIDE)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "CMYK", "I;16", "1"])
def test_converting_in_strips_gives_the_pixels_of_the_whole(tmp_path, monkeypatch, mode):
    image = picture().resize((7, 50)).convert("RGBA")
    image.putalpha(picture(1).resize((7, 50)).convert("L"))
    if mode == "I;16":
        image = Image.fromarray(np.random.default_rng(0).integers(0, 65536, (50, 7)).astype(np.uint16))
    else:
        image = image.convert("RGB").convert(mode) if mode in ("P", "CMYK") else image.convert(mode)
    name = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(name)
    whole = np.asarray(read_image(name))
    monkeypatch.setattr("adapters_lib.datasets.images.files.STRIP", 8)
    assert np.array_equal(np.asarray(read_image(name)), whole)


# ---- metadata ------------------------------------------------------------------------------------


def segment(number, body):
    return bytes([0xFF, 0xE0 + number]) + struct.pack(">H", len(body) + 2) + body


TURN = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6
BROKEN = {
    "text with a wrong sum.png": chunk(b"tEXt", b"a\0b", crc=1),
    "a profile that is none.png": chunk(b"iCCP", b"x\0\5garbage"),
    "EXIF that is none.png": chunk(b"eXIf", b"garbage"),
    "a text of 80 MB.png": chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(80_000_000))),
    "cut resolution.png": chunk(b"pHYs", b"xx"),
    "cut gamma.png": chunk(b"gAMA", b""),
    "cut animation.png": chunk(b"acTL", b"12"),
    "EXIF without entries.jpg": segment(1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff"),
    "EXIF with a far start.jpg": segment(1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "a cut profile.jpg": segment(2, b"ICC_PROFILE\0"),
    "a cut JFIF.jpg": segment(0, b"JFIF\0\1"),
    "a cut Adobe.jpg": segment(14, b"Adobe\0"),
    "a broken multi-picture.jpg": segment(2, b"MPF\0garbage"),
    "Photoshop.jpg": segment(13, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\0\0\0\x10\0"),
}


def with_block(image, name, block):
    image.save(name, quality=95)
    data = name.read_bytes()
    place = 33 if name.suffix == ".png" else 2  # behind the header
    name.write_bytes(data[:place] + block + data[place:])


@pytest.mark.parametrize("warned", ["ignore", "error"])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_metadata_does_not_cost_a_sound_image(tmp_path, name, warned):
    picture().save(tmp_path / f"plain{name[-4:]}", quality=95)
    with_block(picture(), tmp_path / name, BROKEN[name])
    with warnings.catch_warnings():
        warnings.simplefilter(warned)
        image = read_image(tmp_path / name)
        assert check_files([tmp_path / name], "header") == check_files([tmp_path / name], "full") == []
    assert np.array_equal(np.asarray(image), np.asarray(read_image(tmp_path / f"plain{name[-4:]}")))


def test_a_broken_webp_profile_and_exif_do_not_cost_the_image(tmp_path):
    picture().save(
        tmp_path / "a.webp", lossless=True, exif=b"Exif\0\0II*\0\xff\xff\xff\xff", icc_profile=b"none"
    )
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.webp")), np.asarray(picture()))


def test_the_orientation_holds_beside_metadata_that_is_broken(tmp_path):
    image = picture().crop((0, 0, SIDE, 8))
    with_block(image, tmp_path / "a.jpg", segment(1, TURN) + segment(2, b"ICC_PROFILE\0"))
    assert read_image(tmp_path / "a.jpg").size == (8, SIDE)


def test_a_damaged_picture_keeps_its_own_reason(tmp_path):
    with_block(picture().resize((200, 200)), tmp_path / "a.png", chunk(b"tEXt", b"a\0b", crc=1))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


# ---- which files ---------------------------------------------------------------------------------


def test_every_file_left_out_is_named_with_its_reason(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    picture().save(elsewhere / "linked.png")
    root = tmp_path / "root"
    root.mkdir()
    oak = class_folders(root) / "oak"
    for name in ("phone.HEIC", "words.txt", "no ending", "clip.mp4"):
        (oak / name).write_bytes(b"something")
    (oak / "empty.jpg").touch()
    (oak / "folder.jpg").mkdir()
    (oak / "gone.jpg").symlink_to(elsewhere / "none.jpg")
    (oak / "circle.jpg").symlink_to(oak / "circle.jpg")
    (oak / "more").symlink_to(elsewhere)
    (oak / "__aside").mkdir()
    os.mkfifo(oak / "pipe.png")
    (root / "list.csv").write_text("a,b")
    (root / "album.png").symlink_to(elsewhere / "none.png")
    reasons = {
        "oak/phone.HEIC": "HEIC is not read here; convert it to JPEG or PNG",
        "oak/words.txt": ".txt is no ending of an image",
        "oak/no ending": "a name without the ending of an image",
        "oak/clip.mp4": ".mp4 is no ending of an image",
        "oak/empty.jpg": "an empty file",
        "oak/folder.jpg": "a folder, not an image",
        "oak/gone.jpg": "a link to nothing",
        "oak/circle.jpg": "cannot be read",
        "oak/more": "a linked folder",
        "oak/__aside": "its name begins with __",
        "oak/pipe.png": "not a regular file",
        "list.csv": ".csv is no ending of an image",
        "album.png": "a link to nothing",
    }
    used, skipped = load(root)
    assert len(used) == 8
    assert skipped.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in skipped[name]


def test_endings_that_pillow_reads_are_read(tmp_path):
    root = class_folders(tmp_path)
    endings = {".jfif": "JPEG", ".jpe": "JPEG", ".pbm": "PPM", ".dib": "DIB", ".apng": "PNG"}
    endings |= {".avif": "AVIF"} if features.check("avif") else {}
    for ending, kind in endings.items():
        picture().save(root / "oak" / f"a{ending}", kind)
    used, skipped = load(root)
    assert {f"oak/a{ending}" for ending in endings} <= used
    assert skipped == {}


@pytest.mark.parametrize(
    "name", [".ipynb_checkpoints", ".thumbnails", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "#recycle"]
)
def test_folders_of_programs_are_passed_over_at_every_depth(tmp_path, name):
    root = class_folders(tmp_path)
    for place in (root, root / "oak", root / "oak" / "deep"):
        (place / name).mkdir(parents=True)
        picture().save(place / name / "copy.png")
    picture().save(root / "oak" / "deep" / "kept.png")
    (root / "oak" / "Thumbs.db").touch()
    used, skipped = load(root)
    assert {path for path in used if "copy" in path} == set()
    assert "oak/deep/kept.png" in used
    assert skipped == {}


def test_files_beside_the_class_folders_of_a_part_are_named(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        class_folders(tmp_path / part)
    picture().save(tmp_path / "train" / "stray.png")
    (tmp_path / "test" / "notes.md").write_text("words")
    assert load(tmp_path)[1] == {
        "train/stray.png": "not in a class folder",
        "test/notes.md": ".md is no ending of an image",
    }


def test_a_linked_class_folder_and_a_linked_file_are_used(tmp_path):
    (tmp_path / "far").mkdir()
    picture().save(tmp_path / "far" / "a.png")
    root = tmp_path / "root"
    root.mkdir()
    class_folders(root)
    (root / "oak" / "link.png").symlink_to(tmp_path / "far" / "a.png")
    (root / "yew").symlink_to(root / "oak")
    used, skipped = load(root)
    assert "oak/link.png" in used
    assert any(path.startswith("yew/") for path in used)
    assert skipped == {}


def test_videos_are_found_by_the_same_walk(tmp_path):
    (tmp_path / "a.HEIC").write_bytes(b"x")
    (tmp_path / "b.mp4").write_bytes(b"x")
    scanned = scan(tmp_path, {".mp4"}, "video")
    assert scanned.files == [tmp_path / "b.mp4"]
    assert scanned.left_out == []
    assert scanned.foreign == [(tmp_path / "a.HEIC", ".HEIC is no ending of a video")]


def test_a_pipe_is_no_image_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        read_image(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="a folder, not an image"):
        read_image(tmp_path)


# ---- lists ---------------------------------------------------------------------------------------


@pytest.fixture
def listed(tmp_path):
    """A root with an image inside and one outside, and a function that reads a list of it."""
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    for place in (root, root / "images", tmp_path):
        picture().save(place / "a.png")
        picture().save(place / "Bäume.png")

    def read(text, encoding="utf-8", separator=",", **options):
        (root / "list").write_bytes(text.encode(encoding))
        return read_list(root / "list", root, 3, separator, **options)

    return read


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"]
)
@pytest.mark.parametrize("separator", [",", " "])
def test_a_list_is_read_in_any_of_the_usual_encodings(listed, encoding, separator):
    rows = listed(f"Bäume.png{separator}1\r\na.png{separator}2\r\n", encoding, separator)
    assert [(path.name, label) for path, label in rows] == [("Bäume.png", 1), ("a.png", 2)]
    assert all(path.is_file() for path, _ in rows)


@pytest.mark.parametrize(
    "label", ["1.7", "1e0", "nan", "inf", "1_0", "٢", "--1", "9" * 5000, "0x1", "+", "1.0"]
)
@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("separator", [",", " "])
def test_a_label_that_is_no_whole_number_is_refused_with_its_line(listed, label, before, separator):
    good = f"a.png{separator}1\n"
    with pytest.raises(AdapterError, match=rf"line {before + 1}: class .*; give a whole number from 0"):
        listed(good * before + f"a.png{separator}{label}\n" + good, separator=separator)


@pytest.mark.parametrize("name", ["../a.png", "images/../../a.png", "{outside}", "x/../../root2/a.png"])
def test_a_list_does_not_leave_its_root_unless_told(listed, tmp_path, name):
    name = name.format(outside=tmp_path / "a.png")
    with pytest.raises(
        AdapterError, match=r"list, line 2: .*a\.png.* lies outside .*root; .*outside_root=True"
    ):
        listed(f"a.png,1\n{name},1\n")
    assert len(listed(f"a.png,1\n{name},1\n", outside_root=True)) == 2


def test_a_link_out_of_the_root_is_refused_and_one_inside_is_not(listed, tmp_path):
    (tmp_path / "root" / "out.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "root" / "away").symlink_to(tmp_path)
    (tmp_path / "root" / "in.png").symlink_to(tmp_path / "root" / "a.png")
    for name in ("out.png", "away/a.png"):
        with pytest.raises(AdapterError, match=r"line 1: .*lies outside"):
            listed(f"{name},1")
    assert listed("in.png,1\nimages/../a.png,0")[0][0].name == "in.png"


def test_a_root_that_is_a_link_itself_is_the_root(tmp_path):
    (tmp_path / "real").mkdir()
    picture().save(tmp_path / "real" / "a.png")
    (tmp_path / "real" / "list").write_text("a.png,0")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert read_list(tmp_path / "link" / "list", tmp_path / "link", 1, ",")[0][1] == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a.png\x00,1", "no text"),
        (b"\xff\xfe\x00\xd8", "no text"),
        (bytes(range(256)) * 4, "."),
        (b'"' + b"x" * 200_000 + b'",1', "line 1: field larger"),
        (b"a" * 300 + b".png,1", "no name of a file"),
        (b",1", "no path"),
        (b"", "lists no image"),
    ],
)
def test_what_is_no_list_is_said_so(tmp_path, data, message):
    (tmp_path / "list").write_bytes(data)
    with pytest.raises(AdapterError, match=message):
        read_list(tmp_path / "list", tmp_path, 3, ",")


def test_a_list_that_is_a_folder_or_missing_is_an_explained_error(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(AdapterError, match="cannot be read"):
            list_text(path)


def test_the_option_reaches_the_lists_of_a_data_set(tmp_path, monkeypatch):
    monkeypatch.setitem(ultra_fgvc.EXPECTED, "cotton80", (2, 4, 2))
    root = tmp_path / "root"
    root.mkdir()
    for i in range(6):
        picture(i).save(tmp_path / f"{i}.png")
    (root / "train.csv").write_text("".join(f"../{i}.png,{i % 2}\n" for i in range(4)))
    (root / "test.csv").write_text("../4.png,0\n../5.png,1\n")
    with pytest.raises(AdapterError, match="outside_root=True"):
        load_data("cotton80", root=root)
    assert len(load_data("cotton80", root=root, outside_root=True).test) == 2
