"""Pre-training on clips: wild leaves do what the targets say, a stopped run resumes exactly, the shipped
weights are as recorded."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import adapters_lib as al
from adapters_lib.backbones.clips import CLIP_KWARGS, EMBEDDED_CLIPS
from adapters_lib.backbones.images import embedded_info
from adapters_lib.datasets.leaves.parameters import sample_wild
from adapters_lib.datasets.video.motion_leaves import draw_clip
from adapters_lib.datasets.video.motion_states import SPAN, STATE
from adapters_lib.datasets.video.wild_motion import TOP_SPEED, WildClips, draw_wild_clips, roll, state_targets
from adapters_lib.pretraining.clips import _explained, _Learner, pretrain_clips
from adapters_lib.pretraining.recipes import PretrainClipsConfig

TINY = PretrainClipsConfig(
    clips=6, val_clips=4, dropped=8, whole=8, batch_size=4, warmup=4, checkpoint_steps=2, eval_steps=4
)


@pytest.fixture(scope="module")
def clips() -> WildClips:
    return draw_wild_clips(6, "upstream", 0, 32, 4)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole pre-training of four steps, two with dropped tokens; its checkpoint is the one written after
    step 2."""
    folder = tmp_path_factory.mktemp("whole")
    pretrain_clips(TINY, folder, "a command")
    return folder


def test_speeds_are_periods_over_the_span_and_half_of_them_rest() -> None:
    many = np.concatenate([draw_wild_clips(3, "upstream", seed, 8, 3).speeds for seed in range(60)])
    assert abs((many == 0).mean() - 0.5) < 0.1
    assert (np.abs(many) <= TOP_SPEED).all()
    few = draw_wild_clips(3, "upstream", 0, 8, 3)
    moved = (few.states[:, 2] - few.states[:, 0] - few.speeds * 8 / SPAN + 0.5) % 1 - 0.5
    torch.testing.assert_close(moved, torch.zeros_like(moved), atol=1e-5, rtol=0)


def test_training_and_validation_clips_share_no_leaf() -> None:
    one, other = (draw_wild_clips(3, split, 0, 16, 2) for split in ("upstream", "upstream-val"))
    assert not torch.equal(one.pixels, other.pixels)
    assert not torch.equal(one.states, other.states)


def test_a_rolled_clip_is_the_clip_of_a_leaf_that_started_so_many_pixels_further(clips: WildClips) -> None:
    down, right = torch.tensor([3, -5, 0, 31, 7, 1]), torch.tensor([-4, 0, 9, 2, 30, 16])
    moved = roll(clips, down, right, torch.zeros(6, dtype=torch.bool))
    wild = sample_wild(6, "upstream", 0)
    for i in range(6):
        drawn = draw_clip(
            wild.leaves[i], wild.scenes[i], moved.states[i].double().numpy(), int(wild.seeds[i]) % 2**52, 32
        )
        difference = (torch.from_numpy(drawn).permute(0, 3, 1, 2).int() - moved.pixels[i].int()).abs()
        # States are stored as float32, so a leaf may be drawn a hair's breadth aside.
        assert difference.max() <= 2
        assert (difference > 0).float().mean() < 0.02


def test_a_clip_played_backwards_has_the_opposite_speeds(clips: WildClips) -> None:
    back = torch.tensor([True, False] * 3)
    none = torch.zeros(6, dtype=torch.long)
    turned = roll(clips, none, none, back)
    assert torch.equal(turned.speeds, torch.where(back[:, None], -clips.speeds, clips.speeds))
    assert torch.equal(turned.pixels[0], clips.pixels[0].flip(0))
    assert torch.equal(turned.states[0], clips.states[0].flip(0))
    assert torch.equal(turned.pixels[1], clips.pixels[1])


def test_targets_have_unit_variance() -> None:
    states = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(state_targets(states).var(0), torch.ones(7), atol=0.03, rtol=0)


