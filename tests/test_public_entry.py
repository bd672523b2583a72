"""Wrong kinds and sizes at the public entry: the message names the value, the rule and what to do."""

import numpy as np
import pytest
import torch
from conftest import make_tiny_vit
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)

import adapters_lib as al
from adapters_lib import options as checks
from adapters_lib.datasets.labelled import TensorImages, View, data_set_of, labels_of
from adapters_lib.datasets.load import load_data, make_loader, subset
from adapters_lib.datasets.task import Task
from adapters_lib.errors import AdapterError
from adapters_lib.exits.simulate import store_exits
from adapters_lib.training.features import Features, cache_features

HALF = (0.5,) * 3


def images(count=12, classes=3):
    pixels = torch.randint(
        0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    return TensorImages(pixels, torch.arange(count) % classes, HALF, HALF)


class Plain(Dataset):
    """Pairs as torch users write them; labels in any form."""

    def __init__(self, labels, count=None):
        self.labels, self.count = labels, count

    def __len__(self):
        return len(self.labels) if self.count is None else self.count

    def __getitem__(self, index):
        return torch.zeros(3, 32, 32), int(self.labels[index])


# ---- data sets of torch --------------------------------------------------------------------------


def test_labels_of_a_subset_and_of_a_random_split_come_from_the_parent():
    data = images()
    assert labels_of(Subset(data, [5, 0, 2])).tolist() == [2, 0, 2]
    assert labels_of(Subset(Subset(data, [5, 0, 2]), [1])).tolist() == [0]
    parts = random_split(data, [8, 4], generator=torch.Generator().manual_seed(0))
    assert sorted(torch.cat([labels_of(part) for part in parts]).tolist()) == sorted(data.labels.tolist())
    assert labels_of(ConcatDataset([data, Subset(data, [1])])).tolist() == [*data.labels.tolist(), 1]
    assert labels_of(TensorDataset(torch.zeros(2, 3), torch.tensor([1, 0]))).tolist() == [1, 0]


def test_fit_evaluate_features_and_exits_take_what_random_split_gives():
    data = images()
    data.part = "train"
    train, val = random_split(data, [8, 4], generator=torch.Generator().manual_seed(0))
    same = View(data, train.indices), View(data, val.indices)
    results = []
    for pair in ((train, val), same):
        torch.manual_seed(0)
        model = al.adapt(make_tiny_vit(), ["lora:rank=2", "dyn:every=2"], 3, seed=0)
        recipe = al.Recipe(epochs=1, batch_size=4, lr=1e-2)
        run = al.fit(model, *pair, recipe, progress=False)
        kept = store_exits(model, pair[1])
        features = cache_features(model, pair[1])
        results.append(
            (
                run.history.drop(columns=["seconds", "images_per_second"]),
                al.evaluate(model, pair[1]),
                kept.logits,
            )
        )
        assert kept.part == "train"
        assert features.part == "train"
        assert al.evaluate(model, features)["top1"] == results[-1][1]["top1"]
    assert results[0][0].equals(results[1][0])
    assert results[0][1] == results[1][1]
    assert torch.equal(results[0][2], results[1][2])


def test_a_part_of_cached_features_is_features_again():
    model = al.adapt(make_tiny_vit(), "linear", 3, seed=0)
    features = cache_features(model, images())
    some = data_set_of(Subset(features, [3, 1]))
    assert isinstance(some, Features)
    assert torch.equal(some.tokens, features.tokens[[3, 1]])
    for part in (Subset(features, [3, 1]), View(features, [3, 1]), subset(features, 2)):
        assert al.evaluate(model, part)["n"] == len(part)


@pytest.mark.parametrize(
    "call",
    ["fit", "val", "evaluate", "cache_features", "store_exits", "make_loader", "subset", "labels_of", "Task"],
)
@pytest.mark.parametrize("wrong", ["loader", "task", "list", "tensor", "stream", "none"])
def test_what_is_no_data_set_is_told_what_to_pass(call, wrong):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([])

    data = images()
    task = Task(
        "t", ["a", "b", "c"], data, data, data, {"input_size": (3, 32, 32), "mean": HALF, "std": HALF}
    )
    given = {
        "loader": DataLoader(data, 4),
        "task": task,
        "list": {"a": 1},
        "tensor": data.images,
        "stream": Stream(),
        "none": None,
    }[wrong]
    if call == "val" and given is None:
        pytest.skip("fit may go without")
    model = al.adapt(make_tiny_vit(), "dyn:every=2", 3)
    calls = {
        "fit": lambda: al.fit(model, given, None, progress=False),
        "val": lambda: al.fit(model, data, given, progress=False),
        "evaluate": lambda: al.evaluate(model, given),
        "cache_features": lambda: cache_features(model, given),
        "store_exits": lambda: store_exits(model, given),
        "make_loader": lambda: make_loader(given, 4),
        "subset": lambda: subset(given, 1),
        "labels_of": lambda: labels_of(given),
        "Task": lambda: Task("t", ["a", "b", "c"], given, data, data, {}),
    }
    remedy = {"loader": r"pass its data set \(loader\.dataset\)", "task": "task.train, task.val or task.test"}
    with pytest.raises(
        AdapterError, match=remedy.get(wrong, "pass a torch Dataset|neither `labels` nor `targets`")
    ):
        calls[call]()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.0, 1.7], "sample 1 has label 1.7"),
        ([0.0, float("nan")], "labels are whole numbers"),
        ([0.0, float("inf")], "labels are whole numbers"),
        (["oak", "elm"], "no whole numbers"),
        ([[1, 0], [0, 1]], r"labels of shape \(2, 2\)"),
        (torch.tensor(3), r"labels of shape \(\)"),
        ([1j, 0], "labels are whole numbers"),
        ([10**30, 0], "no whole numbers"),
        ([None, 1], "no whole numbers"),
    ],
)
def test_labels_are_never_rounded_or_guessed(labels, message):
    data = Plain(labels, 2)
    for wrapped in (data, Subset(data, [0]), ConcatDataset([data])):
        with pytest.raises(AdapterError, match=message):
            labels_of(wrapped)


