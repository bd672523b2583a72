"""What prompts hold over space and time, what mode `cat` adds, and attention over time: the numbers, and
the figures that show them."""

import numpy as np
import pytest
import torch
from conftest import make_tiny_vit
from matplotlib import pyplot as plt
from tiny_clips import clip_model
from torch import Tensor

import adapters_lib as al
from adapters_lib.analysis.neighbours import neighbours
from adapters_lib.analysis.prompts import cat_share, prompt_norms, prompt_similarity, prompts_of
from adapters_lib.figures import clips as figures

SLICES, SIDE = 4, 4


def padapter(options: str = "", **backbone: object) -> al.AdaptedViT:
    return clip_model(f"padapter:bottleneck=6,position=a_m_p{options}", patch_size=8, **backbone).eval()


def set_prompts(model: al.AdaptedViT, value: Tensor) -> None:
    """Give every prompt the rows of `value`, (slices, rows, columns, r)."""
    with torch.no_grad():
        for prompts in prompts_of(model):
            for prompt in prompts.module.prompts:
                prompt.copy_(value.flatten(0, 2)[None])


def test_norms_are_those_of_every_patchs_prompt_over_space_and_time() -> None:
    model = padapter()
    value = torch.randn(SLICES, SIDE, SIDE, 6)
    set_prompts(model, value)
    torch.testing.assert_close(prompt_norms(prompts_of(model)[2]), value.norm(dim=-1))


def test_a_class_tokens_prompt_is_left_out() -> None:
    model = al.adapt(make_tiny_vit(patch_size=8), "padapter:bottleneck=6", 3)
    (first, *_) = prompts_of(model, [1])
    assert first.module.prompts[0].shape[1] == 17
    assert prompt_norms(first).shape == (1, SIDE, SIDE)
    torch.testing.assert_close(prompt_norms(first)[0, 0, 0], first.module.prompts[0][0, 1].norm().detach())


def test_prompts_that_only_know_the_time_are_alike_within_a_slice_and_strange_to_another() -> None:
    model = padapter()
    set_prompts(model, torch.eye(6)[:SLICES].view(SLICES, 1, 1, 6).expand(-1, SIDE, SIDE, -1))
    similarity = prompt_similarity(prompts_of(model)[0])
    assert similarity.distances.tolist() == [0, 1, 2, 3]
    assert torch.isnan(similarity.values[0, 0])
    torch.testing.assert_close(similarity.values[0, 1:], torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(similarity.values[1:], torch.zeros(3, 4, dtype=torch.float64))


def test_similarity_is_the_mean_over_all_pairs_at_that_distance_and_lag() -> None:
    model = padapter(",form=p_x_p")
    second = prompts_of(model)[1]
    similarity = prompt_similarity(second, which=1)
    rows = torch.nn.functional.normalize(second.module.prompts[1][0].detach(), dim=-1).view(
        SLICES, SIDE * SIDE, 6
    )
    pairs = []
    for i in range(SIDE * SIDE):
        for j in range(SIDE * SIDE):
            distance = np.hypot(i // SIDE - j // SIDE, i % SIDE - j % SIDE)
            if round(distance) == 2:
                pairs += [float(rows[t, i] @ rows[t + 1, j]) for t in range(SLICES - 1)]
    assert float(similarity.values[1, 2]) == pytest.approx(np.mean(pairs), abs=1e-6)


@pytest.mark.parametrize("form", ["x_p", "p_x_p", "p_2x_p"])
def test_in_mode_cat_the_prompts_add_a_bias_per_position_whatever_the_clip_shows(form: str) -> None:
    model = padapter(f",mode=cat,form={form}")
    (prompts,) = prompts_of(model, [3])
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in prompts.module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    share = cat_share(prompts)
    inputs = torch.randn(2, prompts.layout.tokens, 32, generator=generator)
    with torch.no_grad():
        with_prompts = prompts.module(inputs, prompts.layout)
        for prompt in prompts.module.prompts:
            prompt.zero_()
        without = prompts.module(inputs, prompts.layout)
    torch.testing.assert_close(with_prompts - without, share.expand(2, -1, -1), atol=1e-4, rtol=1e-4)


def test_every_block_has_a_row_and_every_slice_a_column() -> None:
    model = padapter(",mode=cat")
    for draw in (figures.prompt_norm_maps, figures.cat_bias):
        figure = draw(model, [1, 4], title="tiny")
        panels = [ax for ax in figure.axes if ax.get_images() and ax.get_label() != "<colorbar>"]
        assert len(panels) == 2 * SLICES
        assert [ax.get_title() for ax in panels[:SLICES]] == [f"slice {i + 1}" for i in range(SLICES)]
        assert panels[SLICES].get_ylabel() == "block 4"
        assert "tiny" in figure.get_suptitle()
    drawn = figures.prompt_norm_maps(model, [2]).axes[1].images[0].get_array()
    np.testing.assert_allclose(drawn, prompt_norms(prompts_of(model, [2])[0])[1])


def test_an_images_prompts_are_one_slice_without_a_title() -> None:
    model = al.adapt(make_tiny_vit(patch_size=8), "padapter:bottleneck=6,form=p_x_p", 3)
    figure = figures.prompt_norm_maps(model, which=1)
    assert "norm of prompt Q" in figure.get_suptitle()
    assert [ax.get_ylabel() for ax in figure.axes[:3]] == ["block 1", "block 2", "block 4"]
    assert [t.get_text() for t in figure.axes[-1].get_yticklabels()] == ["block 1", "block 2", "block 4"]
    assert not figures.prompt_similarity_curves(model).legends


def test_a_smooth_map_has_neighbours_that_are_alike_and_its_shuffle_has_not() -> None:
    smooth = torch.linspace(0, 1, 6).expand(4, 6, 6).clone()
    likeness = neighbours(smooth)
    assert likeness.value > 0.8 > likeness.high > 0 > likeness.low
    assert "more alike than in shuffled maps" in likeness.verdict
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(144, generator=generator) for _ in range(40)]
    noise = [neighbours(smooth.flatten()[order].view(4, 6, 6), shuffles=200) for order in orders]
    assert sum("no more alike" in each.verdict for each in noise) >= 34  # 38 are expected
    chessboard = (torch.arange(6)[:, None] + torch.arange(6)) % 2
    assert neighbours(chessboard).value == pytest.approx(-1)
    assert "less alike" in neighbours(chessboard).verdict


def test_neighbours_is_morans_i_by_hand() -> None:
    # Mean 2; pairs: rows 1·2, 3·2, columns 1·3, 2·2 → (−1·0 + 1·0 − 1·1 + 0·0) / 4 pairs, variance 2 / 4.
    assert neighbours([[1, 2], [3, 2]], shuffles=10).value == pytest.approx((-1 / 4) / (2 / 4))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (1.0, "no neighbours"),
        ([2.0], "no neighbours"),
        ([[1.0, np.nan]], "not finite"),
        (np.ones((3, 3)), "the same"),
    ],
)
def test_a_map_without_a_pattern_to_test_is_refused(values: object, message: str) -> None:
    with pytest.raises(al.AdapterError, match=message):
        neighbours(values)


