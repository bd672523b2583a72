"""The diagrams tell the truth: what they mark as trained trains, what they count the library counts; and they
can be read: no two labels touch, and every symbol of a method's equation is in its picture."""

import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import adapters_lib as al
from adapters_lib import cli, figures
from adapters_lib.figures.diagrams import drawn_board
from adapters_lib.figures.diagrams.board import Board
from adapters_lib.figures.diagrams.facts import adapted, clip_model
from adapters_lib.figures.diagrams.prompted import FORMS, POSITIONS
from adapters_lib.methods import METHODS
from adapters_lib.methods.padapter import _PROMPTS, _SITE, _UP_INPUTS
from adapters_lib.vit.sites import SITES

SYMBOLS = {
    "full": "W b",
    "linear": "W b",
    "bitfit": "W b",
    "layernorm": "W b",
    "vpt-shallow": r"x_\mathrm{cls} P E",
    "vpt-deep": r"x_\mathrm{cls} P_1 P_2 P_{12} E",
    "vqt": r"q Q K,V P p_i p_1,\ldots,p_L x_\mathrm{cls}",
    "houlsby": r"y A W_\mathrm{down} b W_\mathrm{up} b' r",
    "pfeiffer": r"y A W_\mathrm{down} b W_\mathrm{up} b' r",
    "adpt": r"h A W_\mathrm{down} b W_\mathrm{up} b' r",
    "adaptformer": r"x s W_\mathrm{down} b W_\mathrm{up} b' r",
    "adapter+": r"x s W_\mathrm{down} b W_\mathrm{up} b' r",
    "lora": r"x W_q W_k W_v A_q B_q A_v B_v \alpha/r r",
    "repadapter": r"x \tilde{x} s W_\mathrm{down} a W_\mathrm{up} b W c r",
    "ssf": r"\gamma,\beta W b",
    "convpass": r"h C \varphi \mathrm{conv}_{3\times3} s W_\mathrm{down} b W_\mathrm{up} b' r",
    "ila": r"x u W_\mathrm{down} W_\mathrm{up} D a 1\times1 3\times3",
    "ila+": "a D",
    "ila++": "A a D",
    "padapter": r"x z P Q W_d b W_u b_u s y r z_1{+}P z_2{+}Q",
    "dyn": r"z_1 z_S h_1 h_S \lambda_1L_1 \lambda_SL_S \theta_1 \tau \delta T S",
    "block": r"x W_{qkv} m",
    "bottleneck": r"h W_\mathrm{down} b W_\mathrm{up} b' \varphi r",
    "padapter-positions": "m",
    "inflation": "T t P W/t N",
}
"""By diagram: symbols of the equation that must stand in the picture, outside the equation too."""


@cache
def board(name: str) -> Board:
    return drawn_board(name)


def labels(name: str) -> list[str]:
    """All words of a picture but those of its equations (8.5 points)."""
    return [text.get_text() for text in board(name).ax.texts if text.get_fontsize() != 8.5]


def model_of(name: str) -> al.AdaptedViT:
    return clip_model() if name == "inflation" else adapted(name)


def test_every_method_has_a_diagram_and_so_have_the_block_the_positions_and_inflation() -> None:
    assert set(figures.DIAGRAMS) == {*METHODS, "block", "bottleneck", "padapter-positions", "inflation"}
    assert set(SYMBOLS) == set(figures.DIAGRAMS)


@pytest.mark.parametrize("name", figures.DIAGRAMS)
def test_no_two_labels_touch_and_none_leaves_the_page(name: str) -> None:
    figure, ax = board(name).figure, board(name).ax
    renderer = FigureCanvasAgg(figure).get_renderer()
    page = ax.get_window_extent(renderer)
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in ax.texts]
    for number, (words, box) in enumerate(boxes):
        assert page.x0 <= box.x0 < box.x1 <= page.x1, words
        assert page.y0 <= box.y0 < box.y1 <= page.y1, words
        for others, other in boxes[number + 1 :]:
            assert not box.overlaps(other), (words, others)
    assert min(text.get_fontsize() for text in ax.texts) >= 7
    assert figure.get_figwidth() == pytest.approx(7)


@pytest.mark.parametrize("name", [*METHODS, "inflation"])
def test_what_is_marked_as_trained_trains_and_what_is_marked_as_frozen_does_not(name: str) -> None:
    trains = {key: tensor.requires_grad for key, tensor in model_of(name).named_parameters()}
    seen = set()
    for part in board(name).parts:
        for pattern in part.owns:
            keys = {key for key in trains if fnmatchcase(key, pattern)}
            assert keys, f"{part.text}: no parameter is called {pattern}"
            assert {trains[key] for key in keys} == {part.kind == "trained"}, (part.text, pattern)
            seen |= keys
    left_out = {key for key, trained in trains.items() if trained} - seen
    assert not left_out, f"trained, but not in the picture: {sorted(left_out)[:4]}"


@pytest.mark.parametrize("name", figures.DIAGRAMS)
def test_every_symbol_of_the_equation_is_in_the_picture(name: str) -> None:
    mathematics = [re.sub(r"\\,|\s", "", part) for text in labels(name) for part in text.split("$")[1::2]]
    joined = "|".join(mathematics)
    for symbol in SYMBOLS[name].split():
        assert re.search(rf"(?<![A-Za-z\\]){re.escape(symbol)}(?![A-Za-z_])", joined), symbol


@pytest.mark.parametrize("name", figures.DIAGRAMS)
def test_the_legend_says_what_is_frozen_what_is_trained_and_what_a_token_is(name: str) -> None:
    assert {"frozen", "trained", "patch token"} <= set(labels(name))


