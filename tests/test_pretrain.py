"""Claims about pre-training: it resumes exactly, writes what timm can load, and the shipped backbone is as
good as its description says."""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

import adapters_lib
from adapters_lib.backbones.create import create_backbone
from adapters_lib.backbones.images import embedded_info
from adapters_lib.cli.pretrain import add_arguments, run
from adapters_lib.datasets.leaves.drawing import draw
from adapters_lib.datasets.leaves.parameters import HELD_BACK, sample_leaves, species
from adapters_lib.errors import AdapterError
from adapters_lib.pretraining.images import pretrain
from adapters_lib.pretraining.recipes import PretrainConfig

TINY = PretrainConfig(
    schedule=((32, 0.0, 16), (48, 0.5, 8), (32, 0.0, 8)),
    images_per_species=1,
    wild=40,
    val_wild=20,
    val_per_species=1,
    batch_size=8,
    warmup_images=16,
    checkpoint_steps=2,
    eval_steps=4,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole pre-training of four steps; its checkpoint is the one written after step 2."""
    folder = tmp_path_factory.mktemp("whole")
    pretrain(TINY, folder, "a command")
    return folder


def test_weights_load_into_timms_own_model_by_its_own_names(finished: Path) -> None:
    about = json.loads((finished / "micro_vit.json").read_text())
    model = timm.create_model(about["architecture"], num_classes=about["classes"], **about["kwargs"])
    weights = load_file(finished / "micro_vit.safetensors")
    model.load_state_dict(weights)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert about["parameters"] == sum(p.numel() for p in model.parameters())


def test_the_description_records_recipe_curve_and_command(finished: Path) -> None:
    about = json.loads((finished / "micro_vit.json").read_text())
    assert about["command"] == "a command"
    assert about["held_back"] == list(HELD_BACK)
    assert about["config"]["images_per_species"] == TINY.images_per_species
    assert [point["step"] for point in about["curve"]] == [4]
    assert about["curve"][-1]["images"] == 32
    assert 0 <= about["upstream_top1"] <= 1


def test_a_stopped_run_ends_with_the_same_weights_bit_for_bit(finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / "checkpoint.safetensors", tmp_path)
    pretrain(TINY, tmp_path)
    whole, resumed = (load_file(folder / "micro_vit.safetensors") for folder in (finished, tmp_path))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_of_another_recipe_is_refused_and_kept(finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / "checkpoint.safetensors", tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(AdapterError, match="belongs to another recipe"):
        pretrain(dataclasses.replace(TINY, lr=0.5), tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"step \d+: the loss is (nan|inf)"):
        pretrain(dataclasses.replace(TINY, lr=float("inf")), tmp_path)
    assert not (tmp_path / "micro_vit.safetensors").exists()


def test_learning_rate_rises_then_falls_to_zero() -> None:
    config = PretrainConfig()
    rates = [config.learning_rate(step) for step in range(0, len(config.steps()), 50)]
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert config.learning_rate(len(config.steps())) == 0
    assert config.learning_rate(len(config.steps()) - 1) < config.lr / 200


def test_a_schedule_can_be_shortened_after_any_step_before_its_cooldown() -> None:
    long, short = (
        PretrainConfig(schedule=((96, 0.0, 326_400),)),
        PretrainConfig(schedule=((96, 0.0, 192_000),)),
    )
    shared = len(short.steps()) - short.cooldown_images // short.batch_size
    assert [long.learning_rate(step) for step in range(shared)] == [
        short.learning_rate(step) for step in range(shared)
    ]


def test_the_recorded_command_means_the_same_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(words: list[str]) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        return parser.parse_args(words)

    seen: list[tuple[PretrainConfig, str]] = []
    monkeypatch.setattr(
        "adapters_lib.pretraining.images.pretrain",
        lambda config, out, command: seen.append((config, command)) or {},
    )
    run(parse(["--schedule", "32:0:256,96:0.25:512", "--lr", "0.01", "--seed", "5", "--out", str(tmp_path)]))
    config, command = seen[0]
    assert config.schedule == ((32, 0.0, 256), (96, 0.25, 512))
    assert command.startswith("python -m adapters_lib pretrain ")
    run(parse(command.split()[4:]))
    assert seen[1] == (config, command)


@pytest.mark.parametrize("text", ["96:0", "a:b:c", ""])
def test_a_misspelt_schedule_shows_how_to_write_one(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--schedule", text])
    assert "write side:dropped:images,… such as 48:0:128000" in capsys.readouterr().err


@pytest.mark.parametrize("entry", [(97, 0.0, 1000), (104, 0.0, 1000), (96, 1.0, 1000), (96, 0.0, 5)])
def test_an_impossible_schedule_is_refused(entry: tuple[int, float, int]) -> None:
    with pytest.raises(AdapterError, match=f"schedule entry {entry[0]}:"):
        PretrainConfig(schedule=(entry,))


def test_the_shipped_backbone_is_small_and_describes_itself() -> None:
    folder = Path(adapters_lib.__file__).parent / "backbones" / "weights"
    about = embedded_info()
    assert (folder / "micro_vit.safetensors").stat().st_size <= 8 * 2**20
    assert about["held_back"] == list(HELD_BACK)
    assert about["upstream_top1"] >= 0.8
    assert about["command"] == "python -m adapters_lib pretrain"
    assert (
        about["curve"][-1]["images"]
        == sum(n // about["config"]["batch_size"] for *_, n in about["config"]["schedule"]) * 128
    )


def test_the_shipped_backbone_names_species_as_well_as_recorded() -> None:
    # Not the images of the recorded accuracy.
    sample = sample_leaves(species(), 1, "upstream-val", seed=1, vary_held_back=False)
    images = draw(sample.leaves, sample.scenes, sample.seeds).float() / 127.5 - 1
    with torch.inference_mode():
        right = (
            (create_backbone("micro_vit")(images).argmax(1) == torch.from_numpy(sample.labels))
            .float()
            .mean()
            .item()
        )
    recorded = embedded_info()["upstream_top1"]
    assert abs(right - recorded) < 4 * (recorded * (1 - recorded) / 200) ** 0.5 + 0.01
