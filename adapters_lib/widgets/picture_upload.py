"""The upload widget: drop a picture of your own, and read what it shows, how sure the model is, and where it
looked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ipywidgets
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..datasets.images.files import EXTENSIONS, ImageError, read_image
from ..errors import AdapterError
from ..figures.one_picture import answer_figure, answer_picture
from ..figures.styling import style
from ..vit.inputs import input_shape
from ..vit.model import AdaptedViT
from .panel import FigurePanel

__all__ = ["PictureUpload", "upload"]


class PictureUpload(FigurePanel):
    """A button onto which a picture is dropped → the likeliest names and where the model looked.

    Args:
        model: of images, with names in `model.classes`.
        classes: names for a model that has none; they become the model's own.
        top: how many names.

    Raises:
        AdapterError: no name is known, names that do not fit the outputs, or a model of clips.
    """

    def __init__(self, model: AdaptedViT, classes: Sequence[str] | None = None, top: int = 5) -> None:
        if len(input_shape(model)) == 4:
            raise AdapterError(
                "this model takes clips, and a picture is none; use al.classify with video files"
            )
        if classes is not None:
            model.classes = classes  # type: ignore[assignment]
        if model.classes is None:
            raise AdapterError(
                f"the model does not know what its {model.num_classes} outputs are called; pass classes=[…],"
                " one name for each output in the order of the labels"
            )
        self.model, self.top = model, top
        button = ipywidgets.FileUpload(
            accept=",".join(sorted(EXTENSIONS)),
            multiple=False,
            description="picture",
            layout={"width": "16em"},
        )
        alt = (
            "Left: the picture as the model sees it. Middle: where it looked; bright is much. Right: the"
            " likeliest names with their probabilities."
        )
        super().__init__(self.figure, {"files": button}, alt)

    def figure(self, files: Sequence[dict[str, Any]]) -> Figure:
        """The panel's picture as a function of what was dropped: dicts with `name` and `content` (bytes), of
        which the last counts.

        Raises:
            AdapterError: a file that is no picture, by its name and with the reason.
        """
        if not files:
            return _nothing_yet()
        name, content = str(files[-1]["name"]), bytes(files[-1]["content"])
        with TemporaryDirectory() as folder:
            path = Path(folder, "dropped")
            path.write_bytes(content)
            try:
                picture = read_image(path)
            except ImageError as error:
                raise AdapterError(
                    f"{name}: {error.reason}; drop a JPEG, PNG or TIFF that opens elsewhere"
                ) from error
        return answer_figure(answer_picture(self.model, picture, self.top), name)


def upload(model: AdaptedViT, classes: Sequence[str] | None = None, top: int = 5) -> PictureUpload:
    """A `PictureUpload` for this model; in a notebook, write it as the last line of a cell.

    Without a widget: `figures.answer_figure(figures.answer_picture(model, "my.jpg"))`.

    Raises:
        AdapterError: as `PictureUpload`.
    """
    return PictureUpload(model, classes, top)


def _nothing_yet() -> Figure:
    with style():
        figure = plt.figure(figsize=(4, 0.5))
        figure.text(0.02, 0.5, "Choose a picture, or drop one on the button.", va="center", fontsize=8)
    plt.close(figure)
    return figure