def test_the_result_describes_itself_and_fits_the_clip_model(finished: Path) -> None:
    about = json.loads((finished / f"{EMBEDDED_CLIPS}.json").read_text())
    assert about["command"] == "a command"
    assert about["kwargs"] == CLIP_KWARGS
    assert [point["clips"] for point in about["curve"]] == [16]
    weights = load_file(finished / f"{EMBEDDED_CLIPS}.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    al.create_clip_backbone(num_classes=0, **CLIP_KWARGS).load_state_dict(weights)


def test_a_stopped_run_ends_with_the_same_weights_bit_for_bit(finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / "checkpoint.safetensors", tmp_path)
    pretrain_clips(TINY, tmp_path)
    whole, resumed = (load_file(folder / f"{EMBEDDED_CLIPS}.safetensors") for folder in (finished, tmp_path))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(al.AdapterError, match=r"step \d+: the loss is (nan|inf)"):
        pretrain_clips(PretrainClipsConfig(**{**vars(TINY), "lr": float("inf")}), tmp_path)
    assert not (tmp_path / f"{EMBEDDED_CLIPS}.safetensors").exists()


@pytest.mark.parametrize("options", [{"clips": 0}, {"whole": 3}, {"dropped": -1}])
def test_impossible_numbers_are_refused(options: dict[str, int]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(al.AdapterError, match=f"{name}={value};"):
        PretrainClipsConfig(**options)


def test_the_embedded_clip_model_is_small_says_what_it_is_and_takes_only_its_own_clips() -> None:
    about = embedded_info(EMBEDDED_CLIPS)
    assert (
        Path(al.__file__).parent / "backbones" / "weights" / f"{EMBEDDED_CLIPS}.safetensors"
    ).stat().st_size <= 8 * 2**20
    assert about["command"] == "python -m adapters_lib pretrain-clips"
    assert about["curve"][-1]["clips"] == about["config"]["dropped"] + about["config"]["whole"]
    vit = al.create_backbone(EMBEDDED_CLIPS)
    assert vit(torch.zeros(1, 3, 8, 48, 48)).shape == (1, 128)
    assert al.create_clip_backbone(EMBEDDED_CLIPS).state_dict().keys() == vit.state_dict().keys()
    with pytest.raises(al.AdapterError, match="positions of its own"):
        al.create_clip_backbone(EMBEDDED_CLIPS, positions="sinusoid")
    for options in ({"frames": 16}, {"image_size": 64}, {"tubelet": 1}):
        with pytest.raises(al.AdapterError, match=f"{next(iter(options))}="):
            al.create_backbone(EMBEDDED_CLIPS, **options)


def test_a_saved_adapter_finds_the_embedded_clip_model_again(tmp_path: Path) -> None:
    model = al.adapt(
        al.create_backbone(EMBEDDED_CLIPS), "padapter:bottleneck=4,position=a_m_p", 3, seed=0
    ).eval()
    model.save_pretrained(tmp_path)
    again, clip = al.AdaptedViT.from_pretrained(tmp_path), torch.randn(2, 3, 8, 48, 48)
    with torch.inference_mode():
        assert torch.equal(again(clip), model(clip))


def test_the_embedded_clip_model_tells_speeds_about_as_well_as_recorded() -> None:
    """The throw-away layers are not shipped, so they are fitted anew: least squares on the mean token of
    clips that no run has seen."""
    fresh = draw_wild_clips(400, "upstream-val", 5, 48, 8)
    learner = _Learner()
    learner.vit.load_state_dict(al.create_backbone(EMBEDDED_CLIPS).state_dict())
    features = []
    with torch.inference_mode():
        for part in fresh.pixels.split(100):
            x = (part.permute(0, 2, 1, 3, 4).float() / 255 - 0.5) / 0.5
            features.append(learner.vit.forward_head(learner.vit.forward_features(x), pre_logits=True))
    x = torch.cat([torch.cat(features), torch.ones(400, 1)], 1).double()
    y = fresh.speeds.double()
    fit, test = slice(0, 300), slice(300, None)
    weights = torch.linalg.solve(x[fit].T @ x[fit] + 1e-2 * torch.eye(x.shape[1]), x[fit].T @ y[fit])
    r2 = 1 - (x[test] @ weights - y[test]).square().mean(0) / y[test].square().mean(0)
    recorded = embedded_info(EMBEDDED_CLIPS)["r2"]
    assert r2[0] > recorded["speed_x"] - 0.3
    assert r2[1] > recorded["speed_y"] - 0.3


def test_r2_of_a_model_that_guesses_the_mean_is_nothing() -> None:
    learner = _Learner()
    for layer in (learner.states, learner.speeds):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    r2 = _explained(learner, draw_wild_clips(12, "upstream-val", 0, 48, 8), torch.device("cpu"))
    assert [r2[f"speed_{name}"] for name in STATE] == [0.0] * 4
    assert abs(r2["states"]) < 0.2
