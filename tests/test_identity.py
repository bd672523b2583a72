"""Claims about what a stored result is known by: its images, wherever they lie, and not by their labels
alone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_training import striped_images, tiny_model
from torch.utils.data import ConcatDataset, Dataset, Subset

import adapters_lib as al
from adapters_lib.datasets import identity as module
from adapters_lib.datasets.identity import identity, marks, shared, sketch
from adapters_lib.datasets.images.files import ImageFiles
from adapters_lib.datasets.labelled import TensorImages, View
from adapters_lib.datasets.transforms import NO_MODEL, image_transforms
from adapters_lib.experiments import run as experiments
from adapters_lib.experiments.run import grid, run_grid
from adapters_lib.training.features import cache_features
from adapters_lib.training.fit import fit
from adapters_lib.training.recipe import Recipe

ONE = Recipe(epochs=1, batch_size=8)


def images(seed: int = 0, mean: float = 0.5, labels: object = None, **options: object) -> TensorImages:
    pixels = torch.randint(
        0, 255, (8, 3, 32, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
    return TensorImages(
        pixels, torch.arange(8) % 4 if labels is None else labels, (mean,) * 3, (0.5,) * 3, **options
    )


CHANGES: dict[str, Callable[[], Dataset]] = {
    "pixels": lambda: images(1),
    "augmentation": lambda: images(augment="flip"),
    "normalisation": lambda: images(mean=0.4),
    "size": lambda: images(size=16),
    "interpolation": lambda: images(interpolation="nearest"),
    "labels": lambda: images(labels=torch.arange(8) // 2),
    "order": lambda: View(images(), torch.arange(7, -1, -1)),
    "choice": lambda: View(images(), torch.arange(4)),
    "kind": lambda: type("Noisy", (TensorImages,), {})(
        images().images, images().labels, (0.5,) * 3, (0.5,) * 3
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_decides_an_image_decides_who_a_data_set_is(what: str) -> None:
    assert identity(images()) == identity(images())
    assert identity(CHANGES[what]()) == identity(CHANGES[what]())
    assert identity(CHANGES[what]()) != identity(images())


def photographs(root: Path, seed: int = 0, n: int = 4) -> Path:
    dice = np.random.default_rng(seed)
    for name in ("ash", "elm"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(n):
            Image.fromarray(dice.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(
                root / name / f"{number}.png"
            )
    return root


def files(root: Path, augment: str | None = None, size: int = 32) -> ImageFiles:
    view, _ = image_transforms({**NO_MODEL, "input_size": (3, size, size)}, augment)
    paths = sorted(root.rglob("*.png"))
    return ImageFiles(paths, [int(path.parent.name == "elm") for path in paths], view, augment is None)


def test_a_folder_is_known_by_its_files_and_not_by_where_it_lies(tmp_path: Path) -> None:
    first = identity(files(photographs(tmp_path / "a")))
    assert identity(files(photographs(tmp_path / "elsewhere"))) == first
    assert identity(files(photographs(tmp_path / "b", seed=1))) != first  # other pixels under the same names
    (tmp_path / "a" / "ash" / "3.png").rename(tmp_path / "a" / "ash" / "9.png")
    assert identity(files(tmp_path / "a")) != first


def test_transforms_are_part_of_it(tmp_path: Path) -> None:
    root = photographs(tmp_path)
    identities = {
        identity(files(root, augment, size))
        for augment in (None, "flip", "crop", "rand", "ultra")
        for size in (32, 48)
    }
    assert len(identities) == 10
    assert identity(files(root, "rand")) in identities
    assert identity(files(root, "rand"), views=False) == identity(files(root), views=False)


def test_large_folders_are_known_by_names_sizes_and_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SMALL", 100)
    monkeypatch.setattr(module, "_content_digest", lambda path: pytest.fail("a large folder was read"))
    root = photographs(tmp_path)
    before = identity(files(root))
    assert identity(files(root)) == before
    (root / "ash" / "0.png").touch()
    assert identity(files(root)) != before


class Own(Dataset):
    """A user's data set: its images come from a tensor and a strength."""

    def __init__(self, seed: int = 0, strength: int = 2, file: str = "") -> None:
        self.base = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        self.strength, self.labels, self.file = strength, torch.arange(6) % 2, file

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.base[index] * self.strength, int(self.labels[index])


