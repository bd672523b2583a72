"""The upload widget in JupyterLab: a picture from the disk is named and drawn, and a file that is none is
explained in the widget, after which the next picture works."""

import io
from pathlib import Path

import numpy as np
import pytest
from lab import Notebook, Panel
from PIL import Image

CELL = """import adapters_lib as al
from adapters_lib.widgets import upload

names = [f"Quercus robur subspecies number {i}, a name of more letters than a row" for i in range(4)]
model = al.adapt(al.create_backbone("micro_vit"), "lora:rank=2", classes=names, seed=0)
upload(model)"""

NAME = "upload"
CELLS = [CELL]


def picture(mode: str, kind: str) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (80, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(content, kind)
    return content.getvalue()


@pytest.fixture(scope="module")
def panel(notebook: Notebook) -> Panel:
    assert notebook.state()["errors"] == []
    return Panel(notebook, notebook.page.locator(".jp-OutputArea-output .widget-vbox").first)


def drop(panel: Panel, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with panel.page.expect_file_chooser() as chooser:
        panel.box.locator("button.jupyter-button, .widget-upload").first.click()
    chooser.value.set_files(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "mode", "kind"),
    [("oak.png", "RGBA", "PNG"), ("grey.jpg", "L", "JPEG"), ("print.jpg", "CMYK", "JPEG")],
)
def test_a_picture_from_the_disk_is_named(
    panel: Panel, tmp_path: Path, name: str, mode: str, kind: str
) -> None:
    with panel.redraws():
        drop(panel, tmp_path, name, picture(mode, kind))
    panel.shoot(f"upload-{name.partition('.')[0]}")


def test_a_file_that_is_no_picture_is_explained_and_the_next_one_works(panel: Panel, tmp_path: Path) -> None:
    drop(panel, tmp_path, "notes.jpg", b"no picture")
    panel.wait_for_text("notes.jpg")
    panel.shoot("upload-notes")
    with panel.redraws():
        drop(panel, tmp_path, "again.png", picture("RGB", "PNG"))
    assert "notes.jpg" not in panel.text()
