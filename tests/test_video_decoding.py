"""Real files, written here: which frames are read, how many are decoded for it, and what happens to files
that are no videos."""

import pickle

import av
import numpy as np
import pytest

from adapters_lib.datasets.video.decoding import Video, VideoError, check_videos
from adapters_lib.datasets.video.sampling import ClipSampler
from adapters_lib.datasets.video.writing import write_video
from adapters_lib.errors import AdapterError

FORMATS = [("clip.mp4", "h264"), ("clip.webm", "libvpx-vp9"), ("clip.avi", "mpeg4"), ("clip.mkv", "h264")]


def numbered(count, height=48, width=64):
    """Frames whose grey level says their number: 5 levels apart, which no codec confuses."""
    levels = (5 * np.arange(count, dtype=np.uint8) + 10)[:, None, None, None]
    return np.broadcast_to(levels, (count, height, width, 3)).copy()


def numbers(frames):
    return np.round((frames.reshape(len(frames), -1).mean(1) - 10) / 5).astype(int).tolist()


@pytest.mark.parametrize(("name", "codec"), FORMATS)
def test_any_frames_in_any_order_come_back_with_their_numbers(tmp_path, name, codec):
    write_video(tmp_path / name, numbered(40), codec=codec)
    with Video(tmp_path / name) as video:
        assert len(video) == 40
        assert video.fps == pytest.approx(24, rel=0.01)
        assert numbers(video.read(range(40))) == list(range(40))
        assert numbers(video.read([33, 2, 2, 39, 0, 17])) == [33, 2, 2, 39, 0, 17]
        assert video.read([3]).shape == (1, 48, 64, 3)


@pytest.mark.parametrize(("name", "codec"), FORMATS)
def test_a_late_frame_is_sought_not_decoded_up_to(tmp_path, name, codec):
    write_video(tmp_path / name, numbered(48), codec=codec, key_every=8)
    with Video(tmp_path / name) as video:
        video.read([44])
        assert video.decoded <= 10  # from the key frame at 40, not 45
    with Video(tmp_path / name) as video:
        assert numbers(video.read([1, 41])) == [1, 41]
        assert video.decoded <= 16  # what lies between is skipped


def test_a_clip_without_inner_key_frames_is_decoded_once(tmp_path):
    write_video(tmp_path / "a.mp4", numbered(40), key_every=100)
    with Video(tmp_path / "a.mp4") as video:
        assert numbers(video.read([0, 8, 16, 24])) == [0, 8, 16, 24]
        assert video.decoded <= 27


