"""Inflation: an image ViT becomes a model of clips without a new weight."""

from __future__ import annotations

from typing import Any

from .board import Board, Point
from .facts import CLIP_FRAMES, clip_model

__all__ = ["draw_inflation"]


def draw_inflation(dark: bool) -> Board:
    """The kernel in time above; the way of a clip from its frames to the head below."""
    model = clip_model()
    layout = model.first_layout()
    embed: Any = model.backbone.patch_embed
    rows, columns = layout.grid
    t, patch = embed.tubelet, embed.patch_size[0]
    board = Board(42.4, dark)
    y = board.heading(
        "inflation",
        "an image ViT becomes a model of clips: tubelets for patches, a mean for the class token",
        (
            r"clip $(B, C, T, H, W)$ → Conv3d $t \times P \times P$ → + positions → blocks "
            r"→ mean over tokens → norm → head",
            r"$N = T/t \cdot H/P \cdot W/P = "
            rf"{layout.slices} \cdot {rows} \cdot {columns} = {layout.tokens}$",
        ),
        f"ViT-B/16 at {model.image_size} px:  "
        f"$T$ = {CLIP_FRAMES},  $t$ = {t},  $P$ = {patch},  $D$ = {model.width}",
    )
    _kernel(board, y - 5.6, t)
    _walk(board, y - 20.4, t)
    return board


def _kernel(board: Board, y: float, t: int) -> None:
    board.frame(1.2, y - 4.6, 68.8, y + 4.4, "the patch projection, repeated in time")
    flat = board.box(9.0, y - 0.8, 9.0, 4.4, "$W$\n$P \\times P$", "frozen", ("backbone.patch_embed.*",))
    for k in range(t):
        board.box(33.0 + 10.4 * k, y - 0.8, 9.0, 4.4, "$W / t$\n$P \\times P$", "frozen")
    board.arrow(flat.right, (28.5, y - 0.8))
    board.text(21.0, y + 0.3, f"$t$ = {t} copies", size=7, soft=True)
    board.text(60.2, y - 0.8, "a still clip gives\nin every slice\nwhat the image gives", size=7, soft=True)


def _walk(board: Board, y: float, tubelet: int) -> None:
    """Frames, tubelets, positions, blocks, mean, norm and head from left to right."""
    model = clip_model()
    (rows, columns), slices = model.first_layout().grid, model.first_layout().slices
    _frames(board, 6.0, y, tubelet)
    board.text(
        1.2,
        y - 7.0,
        f"$T$ = {CLIP_FRAMES} frames; a token\nsees $t$ frames, $P \\times P$ pixels",
        size=7,
        ha="left",
    )
    conv = board.box(16.4, y, 6.4, 5.0, "Conv3d\n" + r"$t{\times}P{\times}P$", "frozen", size=7)
    board.arrow((11.0, y), conv.left)
    for side in (-1, 1):
        board.line((conv.x + side * conv.w / 2, y + 2.5), (35.0 + side * 33.2, y + 10.2), dotted=True)
    plus = board.plus(22.6, y)
    board.arrow(conv.right, plus.left)
    space = board.box(19.8, y - 7.2, 7.4, 2.8, "space", "frozen", size=7)
    time = board.box(27.8, y - 7.2, 7.4, 2.8, "time", "frozen", size=7)
    board.line(space.top, (19.8, y - 4.6), (22.6, y - 4.6))
    board.line(time.top, (27.8, y - 4.6), (22.6, y - 4.6))
    board.arrow((22.6, y - 4.6), plus.bottom)
    board.text(19.8, y - 9.7, "the image's", size=7, soft=True)
    board.text(27.8, y - 9.7, "a sinusoid", size=7, soft=True)
    last: Point = plus.right
    for k in reversed(range(slices)):
        board.grid(31.0 + 1.1 * k, y + 1.1 * (k - (slices - 1) / 2), rows, columns, 0.3)
    board.arrow(last, (28.8, y))
    board.text(38.0, y - 5.4, f"{slices} slices of {rows} × {columns}", size=7)
    blocks = board.box(43.6, y, 6.4, 6.0, f"{model.depth}\nblocks", "frozen", ("backbone.blocks.*",))
    board.arrow((37.0, y), blocks.left)
    mean = board.box(51.8, y, 5.0, 3.4, "mean")
    norm = board.box(58.8, y, 5.0, 3.4, "norm", "trained", ("backbone.fc_norm.*",))
    head = board.box(66.0, y, 5.0, 3.4, "head", "trained", ("backbone.head.*",))
    board.arrow(blocks.right, mean.left)
    board.arrow(mean.right, norm.left)
    board.arrow(norm.right, head.left)
    board.text(53.6, y - 3.6, "over all $N$ tokens,\nno class token", size=7, soft=True)


def _frames(board: Board, x: float, y: float, tubelet: int) -> None:
    """The clip's frames one behind another; what a tubelet sees on the first of them."""
    side = 5.6
    for k in reversed(range(CLIP_FRAMES)):
        shift = 0.6 * (k - (CLIP_FRAMES - 1) / 2)
        board.token(x + shift, y + shift, "image", side)
    for k in range(tubelet):
        shift = 0.6 * (k - (CLIP_FRAMES - 1) / 2)
        board.window(x + shift - side / 2 + 0.7, y + shift + side / 2 - 2.1, 1.2)