@pytest.mark.parametrize("name", ["ila", "ila+", "ila++"])
def test_token_counts_of_the_stages_are_those_of_the_library(name: str) -> None:
    model = adapted(name)
    drawn = [int(words.split()[0]) for words in labels(name) if re.match(r"\d+ tokens", words)]
    assert drawn == model.token_counts() == [197, 145, 101]
    grids = {layout.grid for layout in model.block_layouts()}
    assert all(any(f"{rows} × {columns}" in words for words in labels(name)) for rows, columns in grids)


@pytest.mark.parametrize(("name", "after"), [("ila", (4, 8)), ("ila+", (4, 8)), ("ila++", (4, 8))])
def test_down_sampling_modules_stand_behind_the_blocks_where_the_method_puts_them(
    name: str, after: tuple[int, ...]
) -> None:
    assert METHODS[name]().positions(adapted(name).depth) == after
    drawn = board(name)
    blocks = {int(t.get_text()): t.get_position() for t in drawn.ax.texts if t.get_text().isdigit()}
    trapezoids = [patch for patch in drawn.ax.patches if type(patch) is mpl.patches.Polygon]
    for block in after:
        (x, y), (next_x, _) = blocks[block], blocks[block + 1]
        modules = [
            p for p in trapezoids if x < p.get_xy()[:, 0].mean() < next_x and abs(p.get_xy()[0, 1] - y) < 5
        ]
        assert modules, f"no module between blocks {block} and {block + 1}"


@pytest.mark.parametrize("name", ["vpt-shallow", "vpt-deep"])
def test_prompts_are_counted_in_the_sequence(name: str) -> None:
    layout = adapted(name).block_layouts()[0]
    assert {str(layout.tokens), str(layout.tokens - layout.prompts)} <= set(labels(name))


def test_the_block_names_every_site_and_the_linear_layers_inside() -> None:
    assert {*SITES, "qkv", "proj", "fc1", "fc2"} <= set(labels("block"))


def test_six_positions_stand_at_the_sites_of_the_library() -> None:
    assert set(POSITIONS) == set(_SITE)
    words = labels("padapter-positions")
    for position, site in _SITE.items():
        assert words[words.index(position) + 1] == f"site {site}"


def test_forms_join_as_many_channels_as_the_up_projection_reads() -> None:
    for form, (channels, add, cat) in FORMS.items():
        assert channels == f"{_UP_INPUTS[form]}r"
        assert len(add) == len(cat) == 1 + _PROMPTS[form]


def test_exits_stand_behind_the_blocks_of_the_method_with_the_heads_of_the_model() -> None:
    words, blocks = labels("dyn"), METHODS["dyn"]().blocks(12)
    first = 1
    for block in blocks:
        assert f"blocks\n{first}–{block}" in words
        first = block + 1
    costs = [float(re.search(r"= ([\d.]+)", text)[1]) for text in words if text.startswith("$F_")]
    assert costs == sorted(costs)
    assert costs[-1] == pytest.approx(al.cost(adapted("dyn")).macs / 1e9, rel=0.01)


def test_inflation_counts_the_tokens_of_a_clip() -> None:
    layout = clip_model().first_layout()
    equations = " ".join(t.get_text() for t in board("inflation").ax.texts)
    assert f"= {layout.tokens}$" in equations
    assert f"{layout.slices} slices of {layout.grid[0]} × {layout.grid[1]}" in labels("inflation")


def test_a_dark_page_has_light_strokes() -> None:
    light, dark = (figures.diagram("lora", dark=dark) for dark in (False, True))
    for figure, brighter in ((light, False), (dark, True)):
        ink = mpl.colors.to_rgb(figure.axes[0].texts[0].get_color())
        assert (sum(ink) > sum(figure.get_facecolor()[:3])) is brighter
    words = [[text.get_text() for text in figure.axes[0].texts] for figure in (light, dark)]
    assert words[0] == words[1]


@pytest.mark.filterwarnings("error")
def test_a_diagram_is_saved_twice_as_any_other_figure_and_keeps_its_size(tmp_path: Path) -> None:
    figure = figures.diagram("linear")
    size = tuple(figure.get_size_inches())
    assert figures.save(figure, "a", tmp_path)[1].read_bytes().startswith(b"%PDF")
    figures.save(figure, "b", tmp_path)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert tuple(figure.get_size_inches()) == size


def test_a_method_has_its_own_mark_beside_its_name() -> None:
    for name, method in METHODS.items():
        (mark,) = (line for line in board(name).ax.lines if line.get_marker() not in ("None", "", None))
        assert (mark.get_markerfacecolor(), mark.get_marker()) == (method.color, method.marker)


def test_an_unknown_diagram_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(al.AdapterError, match="unknown diagram 'lorra'; did you mean 'lora'"):
        figures.diagram("lorra")


def test_the_command_writes_the_diagrams_that_are_named(tmp_path: Path, capsys) -> None:
    assert cli.main(["figures", "--diagrams", "linear", "--svg", "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["linear.pdf", "linear.png", "linear.svg"]
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert cli.main(["figures", "--diagrams", "linear", "--svg", "--out", str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first, "the same drawing differs"
    assert cli.main(["figures", "--diagrams", "--list"]) == 0
    assert capsys.readouterr().out.split()[-len(figures.DIAGRAMS) :] == list(figures.DIAGRAMS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--diagrams", "lorra"], "unknown diagram 'lorra'"),
        (["--dark"], "--dark is for diagrams; give --diagrams too"),
        (["--svg"], "--svg is for diagrams; give --diagrams too"),
    ],
)
def test_the_command_refuses_what_it_cannot_draw(arguments: list[str], message: str, capsys) -> None:
    assert cli.main(["figures", *arguments]) == 2
    assert message in capsys.readouterr().err
