"""load_data: names, options, sizes and normalisation from the model, the digits, and the transforms."""

import pickle
import random
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from adapters_lib.datasets.load import DATA_SETS, load_data, make_loader
from adapters_lib.datasets.transforms import FILE_AUGMENTATIONS, image_transforms, resolve_config
from adapters_lib.errors import AdapterError


def noise(size=(50, 40)):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


# --- names and options ---


def test_every_name_of_the_contract_is_known():
    names = (
        "leaves-coarse leaves-ultra leaves-mixed digits flowers102 oxford-pet fgvc-aircraft food101 cifar100"
        " svhn dtd eurosat folder "
    )
    names += (
        "cotton80 soylocal soygene soyglobal soyageing soyageing-r1 soyageing-r3 soyageing-r4 soyageing-r5"
        " soyageing-r6 vtab:dmlab"
    )
    assert set(names.split()) <= set(DATA_SETS)


def test_unknown_names_and_options_are_refused_with_a_suggestion():
    with pytest.raises(AdapterError, match="unknown data set 'oxford_pet'; did you mean 'oxford-pet'"):
        load_data("oxford_pet")
    with pytest.raises(AdapterError, match="'val_frac'; did you mean 'val_fraction'"):
        load_data("folder", root=".", val_frac=0.1)
    with pytest.raises(AdapterError, match="'granularty'; did you mean 'granularity'"):
        load_data("leaves-ultra", granularty=0.1)
    with pytest.raises(AdapterError, match="digits needs no files"):
        load_data("digits", root="somewhere")
    with pytest.raises(AdapterError, match=r"unknown augmentation 'flop'; did you mean 'flip'"):
        load_data("digits", augment="flop")


def test_leaves_come_at_the_models_size_with_its_normalisation(tiny_vit):
    task = load_data("leaves-ultra", backbone=tiny_vit(), n_train=2, n_val=1, n_test=1)
    assert task.train[0][0].shape == (3, 32, 32)
    assert task.synthetic
    assert not task.train.deterministic
    assert load_data(
        "leaves-ultra", image_size=32, augment=None, n_train=2, n_val=1, n_test=1
    ).train.deterministic


# --- digits ---


def test_digits_are_1797_real_images_split_evenly_at_the_models_size():
    task = load_data("digits", image_size=32)
    sizes = [len(part) for part in (task.train, task.val, task.test)]
    assert sum(sizes) == 1797
    assert sizes[1] == sizes[2] == pytest.approx(0.2 * 1797, abs=5)
    assert task.test.labels.bincount().min() >= 34
    images, labels = next(iter(make_loader(task.train, 64, shuffle=True)))
    assert images.shape == (64, 3, 32, 32)
    assert labels.max() <= 9
    assert not task.synthetic
    assert not task.train.deterministic
    assert task.val.deterministic


def test_digits_parts_are_disjoint_and_follow_the_seed():
    def rows(part):
        return {bytes(image) for image in part.images.flatten(1).numpy()}

    first, again, other = (load_data("digits", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.val.images, again.val.images)
    assert not torch.equal(first.val.images, other.val.images)
    assert not rows(first.train) & rows(first.test)


def test_a_linear_classifier_on_raw_digits_is_right_nine_times_in_ten():
    from sklearn.linear_model import RidgeClassifier

    task = load_data("digits")
    x, y = task.train.images[:, 0].flatten(1).numpy() / 255, task.train.labels.numpy()
    model = RidgeClassifier().fit(x, y)
    assert model.score(task.test.images[:, 0].flatten(1).numpy() / 255, task.test.labels.numpy()) > 0.9


def test_n_per_class_limits_training_only():
    task = load_data("digits", n_per_class=5)
    assert task.train.labels.bincount().tolist() == [5] * 10
    assert len(task.test) == len(load_data("digits").test)
    assert task.info["n_per_class"] == 5
    with pytest.raises(AdapterError, match="were asked for"):
        load_data("digits", n_per_class=500)


# --- what the model says ---


def test_size_and_normalisation_come_from_the_model(tiny_vit):
    vit = tiny_vit()
    vit.pretrained_cfg = {
        **vit.pretrained_cfg,
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
        "interpolation": "bilinear",
    }
    task = load_data("digits", backbone=vit)
    assert task.data_config["input_size"] == (3, 32, 32)
    assert task.train.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert task.train.interpolation == "bilinear"
    assert task.test[0][0].shape == (3, 32, 32)


def test_an_adapted_models_own_data_config_is_used(tiny_vit):
    config = {**resolve_config(tiny_vit()), "mean": (0.7, 0.7, 0.7)}
    model = SimpleNamespace(data_config=config, backbone=tiny_vit())
    assert load_data("digits", backbone=model).data_config["mean"] == (0.7, 0.7, 0.7)


def test_a_size_the_model_cannot_take_is_refused_with_the_remedy(tiny_vit):
    with pytest.raises(
        AdapterError, match="image_size=48 but the model takes 32 px; create the backbone with image_size=48"
    ):
        load_data("digits", backbone=tiny_vit(), image_size=48)
    flexible = tiny_vit(dynamic_img_size=True)
    assert load_data("digits", backbone=flexible, image_size=48).data_config["input_size"] == (3, 48, 48)
    with pytest.raises(AdapterError, match="image_size=49 is not a multiple of the patch size 4; use 48"):
        load_data("digits", backbone=flexible, image_size=49)
    for size in (0, -8, 3.5, True):
        with pytest.raises(AdapterError, match="whole number of pixels"):
            load_data("digits", image_size=size)


def test_what_is_no_model_is_refused():
    with pytest.raises(AdapterError, match="pass the model itself"):
        load_data("digits", backbone="micro_vit")
    with pytest.raises(AdapterError, match="backbone is a int"):
        load_data("digits", backbone=3)


# --- transforms of files ---


def test_the_eval_transform_is_timms_own(tiny_vit):
    config = resolve_config(tiny_vit())
    _, evaluate = image_transforms(config, "crop")
    assert torch.equal(evaluate(noise()), timm.data.create_transform(**config)(noise()))


@pytest.mark.parametrize("mode", FILE_AUGMENTATIONS)
def test_every_train_transform_follows_torchs_seed_alone(mode):
    train, _ = image_transforms(resolve_config(image_size=24), mode)
    torch.manual_seed(3)
    first = [train(noise()) for _ in range(8)]
    torch.manual_seed(3)
    random.seed(99)
    np_state, state = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    again = [train(noise()) for _ in range(8)]
    assert all(map(torch.equal, first, again))
    assert any(not torch.equal(first[0], other) for other in first[1:])
    assert first[0].shape == (3, 24, 24)
    assert random.getstate() == state
    assert pickle.dumps(train)  # worker processes that are not forked need this
    assert (np.random.get_state()[1] == np_state).all()  # noqa: NPY002


def test_without_augmentation_train_equals_eval_and_is_deterministic(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(3):
            noise().save(tmp_path / label / f"{i}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = load_data("folder", root=tmp_path, image_size=24, augment=None)
    assert task.train.deterministic
    assert torch.equal(task.train[0][0], task.test[0][0])
    assert pickle.dumps(task.train)


def test_leaf_augmentation_is_not_for_files():
    with pytest.raises(AdapterError, match="unknown augmentation 'leaf'"):
        image_transforms(resolve_config(), "leaf")
