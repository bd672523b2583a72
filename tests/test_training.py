"""Claims about the training loop: what it changes, what equals what, and what it refuses."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import striped_images, tiny_model
from torch import nn
from torch.utils.data import Dataset

import adapters_lib as al
from adapters_lib.datasets.labelled import TensorImages, View
from adapters_lib.saving.tensors import load_tensors
from adapters_lib.training.evaluate import collect_logits
from adapters_lib.training.features import TooLarge, cache_features, measure_cache_speedup
from adapters_lib.training.fit import TrainingDiverged, evaluate, fit
from adapters_lib.training.loop import epoch_batches
from adapters_lib.training.recipe import Recipe

SHORT = Recipe(epochs=2, batch_size=16, lr=1e-2)


class Augmented(TensorImages):
    """The same images, but saying (truthfully or not) that they change from epoch to epoch."""

    deterministic = False  # type: ignore[assignment]


class Noisy(Augmented):
    """New noise from torch's global generator at every visit."""

    @classmethod
    def of(cls, data):
        return cls(data.images, data.labels, [0.5] * 3, [0.5] * 3)

    def __getitems__(self, indices):
        images, labels = super().__getitems__(indices)
        return images + 0.1 * torch.randn_like(images), labels


def as_augmented(data: TensorImages) -> Augmented:
    return Augmented(data.images, data.labels, [0.5] * 3, [0.5] * 3)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.trainable_state_dict().items()}  # type: ignore[operator]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], tolerance: float = 0.0) -> bool:
    return a.keys() == b.keys() and all(
        torch.allclose(a[k].double(), b[k].double(), atol=tolerance, rtol=0) for k in a
    )


# ---- learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["linear", "lora", "adpt", "ila:samplings=1", "full"])
def test_training_lowers_the_loss_and_leaves_frozen_weights_alone(method):
    model, data = tiny_model(method), striped_images(40)
    frozen = {name: p.clone() for name, p in model.parameter_groups()["frozen"]}
    before = evaluate(model, data)["loss"]
    run = fit(model, data, data, Recipe(epochs=6, batch_size=8, lr=1e-2), progress=False)
    assert run.final["val_loss"] < before
    assert all(torch.equal(p, frozen[name]) for name, p in model.parameter_groups()["frozen"])
    assert list(run.history["epoch"]) == [1, 2, 3, 4, 5, 6]
    assert run.stopped is None


def test_the_final_result_is_the_last_epoch_not_the_best():
    run = fit(
        tiny_model("full"),
        striped_images(24),
        striped_images(24, seed=1),
        Recipe(epochs=4, batch_size=8, lr=0.05),
        progress=False,
    )
    assert run.final == run.history.iloc[-1].to_dict()
    assert isinstance(run.final["epoch"], int)


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not():
    results = []
    for seed in (0, 0, 1):
        model = tiny_model("lora")
        fit(
            model,
            Noisy.of(striped_images(30)),
            None,
            Recipe(epochs=1, batch_size=8, seed=seed),
            progress=False,
        )
        results.append(weights(model))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_images_loaded_by_worker_processes_give_the_same_weights_every_time():
    results = []
    for _ in range(2):
        model = tiny_model("linear")
        fit(
            model,
            Noisy.of(striped_images(20)),
            None,
            Recipe(epochs=2, batch_size=8, num_workers=2),
            progress=False,
        )
        results.append(weights(model))
    assert same(*results)


def test_without_validation_data_the_columns_stay_and_are_nan():
    run = fit(tiny_model("linear"), striped_images(20), None, SHORT, progress=False)
    assert math.isnan(run.final["val_loss"])
    assert math.isnan(run.final["val_top1"])


def test_mixup_cutmix_and_label_smoothing_train_and_repeat_by_seed():
    recipe = Recipe(epochs=2, batch_size=8, mixup=0.8, cutmix=1.0, label_smoothing=0.1, lr=1e-2)
    models = [tiny_model("linear"), tiny_model("linear")]
    for model in models:
        run = fit(model, striped_images(21), None, recipe, progress=False)
        assert "mixup" in run.cached["train"]
    assert same(weights(models[0]), weights(models[1]))


def test_stop_ends_after_the_epoch_that_asked_and_callbacks_see_every_epoch():
    seen = []
    hooks = {"on_epoch": seen.append, "stop": lambda row: row["epoch"] == 2}
    run = fit(tiny_model("linear"), striped_images(20), None, Recipe(epochs=9), progress=False, **hooks)
    assert [row["epoch"] for row in seen] == [1, 2]
    assert "after epoch 2 of 9" in str(run.stopped)


def test_bf16_and_full_precision_follow_each_other_in_one_process():
    losses = []
    for precision in ("no", "bf16", "no"):
        run = fit(
            tiny_model("lora"),
            striped_images(20),
            None,
            Recipe(epochs=1, mixed_precision=precision),
            progress=False,
        )
        losses.append(run.final["train_loss"])
    assert losses[0] == losses[2]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]


