"""The pages of the reference: one a package, filled by mkdocstrings from the docstrings, and one of the main
names with their examples."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from .main_names import MAIN

__all__ = ["main_page", "package_pages", "public_modules"]

PACKAGE = Path(__file__).parents[1]
_LEFT_OUT = ("cli", "workbook")  # commands explain themselves with --help


def public_modules() -> dict[str, list[str]]:
    """Package → the modules in it that have public names, by their dotted names; read, not imported. The
    package `adapters_lib` stands for the files at its top."""
    modules: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if path.stem.startswith("_") or parts[0] in _LEFT_OUT or not _has_public_names(path):
            continue
        package = parts[0] if len(parts) > 1 else "adapters_lib"
        modules.setdefault(package, []).append(".".join(("adapters_lib", *parts)))
    return modules


def _has_public_names(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(
        isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)
        for node in tree.body
    )


def package_pages() -> dict[str, str]:
    """`reference/<package>.md` → the page: what the package says of itself, then a section a module."""
    pages = {}
    for package, modules in public_modules().items():
        init = PACKAGE / "__init__.py" if package == "adapters_lib" else PACKAGE / package / "__init__.py"
        about = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
        sections = "\n\n".join(f"::: {module}" for module in modules)
        pages[f"reference/{package}.md"] = f"# {package}\n\n{about}\n\n{sections}\n"
    return pages


def main_page() -> str:
    """The main names: first sentence, signature, example, and where the rest stands."""
    import adapters_lib as al

    parts = [
        "# The main names",
        "Twenty names do most of the work; each example runs offline in seconds, and a test runs them all."
        " Everything else is in the pages of the packages.",
    ]
    for name in MAIN:
        thing = getattr(al, name)
        doc = inspect.getdoc(thing) or ""
        home = f"{thing.__module__}.{thing.__qualname__}"
        page = thing.__module__.split(".")[1]
        first = " ".join(doc.partition("\n\n")[0].split())
        parts += [
            f"## {name}",
            first,
            f"```python\n{_signature(name, thing)}\n```",
            f"```pycon\n{example_of(doc)}\n```",
            f"Arguments, shapes, units and errors: [`{home}`]({page}.md#{home})",
        ]
    return "\n\n".join(parts) + "\n"


def _signature(name: str, thing: object) -> str:
    """`al.name(…)` with one argument a line if it is long."""
    if isinstance(thing, type) and not hasattr(thing, "__dataclass_fields__"):
        return f"al.{name}"
    signature = inspect.signature(thing)  # type: ignore[arg-type]
    bare = f"al.{name}{signature}"
    if len(bare) <= 90:
        return _plain(bare)
    arguments, star = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not star:
            arguments.append("    *,")
            star = True
        arguments.append(f"    {parameter},")
    closing = "" if signature.return_annotation is inspect.Signature.empty else signature.return_annotation
    return _plain("\n".join([f"al.{name}(", *arguments, f") -> {closing!r}" if closing else ")"]))


def _plain(signature: str) -> str:
    """Annotations without the quotes that they have as text."""
    return re.sub(r"(: |-> )'([^'\n]*)'", r"\1\2", signature)


def example_of(doc: str) -> str:
    """The lines of a docstring's Examples section, without their indentation; "" if it has none."""
    match = re.search(r"^Examples:\n((?: {4}.*\n?|\n)+)", doc, re.MULTILINE)
    return inspect.cleandoc(match[1]).strip() if match else ""
