"""What the README and the written pages say is so: methods, links, commands and numbers."""

import re
import shlex
from pathlib import Path

import pytest

from adapters_lib import backbones, cli, compare
from adapters_lib.datasets.leaves.drawing import LEAF_FIELDS
from adapters_lib.datasets.leaves.parameters import HELD_BACK
from adapters_lib.experiments import read_table
from adapters_lib.methods import METHODS
from adapters_lib.workbook import comparable

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {path.stem: path.read_text() for path in (ROOT / "adapters_lib/workbook/pages").glob("*.md")}
OFFLINE = " ".join(PAGES["offline"].split())
COMMANDS = re.findall(
    r"^ {4}python -m adapters_lib (.+?)(?: +#.*)?$", "\n".join([README, *PAGES.values()]), re.M
)


@pytest.mark.parametrize("name", METHODS)
def test_the_table_of_methods_names_every_method_with_its_source(name: str) -> None:
    section = README.partition("## The methods\n")[2].partition("\n## ")[0]
    link = f"| [`{name}`](figures/diagrams/{name}.png) |"
    (row,) = [line for line in section.splitlines() if line.startswith(link)]
    assert METHODS[name].source in row


def test_every_link_into_the_repository_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_every_link_of_a_page_leads_somewhere_in_the_repository() -> None:
    for name, text in PAGES.items():
        links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
        pages = ROOT / "adapters_lib" / "workbook" / "pages"
        assert not [link for link in links if not (pages / link).exists()], name


def test_the_readme_takes_two_screens_and_leads_to_every_page() -> None:
    lines = README.splitlines()
    assert len(lines) <= 100
    shown = [re.sub(r"\]\([^)]*\)", "]", line) for line in lines]
    assert not [line for line in shown if len(line) > 112 and not line.startswith("|")]
    assert [name for name in PAGES if f"pages/{name}.md)" not in README] == []


def test_every_notebook_is_in_the_table() -> None:
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{path.name})" in README


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_table_and_the_notebook_promise_the_same_minutes(path: Path) -> None:
    (row,) = [line for line in README.splitlines() if f"(notebooks/{path.name})" in line]
    (promised,) = re.findall(r"\*\*Time:\*\* about (\d+) minutes? on \w+ CPU cores?", path.read_text())
    assert re.fullmatch(rf"{promised}\b.*", row.split("|")[-2].strip())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    arguments = shlex.split(command)
    parser, _ = cli._parser(arguments)
    parser.parse_args(arguments)


def test_the_numbers_of_the_embedded_backbone_are_those_recorded_with_it() -> None:
    info = backbones.embedded_info()
    assert f"{100 * info['upstream_top1']:.1f} % top-1" in OFFLINE
    assert info["command"].removeprefix("python -m adapters_lib ") in COMMANDS
    assert f"from {len(LEAF_FIELDS)} quantities" in OFFLINE
    assert all(name.replace("_", " ") in OFFLINE for name in HELD_BACK)


def test_the_numbers_of_the_embedded_clip_model_are_those_recorded_with_it() -> None:
    info = backbones.embedded_info("micro_vit_clips")
    drift, down, turn, growth = (
        f"{100 * info['r2'][f'speed_{name}']:.0f} %" for name in ("x", "y", "turn", "growth")
    )
    assert drift == down
    assert (
        f"explains {drift} of the variance of the speeds of drifting, {turn} of turning and {growth} of"
        " growing" in OFFLINE
    )
    assert f"for {info['curve'][-1]['minutes']:.0f} minutes on two cores" in OFFLINE
    assert f"{info['curve'][-1]['clips']:,} views of {info['config']['clips']:,} clips" in OFFLINE


def test_the_numbers_of_the_long_runs_are_those_of_the_tables() -> None:
    pattern = r"probe reaches ([\d.]+) %, ILA\+\+ ([\d.]+), LoRA ([\d.]+) and ADPT ([\d.]+) %"
    stated = re.findall(pattern, " ".join(README.split()))
    tables = (("learning_curve", "val_top1"), ("methods", "top1"))
    for (table, accuracy), numbers in zip(tables, stated, strict=True):
        rows = read_table(ROOT / f"data/results/{table}.csv")
        means = rows[rows["updates"] == 3600].groupby("method")[accuracy].mean()
        for name, number in zip(("linear", "ila++", "lora", "adpt"), numbers, strict=True):
            assert abs(float(number) - means[name]) <= 0.051, (table, name)


def test_how_many_methods_are_above_the_probe_is_what_the_table_says() -> None:
    rows = comparable("methods", ROOT / "data/results")
    assert rows is not None
    verdicts = [
        (found.shown == "yes") * (1 if found.seeds.mean > 0 else -1)
        for name in rows["method"].unique()
        if name != "linear"
        for found in [compare(rows, name, "linear")]
    ]
    text = " ".join(README.split())
    above, total = verdicts.count(1), len(verdicts)
    assert f"{above} of {total} methods are above a linear probe in paired comparisons" in text
    assert ("one is below it" in text) == (verdicts.count(-1) == 1)