def test_tensorboard_files_appear_next_to_the_checkpoint(tmp_path: Path):
    fit(tiny_model("linear"), striped_images(20), None, SHORT, out=tmp_path, tensorboard=True, progress=False)
    assert list((tmp_path / "tensorboard").glob("events*"))


# ---- equalities ----------------------------------------------------------------------------------


def test_accumulating_four_batches_of_4_equals_one_batch_of_16_the_short_last_group_included():
    results = []
    for split in ({"batch_size": 16}, {"batch_size": 4, "accumulate": 4}):
        model = tiny_model("lora")
        fit(
            model,
            striped_images(42),
            None,
            Recipe(epochs=2, lr=1e-2, optimizer="sgd", **split),
            progress=False,
        )
        results.append(weights(model))
    assert same(*results, tolerance=1e-6)


FROZEN_UP_TO = [("linear", "behind the final norm"), ("ila:after=3,class_token=false", "behind block 2 of 4")]


@pytest.mark.parametrize(("method", "place"), FROZEN_UP_TO)
def test_training_on_cached_features_equals_training_on_images(method, place):
    data, val = striped_images(40), striped_images(20, seed=1)
    # There AdamW blows up what batches of another size round.
    optimizer = "sgd" if torch.cuda.is_available() else "adamw"
    recipe = Recipe(epochs=3, batch_size=8, lr=1e-2, optimizer=optimizer)
    results, runs = [], []
    for cached in (True, False):
        model = tiny_model(method)
        runs.append(fit(model, data, val, recipe, cache_features=cached, progress=False))
        results.append(weights(model))
    assert same(*results, tolerance=1e-5)
    assert place in runs[0].cached["train"]
    assert "not cached" in runs[1].cached["train"]
    np.testing.assert_allclose(runs[0].history["val_loss"], runs[1].history["val_loss"], atol=1e-5)


def test_with_augmentation_only_the_validation_features_are_cached():
    run = fit(
        tiny_model("linear"), as_augmented(striped_images(20)), striped_images(20), SHORT, progress=False
    )
    assert "differ from epoch to epoch" in run.cached["train"]
    assert run.cached["val"].startswith("cached")


def test_features_can_be_computed_once_and_shared_by_several_trainings():
    data = striped_images(20)
    features = cache_features(tiny_model("linear"), data)
    for recipe in (SHORT, Recipe(epochs=1, lr=0.1)):
        model = tiny_model("linear")
        run = fit(model, features, features, recipe, progress=False)
        assert evaluate(model, features)["loss"] == pytest.approx(evaluate(model, data)["loss"], abs=1e-5)
        assert run.cached["train"] == "given as features"
    with pytest.raises(al.AdapterError, match="other frozen weights"):
        evaluate(tiny_model("linear", backbone_seed=1), features)


def test_features_over_the_limit_are_refused_with_sizes():
    with pytest.raises(TooLarge, match=r"need .* GiB, the limit is"):
        cache_features(tiny_model("linear"), striped_images(20), limit=100)


def test_the_speedup_of_caching_is_reported_with_and_without_the_one_pass():
    data = striped_images(20)
    result = measure_cache_speedup(
        lambda cached: fit(tiny_model("linear"), data, None, SHORT, cache_features=cached, progress=False)
    )
    assert set(result) == {"uncached_s", "cached_s", "speedup", "epochs_speedup"}
    assert result["speedup"] == pytest.approx(result["uncached_s"] / result["cached_s"])


def test_two_processes_with_batches_of_8_train_as_one_with_16_and_evaluate_every_image_once(tmp_path: Path):
    data, val = striped_images(42), striped_images(15, seed=1)
    model = tiny_model("lora")
    run = fit(model, data, val, Recipe(epochs=2, batch_size=16, lr=1e-2, optimizer="sgd"), progress=False)
    logits, _ = collect_logits(model, val, batch_size=4)

    # torchrun is what `accelerate launch` starts for several GPUs; on CPUs, that command itself asks for MPI.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    launch += [str(Path(__file__).parent / "run_two_processes.py"), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "yes"}
    done = subprocess.run(launch, env=environment, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    tensors, facts = load_tensors(tmp_path / "result.safetensors")
    assert facts["processes"] == 2
    assert torch.allclose(tensors.pop("logits"), logits, atol=1e-4)
    assert same(tensors, weights(model), tolerance=1e-5)
    assert facts["val_top1"] == run.final["val_top1"]
    assert facts["train_loss"] == pytest.approx(run.final["train_loss"], abs=1e-5)


def test_batches_cover_every_image_once_and_processes_share_what_one_would_see():
    order = torch.randperm(43)
    single = epoch_batches(order, 8)
    assert sorted(index for batch in single for index in batch) == list(range(43))
    double = [epoch_batches(order, 4, process, 2) for process in (0, 1)]
    assert [a + b for a, b in zip(*double, strict=True)][:-1] == single[:-1]
    assert [len(b) for b in double[0]] == [len(b) for b in double[1]]
    assert len(epoch_batches(order, 8, multiple=2)[-1]) == 2
    assert len(epoch_batches(torch.arange(9), 8, least=2)) == 1


# ---- evaluation ----------------------------------------------------------------------------------


def test_evaluate_agrees_with_a_plain_loop_and_restores_every_modules_mode():
    model, data = tiny_model("ila:samplings=1"), striped_images(21)
    model.train()
    model.backbone.norm.eval()
    result = evaluate(model, data, batch_size=8, return_logits=True)
    assert model.training
    assert not model.backbone.norm.training
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(data[i][0][None]) for i in range(21)])
    assert torch.allclose(result["logits"], logits, atol=1e-5)
    assert result["top1"] == pytest.approx(
        100 * (logits.argmax(1) == data.labels).float().mean().item(), abs=1e-4
    )
    assert result["loss"] == pytest.approx(nn.functional.cross_entropy(logits, data.labels).item(), abs=1e-5)
    assert result["top5"] == 100.0  # four classes
    assert result["n"] == 21


