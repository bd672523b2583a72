"""pyproject.toml, environment.yml and the imports agree; nothing is pinned, and what is declared is safe
to use."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest
import timm
import torch
import yaml

import adapters_lib as al

ROOT = Path(__file__).parents[1]
# Packages with another name on conda-forge.
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
NEVER_IMPORTED = {
    "jupyterlab": "a program: make lab",
    "ipykernel": "runs the notebooks",
    "pytest-xdist": "pytest -n",
    "tensorboard": "torch.utils.tensorboard imports it",
    "onnx": "torch.onnx imports it",
    "onnxscript": "torch.onnx imports it",
    "ruff": "a program",
    "mypy": "a program",
    "pandas-stubs": "read by mypy",
    "types-pyyaml": "read by mypy",
}


def _parse(requirement: str) -> tuple[str, str]:
    name, bound = re.fullmatch(r"([\w.-]+)\s*(.*)", requirement).groups()
    return CONDA_NAMES.get(name, name), bound


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_names_the_same_packages_as_pyproject() -> None:
    project = _project()
    wanted = dict(map(_parse, project["dependencies"] + project["optional-dependencies"]["lab"]))
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    packages = dict(map(_parse, listed))
    assert packages.pop("python") == project["requires-python"]
    packages.pop("pip")
    assert packages == wanted


def test_the_owners_packages_are_all_there() -> None:
    project = _project()
    names = {_parse(r)[0] for r in project["dependencies"] + project["optional-dependencies"]["lab"]}
    assert {"torch", "timm", "jupyterlab", "matplotlib", "seaborn", "ipywidgets", "captum"} <= names


@pytest.mark.parametrize("bad", ["==", "<", "~="])
def test_no_requirement_is_pinned_or_capped(bad: str) -> None:
    project = _project()
    everything = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    assert not [r for r in everything if bad in r]


def test_the_top_level_holds_what_the_owner_asked_for() -> None:
    for name in (
        "README.md",
        "environment.yml",
        "notebooks",
        "adapters_lib",
        "data",
        "figures",
        "tests",
        "LICENSE",
        ".ci/run",
    ):
        assert (ROOT / name).exists(), name


def test_what_type_checkers_see_is_what_can_be_imported() -> None:
    tree = ast.parse((ROOT / "adapters_lib" / "__init__.pyi").read_text())
    seen = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert seen == set(al.__all__)
    assert all(getattr(al, name) is not None for name in al.__all__)


def test_what_a_file_of_the_library_imports_at_its_top_is_a_dependency() -> None:
    assert not _undeclared(_library(top=True), _declared("dependencies"))


def test_what_the_library_imports_within_a_function_is_a_dependency_or_in_an_extra() -> None:
    assert not _undeclared(_library(top=False), _declared("dependencies", "lab", "export", "site", "test"))


def test_what_tests_and_notebooks_import_is_declared() -> None:
    assert not _undeclared(_tests(), _declared("dependencies", "lab", "test", "browser"))
    assert not _undeclared(_notebooks(), _declared("dependencies"))


def test_every_declared_package_is_imported_somewhere_or_has_a_reason() -> None:
    in_library = _packages(_library(top=False))
    anywhere = in_library | _packages(_tests()) | _packages(_notebooks())
    assert _declared("dependencies") <= in_library
    assert _declared("lab", "test", "browser") - anywhere == NEVER_IMPORTED.keys()


def test_the_citation_names_the_three_papers() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    papers = {paper["authors"][0]["family-names"]: paper for paper in cited["references"]}
    numbers = {name: paper.get("identifiers", [{}])[0].get("value") for name, paper in papers.items()}
    assert numbers == {"Rios": "arXiv:2409.11051", "Zhang": "arXiv:2407.14302", "Li": None}
    assert (papers["Li"]["volume"], papers["Li"]["start"], papers["Li"]["year"]) == (154, 105395, 2025)
    assert cited["license"] == _project()["license"]


def test_the_workflow_runs_make_test_on_three_systems_and_templates_can_be_filled_in() -> None:
    (path,) = (ROOT / ".github" / "workflows").glob("*.yml")
    job = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]["test"]
    assert job["strategy"]["matrix"]["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    steps = {step["name"]: step["run"] for step in job["steps"] if "run" in step}
    assert steps["make test"] == "make test"
    made = re.search(r"\ntest: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"))[1]
    without_make = steps["the same without make"]
    for line in made.replace("$(BIN)/", "").split("\n\t"):
        assert line.strip() in without_make  # Windows gets every line of `make test`
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(templates) >= 2
    for template in templates:
        form = yaml.safe_load(template.read_text(encoding="utf-8"))
        assert form["name"]
        assert form["description"]
        assert {field["type"] for field in form["body"]} <= {"input", "textarea", "dropdown", "markdown"}


def test_name_and_address_are_marked_as_the_owners_to_set() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^name = .*# the owner\'s to set', text, re.MULTILINE)
    assert "# The owner's to set." in text.partition("[project.urls]")[2].partition("Repository =")[0]
    assert len({url.split("/")[3] for url in _project()["urls"].values()}) == 1


@pytest.mark.parametrize(("name", "safe"), [("torch", (2, 6)), ("timm", (1, 0, 26))])
def test_no_version_is_allowed_that_runs_code_out_of_a_weights_file(name: str, safe: tuple[int, ...]) -> None:
    bound = dict(map(_parse, _project()["dependencies"]))[name].removeprefix(">=")
    assert tuple(map(int, bound.split("."))) >= safe


def test_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    """timm's argument `checkpoint_path` can come with a backbone's options, which stand in the header of a
    saved adapter."""
    ran, weights = tmp_path / "ran", tmp_path / "weights.pth"
    torch.save({"state_dict": _Opens(str(ran))}, weights)
    with pytest.raises(RuntimeError, match="weights_only=True blocked"):
        timm.create_model("vit_tiny_patch16_224", depth=1, checkpoint_path=str(weights))
    assert not ran.exists()
    torch.load(weights, weights_only=False)
    assert ran.exists()  # the file is what it is meant to be


class _Opens:
    """Unpickled, it is no object of this class but a call: a file is opened for writing, and so made."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def _declared(*groups: str) -> set[str]:
    project = _project()
    extras = project["optional-dependencies"]
    listed = [
        r for group in groups for r in (project["dependencies"] if group == "dependencies" else extras[group])
    ]
    return {_normal(_parse(requirement)[0]) for requirement in listed}


