"""pyproject.toml, environment.yml and the Makefile agree; nothing is pinned."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import adapters_lib as al

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}  # packages with another name on conda-forge


def _parse(requirement: str) -> tuple[str, str]:
    name, bound = re.fullmatch(r"([\w.-]+)\s*(.*)", requirement).groups()
    return CONDA_NAMES.get(name, name), bound


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_names_the_same_packages_as_pyproject() -> None:
    project = _project()
    wanted = dict(map(_parse, project["dependencies"] + project["optional-dependencies"]["lab"]))
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    found = dict(map(_parse, listed))
    assert found.pop("python") == project["requires-python"]
    found.pop("pip")
    assert found == wanted


def test_the_owners_packages_are_all_there() -> None:
    project = _project()
    names = {_parse(r)[0] for r in project["dependencies"] + project["optional-dependencies"]["lab"]}
    assert {"torch", "timm", "jupyterlab", "matplotlib", "seaborn", "ipywidgets", "captum"} <= names


@pytest.mark.parametrize("bad", ["==", "<", "~="])
def test_no_requirement_is_pinned_or_capped(bad: str) -> None:
    project = _project()
    everything = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    assert not [r for r in everything if bad in r]


def test_the_top_level_holds_what_the_owner_asked_for() -> None:
    for name in ("README.md", "environment.yml", "notebooks", "adapters_lib", "data", "figures", "tests", "LICENSE", ".ci/run"):
        assert (ROOT / name).exists(), name


def test_what_type_checkers_see_is_what_can_be_imported() -> None:
    tree = ast.parse((ROOT / "adapters_lib" / "__init__.py").read_text())
    seen = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level for alias in node.names}
    assert seen == set(al.__all__)
    assert all(getattr(al, name) is not None for name in al.__all__)