# ---- bad input -----------------------------------------------------------------------------------


class Empty(Dataset):
    labels = torch.empty(0, dtype=torch.long)
    deterministic = True

    def __len__(self):
        return 0


def nothing_trainable():
    model = tiny_model("linear")
    model.requires_grad_(False)
    return model


BAD_CALLS = [
    (lambda: fit(tiny_model("linear"), Empty(), progress=False), "empty"),
    (lambda: evaluate(tiny_model("linear"), Empty()), "empty"),
    (lambda: fit(tiny_model("linear", classes=3), striped_images(8), progress=False), "label 3"),
    (
        lambda: fit(tiny_model("linear"), striped_images(8), striped_images(8, classes=9), progress=False),
        "fit: val",
    ),
    (
        lambda: fit(
            tiny_model("ila:samplings=1"), striped_images(8), recipe=Recipe(batch_size=1), progress=False
        ),
        "batch norm",
    ),
    (lambda: fit(tiny_model("ila:samplings=1"), striped_images(1), progress=False), "batch norm"),
    (lambda: fit(tiny_model("lora").merge(), striped_images(8), progress=False), "unmerge"),
    (lambda: fit(nothing_trainable(), striped_images(8), progress=False), "no trainable parameter"),
    (
        lambda: fit(
            tiny_model("linear"), striped_images(8), recipe=Recipe(epochs=1, warmup_steps=9), progress=False
        ),
        "warm-up of 9 updates",
    ),
    (lambda: fit(tiny_model("linear"), striped_images(8), tensorboard=True, progress=False), "give a folder"),
    (
        lambda: fit(tiny_model("full"), striped_images(8), cache_features=True, progress=False),
        "embedding is trained",
    ),
    (
        lambda: fit(
            tiny_model("linear"), as_augmented(striped_images(8)), cache_features=True, progress=False
        ),
        "differ from epoch to epoch",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_input_is_refused_before_training(call, message):
    with pytest.raises(al.AdapterError, match=message):
        call()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in fp16")
def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(al.AdapterError, match="needs a GPU"):
        fit(tiny_model("linear"), striped_images(8), recipe=Recipe(mixed_precision="fp16"), progress=False)


class TurnsBad(TensorImages):
    """Images that become NaN after a number of batches."""

    good_batches = 4

    def __getitems__(self, indices):
        images, labels = super().__getitems__(indices)
        self.good_batches -= 1
        return (images if self.good_batches >= 0 else images * math.nan), labels


def test_a_nan_loss_names_epoch_and_step_and_brings_the_last_good_weights_back(tmp_path: Path):
    model, good = tiny_model("lora"), striped_images(24)
    bad = TurnsBad(good.images, good.labels, [0.5] * 3, [0.5] * 3)
    kept = []

    def keep(row):
        kept.append(weights(model))

    with pytest.raises(
        TrainingDiverged, match=r"epoch 2, step 2.*state after epoch 1 is kept.*lower lr"
    ) as caught:
        fit(model, bad, None, Recipe(epochs=3, batch_size=8), out=tmp_path, progress=False, on_epoch=keep)
    assert (caught.value.epoch, caught.value.step) == (2, 2)
    assert same(weights(model), kept[-1])


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_occur() -> None:
    model = tiny_model("linear")
    data = striped_images(40)
    sizes = {0: 10, 1: 4, 3: 1}
    chosen = torch.cat([(data.labels == y).nonzero().flatten()[:count] for y, count in sizes.items()])
    uneven = View(data, chosen)
    result = al.evaluate(model, uneven, return_logits=True)
    right = result["logits"].argmax(1) == result["labels"]
    recalls = [right[result["labels"] == label].float().mean().item() for label in sizes]
    assert result["balanced"] == pytest.approx(100 * sum(recalls) / 3)
    assert result["balanced"] != pytest.approx(result["top1"])
    even = al.evaluate(model, data)
    assert even["balanced"] == pytest.approx(even["top1"])