def test_labels_and_samples_must_be_as_many():
    with pytest.raises(AdapterError, match="Plain: 2 labels for 3 samples"):
        labels_of(Plain([0, 1], 3))
    assert labels_of(Plain(np.array([0, 1], dtype=np.uint8))).dtype == torch.int64
    assert labels_of(Plain([0.0, 1.0])).tolist() == [0, 1]


@pytest.mark.parametrize("indices", [[12], [-13], [0.5], [[0]], ["a"], [True]])
def test_indices_outside_a_data_set_are_refused(indices):
    with pytest.raises(AdapterError, match="ind(ex|ices)"):
        View(images(), indices)
    with pytest.raises(AdapterError, match="ind(ex|ices)"):
        labels_of(Subset(images(), indices))


# ---- numbers -------------------------------------------------------------------------------------

SEEDS = [-1, 2**63, 1.0, "0", None, True, float("nan")]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_is_a_whole_number_from_0(seed):
    rule = r"seed=.*; give a whole number from 0 to 2\*\*63 - 1"
    for name in ("leaves-ultra", "digits", "folder"):
        with pytest.raises(AdapterError, match=rule):
            load_data(name, seed=seed)
    with pytest.raises(AdapterError, match=rule):
        subset(images(), 1, seed=seed)
    if seed is not None:
        with pytest.raises(AdapterError, match=rule):
            al.adapt(make_tiny_vit(), "lora", 3, seed=seed)
        with pytest.raises(AdapterError, match="seed"):
            al.Recipe(seed=seed)


@pytest.mark.parametrize("count", [0, -1, 2.0, "3", True, 10**9, [3]])
def test_a_number_of_classes_is_whole_and_bounded(count):
    with pytest.raises(AdapterError, match="num_classes="):
        al.adapt(make_tiny_vit(), "lora", count)


@pytest.mark.parametrize("size", [0, -8, 96.0, "96", True, 100_000])
def test_an_image_size_is_whole_and_bounded(size):
    for call in (lambda: load_data("digits", image_size=size), lambda: al.create_backbone(image_size=size)):
        with pytest.raises(AdapterError, match="image_size="):
            call()


