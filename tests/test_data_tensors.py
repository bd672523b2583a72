"""Images in memory, subsets, loaders and tasks."""

import pytest
import torch
from torch.utils.data import TensorDataset

from adapters_lib.datasets.augment import AUGMENTATIONS, augment_batch
from adapters_lib.datasets.load import Task, TensorImages, make_loader, subset
from adapters_lib.errors import AdapterError, unknown

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def pictures(n=24, classes=4, size=16, augment=None, **kwargs):
    images = torch.randint(
        0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return TensorImages(images, torch.arange(n) % classes, MEAN, STD, augment, **kwargs)


def test_an_image_is_scaled_to_one_then_normalised_per_channel():
    data = pictures()
    image, label = data[5]
    expected = (data.images[5].double() / 255 - torch.tensor(MEAN).double()[:, None, None]) / torch.tensor(
        STD
    ).double()[:, None, None]
    assert image.dtype == torch.float32
    assert label == 1
    assert torch.allclose(image.double(), expected, atol=1e-6)


def test_a_batch_equals_its_samples_one_by_one():
    data = pictures()
    images, labels = data.__getitems__([3, 0, 23])
    assert torch.equal(images, torch.stack([data[i][0] for i in (3, 0, 23)]))
    assert labels.tolist() == [3, 0, 3]


@pytest.mark.parametrize("mode", AUGMENTATIONS)
def test_each_augmentation_follows_torchs_global_seed_and_changes_images(mode):
    data = pictures(augment=mode)
    assert not data.deterministic
    torch.manual_seed(1)
    first, _ = data.__getitems__(range(24))
    torch.manual_seed(1)
    again, _ = data.__getitems__(range(24))
    other, _ = data.__getitems__(range(24))
    assert first.shape == (24, 3, 16, 16)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("mode", AUGMENTATIONS)
def test_augmented_pixels_stay_in_range(mode):
    x = augment_batch(torch.rand(64, 3, 12, 12), mode)
    assert x.min() >= 0
    assert x.max() <= 1


def test_flip_gives_the_image_or_its_mirror_image_and_both_occur():
    x = torch.rand(64, 3, 8, 8)
    y = augment_batch(x, "flip")
    same = (y == x).flatten(1).all(1)
    mirrored = (y == x.flip(-1)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert same.any()
    assert mirrored.any()


def test_shift_moves_pixels_without_blurring_them():
    ramp = torch.arange(24.0).view(1, 1, 1, 24).expand(32, 3, 24, 24) / 24
    moved = augment_batch(ramp, "shift")
    middle = (moved - ramp)[:, :, 4:-4, 4:-4] * 24
    assert torch.allclose(middle, middle.round(), atol=1e-4)
    assert set(middle[:, 0, 0, 0].round().int().tolist()) == {-2, -1, 0, 1, 2}


def test_small_images_grow_to_the_asked_size_when_fetched_and_stay_small_in_memory():
    data = pictures(size=8)
    grown = TensorImages(data.images, data.labels, MEAN, STD, size=24)
    assert grown[0][0].shape == (3, 24, 24)
    assert grown.images.shape[-1] == 8


def test_subset_is_balanced_seeded_and_keeps_the_order():
    data = pictures()
    few = subset(data, 3, seed=1)
    assert few.labels.bincount().tolist() == [3, 3, 3, 3]
    assert few.indices.tolist() == sorted(few.indices.tolist())
    assert torch.equal(few.indices, subset(data, 3, seed=1).indices)
    assert not torch.equal(few.indices, subset(data, 3, seed=2).indices)
    assert torch.equal(few[4][0], data[int(few.indices[4])][0])
    assert few.deterministic
    assert not subset(pictures(augment="leaf"), 2).deterministic


def test_a_subset_of_a_subset_still_fetches_batches():
    images, labels = subset(subset(pictures(), 4), 2).__getitems__([0, 1, 7])
    assert images.shape == (3, 3, 16, 16)
    assert labels.dtype == torch.int64


def test_subset_names_the_class_that_is_too_small():
    data = TensorImages(torch.zeros(5, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 0, 0, 1, 1]), MEAN, STD)
    with pytest.raises(AdapterError, match="class 1 has 2 images, 3 were asked for"):
        subset(data, 3)
    with pytest.raises(AdapterError, match="at least 1"):
        subset(data, 0)


def test_the_loader_yields_ready_batches_of_our_sets_and_stacks_those_of_others():
    ours = list(make_loader(pictures(10), 4))
    plain = TensorDataset(torch.rand(10, 3, 16, 16), torch.arange(10))
    theirs = list(make_loader(plain, 4))
    for batches in (ours, theirs):
        assert [tuple(x.shape) for x, _ in batches] == [(4, 3, 16, 16), (4, 3, 16, 16), (2, 3, 16, 16)]
        assert all(y.dtype == torch.int64 for _, y in batches)


def test_the_loader_shuffles_by_its_generator():
    def order(seed):
        loader = make_loader(
            pictures(24, classes=24), 5, shuffle=True, generator=torch.Generator().manual_seed(seed)
        )
        return torch.cat([y for _, y in loader]).tolist()

    assert order(0) == order(0) != order(1)
    assert sorted(order(0)) == list(range(24))


def test_worker_processes_give_the_same_batches():
    data = subset(pictures(), 4)
    alone, helped = (
        torch.cat([x for x, _ in make_loader(data, 5, num_workers=workers)]) for workers in (0, 1)
    )
    assert torch.equal(alone, helped)


def test_the_loader_refuses_an_empty_set_and_an_empty_batch():
    with pytest.raises(AdapterError, match="empty"):
        make_loader(pictures(0), 4)
    with pytest.raises(AdapterError, match="batch_size=0"):
        make_loader(pictures(), 0)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.long), "uint8"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.long), r"\(N, 3, H, W\)"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.long), "for 2 images"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, -1]), "label -1"),
    ],
)
def test_wrong_tensors_are_refused(images, labels, message):
    with pytest.raises(AdapterError, match=message):
        TensorImages(images, labels, MEAN, STD)


