"""Folders of videos and data sets of clips: bad files, crops, test views, the cache."""

import multiprocessing
import os
import time
import warnings

import numpy as np
import pytest
import torch
from small_videos import put, quiet

import adapters_lib as al
from adapters_lib.datasets.load import DataWarning, make_loader
from adapters_lib.datasets.video.cache import ClipCache
from adapters_lib.datasets.video.clips import ClipViews, VideoClips
from adapters_lib.datasets.video.crops import multi_scale_crop, spatial_view
from adapters_lib.datasets.video.sampling import ClipSampler
from adapters_lib.errors import AdapterError


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
        # Forked workers take the filter over; their warnings go to the terminal.
        warnings.simplefilter("ignore")
        labels = torch.cat([y for _, y in make_loader(clips, 2, num_workers=2)])
    assert labels.tolist() == clips.labels.tolist()
    assert clips.bad_files == [paths[1], paths[7]]


def test_a_class_without_any_good_file_ends_with_its_name(folder):
    paths, clips = spoilt(folder)
    for path in paths[:4]:
        path.write_bytes(b"")
    with (
        pytest.warns(DataWarning),
        pytest.raises(AdapterError, match=r"left.0\.mp4.*another video of class 0"),
    ):
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
    """A stand-in for a clip model: class 1 by the brightness of the clip's corner, which differs from view
    to view."""

    num_classes = 2

    def forward(self, x):
        corner = x[:, :, 0, :2, :2].mean((1, 2, 3))
        return torch.stack([corner, -corner], 1)


def test_test_views_average_the_logits_of_4_times_3_clips(folder):
    clips = quiet("video-folder", root=folder, frames=4, stride=2).test
    result = al.evaluate_views(Probe(), clips, 5, return_logits=True)
    assert (result["n"], result["views"], result["bad_files"]) == (2, 12, [])
    by_hand = torch.stack(
        [
            Probe()(clips.view(i, (t, 4), (s, 3))[None])[0]
            for i in range(2)
            for t in range(4)
            for s in range(3)
        ]
    )
    assert torch.allclose(result["logits"], by_hand.unflatten(0, (2, 12)).mean(1), atol=1e-6)
    assert len(by_hand.unique(dim=0)) > 6
    assert al.evaluate_views(Probe(), al.subset(clips, 1), 5)["n"] == 2
    single = al.evaluate_views(Probe(), clips, temporal=1, spatial=1)
    assert single["top1"] == al.evaluate(Probe(), clips)["top1"]
    with pytest.raises(AdapterError, match="at least 1 × 1"):
        ClipViews(clips, 0, 3)
    with pytest.raises(AdapterError, match="not a set of videos"):
        al.evaluate_views(Probe(), torch.utils.data.TensorDataset(torch.zeros(1)))


# ---- the cache -----------------------------------------------------------------------------------


def test_the_cache_gives_back_what_was_decoded_without_opening_the_file(folder, tmp_path):
    paths = sorted((folder / "left").glob("*.mp4"))
    cached = VideoClips(
        paths,
        [0] * 4,
        16,
        (0.5,) * 3,
        (0.5,) * 3,
        ClipSampler(4, 2),
        cache=ClipCache(tmp_path / "cache", 10**7),
    )
    assert all(cached[index] for index in range(4))
    assert cached.cache.size > 0
    for path in paths:
        about = path.stat()
        path.write_bytes(b"\0" * about.st_size)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    decoded = cached[2][0]
    assert decoded.shape == (3, 4, 16, 16)
    os.utime(paths[2])  # a file that changed is another file
    with pytest.warns(DataWarning):
        cached[2]


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


def _made_slowly(folder, number):
    cache = ClipCache(folder / "cache", 10**6)

    def make():
        (folder / f"made-{number}").touch()
        time.sleep(0.2)
        return np.arange(1000)

    assert int(cache.mapped("a", make).sum()) == 499_500


def test_of_processes_that_ask_for_the_same_array_one_makes_it(tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.starmap(_made_slowly, [(tmp_path, 0), (tmp_path, 1)])
    assert len(list(tmp_path.glob("made-*"))) == 1


def test_a_mapped_array_that_was_cut_short_or_deleted_is_made_again(tmp_path):
    cache = ClipCache(tmp_path, 10**6)
    first = cache.mapped("a", lambda: np.arange(5000))
    path = cache._path("a")
    path.write_bytes(path.read_bytes()[:1000])
    assert cache.mapped("a", lambda: np.arange(5000)).sum() == np.arange(5000).sum()
    path.unlink()
    assert cache.mapped("a", lambda: np.arange(3)).tolist() == [0, 1, 2]
    assert cache.mapped("a", lambda: pytest.fail("not kept")).tolist() == [0, 1, 2]
    assert first.shape == (5000,)


def test_an_array_larger_than_the_cache_is_handed_over_without_being_kept(tmp_path):
    cache = ClipCache(tmp_path, 1000)
    assert cache.mapped("large", lambda: np.ones(9000)).sum() == 9000
    assert cache.size == 0


def test_a_cache_of_no_size_is_refused(tmp_path, folder):
    with pytest.raises(AdapterError, match="at least 1"):
        ClipCache(tmp_path, 0)
    with pytest.raises(AdapterError, match="cache_gib=-1"):
        quiet("video-folder", root=folder, cache_gib=-1)
