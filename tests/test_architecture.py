"""The order of the packages: what stands higher may use what stands lower, never the other way round.

Every import counts, those inside functions included; only those for type checkers do not.
"""

import ast
import itertools
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "adapters_lib"

ORDER = (
    ("cores", "errors"),
    ("files", "options", "text"),
    ("vit",),
    ("backbones", "methods", "datasets", "costs"),
    ("saving",),
    ("training",),
    ("pretraining", "exits", "analysis"),
    ("benchmarks",),
    ("experiments",),
    ("figures",),
    ("widgets", "workbook"),
    ("cli",),
)
"""From the ground up; rooms on one floor do not use each other."""

VERBS = {"merge", "unmerge", "save_pretrained", "push_to_hub", "load_pretrained"}
"""What the five verbs of `AdaptedViT` fetch from above when they are called; nothing else may."""


def _modules() -> dict[str, Path]:
    files = {path.relative_to(PACKAGE.parent).with_suffix(""): path for path in PACKAGE.rglob("*.py")}
    return {
        ".".join(name.parts[:-1] if name.name == "__init__" else name.parts): path
        for name, path in files.items()
    }


def _imports(module: str, path: Path, modules: dict[str, Path]) -> set[tuple[str, str]]:
    """(module of this package, name) of every import in the file; imports under `if TYPE_CHECKING` are
    left out."""
    base = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    pairs = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            pairs |= {(alias.name, "") for alias in node.names if alias.name.startswith(f"{PACKAGE.name}.")}
        elif isinstance(node, ast.ImportFrom):
            parents = base[: len(base) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                target = f"{source}.{alias.name}"
                pairs.add((target if target in modules else source, alias.name))
    return {(target, name) for target, name in pairs if target.split(".")[0] == PACKAGE.name}


def _room(module: str) -> str:
    return [*module.split("."), ""][1]


def _edges() -> set[tuple[str, str, str]]:
    modules = _modules()
    return {
        (module, target, name)
        for module, path in modules.items()
        for target, name in _imports(module, path, modules)
    }


FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {_room(module) for module in _modules()} - {"", "__main__", "_version"}
    assert rooms == set(FLOOR)


def test_nothing_points_up_or_sideways_except_the_five_verbs() -> None:
    wrong = set()
    for module, target, name in _edges():
        room, used = _room(module), _room(target)
        if room == used or not room or not used or room == "__main__" or used == "_version":
            continue
        if FLOOR[used] >= FLOOR[room] and not (room == "vit" and name in VERBS):
            wrong.add(f"{module} imports {name} of {target}")
    assert not wrong, "\n".join(sorted(wrong))


def test_no_module_is_part_of_a_circle() -> None:
    arrows: dict[str, set[str]] = {}
    for module, target, name in _edges():
        if module != target and name not in VERBS:
            arrows.setdefault(module, set()).add(target)
    state: dict[str, str] = {}

    def visit(module: str, way: tuple[str, ...]) -> None:
        if state.get(module) == "open":
            pytest.fail(
                "imports in a circle: " + " → ".join([*itertools.dropwhile(module.__ne__, way), module])
            )
        if module not in state:
            state[module] = "open"
            for target in sorted(arrows.get(module, ())):
                visit(target, (*way, module))
            state[module] = "done"

    for module in sorted(arrows):
        visit(module, ())


def test_no_module_lies_beside_the_packages() -> None:
    ground = {
        "__init__.py",
        "__main__.py",
        "_version.py",
        "cores.py",
        "errors.py",
        "files.py",
        "options.py",
        "text.py",
    }
    assert {path.name for path in PACKAGE.glob("*.py")} == ground


@pytest.mark.parametrize("page", ["README.md", ".github/CONTRIBUTING.md", "adapters_lib/__init__.py"])
def test_the_order_is_written_as_it_is_tested(page: str) -> None:
    text = (PACKAGE.parent / page).read_text(encoding="utf-8")
    if page.endswith(".py"):
        rows = re.findall(r"^ {4}([a-z]+(?: · [a-z]+)*) {2}", text, re.MULTILINE)
    else:
        rows = re.search(r"cli → [a-z →·]+", " ".join(text.split()))[0].split("→")
    ground = {"the", "ground"} if page == "README.md" else set().union(*ORDER[:2])
    floors = [set(rooms) for rooms in reversed(ORDER[2:])]
    written = [set(row.replace("·", " ").split()) for row in rows]
    assert written[: len(floors)] == floors
    assert written[len(floors)] >= ground
