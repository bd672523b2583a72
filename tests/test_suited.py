"""Who trains photographs on a backbone that saw drawings, or another one with its rates, is told so once."""

import warnings
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

import pytest
import torch
from small_photographs import write_cells
from tiny_training import striped_images, tiny_model

import adapters_lib as al
from adapters_lib.datasets.task import Task
from adapters_lib.errors import OptionWarning
from adapters_lib.experiments.run import Experiment, run_experiment
from adapters_lib.training import offline_recipes, recipe_for
from adapters_lib.training.own_backbone import LARGER
from adapters_lib.training.suited import warn_unsuited

QUICK = al.Recipe(epochs=1, batch_size=8)


def _task(synthetic: bool, classes: int = 2) -> Task:
    parts = [striped_images(4 * classes, seed, classes) for seed in range(3)]
    config = {"input_size": (3, 32, 32)}
    return Task("mine", [str(c) for c in range(classes)], *parts, data_config=config, synthetic=synthetic)


def _embedded(pretrained: bool = True) -> al.AdaptedViT:
    backbone = al.create_backbone("micro_vit", pretrained=pretrained, image_size=32)
    return al.adapt(backbone, "linear", num_classes=2, seed=0)


def _said(call) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [each for each in caught if issubclass(each.category, OptionWarning)]


def test_photographs_on_the_embedded_backbone_warn_once_a_fit_at_the_callers_line() -> None:
    task, model = _task(synthetic=False), _embedded()
    for _ in range(2):  # once in every fit, whatever Python remembers of the line
        (warning,) = _said(lambda: al.fit(model, task.train, task.val, QUICK, progress=False))
        assert Path(warning.filename) == Path(__file__)
        assert "al.fit(model" in Path(__file__).read_text().splitlines()[warning.lineno - 1]
    assert "micro_vit has seen drawings only, and mine holds photographs" in str(warning.message)
    assert "create_backbone(" in str(warning.message)


def test_a_part_of_a_task_its_features_and_the_set_of_cells_are_photographs_too(tmp_path) -> None:
    task, model = _task(synthetic=False), _embedded()
    from adapters_lib.training.features import cache_features

    for data in (al.subset(task.train, 1), cache_features(model, task.train)):
        assert len(_said(lambda data=data: warn_unsuited(model, data, QUICK))) == 1
    cells = al.load_data(
        "elpv", root=write_cells(tmp_path / "cells"), image_size=32, n_train=1, n_val=1, strict=False
    )
    assert len(_said(lambda: warn_unsuited(model, cells.train, QUICK))) == 1


def test_drawings_data_of_ones_own_random_weights_and_other_backbones_do_not_warn() -> None:
    photographs, drawings = _task(synthetic=False), _task(synthetic=True)
    quiet = [
        (_embedded(), drawings.train),
        (_embedded(), striped_images(8, classes=2)),  # nobody knows what these are
        (_embedded(pretrained=False), photographs.train),
        (tiny_model("linear", classes=2), photographs.train),
    ]
    for model, data in quiet:
        assert not _said(lambda model=model, data=data: warn_unsuited(model, data, QUICK))


def test_a_grid_points_at_the_line_that_asked_for_it_and_not_into_the_library() -> None:
    run = Experiment(("linear",), "digits", data_options={"n_per_class": 1}, recipe=QUICK)
    (warning,) = _said(lambda: run_experiment(run))
    assert Path(warning.filename) == Path(__file__)


def test_a_recipe_that_was_tuned_for_another_backbone_warns_once_with_the_remedy() -> None:
    model, recipe = tiny_model("linear"), replace(al.offline_recipe("linear"), epochs=1)
    (warning,) = _said(lambda: al.fit(model, striped_images(8), None, recipe, progress=False))
    assert "rate was chosen for micro_vit, not for vit_tiny_patch16_224" in str(warning.message)
    assert "al.Recipe(lr=…)" in str(warning.message)
    assert Path(warning.filename) == Path(__file__)


def test_recipes_know_what_they_were_tuned_for_and_keep_it_when_a_field_changes() -> None:
    tuned = {
        "micro_vit": al.offline_recipe("lora"),
        "micro_vit_clips": al.offline_recipe("lora", data="motion-leaves"),
        offline_recipes.REAL_BACKBONE: al.offline_recipe("lora", data="elpv"),
    }
    for backbone, recipe in tuned.items():
        assert recipe.tuned_for == replace(recipe, seed=3).tuned_for == backbone
    assert not hasattr(al.Recipe(), "tuned_for")
    same = {"model": _embedded(), "data": _task(synthetic=True).train}
    assert not _said(lambda: warn_unsuited(*same.values(), tuned["micro_vit"]))
    (warning,) = _said(lambda: warn_unsuited(*same.values(), tuned[offline_recipes.REAL_BACKBONE]))
    assert offline_recipes.REAL_BACKBONE in str(warning.message)


def test_a_tag_of_the_weights_is_no_other_backbone() -> None:
    model = tiny_model("linear")
    model.backbone_source = {"name": f"{offline_recipes.REAL_BACKBONE}.openai", "kwargs": {}}
    assert not _said(lambda: warn_unsuited(model, striped_images(8), al.offline_recipe("lora", data="elpv")))


def test_the_mark_of_a_recipe_changes_no_key_and_no_field() -> None:
    recipe = al.offline_recipe("lora")
    plain = al.Recipe(**{name: getattr(recipe, name) for name in al.Recipe.__dataclass_fields__})
    keys = {Experiment(("lora",), "digits", recipe=each).key for each in (recipe, plain)}
    assert len(keys) == 1


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_a_recipe_fits_the_backbone_that_is_chosen() -> None:
    assert recipe_for("micro_vit", "padapter:bottleneck=16") == al.offline_recipe("padapter:bottleneck=16")
    assert recipe_for("micro_vit_clips", "lora") == al.offline_recipe("lora", data="motion-leaves")
    clip = "vit_base_patch16_clip_quickgelu_224"
    assert recipe_for(f"{clip}.openai", "ila") == al.offline_recipe("ila", data="elpv")
    chosen, other = recipe_for(clip, "adpt", epochs=3), recipe_for("vit_small_patch16_224", "adpt", epochs=3)
    assert asdict(chosen) == asdict(other)
    assert hasattr(chosen, "tuned_for")
    assert not hasattr(other, "tuned_for")  # a start, of which nobody has to be warned
    bitfit = recipe_for("vit_small_patch16_224", "bitfit")
    assert bitfit.lr == pytest.approx(LARGER * al.offline_recipe("bitfit").lr)
    both = recipe_for("vit_small_patch16_224", ["bitfit", "lora", "dyn"])
    assert both.lr == bitfit.lr
    assert recipe_for("vit_small_patch16_224", "lora", lr=0.5).lr == 0.5
    with pytest.raises(al.AdapterError, match="unknown method"):
        recipe_for("vit_small_patch16_224", "lorra")


def test_a_larger_backbones_share_is_the_median_of_the_rates_that_were_chosen() -> None:
    embedded, photographs = offline_recipes.rates_of("lr"), offline_recipes.rates_of("lr_real")
    both = embedded.keys() & photographs.keys()
    assert len(both) == 9
    assert median(photographs[name] / embedded[name] for name in both) == pytest.approx(LARGER)