def test_an_avi_with_bidirectional_frames_is_read_exactly(tmp_path):
    with av.open(str(tmp_path / "b.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=24, options={"b": "8000000", "qmin": "1", "qmax": "3"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.max_b_frames, stream.codec_context.gop_size = 2, 12
        for frame in numbered(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with Video(tmp_path / "b.avi") as video:
        assert numbers(video.read([3, 14, 30, 38])) == [3, 14, 30, 38]


@pytest.mark.parametrize("shape", [(47, 63), (33, 64), (64, 17)])
@pytest.mark.parametrize(("name", "codec"), FORMATS[:2])
def test_odd_sides_keep_their_size(tmp_path, name, codec, shape):
    write_video(tmp_path / name, numbered(4, *shape), codec=codec)
    with Video(tmp_path / name) as video:
        frames = video.read([0, 3])
        assert frames.shape == (2, *shape, 3)
        assert numbers(frames) == [0, 3]


def test_frames_are_shrunk_to_the_short_side_and_never_enlarged(tmp_path):
    write_video(tmp_path / "a.mp4", numbered(3, 60, 100))
    with Video(tmp_path / "a.mp4") as video:
        assert video.read([0], short_side=30).shape == (1, 30, 50, 3)
        assert video.read([0], short_side=90).shape == (1, 60, 100, 3)


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
def test_a_variable_frame_rate_is_sampled_by_time_not_by_number(tmp_path, name):
    # ten frames in the first half second, then one every half second
    times = [0.05 * i for i in range(10)] + [0.5 * i for i in range(1, 9)]
    write_video(tmp_path / name, numbered(18), codec="h264" if name == "a.mp4" else "libvpx-vp9", times=times)
    with Video(tmp_path / name) as video:
        assert video.times.tolist() == pytest.approx(times, abs=2e-3)
        chosen = ClipSampler(frames=4, mode="uniform").view(video.times)
        middles = [(k + 0.5) * (4 + video.times[-1] / 17) / 4 for k in range(4)]
        assert chosen.tolist() == [max(i for i, t in enumerate(times) if t <= m + 0.02) for m in middles]
        assert numbers(video.read(chosen)) == chosen.tolist()


def test_phone_videos_are_turned_upright():
    from adapters_lib.datasets.video.decoding import _pixels

    class Turned:
        width, height, rotation = 4, 2, 90

        def reformat(self, **_):
            return self

        def to_ndarray(self):
            return np.arange(24, dtype=np.uint8).reshape(2, 4, 3)

    assert _pixels(Turned(), None).shape == (4, 2, 3)


def bad_files(folder):
    write_video(folder / "good.mp4", numbered(8))
    sound = (folder / "good.mp4").read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_bytes(b"this is not a video\n" * 200)
    (folder / "half.mp4").write_bytes(sound[: len(sound) // 2])  # the index at the end is gone
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(folder / "none.avi"), "w") as container:  # a video track, and not one frame in it
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.start_encoding()
    return ["empty.mp4", "text.mp4", "half.mp4", "sound.mp4", "none.avi", "missing.mp4"]


def test_files_without_frames_are_named_with_the_reason(tmp_path):
    for name in bad_files(tmp_path):
        with pytest.raises(VideoError, match=name) as caught, Video(tmp_path / name) as video:
            video.read([0])
        assert "replace or remove" in str(caught.value)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_checking_files_finds_the_bad_ones_and_only_those(tmp_path):
    names = bad_files(tmp_path)
    paths = [tmp_path / name for name in ["good.mp4", *names]]
    reasons = {path.name: reason for path, reason in check_videos(paths, "full")}
    assert set(reasons) == set(names)
    assert reasons["missing.mp4"] == "no such file"
    assert reasons["sound.mp4"] == "no video in it"
    assert [path.name for path, _ in check_videos(paths, "off")] == ["missing.mp4"]
    with pytest.raises(AdapterError, match="verify"):
        check_videos(paths, "deep")


def test_a_file_that_breaks_off_shows_its_last_good_frame(tmp_path):
    write_video(tmp_path / "whole.mkv", numbered(40), key_every=40)
    with av.open(str(tmp_path / "whole.mkv")) as container:
        middle = [packet.pos for packet in container.demux(video=0) if packet.size][20]
    damaged = bytearray((tmp_path / "whole.mkv").read_bytes())
    damaged[middle:] = (
        np.random.default_rng(0).integers(0, 256, len(damaged) - middle, dtype=np.uint8).tobytes()
    )
    (tmp_path / "broken.mkv").write_bytes(damaged)
    with Video(tmp_path / "broken.mkv") as video:
        frames = video.read(range(len(video)))
    assert 15 <= len(frames) <= 40
    assert numbers(frames[:15]) == list(range(15))


def test_frame_numbers_outside_the_file_are_refused(tmp_path):
    write_video(tmp_path / "a.mp4", numbered(5))
    with Video(tmp_path / "a.mp4") as video, pytest.raises(AdapterError, match="0 to 4"):
        video.read([5])


# ---- which frames --------------------------------------------------------------------------------


def steady(count):
    return np.arange(count) / 24


def test_eight_frames_at_stride_four_span_29():
    sampler = ClipSampler()
    assert sampler.span == 29
    assert sampler.view(steady(29)).tolist() == [0, 4, 8, 12, 16, 20, 24, 28]
    assert sampler.view(steady(61)).tolist() == list(range(16, 45, 4))


def test_four_views_in_time_go_from_the_first_frame_to_the_last():
    views = [ClipSampler().view(steady(89), number, 4) for number in range(4)]
    assert [view[0] for view in views] == [0, 20, 40, 60]
    assert views[-1][-1] == 88


def test_random_starts_reach_every_place_and_stay_inside():
    starts = {int(ClipSampler().random(steady(40))[0]) for _ in range(300)}
    assert starts == set(range(12))
    few = ClipSampler(positions=3)
    assert {int(few.random(steady(41))[0]) for _ in range(100)} == {0, 6, 12}


def test_a_short_video_is_padded_with_its_last_frame():
    assert ClipSampler().view(steady(10)).tolist() == [0, 4, 8, 9, 9, 9, 9, 9]
    assert ClipSampler().random(steady(10)).tolist() == [0, 4, 8, 9, 9, 9, 9, 9]
    assert ClipSampler().view(steady(1)).tolist() == [0] * 8


def test_uniform_sampling_takes_one_frame_from_each_segment():
    sampler = ClipSampler(mode="uniform")
    assert sampler.view(steady(80)).tolist() == list(range(5, 80, 10))
    for _ in range(20):
        assert (sampler.random(steady(80)) // 10).tolist() == list(range(8))
    assert sampler.view(steady(4)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    "options", [{"frames": 0}, {"stride": -1}, {"mode": "dense"}, {"positions": 0}, {"frames": 2.5}]
)
def test_impossible_clips_are_refused(options):
    with pytest.raises(AdapterError):
        ClipSampler(**options)
