"""The named recipes are those of the papers, number by number, and they train."""

import json
import math
from dataclasses import replace

import pytest
import torch
from tiny_training import striped_images, tiny_backbone, tiny_model

import adapters_lib as al
from adapters_lib import cli
from adapters_lib.methods import METHODS, parse_method
from adapters_lib.training.published_recipes import PRESETS, named_recipe
from adapters_lib.training.recipe import Recipe, make_optimizer, make_schedule
from adapters_lib.vit.heads import HEADS

NAMES = list(PRESETS)


def test_ila_trains_as_its_paper_says() -> None:
    recipe = al.recipes.ila_paper
    assert isinstance(recipe, al.Recipe)
    assert (recipe.optimizer, recipe.weight_decay, recipe.batch_size, recipe.epochs, recipe.clip_norm) == (
        "sgd",
        0,
        8,
        50,
        1.0,
    )
    assert (recipe.warmup_steps, recipe.warmup_lr, recipe.warmup_prefix) == (500, 1e-6, False)
    assert recipe.min_lr == 1e-5
    assert recipe.mixed_precision != "no"
    assert set(PRESETS["ila_paper"].rates) == {0.3, 0.1, 0.03, 0.01, 0.003}
    assert recipe.lr in PRESETS["ila_paper"].rates
    assert al.recipes.adpt_paper == recipe  # the paper trains what it compares with in the same way


def test_the_methods_of_the_ila_paper_drop_what_its_code_drops_and_train_the_class_token() -> None:
    """0.1 on the modules' output and on frozen attention and MLP, by default or by the recipe's text."""
    named = {
        method.name: method
        for name in ("ila_paper", "adpt_paper")
        for method in map(parse_method, PRESETS[name].methods)
    }
    assert set(named) == {"ila", "ila+", "ila++", "adpt", "convpass", "vqt"}
    for name in ("ila", "ila+", "ila++", "adpt"):
        assert (named[name].dropout, named[name].sublayer_dropout) == (0.1, 0.1)
    assert named["ila++"].adpt_dropout == 0.1
    assert all(method.class_token for method in named.values())


def test_ilas_curve_on_cotton80_is_that_of_its_code() -> None:
    """240 images in batches of 8 for 50 epochs: 1,500 updates, of which 500 warm up."""
    recipe, w, T = replace(al.recipes.ila_paper, lr=0.03), 500, 1500
    schedule = make_schedule(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.03), recipe, 240 // 8)
    assert schedule.rate(0) == 1e-6
    assert schedule.rate(250) == pytest.approx((1e-6 + 0.03) / 2)
    assert schedule.rate(w) == pytest.approx(1e-5 + (0.03 - 1e-5) * 0.75)  # the cosine at a third, no peak
    assert schedule.rate(1000) == pytest.approx(1e-5 + (0.03 - 1e-5) * 0.25)
    warm = w * 1e-6 + (0.03 - 1e-6) * (w - 1) / 2
    half = (0.03 - 1e-5) / 2
    cosine = (T - w) * (1e-5 + half) - half * T / math.pi * math.sin(math.pi * w / T)  # ∫ from w to T
    assert sum(schedule.rate(u) for u in range(T)) == pytest.approx(warm + cosine, rel=0.01)


@pytest.mark.parametrize("name", [f"{of}_paper" for of in ("ila", "adpt", "repadapter", "convpass", "ssf")])
def test_who_trains_with_timms_schedule_has_a_cosine_over_all_updates(name: str) -> None:
    recipe = PRESETS[name].recipe
    assert not recipe.warmup_prefix
    assert recipe.warmup_lr == {"ssf_paper": 1e-7}.get(name, 1e-6)


@pytest.mark.parametrize("name", ["adapter_plus_paper", "lora_vtab", "repadapter_paper", "convpass_paper"])
def test_stochastic_depth_is_part_of_the_recipes_whose_code_has_it(name: str) -> None:
    assert PRESETS[name].recipe.drop_path == 0.1
    assert sum(preset.recipe.drop_path > 0 for preset in PRESETS.values()) == 4


def test_adapter_pluss_note_says_which_pfeiffer_ours_is() -> None:
    note = PRESETS["adapter_plus_paper"].note
    assert "intermediate" in note
    assert "another module" in note


@pytest.mark.parametrize(
    ("name", "epochs", "warmup"), [("padapter_image_paper", 100, 20), ("padapter_video_paper", 90, 10)]
)
def test_padapter_trains_as_its_paper_and_adaptformer_say(name: str, epochs: int, warmup: int) -> None:
    recipe = getattr(al.recipes, name)(batch_size=128)
    assert (recipe.optimizer, recipe.weight_decay, recipe.epochs, recipe.warmup_epochs, recipe.min_lr) == (
        "momentum",
        0,
        epochs,
        warmup,
        0,
    )
    assert recipe.lr == pytest.approx(0.1 * 128 / 256)
    assert PRESETS[name].head == ("bn_linear_bias" if "image" in name else "bn_linear")
    assert recipe.warmup_lr == 0
    assert ("fresh_norm=True" in PRESETS[name].note) == ("video" in name)
    assert "not published" in PRESETS[name].note
    assert recipe == getattr(
        al.recipes, name.replace("padapter_image", "adaptformer").replace("padapter", "adaptformer")
    )(batch_size=128)