def _undeclared(modules: set[str], declared: set[str]) -> set[str]:
    """The modules that no declared package brings; one that is not installed here is brought by a package
    of its own name."""
    return {module for module in modules if not _brought_by(module) & declared}


def _packages(modules: set[str]) -> set[str]:
    return set().union(*map(_brought_by, modules))


def _brought_by(module: str) -> set[str]:
    return {_normal(name) for name in _installed().get(module, [module])}


@cache
def _installed() -> dict[str, list[str]]:
    return dict(packages_distributions())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _library(top: bool) -> set[str]:
    """Names of the foreign modules that adapters_lib imports; `top`: only those that the import of a file
    needs."""
    return _foreign((path.read_text(encoding="utf-8") for path in (ROOT / "adapters_lib").rglob("*.py")), top)


def _tests() -> set[str]:
    files = list((ROOT / "tests").rglob("*.py"))
    return _foreign(path.read_text(encoding="utf-8") for path in files) - {
        part for path in files for part in (path.stem, path.parent.name)
    }


def _notebooks() -> set[str]:
    cells = [
        cell
        for path in (ROOT / "notebooks").glob("*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells
    ]
    return _foreign(re.sub(r"(?m)^\s*[%!].*$", "", cell.source) for cell in cells if cell.cell_type == "code")


def _foreign(sources: Iterator[str], top: bool = False) -> set[str]:
    known = {*sys.stdlib_module_names, "adapters_lib"}
    return {module for source in sources for module in _imports(ast.parse(source), top)} - known


def _imports(node: ast.AST, top: bool) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
        yield node.module.partition(".")[0]
    for child in ast.iter_child_nodes(node):
        if not (top and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from _imports(child, top)
