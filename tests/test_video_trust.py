"""Videos from outside: opened by what they are, and nothing else with them; whatever is wrong is a
VideoError."""

import errno
import os
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from small_videos import put

from adapters_lib.datasets.load import DataWarning, load_data
from adapters_lib.datasets.video import decoding as video_decoding, tasks as video_tasks
from adapters_lib.datasets.video.cache import ClipCache
from adapters_lib.datasets.video.decoding import Video, VideoError, check_videos
from adapters_lib.datasets.video.writing import write_video
from adapters_lib.errors import AdapterError

NOISE = np.random.default_rng(0).integers(0, 256, (6, 32, 48, 3), dtype=np.uint8)


def scripts(folder):
    """Files that make FFmpeg open another one, under names of videos."""
    write_video(folder / "secret.mp4", NOISE)
    secret = folder / "secret.mp4"
    segments = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n"
    (folder / "concat.mp4").write_text(f"ffconcat version 1.0\nfile {secret.name}\n")
    (folder / "playlist.mp4").write_text(segments)
    (folder / "playlist.m3u8").write_text(segments)
    (folder / "dash.mp4").write_text(f'<?xml version="1.0"?><MPD><BaseURL>{secret}</BaseURL></MPD>')
    (folder / "session.mp4").write_text(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=video 9 RTP/AVP 96\r\n"
    )
    return ["concat.mp4", "playlist.mp4", "playlist.m3u8", "dash.mp4", "session.mp4"]


def test_a_script_or_playlist_is_no_video_and_opens_nothing(tmp_path, monkeypatch):
    names = scripts(tmp_path)
    with av.open(str(tmp_path / "concat.mp4")) as container:  # what FFmpeg does by itself
        assert container.format.name == "concat"
    opened = []
    whole = av.open
    monkeypatch.setattr(av, "open", lambda *args, **options: opened.append(args) or whole(*args, **options))
    for name in names:
        with pytest.raises(VideoError, match=rf"{name}: not a video of the kinds read here"):
            Video(tmp_path / name)
    assert opened == []


def test_a_script_behind_the_first_bytes_of_a_video_is_still_none(tmp_path):
    script = f"\nffconcat version 1.0\nfile {tmp_path / 'secret.mp4'}\n".encode()
    write_video(tmp_path / "secret.mp4", NOISE)
    for number, start in enumerate(
        [b"\0\0\0\x08ftyp", b"\x1a\x45\xdf\xa3", b"RIFF\0\0\0\0AVI ", b"\0\0\x01\xba"]
    ):
        (tmp_path / f"{number}.mp4").write_bytes(start + script)
        with pytest.raises(VideoError, match=rf"{number}\.mp4"), Video(tmp_path / f"{number}.mp4") as video:
            video.read([0])


@pytest.mark.parametrize(
    "name", ["concat:a.mp4|b.mp4", "http:/127.0.0.1/a.mp4", "subfile,,start,0,end,0,,:a.mp4", "-"]
)
def test_a_file_whose_name_looks_like_an_address_is_a_file(tmp_path, film, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    put(film, tmp_path / name)
    with Video(name) as video:
        assert len(video) == 12
    with pytest.raises(VideoError, match="no such file"):
        Video(f"{name}2")


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "h264"), ("a.mov", "h264"), ("a.mkv", "h264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4")],
)
def test_every_kind_is_known_by_its_first_bytes_whatever_its_ending(tmp_path, name, codec):
    write_video(tmp_path / name, NOISE, codec=codec)
    os.rename(tmp_path / name, tmp_path / "a.mpg")
    with Video(tmp_path / "a.mpg") as video:
        assert video.read(range(6)).shape == (6, 32, 48, 3)


@pytest.mark.parametrize(
    ("kind", "codec"), [("mpeg", "mpeg1video"), ("mpegts", "mpeg2video"), ("mpegvideo", "mpeg1video")]
)
def test_mpeg_streams_are_read(tmp_path, kind, codec):
    formats = {"mpegvideo": "mpeg1video"}
    with av.open(str(tmp_path / "a.mpg"), "w", format=formats.get(kind, kind)) as container:
        stream = container.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for frame in NOISE:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert video_decoding._demuxer((tmp_path / "a.mpg").read_bytes()) == kind
    if kind != "mpegvideo":  # a bare stream has no time stamps
        with Video(tmp_path / "a.mpg") as video:
            assert video.read([0, 5]).shape == (2, 32, 48, 3)


def test_pipes_and_folders_are_no_videos(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="not a regular file"):
        Video(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="a folder, not a video"):
        Video(tmp_path)


# ---- square pixels -------------------------------------------------------------------------------


