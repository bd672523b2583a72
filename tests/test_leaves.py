"""Claims about the synthetic leaves: same pictures from the same seed, classes that exist, and tasks that
keep their parts apart."""

import hashlib
import json

import numpy as np
import pytest
import torch

from adapters_lib.datasets.leaves import task as leaves
from adapters_lib.datasets.leaves.drawing import LEAF_FIELDS, SCENE_FIELDS, _sensor_noise, draw
from adapters_lib.datasets.leaves.parameters import (
    HELD_BACK,
    JITTER,
    N_SPECIES,
    cultivars,
    new_species,
    sample_leaves,
    species,
)
from adapters_lib.datasets.leaves.task import KINDS, task_sample
from adapters_lib.datasets.load import TensorImages, load_data
from adapters_lib.errors import AdapterError
from adapters_lib.figures.samples import contact_sheet, granularity_sheet


def load(kind: str, **options):
    return load_data(f"leaves-{kind}", **{"augment": None, **options})


SMALL = {"n_train": 2, "n_val": 1, "n_test": 3, "image_size": 32}


def images_of(task, part: str) -> torch.Tensor:
    data = getattr(task, part)
    assert isinstance(data, TensorImages)
    return data.images


def few_leaves(count: int = 12):
    return sample_leaves(species()[:count], 1, "test")


def test_the_catalogue_is_the_same_numbers_on_every_platform() -> None:
    levels = np.concatenate([species(), new_species(20)]) * 255
    digest = hashlib.sha256(np.rint(levels).astype(np.uint8).tobytes()).hexdigest()
    assert digest == "d333b99c5a1e48a5858203d8e3b5e50d6d445573c668b436164e3396e1ad7e3c"
    assert np.abs(levels - np.rint(levels)).max() < 1e-9


def test_a_known_leaf_looks_the_same_on_every_platform() -> None:
    leaf = sample_leaves(species()[7:8], 1, "test", seed=3)
    assert leaf.seeds.tolist() == [2930472101667214]
    expected = [  # means of 4 × 4 blocks, red, green, blue
        204.8,
        164.5,
        154.4,
        166.0,
        213.5,
        116.3,
        108.5,
        175.0,
        221.4,
        95.3,
        94.8,
        183.4,
        229.7,
        158.8,
        160.8,
        191.3,
        214.6,
        191.1,
        175.0,
        174.3,
        222.5,
        179.4,
        156.8,
        183.2,
        231.7,
        175.9,
        152.6,
        191.2,
        240.5,
        203.4,
        189.1,
        200.1,
        219.1,
        174.7,
        164.1,
        177.6,
        228.5,
        118.8,
        111.7,
        187.3,
        236.9,
        92.2,
        97.3,
        196.0,
        245.1,
        163.9,
        170.6,
        204.3,
    ]
    blocks = torch.nn.functional.avg_pool2d(draw(leaf.leaves, leaf.scenes, leaf.seeds).float(), 24)[
        0
    ].flatten()
    assert blocks.tolist() == pytest.approx(expected, abs=0.6)


def test_a_picture_does_not_depend_on_the_batch_it_was_drawn_in() -> None:
    s = few_leaves()
    together = draw(s.leaves, s.scenes, s.seeds, 48)
    backwards = draw(s.leaves[::-1].copy(), s.scenes[::-1].copy(), s.seeds[::-1].copy(), 48).flip(0)
    alone = torch.cat(
        [draw(s.leaves[i : i + 1], s.scenes[i : i + 1], s.seeds[i : i + 1], 48) for i in range(len(s.seeds))]
    )
    at_once = draw(s.leaves, s.scenes, s.seeds, 48, chunk=1024)
    assert torch.equal(together, backwards)
    assert torch.equal(together, alone)
    assert torch.equal(together, at_once)


@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_gives_one_task_and_another_seed_other_leaves_of_the_same_plants(kind: str) -> None:
    first, again, other = (load(kind, seed=seed, **SMALL) for seed in (1, 1, 2))
    for part in ("train", "val", "test"):
        assert torch.equal(images_of(first, part), images_of(again, part))
        assert images_of(first, part).shape == (20 * SMALL[f"n_{part}"], 3, 32, 32)
        assert torch.equal(images_of(first, part), images_of(other, part)) == (part == "test")
    assert first.info["parameters"] == again.info["parameters"] == other.info["parameters"]


