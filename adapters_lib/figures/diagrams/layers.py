"""Methods that add nothing, or a scale and a shift: the whole network with every layer's weight and bias."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from .board import Board, Part
from .facts import adapted, sizes

__all__ = ["PLAIN", "draw_layers"]


@dataclass(frozen=True)
class Layer:
    """A layer with weight W and bias b. module: its name in the backbone. norm: gain and bias."""

    words: str
    x: float
    module: str
    norm: bool = False


_BLOCK = "backbone.blocks.*"
_LAYERS = (
    Layer("patches", 7.2, "backbone.patch_embed.proj"),
    Layer("LN", 18.2, f"{_BLOCK}.norm1", True),
    Layer("qkv", 23.6, f"{_BLOCK}.attn.qkv"),
    Layer("proj", 33.2, f"{_BLOCK}.attn.proj"),
    Layer("LN", 41.0, f"{_BLOCK}.norm2", True),
    Layer("fc1", 46.4, f"{_BLOCK}.mlp.fc1"),
    Layer("fc2", 55.4, f"{_BLOCK}.mlp.fc2"),
    Layer("LN", 62.4, "backbone.norm", True),
    Layer("head", 67.2, "backbone.head"),
)
_OPERATIONS = {"softmax": 28.4, "GELU": 51.0}

PLAIN: dict[str, tuple[str, str]] = {
    "full": (
        "every weight of the backbone trains, and the head",
        r"$y = W x + b$:   every $W$ and every $b$ trained",
    ),
    "linear": (
        "the head alone trains, on frozen features",
        r"$y = W x + b$:   $W$ and $b$ of the head trained, all others frozen",
    ),
    "bitfit": ("every bias trains, and the head", r"$y = W x + b$:   $W$ frozen, $b$ trained"),
    "layernorm": (
        "the gains and biases of all norms train, and the head",
        r"$\mathrm{LN}\,x = W \odot (x - \mu)/\sigma + b$:   $W$ and $b$ trained",
    ),
    "ssf": (
        "a scale and a shift behind every layer, and the head trains",
        r"$y \leftarrow \gamma \odot y + \beta$,   folded:   $W' = \gamma W$,   $b' = \gamma b + \beta$",
    ),
}
"""What these methods do, and their equation."""


def draw_layers(name: str, dark: bool) -> Board:
    """The network from the patches to the head: which weights and biases train is asked of the model."""
    says, equation = PLAIN[name]
    board = Board(27.6 if name == "ssf" else 24.0, dark)
    model = adapted(name)
    training = {parameter for parameter, tensor in model.named_parameters() if tensor.requires_grad}
    y = board.heading(name, says, (equation,), sizes(name)) - 8.0
    board.frame(14.2, y - (8.0 if name == "ssf" else 4.0), 60.0, y + 6.8, r"block, × $L$")
    _tokens(board, y, training)
    for layer in _LAYERS:
        _layer(board, y, layer, lambda tensor: tensor in training, name == "ssf")
    for words, x in _OPERATIONS.items():
        board.box(x, y, 4.6, 2.6, words, size=7)
    for x, start in ((37.2, 15.2), (58.6, 38.8)):
        board.plus(x, y)
        board.dot(start, y)
        board.arrow((start, y), (start, y + 4.6), (x, y + 4.6), (x, y + 1))
    if name == "ssf":
        board.text(
            37.1,
            y - 6.8,
            r"$\gamma$ and $\beta$ scale and shift what the layer above them gives",
            size=7,
            soft=True,
        )
    _wires(board, y)
    return board


def _wires(board: Board, y: float) -> None:
    """Arrows along the stream, from shape to shape."""
    halves = dict.fromkeys((layer.x for layer in _LAYERS), 1.75) | dict.fromkeys(_OPERATIONS.values(), 2.3)
    halves |= {37.2: 1.0, 58.6: 1.0, 11.9: 0.6, 2.0: 1.1}  # sums, tokens, image
    xs = sorted(halves)
    for one, other in pairwise(xs):
        board.arrow((one + halves[one], y), (other - halves[other], y))


def _tokens(board: Board, y: float, training: set[str]) -> None:
    """The image in front, the tokens with their positions behind the patches."""
    board.token(2.0, y, "image", 2.2)
    token = "backbone.cls_token"
    board.token(11.9, y + 2.25, "class_trained" if token in training else "class", owns=(token,))
    for step in range(3):
        board.token(11.9, y + 0.75 - 1.5 * step)
    position = "trained" if "backbone.pos_embed" in training else "frozen"
    board.box(11.9, y - 5.6, 4.0, 2.2, "pos", position, ("backbone.pos_embed",), size=7)
    board.arrow((11.9, y - 4.5), (11.9, y - 2.9))


def _layer(board: Board, y: float, layer: Layer, trains: Callable[[str], bool], scaled: bool) -> None:
    """One layer: W above, b below; with a scale γ and a shift β beneath it if it is scaled."""
    wrapped = scaled and layer.words not in ("head", "patches")
    base = f"{layer.module}.base" if wrapped else layer.module
    board.text(layer.x, y + 3.3, layer.words, size=7)
    for words, middle, height, tensor in (("$W$", y + 0.8, 2.8, "weight"), ("$b$", y - 1.5, 1.8, "bias")):
        first = f"{base}.{tensor}".replace("*", "0")
        kind = "trained" if trains(first) else "frozen"
        board.box(layer.x, middle, 3.5, height, words, kind, (f"{base}.{tensor}",))
    if scaled and layer.words != "head":
        owner = "backbone.patch_embed.norm" if layer.words == "patches" else layer.module
        board.parts.append(Part("γ, β", "trained", (f"{owner}.scale", f"{owner}.shift")))
        board.box(layer.x, y - 4.2, 3.6, 2.2, r"$\gamma,\,\beta$", "trained")