def test_workers_are_bounded_by_the_cores_that_are_granted(monkeypatch):
    monkeypatch.setattr(checks, "available_cores", lambda: 3)
    model = al.adapt(make_tiny_vit(), "linear", 3)
    rule = r"num_workers=4, but this process may use 3 core\(s\); give 0 to 3"
    for call in (
        lambda: al.evaluate(model, images(), num_workers=4),
        lambda: cache_features(model, images(), num_workers=4),
        lambda: make_loader(images(), 4, num_workers=4),
        lambda: al.fit(model, images(), None, al.Recipe(num_workers=4), progress=False),
    ):
        with pytest.raises(AdapterError, match=rule):
            call()
    make_loader(images(), 4, num_workers=3)
    for wrong in (-1, 1.5, "2", True):
        with pytest.raises(AdapterError, match="num_workers="):
            make_loader(images(), 4, num_workers=wrong)


@pytest.mark.parametrize("size", [0, -1, 2.5, "4", None, True, 10**9])
def test_a_batch_size_is_whole_and_at_least_1(size):
    model = al.adapt(make_tiny_vit(), "dyn:every=2", 3)
    for call in (
        lambda: al.evaluate(model, images(), size),
        lambda: make_loader(images(), size),
        lambda: store_exits(model, images(), size),
    ):
        with pytest.raises(AdapterError, match="batch_size="):
            call()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("leaves-ultra", {"granularity": "0.1"}, "granularity='0.1'; give a finite number or None"),
        ("leaves-ultra", {"n_train": 2.5}, "n_train=2.5; give a whole number or None"),
        ("leaves-ultra", {"n_train": 10**9}, "GiB; ask for at most 16"),
        ("leaves-ultra", {"species": [1]}, "species="),
        ("leaves-ultra", {"plants": -1}, "plants=-1"),
        ("leaves-ultra", {"granularity": float("nan")}, "granularity=nan"),
        ("leaves-ultra", {"n_per_class": 0}, "n_per_class=0; give a whole number, at least 1"),
        ("leaves-ultra", {"n_per_class": "3"}, "n_per_class='3'"),
        ("leaves-ultra", {"augment": 3}, "augment=3; give a text or None"),
        ("folder", {"root": 3}, "root=3; give a text or a path or None"),
        ("folder", {"root": ".", "val_fraction": "half"}, "val_fraction='half'"),
        ("folder", {"root": ".", "verify": 1}, "verify=1; give a text"),
        ("cifar100", {"download": "yes"}, "download='yes'; give True or False"),
        ("cotton80", {"strict": "no"}, "strict='no'; give True or False"),
        ("motion-leaves", {"n_train": 10**8}, "clips"),
        ("motion-leaves", {"frames": 10**9}, "frames"),
        ("motion-leaves", {"cache_gib": "1"}, "cache_gib='1'"),
        ("motion-leaves", {"cache_gib": -1.0}, "cache_gib=-1"),
        (3, {}, "unknown data set '3'"),
        (["digits"], {}, "unknown data set"),
    ],
)
def test_an_option_of_the_wrong_kind_or_size_is_named(tmp_path, monkeypatch, name, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AdapterError, match=message):
        load_data(name, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("lora:rank=33", "rank=33 for tokens of width 32; a rank is at most the width"),
        ("lora:rank=100000000", "rank=1e.08, but it must be at most 1,000,000"),
        ("lora:alpha=1e39", "at most 1,000,000"),
        ("lora:rank=" + "9" * 5000, "rank"),
        ("adpt:bottleneck=100000", "give at most 512"),
        ("vpt-deep:prompts=100000", "at most 4,096"),
        ("dyn:hidden=1000000", "at most 65,536"),
    ],
)
def test_methods_that_no_memory_holds_are_refused(method, message):
    with pytest.raises(AdapterError, match=message):
        al.adapt(make_tiny_vit(), method, 3)


@pytest.mark.parametrize("recipe", [{"epochs": 3}, "fast", 3])
def test_a_recipe_is_a_recipe(recipe):
    with pytest.raises(AdapterError, match=r"give al\.Recipe"):
        al.fit(al.adapt(make_tiny_vit(), "linear", 3), images(), None, recipe, progress=False)
