"""What a notebook shows of a figure is sharp on today's screens and small in the file."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib import pyplot as plt
from PIL import Image

from adapters_lib import figures
from adapters_lib.workbook import sharp_pictures


@pytest.mark.parametrize("width", [2.0, 6.7])
def test_a_notebook_shows_figures_at_twice_the_pages_resolution(width: float) -> None:
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    with figures.style():
        figure, ax = plt.subplots(figsize=(width, 1.5))
        ax.plot([0, 1])
    plt.close(figure)
    sharp_pictures(shell)
    data, metadata = shell.display_formatter.format(figure)
    with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as picture:
        assert picture.width >= max(800, 2 * metadata["image/png"]["width"] - 2)
        assert picture.mode == "P"  # at most 256 colors
        assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
    assert metadata["image/png"]["width"] == pytest.approx(120 * width, abs=40)


def test_a_leaf_keeps_its_shades() -> None:
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    shades = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    with figures.style():
        figure, ax = plt.subplots(figsize=(4, 3))
        ax.imshow(shades)
    plt.close(figure)
    sharp_pictures(shell)
    for _ in range(2):  # shown again, it is drawn again
        data, told = shell.display_formatter.format(figure)
        assert "image/png" not in data
        with Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"]))) as picture:
            assert picture.mode == "RGB"
            assert picture.width >= 2 * told["image/jpeg"]["width"] - 2
            assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 1000
        ax.set_title("again")


def test_outside_a_notebook_nothing_is_changed() -> None:
    before = plt.get_backend()
    sharp_pictures()
    assert plt.get_backend() == before
