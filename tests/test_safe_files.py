"""Claims about files that several processes, killed ones and strangers write beside ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_training import striped_images, tiny_model

import adapters_lib as al
from adapters_lib import files as safe_files
from adapters_lib.files import atomic_write, load_json, save_json, this_host
from adapters_lib.training.fit import fit
from adapters_lib.training.recipe import Recipe
from adapters_lib.training.run_lock import TrainingLock


def dead_process() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_a_temporary_name_is_new_every_time_and_belongs_to_nobody_else(tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        atomic_write(tmp_path / "a", lambda partial: (seen.append(partial.name), partial.write_text("x")))
    assert len(set(seen)) == 3
    assert all(str(os.getpid()) in name for name in seen)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_symbolic_link_at_the_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_files.secrets, "token_hex", lambda n: "guessed")
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / f".a.{this_host()}-{os.getpid()}-guessed.tmp").symlink_to(precious)
    with pytest.raises(al.AdapterError, match="could not write"):
        save_json(tmp_path / "a", {"x": 1})
    assert precious.read_text() == "mine"


def test_what_the_dead_left_is_removed_and_what_the_living_write_is_not(tmp_path: Path) -> None:
    dead, living = (
        tmp_path / f".a.{this_host()}-{process}-00ff.tmp" for process in (dead_process(), os.getppid())
    )
    elsewhere, other = (
        tmp_path / ".a.otherhost-1-00ff.tmp",
        tmp_path / f".b.{this_host()}-{dead_process()}-00ff.tmp",
    )
    for path in (dead, living, elsewhere, other):
        path.write_text("half")
    save_json(tmp_path / "a", 1)
    assert {path.name for path in tmp_path.iterdir()} == {"a", living.name, elsewhere.name, other.name}
    os.utime(elsewhere, (0, 0))
    save_json(tmp_path / "a", 2)
    assert not elsewhere.exists()


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(partial: Path) -> None:
        partial.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "a", interrupted)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "\xff"])
def test_a_broken_json_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content, encoding="latin-1")
    with pytest.raises(al.AdapterError, match="cannot read .*a.json"):
        load_json(tmp_path / "a.json")


# ---- one folder, one process ---------------------------------------------------------------------


def test_a_second_training_in_the_same_folder_is_told_who_is_there(tmp_path: Path) -> None:
    refused = []

    def meanwhile(row: dict) -> None:
        with pytest.raises(al.AdapterError) as caught:
            fit(tiny_model("linear"), striped_images(8), None, Recipe(epochs=1), out=tmp_path, progress=False)
        refused.append(str(caught.value))

    fit(
        tiny_model("linear"),
        striped_images(8),
        None,
        Recipe(epochs=1),
        out=tmp_path,
        progress=False,
        on_epoch=meanwhile,
    )
    assert len(refused) == 1
    assert f"process {os.getpid()} on {this_host()}" in refused[0]
    assert "is in use" in refused[0]
    assert not (tmp_path / "training.json").exists()
    fit(tiny_model("linear"), striped_images(8), None, Recipe(epochs=1), out=tmp_path, progress=False)


def test_the_note_of_a_dead_process_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(
        json.dumps({"process": dead_process(), "host": this_host(), "since": "yesterday"})
    )
    with TrainingLock(tmp_path):
        assert load_json(tmp_path / "training.json")["process"] == os.getpid()


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(al.AdapterError, match="cannot keep a run in .*choose a folder"):
        fit(
            tiny_model("linear"),
            striped_images(8),
            None,
            Recipe(epochs=1),
            out=tmp_path / "file" / "run",
            progress=False,
        )