@pytest.mark.parametrize("kind", KINDS)
def test_another_number_is_another_choice_of_plants(kind: str) -> None:
    first, other = (load(kind, plants=number, **SMALL) for number in (0, 1))
    assert first.info["parameters"] != other.info["parameters"]
    assert not torch.equal(images_of(first, "test"), images_of(other, "test"))


def test_asking_for_more_images_keeps_the_first_ones() -> None:
    few, many = load("ultra", **SMALL), load("ultra", **{**SMALL, "n_test": 5})
    assert torch.equal(
        images_of(few, "test").unflatten(0, (20, 3)), images_of(many, "test").unflatten(0, (20, 5))[:, :3]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_train_validation_and_test_share_no_leaf(kind: str) -> None:
    task = load(kind, **SMALL)
    leaves = np.concatenate([task_sample(task, part).leaves for part in ("train", "val", "test")])
    pictures = torch.cat([images_of(task, part) for part in ("train", "val", "test")]).flatten(1)
    assert len(np.unique(leaves, axis=0)) == len(leaves)
    assert len(pictures.unique(dim=0)) == len(pictures)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parameters_of_the_generator_classify_every_leaf(kind: str) -> None:
    task = load(kind, n_train=1, n_val=1, n_test=40, image_size=16)
    classes, leaves = np.array(task.info["parameters"]), task_sample(task, "test").leaves
    nearest = ((leaves[:, None] - classes[None]) ** 2).sum(-1).argmin(1)
    assert (nearest == task.test.labels.numpy()).all()
    assert np.abs(leaves - classes[task.test.labels]).max() <= JITTER


def test_the_true_parameters_redraw_the_test_images() -> None:
    task = load("mixed", **SMALL)
    truth = task_sample(task, "test")
    assert torch.equal(draw(truth.leaves, truth.scenes, truth.seeds, 32), images_of(task, "test"))
    assert truth.labels.tolist() == task.test.labels.tolist()


def test_upstream_species_are_far_apart_and_new_species_are_not_among_them() -> None:
    known, new = species(), new_species(120)
    gap = ((known[:, None] - known[None]) ** 2).sum(-1) + 100 * np.eye(N_SPECIES)
    assert known.shape == (200, len(LEAF_FIELDS))
    assert gap.min() > 1.0  # squared, in units of the range of one column
    assert ((new[:, None] - known[None]) ** 2).sum(-1).min() > 1.0


def test_held_back_columns_never_vary_upstream_and_do_in_cultivars() -> None:
    held = [i for i, f in enumerate(LEAF_FIELDS) if f.name in HELD_BACK]
    upstream = sample_leaves(species(), 2, "upstream", vary_held_back=False).leaves[:, held]
    assert len(held) == 5
    assert (upstream == 128 / 255).all()
    assert (np.ptp(cultivars(new_species(1)[0], 20, 0.2), axis=0)[held] > 0.1).all()


def test_granularity_scales_the_distance_between_cultivars() -> None:
    plant = np.full(len(LEAF_FIELDS), 0.5)
    same, near, far = (cultivars(plant, 6, g) for g in (0.0, 0.05, 0.2))
    assert (same == plant).all()
    assert np.allclose(far - plant, 4 * (near - plant))


def test_mixed_has_species_from_easy_to_hard() -> None:
    task = load("mixed", granularity=0.2, **SMALL)
    assert task.info["species"] == [s for s in range(5) for _ in range(4)]
    granularities = task.info["granularity"][::4]
    assert granularities == sorted(granularities, reverse=True)
    assert granularities[-1] == 0.2
    rows = np.array(task.info["parameters"]).reshape(5, 4, -1)
    spread = rows.std(1).mean(-1)
    assert spread[0] > 2 * spread[-1]


def test_facts_about_a_task_are_plain_json_and_name_what_was_held_back() -> None:
    task = load_data("leaves-ultra", **SMALL)
    facts = json.loads(json.dumps(task.describe()))
    assert facts["synthetic"]
    assert len(facts["info"]["parameters"]) == 20
    assert facts["info"]["held_back_upstream"] == list(HELD_BACK)
    assert len(facts["info"]["parameter_names"]) == len(LEAF_FIELDS)


def test_a_larger_image_shows_the_same_leaf() -> None:
    s = few_leaves(8)
    small, large = (draw(s.leaves, s.scenes, s.seeds, size).float() for size in (48, 96))
    difference = torch.nn.functional.avg_pool2d(large, 2) - small
    assert difference.abs().mean() < 6  # of 255: noise and antialiasing
    assert (
        torch.corrcoef(torch.stack([small.flatten(), torch.nn.functional.avg_pool2d(large, 2).flatten()]))[
            0, 1
        ]
        > 0.97
    )


def test_sensor_noise_is_centred_of_unit_variance_and_white() -> None:
    noise = _sensor_noise(torch.arange(20), 48)
    assert noise.mean().abs() < 0.01
    assert noise.std() == pytest.approx(1.0, abs=0.01)
    across = [
        (noise[:-1] * noise[1:]).mean(),
        (noise[:, 0] * noise[:, 1]).mean(),
        (noise[..., :-1] * noise[..., 1:]).mean(),
    ]
    assert max(abs(float(c)) for c in across) < 0.02


def test_the_scan_says_nothing_about_the_class() -> None:
    scenes = sample_leaves(species(), 30, "upstream").scenes.reshape(N_SPECIES, 30, len(SCENE_FIELDS))
    between = scenes.mean(1).var(0) * 30 / scenes.var(1).mean(0)  # 1 when classes do not differ
    assert between.min() > 0.6
    assert between.max() < 1.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "utlra"}, "did you mean 'leaves-ultra'"),
        ({"granularity": 0.0}, r"granularity 0.0; must lie in \(0, 1\]"),
        ({"granularity": 1.5}, "1.5"),
        ({"n_test": 0}, "n_test is too small; give at least 1"),
        ({"image_size": 8}, "image_size is too small; give at least 16"),
        ({"kind": "coarse", "species": 500}, "500 new species: the catalogue holds 1 to 120"),
    ],
)
def test_a_wrong_option_names_the_value_and_the_remedy(options: dict, message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        load(**{"kind": "ultra", **options})


def test_figures_say_that_the_leaves_are_synthetic() -> None:
    task = load("ultra", **SMALL)
    sheets = (
        contact_sheet(task, per_class=2),
        contact_sheet(images_of(task, "val")),
        granularity_sheet((0.1, 0.5), 3, image_size=32),
    )
    for figure in sheets:
        assert "synthetic" in figure.get_suptitle()
        figure.canvas.draw()
    with pytest.raises(AdapterError, match="give a Task or uint8"):
        contact_sheet(torch.zeros(2, 3, 8, 8))


def test_images_that_are_kept_are_those_that_would_be_drawn_and_are_drawn_once(tmp_path, monkeypatch) -> None:
    fresh = load("ultra", seed=5, **SMALL)
    kept = load("ultra", seed=5, drawn=tmp_path, **SMALL)
    leaves._images.cache_clear()  # as another process would
    monkeypatch.setattr(leaves, "draw", lambda *_: pytest.fail("drawn again"))
    again = load("ultra", seed=5, drawn=tmp_path, **SMALL)
    for part in ("train", "val", "test"):
        assert torch.equal(images_of(kept, part), images_of(fresh, part))
        assert torch.equal(images_of(again, part), images_of(fresh, part))
        assert torch.equal(again.parts()[part].labels, fresh.parts()[part].labels)


@pytest.mark.parametrize(
    "other",
    [{"seed": 6}, {"plants": 1}, {"granularity": 0.3}, {"image_size": 48}, {"n_train": 3}, {"cultivars": 19}],
)
def test_other_images_are_another_entry(tmp_path, other: dict) -> None:
    load("ultra", drawn=tmp_path, **{"seed": 5, **SMALL})
    task = load("ultra", drawn=tmp_path, **{"seed": 5, **SMALL, **other})
    assert torch.equal(
        images_of(task, "train"), images_of(load("ultra", **{"seed": 5, **SMALL, **other}), "train")
    )


def test_another_way_of_drawing_is_another_entry(tmp_path, monkeypatch) -> None:
    load("ultra", drawn=tmp_path, **SMALL)
    leaves._images.cache_clear()
    drawn = []
    monkeypatch.setattr(leaves, "VERSION", leaves.VERSION + 1)
    monkeypatch.setattr(leaves, "draw", lambda *given: drawn.append(given) or draw(*given))
    load("ultra", drawn=tmp_path, **SMALL)
    assert len(drawn) == 3


def test_writing_to_a_kept_image_does_not_reach_the_disk(tmp_path) -> None:
    first = images_of(load("ultra", drawn=tmp_path, **SMALL), "train")
    before = first.clone()
    first.zero_()
    leaves._images.cache_clear()
    assert torch.equal(images_of(load("ultra", drawn=tmp_path, **SMALL), "train"), before)