def with_aspect(path, aspect):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for frame in NOISE:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("aspect", "shape"),
    [
        (Fraction(1), (32, 48)),
        (Fraction(2), (32, 96)),
        (Fraction(4, 3), (32, 64)),
        (Fraction(1, 2), (64, 48)),
    ],
)
@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_pixels_that_are_not_square_are_made_so(tmp_path, aspect, shape, ending):
    with Video(with_aspect(tmp_path / f"a.{ending}", aspect)) as video:
        assert video.read([0]).shape == (1, *shape, 3)
        small = video.read([0], short_side=16).shape[1:3]
        assert min(small) == 16
        assert small[1] / small[0] == pytest.approx(shape[1] / shape[0], rel=0.05)


def test_a_damaged_aspect_stretches_nothing(tmp_path):
    with Video(with_aspect(tmp_path / "a.mkv", Fraction(1, 200))) as video:
        assert video.read([0]).shape == (1, 32, 48, 3)


# ---- whatever goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("x"), MemoryError(), RuntimeError("x"), UnicodeDecodeError("utf-8", b"", 0, 1, "x")]
)
def test_whatever_the_decoder_raises_is_a_video_error_with_the_name(film, monkeypatch, error):
    def fail(*_args, **_options):
        raise error

    with Video(film) as video:
        monkeypatch.setattr(video_decoding, "_pixels", fail)
        with pytest.raises(VideoError, match=r"film\.mp4: .*; replace or remove the file"):
            video.read([0])
    monkeypatch.setattr(av, "open", fail)
    with pytest.raises(VideoError, match=r"film\.mp4"):
        Video(film)
    assert [path for path, _ in check_videos([film], "full")] == [film]


def test_frames_beyond_the_bounds_are_refused(film, monkeypatch):
    monkeypatch.setattr(video_decoding, "MAX_PIXELS", 100)
    with pytest.raises(VideoError, match="frames of 40 × 32 pixels, of which at most 100"):
        Video(film)
    monkeypatch.setattr(video_decoding, "MAX_PIXELS", 10_000)
    monkeypatch.setattr(video_decoding, "MAX_FRAMES", 5)
    with pytest.raises(VideoError, match="more than 5 frames"):
        Video(film)


def test_a_bad_video_of_a_folder_is_skipped_and_listed(tmp_path, film):
    for label in ("left", "right"):
        for i in range(4):
            put(film, tmp_path / label / f"{i}.mp4")
    (tmp_path / "left" / "script.mp4").write_text(f"ffconcat version 1.0\nfile {film}\n")
    (tmp_path / "left" / "cut.mp4").write_bytes(film.read_bytes()[:200])
    (tmp_path / "left" / "film.wmv").write_bytes(b"x")
    (tmp_path / "right" / "gone.mp4").symlink_to(tmp_path / "none.mp4")
    with pytest.warns(DataWarning, match="left out 3"):
        task = load_data("video-folder", root=tmp_path, image_size=16, frames=2)
    skipped = {path.name: why for path, why in task.info["skipped"]}
    assert skipped.keys() == {"script.mp4", "cut.mp4", "film.wmv", "gone.mp4"}
    assert sum(len(data) for data in task.parts().values()) == 8


# ---- lists ---------------------------------------------------------------------------------------


@pytest.fixture
def ucf(tmp_path, film, monkeypatch):
    """A small UCF-101 in a root, and a film beside the root."""
    monkeypatch.setitem(video_tasks.EXPECTED, "ucf101", video_tasks.Published(2, (4,), (2,), "small"))
    root = tmp_path / "root"
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    put(film, tmp_path / "out.avi")
    names = [f"{label}/v_{label}_g0{i}_c01.avi" for label in ("Bow", "Run") for i in range(3)]
    for name in names:
        put(film, root / "UCF-101" / name)
    (lists / "classInd.txt").write_text("1 Bow\n2 Run\n")
    (lists / "trainlist01.txt").write_text(
        "".join(f"{n} {1 + n.startswith('Run')}\n" for n in names if "g02" not in n)
    )
    (lists / "testlist01.txt").write_text("".join(f"{n}\n" for n in names if "g02" in n))
    return root


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_published_lists_are_read_in_odd_encodings(ucf, encoding):
    for file in (ucf / "ucfTrainTestlist").iterdir():
        file.write_bytes(file.read_text().encode(encoding))
    assert len(load_data("ucf101", root=ucf, image_size=16, frames=2).test) == 2


def test_a_list_of_videos_does_not_leave_its_root_unless_told(ucf):
    file = ucf / "ucfTrainTestlist" / "testlist01.txt"
    file.write_text("Bow/v_Bow_g02_c01.avi\nRun/../../../out.avi\n")
    with pytest.raises(
        AdapterError, match=r"testlist01\.txt, line 2: .*out\.avi lies outside .*outside_root=True"
    ):
        load_data("ucf101", root=ucf, image_size=16, frames=2)
    assert len(load_data("ucf101", root=ucf, image_size=16, frames=2, outside_root=True).test) == 2


