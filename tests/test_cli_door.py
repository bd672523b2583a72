"""One door: every job of the library is a command, and nothing else in it can be run."""

import argparse
import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import joblib
import nbformat
import pytest

import adapters_lib as al
from adapters_lib import cli, cores
from adapters_lib.experiments import plan, run as experiments
from adapters_lib.experiments.run_grids import GRIDS
from adapters_lib.methods.compose import composition_table
from adapters_lib.pretraining import images
from adapters_lib.pretraining.recipes import PretrainConfig

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "adapters_lib"
PROMISED = {
    *("train", "evaluate", "cost", "methods", "data", "exits", "bench", "results", "tune", "figures"),
    *("workbook", "site", "pretrain", "pretrain-clips"),
}
COMPLETING = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
_shtab_adapters_lib
echo "${{COMPREPLY[*]}}"
"""


def stops(capsys, *argv: str) -> str:
    """What a command prints that ends by itself, as argparse's own actions do."""
    with pytest.raises(SystemExit) as stop:
        cli.main([*argv])
    assert stop.value.code == 0
    return capsys.readouterr().out


def answer(capsys, *argv: str) -> dict:
    """The JSON object of a command that succeeds."""
    assert cli.main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def complaint(capsys, *argv: str) -> str:
    """The one line of a command that fails."""
    assert cli.main([*argv]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def parsers(
    parser: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """(command, action …) → the parser of every level."""
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from parsers(sub, (*path, name))


# ---- the door itself
# ------------------------------------------------------------------------------


def test_every_promised_job_is_a_command() -> None:
    assert set(cli.COMMANDS) >= PROMISED


def test_the_page_of_the_library_lists_the_commands() -> None:
    page = (PACKAGE / "workbook" / "pages" / "library.md").read_text()
    (listed,) = re.findall(r"Every job is a command of this one door: ([^;]+);", page)
    assert re.findall(r"[\w-]+", listed.replace(" and ", ", ")) == list(cli.COMMANDS)


def test_the_version_is_that_of_the_library(capsys) -> None:
    assert stops(capsys, "--version") == f"adapters-lib {al.__version__}\n"


def test_the_console_script_is_the_same_door(capsys, monkeypatch) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["adapters-lib"].partition(":")
    assert getattr(import_module(module), name) is cli.main
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/adapters-lib", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().out.startswith("usage: adapters-lib [-h]")


def test_only_the_door_parses_arguments_or_can_be_run() -> None:
    places = []
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "cli" or path == PACKAGE / "__main__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            runs = isinstance(node, ast.Compare) and "__main__" in ast.unparse(node)
            main = isinstance(node, ast.FunctionDef) and node.name == "main"
            if "argparse" in names or runs or main:
                places.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert places == []


def test_the_makefile_calls_only_the_door_for_the_jobs_of_the_library() -> None:
    makefile = (ROOT / "Makefile").read_text()
    modules = re.findall(r"python -m ([\w.]+)", makefile)
    assert set(modules) - {"adapters_lib"} == {"pytest", "pip", "fuzz", "venv", "uv"} & set(modules)
    jobs = re.findall(r"python -m adapters_lib ([^\n)]*)", makefile)
    assert {job.split()[0] for job in jobs} == {"workbook", "threads", "results", "figures", "site"}
    for job in jobs:
        parser, _ = cli._parser(job.split())
        parser.parse_args(job.split())


# ---- help and completion
# ------------------------------------------------------------------------------


def test_help_of_every_command_comes_without_torch() -> None:
    code = """
import contextlib, io, sys
from adapters_lib.cli import COMMANDS, main
for name in COMMANDS:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([name, "--help"])
    assert "--json" in said.getvalue(), name
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr


def test_help_of_every_action_can_be_shown() -> None:
    actions = dict(parsers(cli._parser(["--print-completion"])[0]))
    assert {("results", "run"), ("exits", "curve"), ("bench", "decode")} <= set(actions)
    for path, parser in actions.items():
        assert parser.format_help().startswith("usage: adapters-lib"), path
        assert path in [(), ("threads",)] or len(parser._actions) > 1, path


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_the_completion_script_knows_all_commands(capsys, shell: str) -> None:
    script = stops(capsys, "--print-completion", shell)
    assert "adapters-lib" in script
    words = set(re.findall(r"[\w-]+", script))
    assert set(cli.COMMANDS) <= words
    assert {"contact-sheet", "claims", "--limit-minutes" if shell == "bash" else "claims"} <= words


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("adapters-lib resu", "results"),
        ("adapters-lib results ru", "run"),
        ("adapters-lib results run --lim", "--limit-minutes"),
        ("adapters-lib pretrain-clips --dro", "--dropped"),
        ("adapters-lib evaluate --split te", "test"),
    ],
)
def test_bash_completes_commands_actions_options_and_values(
    capsys, tmp_path, words: str, completed: str
) -> None:
    script = tmp_path / "completion.sh"
    script.write_text(stops(capsys, "--print-completion", "bash"))
    code = COMPLETING.format(script=shlex.quote(str(script)), words=words)
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [completed]


# ---- the jobs that came to the door
# ------------------------------------------------------------------------------


def test_threads_prints_what_the_shell_sets_for_another_process(capsys, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert cli.main(["threads"]) == 0
    wanted = {"OMP_NUM_THREADS": str(cores.available_cores()), "OMP_WAIT_POLICY": "PASSIVE"}
    assert capsys.readouterr().out.split() == [f"{name}={value}" for name, value in wanted.items()]
    assert not set(wanted) & set(os.environ)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert answer(capsys, "threads") == {"OMP_WAIT_POLICY": "PASSIVE"}


def test_pairs_of_methods_are_listed_and_written(capsys, tmp_path) -> None:
    listed = answer(capsys, "methods", "--compositions")
    assert listed == {"compositions": composition_table(), "out": None}
    table = tmp_path / "new" / "composition.csv"
    assert cli.main(["methods", "--compositions", "--out", str(table)]) == 0
    printed = capsys.readouterr().out
    refused = [pair for pair in listed["compositions"] if pair["composes"] == "no"]
    assert len(printed.splitlines()) == len(refused) + 2
    assert "vpt-shallow + vpt-deep: " in printed
    assert table.read_bytes() == (ROOT / "data" / "composition.csv").read_bytes()


def test_results_run_fills_the_table_and_list_counts_it(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ADAPTERS_CACHE", str(tmp_path / "work"))
    options = {"cultivars": 2, "n_train": 4, "n_val": 1, "n_test": 4, "augment": None}
    runs = experiments.grid(
        ["linear", "bitfit"],
        "leaves-ultra",
        (0, 1),
        data_options=options,
        recipe=al.Recipe(epochs=1, batch_size=4),
    )
    for name in set(GRIDS) - {"methods"}:
        monkeypatch.delitem(GRIDS, name)
    monkeypatch.setitem(GRIDS, "methods", lambda: runs)
    folder = ["methods", "--folder", str(tmp_path)]
    with joblib.parallel_config(backend="threading"):  # the small grid is not known to other processes
        counts = answer(capsys, "results", "run", *folder, "--only", "*/1", "--jobs", "1")
    assert (counts["ran"], counts["left"]) == (2, 0)
    counts = answer(capsys, "results", "list", *folder, "--jobs", "2")
    (table,) = counts["tables"]
    assert (table["done"], table["runs"], table["left"], table["unasked"]) == (2, 4, 2, 0)
    assert table["next"] == "linear on leaves-ultra, seed 0"
    assert (counts["left"], counts["jobs"]) == (2, 2)
    assert cli.main(["results", "list", *folder, "--jobs", "2"]) == 0
    hours = re.findall(r"about (\d+) min on one core, (\d+) min on 2", capsys.readouterr().out)
    assert len(hours) == 1


def test_orders_of_the_queue_are_those_that_help_names(capsys) -> None:
    assert all(f"{name} (" in stops(capsys, "results", "run", "--help") for name in plan.ORDERS)


def notebook(root: Path, name: str, *sources: str) -> Path:
    (root / "notebooks").mkdir(exist_ok=True)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cells = [nbformat.v4.new_markdown_cell("# 07"), *map(nbformat.v4.new_code_cell, sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), root / "notebooks" / name)
    return root / "notebooks" / name


def test_workbook_runs_the_named_notebooks_in_their_small_setting(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("ADAPTERS_OUT", raising=False)
    monkeypatch.delenv("ADAPTERS_QUICK", raising=False)
    shown = "import os\nprint(os.environ['ADAPTERS_QUICK'], os.environ['ADAPTERS_OUT'])"
    notebook(tmp_path, "07_x.ipynb", shown)
    left = notebook(tmp_path, "08_y.ipynb", "1 / 0")
    out = tmp_path / "out"
    printed = answer(capsys, "workbook", "07", "--root", str(tmp_path), "--out", str(out), "--quick")
    assert [ran["name"] for ran in printed["notebooks"]] == ["07_x.ipynb"]
    ran = nbformat.read(out / "07_x.ipynb", as_version=4)
    assert ran.cells[1].outputs[0].text == f"1 {out}\n"
    assert not {"ADAPTERS_OUT", "ADAPTERS_QUICK"} & set(os.environ)  # they are the kernel's
    assert cli.main(["workbook", "08", "--root", str(tmp_path), "--out", str(out)]) == 2
    err = capsys.readouterr().err.splitlines()
    assert err[-1] == "error: 08_y.ipynb stopped at a failing cell; the file is left as it was"
    assert any("ZeroDivisionError" in line for line in err[:-1])
    assert not (out / left.name).exists()


def test_site_says_how_many_figures_it_shows(capsys, tmp_path) -> None:
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "01_frozen_vit_and_costs.ipynb", tmp_path / "notebooks")
    printed = answer(capsys, "site", "--notebooks-only", "--root", str(tmp_path))
    html = (tmp_path / "build" / "site" / "01_frozen_vit_and_costs.html").read_text()
    (page,) = printed["pages"]
    assert page["figures"] == html.count('src="data:image/') > 0
    assert Path(printed["index"]).read_text().count("<li><b>") == 1


def test_pretraining_gets_the_recipe_the_folder_and_the_command(capsys, tmp_path, monkeypatch) -> None:
    def pretrain(config: PretrainConfig, out: str, command: str) -> dict:
        return vars(config) | {"told": [out, command]}

    monkeypatch.setattr(images, "pretrain", pretrain)
    few = "--schedule 32:0:8 --wild 8 --batch-size 8 --lr 0.5"
    printed = answer(capsys, "pretrain", *few.split(), "--out", str(tmp_path))
    assert printed.pop("told") == [str(tmp_path), f"python -m adapters_lib pretrain {few}"]
    wanted = PretrainConfig(schedule=((32, 0.0, 8),), wild=8, batch_size=8, lr=0.5)
    assert printed == cli.plain(vars(wanted))


def test_pretraining_on_clips_writes_weights_and_prints_their_description(capsys, tmp_path) -> None:
    few = "--clips 4 --val-clips 2 --dropped 0 --whole 4 --batch-size 4"
    printed = answer(capsys, "pretrain-clips", *few.split(), "--out", str(tmp_path))
    assert printed["command"] == f"python -m adapters_lib pretrain-clips {few}"
    assert printed == cli.plain(json.loads((tmp_path / "micro_vit_clips.json").read_text()))
    assert (tmp_path / "micro_vit_clips.safetensors").exists()


# ---- messages
# ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "wanted", "unwanted"),
    [
        (["results", "gpu", "--minutes", "0"], "--minutes 0.0, --processes", "minutes="),
        (["results", "run", "methods", "--only", "lroa"], "no run matches --only 'lroa'", "only="),
        (["results", "run", "method"], "did you mean 'methods'", "grids"),
        (["results", "run", "methods", "--order", "shrot"], "did you mean 'short'", "order="),
        (["results", "run", "--limit-minutes", "-1"], "--limit-minutes=-1.0; give at least 0", "deadline"),
        (["results", "prune", "exits"], "only tables of grids can be pruned", "name="),
        (["results", "table", "nothing"], "`python -m adapters_lib results run nothing`", "grid="),
        (["results", "list", "--seeds", "-1"], "--seeds=-1; give at least 0", "None"),
        (["tune"], "pass --until-bracketed", "until_bracketed"),
        (["tune", "lora", "--list"], "--list goes with --until-bracketed", "until_bracketed"),
        (["tune", "lora", "--limit-minutes", "1"], "--limit-minutes goes with", "limit_minutes"),
        (["tune", "lorra", "--until-bracketed", "--list"], "did you mean 'lora'", "methods="),
        (["figures", "task"], "unknown figure 'task'; did you mean", "names="),
        (["site"], "give the repository as --root", "root="),
        (["workbook", "77"], "give a part of a name, such as 02; the repository is --root", "root="),
        (["methods", "--out", "x.csv"], "pass --compositions too", "compositions="),
        (["pretrain", "--batch-size", "0"], "--batch-size=0; give at least 1", "batch_size"),
        (["pretrain", "--schedule", "97:0:1000"], "schedule entry 97:0.0:1000", "schedule="),
        (["pretrain-clips", "--clips", "0"], "--clips 0; it must be at least 1", "clips="),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_messages_of_the_new_doors_name_options(
    capsys, tmp_path, monkeypatch, argv, wanted, unwanted
) -> None:
    monkeypatch.chdir(tmp_path)
    line = complaint(capsys, *argv)
    assert wanted in line, line
    assert unwanted not in line
    assert list(tmp_path.iterdir()) == []
