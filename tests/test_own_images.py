"""Your own folder: odd files are used or named, the report's numbers are those of the test images, and a
saved adapter knows one file."""

import warnings
from pathlib import Path

import nbformat
import pytest
import torch
from PIL import Image

import adapters_lib as al
from adapters_lib.analysis import image_report as own_images
from adapters_lib.datasets.load import DataWarning
from adapters_lib.experiments import published_tables
from adapters_lib.workbook import run as workbook

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return own_images.practice_folder(tmp_path_factory.mktemp("mine") / "leaves", classes=2, n=8, size=48)


@pytest.fixture(scope="module")
def trained(folder) -> tuple[al.AdaptedViT, al.Task]:
    backbone = al.create_backbone(image_size=48)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        task = al.load_data("folder", root=folder, backbone=backbone, augment=None, cache=True)
    model = al.adapt(backbone, "lora:rank=2", num_classes=task.num_classes, seed=0)
    al.fit(model, task.train, None, al.Recipe(epochs=2, batch_size=8), progress=False)
    model.classes = task.classes
    return model, task


def test_the_practice_folder_holds_the_odd_files_it_promises(folder) -> None:
    with Image.open(folder / "cultivar 1" / "for the printer (CMYK).jpg") as image:
        assert image.mode == "CMYK"
    with Image.open(folder / "cultivar 2" / "scanned (grey).png") as image:
        assert image.mode == "L"
    assert (folder / "cultivar 1" / "notes.jpg").read_text().startswith("These are words")
    assert len(list((folder / "cultivar, only once").iterdir())) == 1


def test_what_was_skipped_is_said_with_the_reason_and_the_rest_is_used(trained) -> None:
    _, task = trained
    skipped = own_images.skipped_table(task).set_index("what")["why"].to_dict()
    assert skipped.keys() == {
        "forgotten.jpg",
        str(Path("cultivar 1", "notes.jpg")),
        str(Path("cultivar 2", "interrupted copy.jpg")),
        "cultivar, only once",
    }
    assert skipped[str(Path("cultivar 1", "notes.jpg"))] == "not an image"
    assert "truncated" in skipped[str(Path("cultivar 2", "interrupted copy.jpg"))]
    assert skipped["cultivar, only once"].startswith("class with 1 image")
    used = [path.name for part in task.parts().values() for path in part.paths]
    assert {"for the printer (CMYK).jpg", "scanned (grey).png"} <= set(used)
    counts = own_images.parts_table(task)
    assert counts.to_numpy().sum() == len(used) == 2 * 8 + 2
    assert list(counts.index) == task.classes == ["cultivar 1", "cultivar 2"]


def test_nothing_skipped_is_an_empty_table(tmp_path) -> None:
    root = own_images.practice_folder(tmp_path, classes=2, n=3, size=32, odd=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = al.load_data("folder", root=root, image_size=32)
    assert own_images.skipped_table(task).empty
    with pytest.raises(al.AdapterError, match="at least 2 classes of 3"):
        own_images.practice_folder(tmp_path, classes=1)


def test_the_report_agrees_with_evaluate_and_its_interval_holds_the_accuracy(trained) -> None:
    model, task = trained
    about = own_images.report(model, task)
    assert about.top1 == pytest.approx(al.evaluate(model, task.test)["top1"])
    assert about.low < about.top1 < about.high or about.top1 in (0, 100)
    assert about.n == len(task.test) == about.seen.matrix.sum()
    assert about.majority == 50
    assert 100 * about.right.mean() == pytest.approx(about.top1)
    assert about.cost.macs == al.cost(model).macs
    assert f"{about.top1:.1f} %" in about.table().to_string()


def test_the_temperature_that_made_the_logits_too_bold_is_found_again() -> None:
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(4000, 3, generator=generator)
    labels = torch.multinomial(honest.softmax(1), 1, generator=generator)[:, 0]
    assert own_images.best_temperature(3 * honest, labels) == pytest.approx(3, rel=0.15)


def test_a_reloaded_adapter_says_the_same_of_one_file_by_name(trained, tmp_path) -> None:
    model, task = trained
    model.save_pretrained(tmp_path)
    again = al.load_pretrained(tmp_path)
    path = task.test.paths[0]
    (row,) = al.classify(again, path, top=2).to_dict("records")
    assert row["file"] == str(path)
    assert {row["class_1"], row["class_2"]} == set(task.classes)
    assert row["probability_1"] + row["probability_2"] == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        expected = model.eval()(task.test[0][0][None]).softmax(1)[0].max().item()
    assert row["probability_1"] == pytest.approx(expected, abs=1e-5)
    assert al.classify(again, path, temperature=8)["probability_1"].item() < expected


def test_a_text_file_named_jpg_is_refused_by_name(trained, folder) -> None:
    with pytest.raises(al.AdapterError, match=r"notes\.jpg: not an image"):
        al.classify(trained[0], folder / "cultivar 1" / "notes.jpg")


def test_published_tables_are_read_and_a_wrong_name_says_where_it_looked(monkeypatch) -> None:
    assert set(published_tables.published("paper_results")["dataset"]) >= {"Cotton80", "SoyLocal"}
    monkeypatch.setattr(published_tables, "_address", lambda: None)
    with pytest.raises(al.AdapterError, match=r"no table 'nothing' in .*data.nothing\.csv"):
        published_tables.published("nothing")


@pytest.mark.notebooks
def test_the_notebook_takes_a_folder_with_odd_files(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ADAPTERS_QUICK", "1")
    monkeypatch.setenv("ADAPTERS_OUT", str(tmp_path))
    notebook = nbformat.read(ROOT / "notebooks" / "10_your_own_images.ipynb", as_version=4)
    (cell,) = (cell for cell in notebook.cells if "FOLDER = None" in cell.source)
    cell.source = cell.source.replace("FOLDER = None", f"FOLDER = {str(folder)!r}")
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    workbook.execute(tmp_path / "mine.ipynb", tmp_path / "ran.ipynb")
    text = (tmp_path / "ran.ipynb").read_text()
    assert "not an image" in text
    assert "class with 1 image" in text