def test_the_rate_follows_the_images_of_an_update() -> None:
    make = al.recipes.adaptformer_paper
    assert make(batch_size=128, processes=8).lr == pytest.approx(0.4)  # 1,024 images, as published
    assert make(batch_size=32, accumulate=4).lr == pytest.approx(0.05)
    assert make(batch_size=256, base_lr=0.05, seed=7) == replace(make(batch_size=256), lr=0.05, seed=7)
    assert al.recipes.vpt_paper(base_lr=50.0).lr == pytest.approx(50 * 64 / 256)
    assert make(lr=0.3).lr == 0.3
    with pytest.raises(al.AdapterError, match="processes=0"):
        make(processes=0)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        (
            "vpt_paper",
            {
                "epochs": 100,
                "warmup_epochs": 10,
                "optimizer": "momentum",
                "batch_size": 64,
                "weight_decay": 1e-4,
            },
        ),
        (
            "vqt_paper",
            {"epochs": 100, "warmup_epochs": 10, "optimizer": "momentum", "batch_size": 128, "lr": 0.05},
        ),
        ("lora_vtab", {"epochs": 100, "warmup_epochs": 10, "optimizer": "adamw", "batch_size": 64}),
        ("lora_vtab", {"lr": 1e-3, "weight_decay": 1e-4, "min_lr": 1e-6, "warmup_lr": 1e-5}),
        (
            "adapter_plus_paper",
            {
                "epochs": 100,
                "optimizer": "adamw",
                "batch_size": 64,
                "lr": 1e-3,
                "weight_decay": 1e-4,
                "min_lr": 1e-6,
            },
        ),
        (
            "repadapter_paper",
            {
                "epochs": 100,
                "optimizer": "adamw",
                "batch_size": 64,
                "lr": 1e-3,
                "weight_decay": 1e-4,
                "min_lr": 1e-5,
            },
        ),
        (
            "convpass_paper",
            {
                "epochs": 100,
                "optimizer": "adamw",
                "batch_size": 64,
                "lr": 1e-3,
                "weight_decay": 1e-4,
                "min_lr": 1e-5,
            },
        ),
        (
            "ssf_paper",
            {
                "epochs": 100,
                "optimizer": "adamw",
                "batch_size": 64,
                "lr": 1e-2,
                "weight_decay": 5e-2,
                "warmup_epochs": 10,
            },
        ),
        ("dyn_paper", {"epochs": 100, "optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4}),
    ],
)
def test_the_baselines_train_as_their_authors_code_does(name: str, fields: dict) -> None:
    recipe = PRESETS[name].recipe
    for key, value in fields.items():
        ours = getattr(recipe, key)
        assert ours == (value if isinstance(value, str) else pytest.approx(value)), key


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_says_for_what_it_is_and_from_where(name: str) -> None:
    about = PRESETS[name]
    assert about.source
    assert about.head in HEADS
    for text in about.methods:
        for part in text.split(" + "):
            parse_method(part)
    assert about.recipe.lr > 0
    if not isinstance(about.value, Recipe):
        assert about.value.__doc__
    assert name in dir(al.recipes)


def test_all_the_papers_methods_have_a_recipe() -> None:
    served = {
        part.partition(":")[0]
        for about in PRESETS.values()
        for text in about.methods
        for part in text.split(" + ")
    }
    assert set(METHODS) - served <= {"full", "bitfit", "layernorm"}  # sources without a recipe for images


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="ila_papr.*ila_paper"):
        _ = al.recipes.ila_papr
    with pytest.raises(al.AdapterError, match="unknown recipe 'ila_papr'; did you mean 'ila_paper'"):
        named_recipe("ila_papr")


def test_momentum_is_plain_and_sgd_is_nesterov() -> None:
    kinds = {
        name: make_optimizer(tiny_model("linear"), Recipe(optimizer=name)).defaults["nesterov"]
        for name in ("sgd", "momentum")
    }
    assert kinds == {"sgd": True, "momentum": False}


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("ila_paper", "ila:samplings=1"),
        ("adapter_plus_paper", "adapter+"),
        ("padapter_image_paper", "padapter:bottleneck=4"),
        ("vpt_paper", "vpt-deep:prompts=2"),
        ("ssf_paper", "ssf"),
    ],
)
def test_a_preset_trains(name: str, method: str) -> None:
    changes = {"batch_size": 4, "epochs": 2, "warmup_epochs": 0, "warmup_steps": 2, "lr": 1e-2}
    changes |= {"mixed_precision": "no"}
    model = al.adapt(tiny_backbone(), method, 4, head=PRESETS[name].head, seed=0)
    run = al.fit(model, striped_images(16), None, named_recipe(name, **changes), progress=False)
    assert torch.isfinite(torch.tensor(run.final["train_loss"]))


def test_the_command_line_lists_them_and_trains_with_them(capsys) -> None:
    assert cli.main(["methods", "--recipes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["recipes"]
    assert list(listed) == NAMES
    assert listed["ila_paper"]["recipe"]["warmup_steps"] == 500
    assert listed["padapter_image_paper"]["lr_follows_batch"]
    assert all(listed[name]["head"] == PRESETS[name].head for name in NAMES)
    assert listed["ila_paper"]["head"] == "linear_xavier"
    assert cli.main(["methods", "--recipes"]) == 0
    text = capsys.readouterr().out
    assert all(f"al.recipes.{name}" in text for name in NAMES)
    assert cli.main(["train", "--preset", "ila_papr"]) == 2
    assert "did you mean 'ila_paper'" in capsys.readouterr().err
