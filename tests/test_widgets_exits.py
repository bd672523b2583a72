"""The exits' sliders: numbers are those of the library, one redraw a move, errors in the widget, and the
fast picture is the figure."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import adapters_lib as al
from adapters_lib.exits.calibrate import choose, measure, operating_points
from adapters_lib.exits.costs import ExitCosts
from adapters_lib.exits.simulate import StoredExits
from adapters_lib.figures.exit_board import ExitBoard
from adapters_lib.widgets.exits import ExitThresholds, exit_thresholds

COSTS = ExitCosts(
    blocks=(3, 6, 9, 12),
    macs=(100, 210, 320, 440),
    alone=(100, 205, 310, 400),
    full=400,
    head_parameters=(5, 5, 3, 3),
)


def _stored(seed: int, n: int = 60) -> StoredExits:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 5, (n,), generator=generator)
    truth = nn.functional.one_hot(labels, 5).float()
    noise = torch.randn(4, n, 5, generator=generator)
    return StoredExits(torch.stack([truth * (k + 2) + noise[k] for k in range(4)]), labels, COSTS)


def _images(n: int = 60) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(0)).integers(0, 256, (n, 3, 16, 16), dtype=np.uint8)


@pytest.fixture(scope="module")
def board() -> ExitBoard:
    return ExitBoard(_stored(1), _images(), _stored(2), per_exit=4, title="noise")


@pytest.fixture
def panel(board: ExitBoard) -> ExitThresholds:
    return ExitThresholds(board)


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(int)


def test_the_numbers_are_the_librarys_at_any_thresholds(board: ExitBoard) -> None:
    limits = board.thresholds(0.5)
    assert limits == choose(operating_points(_stored(2)), 0.5).thresholds
    numbers, expected = board.numbers(limits), measure(_stored(1), limits, "max_softmax")
    assert (numbers["top1"], numbers["macs"]) == pytest.approx((expected.top1, expected.macs))
    assert numbers["shares"] == expected.shares


def test_the_gallery_shows_who_leaves_and_frames_what_is_wrong(board: ExitBoard) -> None:
    board.draw((1, 1, 1))
    sheet = board._gallery.get_array()
    assert sheet.shape == (4 * 54, 4 * 54, 3)
    assert (sheet[: 3 * 54] == 255).all()  # nobody leaves before the last exit
    frames = {tuple(int(v) for v in sheet[3 * 54 + 1, column * 54 + 5]) for column in range(4)}
    assert frames <= {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)}


def test_the_fast_picture_is_the_figure_and_follows_the_thresholds(board: ExitBoard) -> None:
    pictures = []
    for limits in ((0.5, 0.5, 0.5), (1, 1, 1), (0.5, 0.5, 0.5)):
        figure = board.draw(limits)
        pictures.append(_pixels(board.png()))
        data = BytesIO()
        figure.savefig(data, format="png")
        # Moving parts lie above the axes' lines in the fast picture, which a few pixels tell.
        saved = _pixels(data.getvalue())
        assert (abs(saved - pictures[-1]) > 8).mean() < 0.02
        assert (saved[:25] < 128).any()  # the headline
    assert (pictures[0] == pictures[2]).all()
    assert (pictures[0] != pictures[1]).any()


def test_the_budget_moves_the_thresholds_and_draws_once(panel: ExitThresholds, monkeypatch) -> None:
    drawn = []
    draw = panel.board.draw
    monkeypatch.setattr(panel.board, "draw", lambda *a: drawn.append(a) or draw(*a))
    before = panel.picture.value
    panel.controls["budget"].value = 0.8
    assert len(drawn) == 1
    assert tuple(s.value for s in panel.limits) == panel.board.thresholds(0.8)
    assert panel.picture.value != before
    assert "of the full depth's" in panel.numbers.value


def test_thresholds_can_be_moved_one_by_one(panel: ExitThresholds) -> None:
    assert all(s.disabled for s in panel.limits)
    panel.controls["steer"].value = "each threshold"
    assert panel.controls["budget"].disabled
    assert not any(s.disabled for s in panel.limits)
    panel.limits[0].value = 0
    assert "100 % behind block 3" in panel.numbers.value
    panel.controls["policy"].value = "entropy"
    assert panel.message.value == ""
    panel.controls["steer"].value = "the budget"
    assert tuple(s.value for s in panel.limits) == panel.board.thresholds(
        panel.controls["budget"].value, "entropy"
    )


def test_an_error_shows_in_the_widget_without_old_numbers(panel: ExitThresholds, monkeypatch) -> None:
    shown = panel.picture.value
    budget = panel.controls["budget"]
    budget.max = 2
    budget.value = 1.9
    assert "with these exits the expected cost can lie between 0.250 and 1.100" in panel.message.value
    assert panel.numbers.value == ""
    assert panel.picture.value == shown
    budget.value = 0.5
    assert panel.message.value == ""


def test_the_whole_range_of_the_budget_slider_can_be_reached() -> None:
    panel = exit_thresholds(_stored(1), _images(), _stored(2), budget=0.01, per_exit=2)
    for value in (panel.controls["budget"].min, panel.controls["budget"].max):
        panel.controls["budget"].value = value
        assert panel.message.value == ""


def test_images_or_exits_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(al.AdapterError, match="59 images for the logits of 60"):
        ExitBoard(_stored(1), _images(59), _stored(2))
    other = _stored(2)
    costs = ExitCosts((2, 4, 6, 8), COSTS.macs, COSTS.alone, COSTS.full, COSTS.head_parameters)
    with pytest.raises(
        al.AdapterError, match=r"behind blocks \(2, 4, 6, 8\), test logits behind \(3, 6, 9, 12\)"
    ):
        ExitBoard(_stored(1), _images(), StoredExits(other.logits, other.labels, costs))


@pytest.mark.parametrize("name", ["steer", "policy", "budget", "exit_0", "exit_2"])
def test_every_control_is_labelled_and_reachable_by_keyboard(panel: ExitThresholds, name: str) -> None:
    assert panel.controls[name].description
    assert panel.controls[name].tabbable is not False