def test_an_unknown_augmentation_is_refused_with_a_suggestion():
    with pytest.raises(AdapterError, match="did you mean 'leaf'"):
        pictures(augment="leav")


def test_a_task_refuses_labels_beyond_its_classes_and_a_single_class():
    data, config = pictures(), {"input_size": (3, 16, 16)}
    with pytest.raises(
        AdapterError, match=r"toy val: sample 3 has label 3; labels of 3 classes lie in 0\.\.2"
    ):
        Task("toy", ["a", "b", "c"], subset(pictures(classes=2), 1), data, data, config)
    with pytest.raises(AdapterError, match="at least 2"):
        Task("toy", ["a"], data, data, data, config)


def test_a_task_describes_itself_in_plain_values():
    data = pictures()
    task = Task("toy", list("abcd"), data, data, subset(data, 1), {"input_size": (3, 16, 16)}, synthetic=True)
    assert task.describe() == {
        "name": "toy",
        "classes": 4,
        "train": 24,
        "val": 24,
        "test": 4,
        "image_size": 16,
        "synthetic": True,
        "info": {},
    }


def test_unknown_lists_the_known_names_and_suggests_only_near_ones():
    assert "did you mean 'lora'?" in str(unknown("method", "LORRA", ["lora", "ila"]))
    far = str(unknown("method", "zzz", ["lora", "ila"]))
    assert "did you mean" not in far
    assert "ila, lora" in far


def test_of_many_names_a_message_lists_the_nearest() -> None:
    many = str(unknown("backbone", "vit_bse", [*(f"model_{n}" for n in range(100)), "vit_base", "vit_bare"]))
    assert "did you mean 'vit_base'? 102 are known, for example vit_bare" in many
    assert len(many) < 200
