"""The code of the written pages on looking inside, on video and on grids runs as it stands there, on small
models and few images."""

import re
from pathlib import Path

import joblib
import pytest
import torch
from conftest import make_tiny_vit

import adapters_lib as al
from adapters_lib.analysis.image_report import practice_folder
from adapters_lib.datasets.load import DataWarning
from adapters_lib.experiments import run as experiments

PAGES = Path(__file__).parents[1] / "adapters_lib" / "workbook" / "pages"


def _code(page: str) -> str:
    """The Python of a page up to its first section."""
    text = (PAGES / f"{page}.md").read_text().partition("\n## ")[0]
    return "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))


def test_what_the_page_says_about_looking_inside_runs() -> None:
    task = al.load_data("leaves-ultra", image_size=32, cultivars=3, n_train=1, n_val=1, n_test=2)
    vit = al.create_backbone(
        "vit_tiny_patch16_224",
        pretrained=False,
        image_size=32,
        patch_size=8,
        depth=12,
        embed_dim=32,
        num_heads=2,
    )
    model = al.adapt(vit, al.LoRA(), num_classes=3)
    images = torch.stack([task.test[i][0] for i in range(4)])
    known = {"al": al, "torch": torch, "model": model, "images": images, "task": task}
    exec(_code("inside"), known)
    assert known["maps"].shape == (4, 2, 17, 17)
    assert known["alike"].shape == (12, 12)
    assert known["heat"].pixels.shape == (4, 32, 32)
    assert known["areas"].deletion_area.shape == (4,)
    assert known["features"].shape == (6, 32)


def test_what_the_page_says_about_video_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    load, recipe = al.load_data, al.offline_recipe
    few = {"n_train": 1, "n_val": 1, "n_test": 1, "folder": tmp_path, "cache_gib": 0, "progress": False}
    monkeypatch.setattr(al, "load_data", lambda name, **options: load(name, **options, **few))
    monkeypatch.setattr(al, "offline_recipe", lambda method, **options: recipe(method, **options, epochs=1))
    known = {"al": al}
    exec(_code("video"), known)
    assert known["model"].token_counts() == [144]
    assert len(known["run"].history) == 1
    assert "'n': 16, 'views': 4" in capsys.readouterr().out


def test_what_the_page_says_about_grids_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    def pretend(run: al.Experiment, progress: bool = False) -> dict:
        hits = torch.arange(8) < 3 + run.seed + len(run.name)
        row = {
            "key": run.key,
            "method": run.name,
            "data": run.data,
            "seed": run.seed,
            "top1": 100 * float(hits.double().mean()),
        }
        return {
            **row,
            "n_test": 8,
            "hits": experiments.pack_hits(hits),
            "macs": len(run.name),
            "version": al.__version__,
        }

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiments, "run_experiment", pretend)
    with joblib.parallel_config(backend="threading"):  # the pretence is not known to other processes
        exec(_code("results"), {"al": al})
    printed = capsys.readouterr().out
    assert re.search(r"lora − linear: -?\d+\.\d ± .* over seeds; .* over images", printed)
    assert "front_share" in printed
    assert (tmp_path / "data" / "results" / "mine.csv").exists()


def test_what_the_page_says_about_ones_own_pictures_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    practice_folder("new_photos", classes=2, n=3, size=32)
    model = al.adapt(make_tiny_vit(depth=2), "lora:rank=2", classes=["oak", "elm"]).eval()
    monkeypatch.setattr(al, "load_pretrained", lambda folder: model)
    with pytest.warns(DataWarning, match="left out"):
        exec(_code("pictures"), {"al": al})
    assert "notes.jpg" in capsys.readouterr().out
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(torch.export.load("mine.pt2").module()(images), model(images))


@pytest.mark.parametrize("word", ["make results", "make figures"])
def test_the_makefile_has_the_targets_that_the_page_names(word: str) -> None:
    assert f"    {word} " in (PAGES / "results.md").read_text()
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    assert f"\n{word.removeprefix('make ')}:" in makefile