def test_a_data_set_of_ones_own_is_walked_attribute_by_attribute(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("one")
    with_file = identity(Own(file=str(path)))
    path.write_text("two")
    identities = [
        identity(Own()),
        identity(Own(1)),
        identity(Own(strength=3)),
        with_file,
        identity(Own(file=str(path))),
    ]
    assert len(set(identities)) == 5
    assert identity(Own()) == identities[0]
    assert (
        len(
            {
                identity(Subset(Own(), [0, 1])),
                identity(Subset(Own(), [1, 0])),
                identity(ConcatDataset([Own(), Own(1)])),
            }
        )
        == 3
    )


def test_a_data_set_may_say_itself_who_it_is() -> None:
    class Named(Own):
        def identity(self) -> str:
            return "mine, version 3"

    first, second = Named(0), Named(1)
    assert identity(first) == identity(second)


@pytest.mark.parametrize("what", ["pixels", "augmentation", "normalisation", "size"])
def test_a_run_folder_refuses_other_images_under_the_same_labels(tmp_path: Path, what: str) -> None:
    def data(changed: bool) -> Dataset:
        options = {
            "pixels": {"seed": 1},
            "augmentation": {"augment": "flip"},
            "normalisation": {"mean": 0.4},
            "size": {"size": 32},
        }[what]
        return images(
            **(
                ({"size": 32, **options, "interpolation": "nearest"} if what == "size" else options)
                if changed
                else {}
            )
        )

    fit(tiny_model("linear"), data(False), None, ONE, out=tmp_path, progress=False)
    with pytest.raises(al.AdapterError, match="holds another run: train.content is"):
        fit(tiny_model("linear"), data(True), None, ONE, out=tmp_path, progress=False)
    assert fit(tiny_model("linear"), data(False), None, ONE, out=tmp_path, progress=False).final["epoch"] == 1


def test_features_are_known_by_the_images_that_they_come_from() -> None:
    model = tiny_model("linear")
    one, other = cache_features(model, striped_images(8)), cache_features(model, striped_images(8, seed=1))
    assert identity(one) != identity(other)
    one.tokens += 1e-6  # rounding, as on another machine
    assert identity(one) == identity(cache_features(model, striped_images(8)))


# ---- grids ---------------------------------------------------------------------------------------


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the runs that were made; nothing is trained."""
    keys: list[str] = []

    def pretend(run: al.Experiment, progress: bool = False) -> dict:
        keys.append(run.key)
        return {"key": run.key, "method": run.name, "top1": 50.0}

    monkeypatch.setattr(experiments, "run_experiment", pretend)
    return keys


def test_rows_of_a_folder_are_made_again_when_its_files_change(tmp_path: Path, ran: list[str]) -> None:
    root = photographs(tmp_path / "data")
    runs, table = grid(["linear"], "folder", [0], data_options={"root": str(root)}), tmp_path / "t.csv"
    run_grid(runs, table, progress=False)
    run_grid(runs, table, progress=False)
    assert len(ran) == 1
    photographs(root, seed=5)  # other pixels, the same names and numbers
    run_grid(runs, table, progress=False)
    photographs(root, seed=5, n=6)
    assert list(run_grid(runs, table, progress=False)["key"]) == ran[2:]
    assert len(set(ran)) == 3
    (root / "notes.txt").write_text("not an image")
    run_grid(runs, table, progress=False)
    assert len(ran) == 3


def test_rows_of_drawn_data_have_the_key_of_name_options_and_version_alone() -> None:
    run = grid(["linear"], "leaves-ultra", [0])[0]
    assert "files" not in run.configuration()
    assert "outside" not in run.configuration()


def test_a_folder_that_is_not_there_is_the_failure_of_its_runs_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = experiments.run_experiment
    monkeypatch.setattr(
        experiments,
        "run_experiment",
        lambda run: {"key": run.key, "top1": 1.0} if run.data == "digits" else good(run),
    )
    runs = [
        *grid(["linear"], "folder", [0], data_options={"root": str(tmp_path / "no")}),
        *grid(["linear"], "digits", [0]),
    ]
    with pytest.raises(al.AdapterError, match=r"1 of 2 runs failed.*linear on folder.*is not a folder"):
        run_grid(runs, tmp_path / "t.csv", progress=False)
    assert len(experiments.read_table(tmp_path / "t.csv")) == 1


def test_a_row_is_not_stored_when_the_files_change_while_it_is_made(tmp_path: Path) -> None:
    root = photographs(tmp_path / "data", n=8)
    (run,) = grid(
        ["linear"],
        "folder",
        [0],
        data_options={"root": str(root), "image_size": 96},
        recipe=Recipe(epochs=1, batch_size=4),
    )
    (pinned,) = experiments.pinned([run])
    photographs(root, seed=3, n=8)
    with pytest.raises(
        al.AdapterError, match="the files behind linear on folder, seed 0 changed while it ran"
    ):
        experiments.run_experiment(pinned)


# ---- marks of single images ----------------------------------------------------------------------


def test_an_image_is_found_again_under_another_name(tmp_path: Path) -> None:
    root = photographs(tmp_path / "a")
    own = marks(files(root))
    assert own is not None
    assert len(own.unique()) == 8
    (tmp_path / "b").mkdir()
    shutil.copy(root / "elm" / "2.png", tmp_path / "b" / "renamed.png")
    assert shared(sketch(own), marks(files(tmp_path / "b"))) == 1
    assert shared(sketch(own), marks(files(photographs(tmp_path / "c", seed=9)))) == 0


def test_a_full_sketch_still_tells_two_sets_with_common_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 20)
    one = torch.randint(2**62, (500,), generator=torch.Generator().manual_seed(0))
    assert len(sketch(one)) == 20
    assert shared(sketch(one), one[:250]) in range(3, 18)
    assert shared(sketch(one), one + 1) == 0
    assert torch.equal(sketch(sketch(one[:250]), sketch(one[250:])), sketch(one))