def test_a_link_in_the_list_that_leads_out_of_the_root_is_refused(ucf, tmp_path):
    video = ucf / "UCF-101" / "Run" / "v_Run_g02_c01.avi"
    video.unlink()
    video.symlink_to(tmp_path / "out.avi")
    with pytest.raises(AdapterError, match="a link to .*lies outside"):
        load_data("ucf101", root=ucf, image_size=16, frames=2)


@pytest.mark.parametrize("label", ["1.7", "inf", "1e0", "true", "x"])
def test_a_class_number_that_is_none_is_refused_with_its_line(ucf, label):
    file = ucf / "ucfTrainTestlist" / "trainlist01.txt"
    file.write_text(file.read_text().replace("g01_c01.avi 1", f"g01_c01.avi {label}"))
    with pytest.raises(AdapterError, match=r"trainlist01\.txt, line 2: class .*whole number"):
        load_data("ucf101", root=ucf, image_size=16, frames=2)


@pytest.mark.parametrize("label", ["1.7", "1e400", "true", '"1.7"', "null", "[1]", "NaN", "9" * 30])
def test_a_json_list_with_a_label_that_is_no_whole_number_is_refused(tmp_path, monkeypatch, label):
    monkeypatch.setitem(video_tasks.EXPECTED, "diving48", video_tasks.Published(2, (1,), (1,), "small"))
    (tmp_path / "Diving48_vocab.json").write_text('["a", "b"]')
    for part in ("train", "test"):
        (tmp_path / f"Diving48_V2_{part}.json").write_text(f'[{{"vid_name": "x", "label": {label}}}]')
    with pytest.raises(AdapterError, match=r"train\.json, entry 0: class .*whole number"):
        load_data("diving48", root=tmp_path, image_size=16)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{", "[1, 2]", '[{"vid_name": "../../x", "label": 0}]', '"text"', "[null]"]
)
def test_json_that_is_no_list_of_videos_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.setitem(video_tasks.EXPECTED, "diving48", video_tasks.Published(2, (1,), (1,), "small"))
    (tmp_path / "Diving48_vocab.json").write_text('["a", "b"]')
    (tmp_path / "Diving48_V2_train.json").write_text(text)
    with pytest.raises(AdapterError, match=r"Diving48_V2_train\.json"):
        load_data("diving48", root=tmp_path, image_size=16)


# ---- writing, and the cache ----------------------------------------------------------------------


def test_a_link_at_a_temporary_name_is_not_followed(tmp_path):
    target = tmp_path / "precious"
    target.write_text("kept")
    (tmp_path / f".{os.getpid()}-a.mp4").symlink_to(target)
    write_video(tmp_path / "a.mp4", NOISE)
    assert target.read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".{os.getpid()}-a.mp4", "a.mp4", "precious"]


def test_a_link_at_the_ledgers_place_is_not_written_through(tmp_path):
    (tmp_path / "precious").write_text("7")
    cache = ClipCache(tmp_path / "cache", 10_000)
    (tmp_path / "cache" / "bytes.txt").symlink_to(tmp_path / "precious")
    cache.get("a", lambda: np.zeros(3))
    assert (tmp_path / "precious").read_text() == "7"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.nonsense", {}, "cannot be written"),
        ("none/a.mp4", {}, "cannot be written"),
        ("a.mp4", {"fps": float("nan")}, "fps=nan"),
        ("a.mp4", {"fps": 0}, "fps=0"),
        ("a.mp4", {"times": [0, 1]}, "rise from 0"),
        ("a.mp4", {"times": [0, 2, 1, 3, 4, 5]}, "rise from 0"),
    ],
)
def test_a_video_that_cannot_be_written_leaves_nothing_behind(tmp_path, name, options, message):
    with pytest.raises(AdapterError, match=message):
        write_video(tmp_path / name, NOISE, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_under_the_cache_is_told_once_and_the_clips_are_right(tmp_path, film, monkeypatch):
    for label in ("left", "right"):
        for i in range(4):
            put(film, tmp_path / label / f"{i}.mp4")
    monkeypatch.setenv("ADAPTERS_OUT", str(tmp_path / "out"))
    options = {"root": tmp_path, "image_size": 16, "frames": 2, "augment": None}
    plain = load_data("video-folder", **options)
    cached = load_data("video-folder", **options, cache_gib=0.1)

    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.warns(DataWarning, match="the cache in .* is not used .No space left") as caught:
        clips = [cached.test[i][0] for i in range(len(cached.test))]
    assert len(caught) == 1
    assert all(torch.equal(clip, plain.test[i][0]) for i, clip in enumerate(clips))
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_cache_in_a_place_that_cannot_be_is_told_and_does_without(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(DataWarning, match="is not used"):
        cache = ClipCache(tmp_path / "file" / "cache", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # told once
        assert cache.get("a", lambda: np.arange(3)).tolist() == [0, 1, 2]
