"""Every diagram by its name: all methods, and what belongs to several of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from ...errors import unknown
from ...files import atomic_write, output_folder
from ...methods import METHODS
from .block import draw_block
from .board import Board
from .bottlenecks import BOTTLENECKS, draw_bottleneck, draw_convpass, draw_places
from .clips import draw_inflation
from .early_exits import draw_dyn
from .interlayer import draw_ila, draw_stack
from .layers import PLAIN, draw_layers
from .linear_layers import draw_lora, draw_repadapter
from .prompted import draw_padapter, draw_positions
from .prompts import VPT, draw_vpt, draw_vqt

__all__ = ["DIAGRAMS", "diagram", "drawn_board", "write_diagrams"]

_METHODS: dict[str, Callable[[bool], Board]] = {
    **{name: partial(draw_layers, name) for name in PLAIN},
    **{name: partial(draw_vpt, name) for name in VPT},
    **{name: partial(draw_bottleneck, name) for name in BOTTLENECKS},
    **{name: partial(draw_stack, name) for name in ("ila+", "ila++")},
    "vqt": draw_vqt,
    "lora": draw_lora,
    "repadapter": draw_repadapter,
    "convpass": draw_convpass,
    "ila": draw_ila,
    "padapter": draw_padapter,
    "dyn": draw_dyn,
}
_OTHERS: dict[str, Callable[[bool], Board]] = {
    "block": draw_block,
    "bottleneck": draw_places,
    "padapter-positions": draw_positions,
    "inflation": draw_inflation,
}
_DRAWN = _OTHERS | {name: _METHODS[name] for name in METHODS if name in _METHODS}

DIAGRAMS = tuple(_DRAWN)
"""Names that `diagram` knows: `block`, `bottleneck`, `padapter-positions`, `inflation`, and every method of
this library."""


def drawn_board(name: str, dark: bool = False) -> Board:
    """A diagram with the parts that it shows, see `diagram`."""
    if name not in _DRAWN:
        raise unknown("diagram", name, DIAGRAMS)
    board = _DRAWN[name](dark)
    board.legend()
    return board


def diagram(name: str, dark: bool = False) -> Figure:
    """What a method adds to a frozen ViT and where, as a drawing seven inches wide.

    Frozen parts are gray with a snowflake, trained ones vermilion; squares are tokens. Symbols are those of
    the method's equation; sizes are those of its defaults on a ViT-B/16 at 224 pixels.

    Args:
        name: one of `DIAGRAMS`: a method's name, `block` (a block and its sites), `bottleneck` (one module in
            the places of five methods), `padapter-positions`, or `inflation` (an image model becomes one of
            clips).
        dark: light strokes on a dark page.

    Raises:
        AdapterError: an unknown name.
    """
    return drawn_board(name, dark).figure


def write_diagrams(
    names: Sequence[str] | None = None,
    folder: str | Path | None = None,
    dark: bool = False,
    svg: bool = False,
) -> list[Path]:
    """Write diagrams as PNG (200 dpi) and PDF and return the paths; the same drawing gives the same bytes.

    Args:
        names: of `DIAGRAMS`; None is all.
        folder: default `figures/diagrams`, placed by `files.output_folder`.
        dark: light strokes on a dark page; the files are then called `NAME-dark`.
        svg: write SVG too, of about 100 kB each.

    Raises:
        AdapterError: an unknown name, or a file that cannot be written.
    """
    chosen = DIAGRAMS if names is None else names
    for name in chosen:
        if name not in _DRAWN:
            raise unknown("diagram", name, DIAGRAMS)
    target = Path(folder) if folder is not None else output_folder("figures") / "diagrams"
    written = []
    for name in chosen:
        figure = diagram(name, dark)
        for kind, dates in _KINDS.items():
            if kind == "svg" and not svg:
                continue
            path = target / f"{name}{'-dark' if dark else ''}.{kind}"
            with rc_context({"pdf.fonttype": 42, "savefig.bbox": None, "svg.hashsalt": name}):
                atomic_write(path, partial(_save, figure, kind, dates))
            written.append(path)
    return written


def _save(figure: Figure, kind: str, dates: dict[str, None], path: Path) -> None:
    figure.savefig(path, format=kind, dpi=200, metadata=dates)


_KINDS: dict[str, dict[str, None]] = {
    "png": {},
    "pdf": {"CreationDate": None, "ModDate": None},
    "svg": {"Date": None},
}
"""File types, and the dates that are left out of each."""
