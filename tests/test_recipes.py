"""Claims about recipes: what they check, which parameters decay, and how the learning rate runs."""

import logging
import math
import warnings

import numpy as np
import pytest
import torch
from timm.scheduler.cosine_lr import CosineLRScheduler
from tiny_training import striped_images, tiny_model
from torch import nn

import adapters_lib as al
from adapters_lib.training.recipe import Recipe, make_optimizer, make_schedule


def test_only_trainable_matrices_decay_and_the_head_may_learn_faster():
    model = tiny_model("full")
    optimizer = make_optimizer(model, Recipe(weight_decay=0.1, head_lr_scale=10))
    names = {id(p): name for name, p in model.named_parameters()}
    decayed = {
        names[id(p)] for group in optimizer.param_groups for p in group["params"] if group["weight_decay"]
    }
    assert "backbone.blocks.0.attn.qkv.weight" in decayed
    assert not {"backbone.cls_token", "backbone.pos_embed"} & decayed
    assert not any(name.endswith("bias") or "norm" in name for name in decayed)
    faster = {
        names[id(p)] for group in optimizer.param_groups if group["lr_scale"] == 10 for p in group["params"]
    }
    assert faster == {"backbone.head.weight", "backbone.head.bias"}
    assert sum(len(g["params"]) for g in make_optimizer(tiny_model("linear"), Recipe()).param_groups) == 2


def test_the_learning_rate_warms_up_linearly_and_falls_as_a_cosine():
    recipe = Recipe(epochs=10, lr=1.0, min_lr=0.1, warmup_steps=20)
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr_scale": 0.5}], lr=1.0)
    schedule, rates = make_schedule(optimizer, recipe, updates_per_epoch=10), []
    for update in range(100):
        schedule.step_update(update)
        rates.append(optimizer.param_groups[0]["lr"] / 0.5)
    expected = [
        1 / 20 + (1 - 1 / 20) * u / 20 if u < 20 else 0.1 + 0.45 * (1 + math.cos(math.pi * (u - 20) / 80))
        for u in range(100)
    ]
    np.testing.assert_allclose(rates, expected, rtol=1e-9)


def test_without_the_prefix_the_cosine_has_run_since_the_first_update():
    recipe = Recipe(epochs=10, lr=1.0, min_lr=0.1, warmup_steps=20, warmup_lr=0.02, warmup_prefix=False)
    schedule = make_schedule(make_optimizer(tiny_model("linear"), recipe), recipe, updates_per_epoch=10)
    expected = [
        0.02 + 0.98 * u / 20 if u < 20 else 0.1 + 0.45 * (1 + math.cos(math.pi * u / 100)) for u in range(100)
    ]
    np.testing.assert_allclose([schedule.rate(u) for u in range(100)], expected, rtol=1e-12)


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_both_curves_are_those_of_timms_scheduler(prefix: bool, warmup: int):
    recipe = Recipe(epochs=3, lr=0.3, min_lr=1e-5, warmup_steps=warmup, warmup_lr=1e-6, warmup_prefix=prefix)
    ours, theirs = (torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3) for _ in range(2))
    schedule = make_schedule(ours, recipe, updates_per_epoch=10)
    total = 30 - warmup if prefix else 30
    timms = CosineLRScheduler(
        theirs, total, 1e-5, warmup_t=warmup, warmup_lr_init=1e-6, warmup_prefix=prefix, t_in_epochs=False
    )
    for update in range(30):
        schedule.step_update(update)
        timms.step_update(update)
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)


def test_a_training_of_one_update_logs_and_warns_nothing(caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for recipe in (Recipe(epochs=1, batch_size=8), Recipe(epochs=2, batch_size=8, warmup_steps=1)):
            run = al.fit(tiny_model("lora"), striped_images(8), None, recipe, progress=False)
            assert run.final["lr"] == recipe.lr
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


BAD_RECIPES = [
    ({"epochs": 0}, "epochs=0; it must be a whole number, at least 1"),
    ({"epochs": 1.5}, "epochs=1.5"),
    ({"lr": -1.0}, "lr=-1.0; it must be a finite number above 0"),
    ({"lr": math.nan}, "lr=nan"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"optimizer": "adamv"}, "did you mean 'adamw'"),
    ({"mixed_precision": "bf32"}, "did you mean 'bf16'"),
    ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
    ({"clip_norm": 0.0}, "clip_norm=0.0"),
    ({"min_lr": 1.0}, "at most lr=0.001"),
    ({"warmup_lr": 1.0}, "warmup_lr=1.0; it must be None, or from 0 to lr=0.001"),
    ({"warmup_lr": -1.0}, "warmup_lr=-1.0"),
    ({"warmup_prefix": 1}, "warmup_prefix=1; it must be True or False"),
    ({"drop_path": 1.0}, "drop_path=1.0; it must be at least 0 and below 1"),
    ({"drop_path": True}, "drop_path=True"),
    ({"warmup_steps": 5, "warmup_epochs": 1}, "both set the warm-up"),
    ({"mixup": 0.2, "batch_size": 7}, "make it even"),
]


@pytest.mark.parametrize(("options", "message"), BAD_RECIPES)
def test_a_bad_recipe_names_value_and_rule(options, message):
    with pytest.raises(al.AdapterError, match=message):
        Recipe(**options)


def test_a_warm_up_as_long_as_the_training_is_refused():
    with pytest.raises(al.AdapterError, match=r"warm-up of 20 updates, but the training has only 20"):
        Recipe(epochs=2, warmup_epochs=2).warmup_updates(10)
