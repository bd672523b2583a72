"""The upload widget names a dropped picture as `classify` does, shows where the model looked, and says of a
file that is no picture what it is."""

import io
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from conftest import make_tiny_vit
from PIL import Image
from tiny_clips import clip_model

import adapters_lib as al
from adapters_lib.figures import answer_figure, answer_picture
from adapters_lib.figures.wrapping import LINES, WIDTH, wrapped
from adapters_lib.widgets import PictureUpload, upload

TREES = [
    "oak",
    "ash",
    "elm",
    "fir",
    "yew",
    "a very long name of a cultivar_of_which_the_end tells it apart: no. 7",
]


def _model(method: object = "lora:rank=2", classes: list[str] | None = TREES) -> al.AdaptedViT:
    torch.manual_seed(0)
    return al.adapt(make_tiny_vit(), method, num_classes=len(TREES), classes=classes, seed=0).eval()


def _picture(size: tuple[int, int] = (50, 40), mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def _dropped(name: str, content: bytes) -> tuple[dict, ...]:
    """The value of a FileUpload after one file was dropped."""
    about = {
        "name": name,
        "type": "",
        "size": len(content),
        "last_modified": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return ({**about, "content": memoryview(content)},)


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "png")
    return stream.getvalue()


def test_a_dropped_picture_is_named_as_classify_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model, shown = _model(), []
    panel = upload(model)
    empty = panel.picture.value
    monkeypatch.setattr(
        "adapters_lib.widgets.picture_upload.answer_figure",
        lambda answer, title: shown.append((answer, title)) or answer_figure(answer, title),
    )
    panel.controls["files"].value = _dropped("leaf.png", _png(_picture()))
    assert panel.message.value == ""
    assert panel.picture.value != empty
    ((answer, title),) = shown
    table = al.classify(model, _picture(), top=5)
    assert title == "leaf.png"
    assert answer.names == tuple(table[f"class_{rank}"][0] for rank in range(1, 6))
    assert np.allclose(answer.probabilities, [table[f"probability_{rank}"][0] for rank in range(1, 6)])


def test_where_it_looked_is_the_rollout_of_the_prepared_picture() -> None:
    model = _model("ila:samplings=1,bottleneck=4")
    answer = answer_picture(model, _picture())
    assert answer.seen.shape == (3, 32, 32)
    prepared = model.data_config
    mean, std = (torch.tensor(prepared[key]).view(-1, 1, 1) for key in ("mean", "std"))
    image = (answer.seen.float() / 255 - mean) / std
    patches = al.rollout_groups(model, image[None])[-1].patches[0]
    inside = answer.where[~answer.where.isnan()]
    assert inside.numel() < answer.where.numel()  # the rim that ILA has cut off is bare
    assert float(inside.max()) == pytest.approx(float(patches.max()), rel=0.02)
    assert answer.block == 4


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "I;16"])
def test_a_picture_of_any_mode_and_size_is_taken(mode: str) -> None:
    panel = PictureUpload(_model(), top=2)
    before = panel.picture.value
    stream = io.BytesIO()
    if mode == "I;16":
        picture = Image.fromarray(257 * np.asarray(_picture((7, 90), "L")).astype(np.uint16))
        assert picture.mode.startswith("I")
    else:
        picture = _picture((7, 90), mode)
    picture.save(stream, "jpeg" if mode == "CMYK" else "png")
    panel.controls["files"].value = _dropped("x", stream.getvalue())
    assert panel.message.value == ""
    assert panel.picture.value != before


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"words", "not an image"), (b"", "file is empty"), (_png(_picture())[:200], "x.png: ")],
    ids=["words", "empty", "half"],
)
def test_a_file_that_is_no_picture_is_named_with_the_reason(content: bytes, why: str) -> None:
    panel = upload(_model())
    good = _dropped("good.png", _png(_picture()))
    panel.controls["files"].value = good
    before = panel.picture.value
    panel.controls["files"].value = _dropped("x.png", content)
    assert "AdapterError: x.png: " in panel.message.value
    assert why in panel.message.value
    assert "drop a JPEG, PNG or TIFF" in panel.message.value
    assert "/tmp" not in panel.message.value
    assert panel.picture.value == before
    panel.controls["files"].value = good
    assert panel.message.value == ""


def test_an_exit_that_was_taken_is_said() -> None:
    model = _model(["lora:rank=2", al.DynExits(every=1, forward_sparsity=0, backward_sparsity=0)])
    model.extra["exits"] = {"thresholds": [0, 0, 0], "policy": "max_softmax"}
    answer = answer_picture(model, _picture())
    assert answer.block == 1
    assert answer_figure(answer).axes[2].get_title() == "answered behind block 1"


def test_long_names_are_wrapped_and_keep_both_ends() -> None:
    assert wrapped("oak") == "oak"
    lines = wrapped("a rather long name that needs two lines").split("\n")
    assert len(lines) == 2
    assert " ".join(lines) == "a rather long name that needs two lines"
    for name in (
        "begin " + "and so on " * 20 + "end.",
        "begin" + "x" * 200 + "end.",
        "begin_" + "y_" * 99 + "end.",
    ):
        lines = wrapped(name).split("\n")
        assert len(lines) <= LINES
        assert all(len(line) <= WIDTH for line in lines)
        assert lines[0].startswith("begin")
        assert lines[-1].endswith("end.")
        assert "…" in "".join(lines)
    assert wrapped("5$ and 6$") == r"5\$ and 6\$"


def test_names_can_come_with_the_widget_and_have_to_fit() -> None:
    model = _model(classes=None)
    with pytest.raises(al.AdapterError, match=r"what its 6 outputs are called; pass classes="):
        upload(model)
    with pytest.raises(al.AdapterError, match="2 class names for 6 outputs"):
        upload(model, ["a", "b"])
    upload(model, TREES)
    assert list(model.classes) == TREES


def test_a_model_of_clips_and_more_than_one_picture_are_refused(tmp_path) -> None:
    with pytest.raises(al.AdapterError, match="takes clips"):
        upload(clip_model("linear"))
    with pytest.raises(al.AdapterError, match="takes clips"):
        answer_picture(clip_model("linear"), _picture())
    for many in ([_picture()], str(tmp_path)):
        with pytest.raises(al.AdapterError, match="give one picture"):
            answer_picture(_model(), many)