def test_noise_is_hollow_beside_its_shuffles_and_a_pattern_is_filled() -> None:
    _, ax = plt.subplots()
    noise = torch.rand(12, 12, generator=torch.Generator().manual_seed(0))
    figures.likeness_panel(
        ax, {"noise": noise, "ramp": torch.arange(144.0).view(12, 12), "flat": torch.ones(3, 3)}
    )
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() for dot in dots] == ["white", "#0072B2"]
    assert len(ax.patches) == 2  # nothing can be said of a flat map
    plt.close()


def test_similarity_has_a_line_for_every_lag() -> None:
    model = padapter()
    figure = figures.prompt_similarity_curves(model, [1, 2])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "same slice",
        "1 slice later",
        "2 slices later",
        "3 slices later",
    ]
    line = figure.axes[1].lines[2]
    np.testing.assert_allclose(line.get_ydata(), prompt_similarity(prompts_of(model, [2])[0]).values[2])


def test_a_slices_attention_lies_over_its_tubelets_frames_in_units_of_an_even_share() -> None:
    frames = torch.randint(0, 256, (2, 3, 8, 16, 16), dtype=torch.uint8)
    maps = torch.rand(2, 4, 2, 2)
    figure = figures.attention_over_time(frames, maps, labels=["a", "b"], columns=4)
    panels = [ax for ax in figure.axes if ax.get_images() and ax.get_label() != "<colorbar>"]
    assert [ax.get_title() for ax in panels[:4]] == ["frame 1", "frame 3", "frame 6", "frame 8"]
    assert [panels[0].get_ylabel(), panels[8].get_ylabel()] == ["a", "b"]
    third = panels[4 + 2].images[1]  # frame 6 belongs to the third of four slices
    np.testing.assert_allclose(third.get_array()[::8, ::8], 16 * maps[0, 2])
    assert third.get_clim() == (
        pytest.approx(16 * float(maps[0].min())),
        pytest.approx(16 * float(maps[0].max())),
    )


@pytest.mark.parametrize(
    ("frames", "maps", "labels", "message"),
    [
        (torch.zeros(1, 3, 8, 8, 8), torch.zeros(1, 4, 2, 2), None, "not normalised"),
        (torch.zeros(0, 3, 8, 8, 8, dtype=torch.uint8), torch.zeros(0, 4, 2, 2), None, "at least one clip"),
        (
            torch.zeros(1, 3, 8, 8, 8, dtype=torch.uint8),
            torch.zeros(1, 3, 2, 2),
            None,
            "slices that divide 8 frames",
        ),
        (torch.zeros(1, 3, 8, 8, 8, dtype=torch.uint8), torch.zeros(1, 2, 4, 2, 2), None, "mean over heads"),
        (
            torch.zeros(1, 3, 8, 8, 8, dtype=torch.uint8),
            torch.zeros(1, 4, 2, 2),
            ["a", "b"],
            "2 labels for 1 clips",
        ),
    ],
)
def test_frames_and_maps_that_do_not_fit_are_refused(
    frames: Tensor, maps: Tensor, labels: list[str] | None, message: str
) -> None:
    with pytest.raises(al.AdapterError, match=message):
        figures.attention_over_time(frames, maps, labels=labels)


def test_what_has_no_prompts_over_space_and_time_is_refused() -> None:
    with pytest.raises(al.AdapterError, match="block 1 has no PAdapter"):
        figures.prompt_norm_maps(clip_model("lora", patch_size=8))
    with pytest.raises(al.AdapterError, match="shares one prompt among all tokens"):
        figures.prompt_norm_maps(padapter(",num_tokens=1"))
    with pytest.raises(al.AdapterError, match='for al.PAdapter\\(mode="cat"\\)'):
        figures.cat_bias(padapter())
    with pytest.raises(al.AdapterError, match="which=1, but form 'x_p' has 1 prompt"):
        figures.prompt_similarity_curves(padapter(), which=1)
    with pytest.raises(al.AdapterError, match="block 5 does not exist"):
        figures.prompt_norm_maps(padapter(), [5])
