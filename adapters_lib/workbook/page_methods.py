"""The pages of the methods: what each does in its own words, its equation, its diagram, options, recipes and
cost."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..backbones import meta_backbone
from ..costs.cost import cost
from ..methods import METHODS
from ..methods.adapt import adapt
from ..training.published_recipes import PRESETS
from ..vit.method import Method

__all__ = ["cost_table", "diagram_of", "method_page", "methods_index", "slug"]

BACKBONES = ("micro_vit", "vit_base_patch16_224")
CLASSES = 20


def slug(name: str) -> str:
    """A method's name as the name of a file: `ila++` → `ila-plus-plus`."""
    return name.replace("+", "-plus")


def diagram_of(root: Path, name: str) -> Path | None:
    """`figures/diagrams/<name>.svg`, or `.png`, if somebody has drawn it."""
    folder = root / "figures" / "diagrams"
    for stem in (name, slug(name), name.replace("+", "_plus"), name.replace("-", "_")):
        for ending in (".svg", ".png"):
            if (path := folder / f"{stem}{ending}").exists():
                return path
    return None


def method_page(root: Path, name: str) -> tuple[str, list[Path]]:
    """(the page in Markdown, the files that it shows)."""
    cls = METHODS[name]
    about = inspect.getdoc(cls) or ""
    module = sys.modules[cls.__module__]
    text = about.partition("\nArgs:\n")[0]
    parts = [f"# {name}", f"*{cls.source}* · `al.{cls.__name__}`", text.strip()]
    shown: list[Path] = []
    if diagram := diagram_of(root, name):
        shown.append(diagram)
        parts.append(f"![How {name} changes a block](../{diagram.relative_to(root).as_posix()})")
    parts += ["## Equation and shapes", inspect.getdoc(module) or ""]
    parts += ["## Options", _options(cls)]
    named = [preset for preset in PRESETS if name in map(_name_of, PRESETS[preset].methods)]
    recipes = ", ".join(f"`al.recipes.{preset}`" for preset in named) or "none of its own"
    yes_no = {True: "yes", False: "no"}
    parts += [
        "## What it is like",
        f"* published recipes: {recipes}, see [Recipes](../recipes.md)",
        f"* merges into the backbone: {yes_no[cls.mergeable]}; changes the number of tokens:"
        f" {yes_no[cls.changes_tokens]}; adds prompts: {yes_no[cls.adds_prompts]}",
        f"* in full: [`{cls.__module__}`](../reference/methods.md#{cls.__module__}.{cls.__name__})",
    ]
    return "\n\n".join(parts[:-3]) + "\n\n" + "\n".join(parts[-3:]) + "\n", shown


def _name_of(text: str) -> str:
    return text.partition(":")[0]


_ARGUMENT = re.compile(r"^ {4}(\w[\w, ]*): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def _meanings(cls: type[Method]) -> dict[str, str]:
    """Option → what the Args section of the class, or of one that it inherits from, says of it; `a, b: text`
    speaks of both."""
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        arguments = inspect.cleandoc(base.__doc__ or "").partition("\nArgs:\n")[2]
        for names, text in _ARGUMENT.findall(arguments):
            meanings |= {name: " ".join(text.split()).replace("|", "\\|") for name in names.split(", ")}
    return meanings


def _options(cls: type[Method]) -> str:
    fields, meanings = dataclasses.fields(cls), _meanings(cls)
    if not fields:
        return "It has none."
    rows = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for field in fields:
        kind = str(field.type).replace("|", "or")  # a bar would end the cell
        meaning = meanings.get(field.name, "")
        rows.append(f"| `{field.name}` | `{kind}` | `{field.default!r}` | {meaning} |")
    return "\n".join(rows)


def methods_index() -> str:
    """The page that lists all methods."""
    rows = [
        f"| [`{name}`](methods/{slug(name)}.md) | {_summary(cls)} | {'yes' if cls.mergeable else 'no'} |"
        f" {cls.source} |"
        for name, cls in METHODS.items()
    ]
    head = ["# Methods", "", "| name | what it does | merges | source |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def _summary(cls: type[Method]) -> str:
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split()).replace("|", "\\|")


def cost_table(backbone: str, names: Sequence[str] = tuple(METHODS)) -> str:
    """A row a method with its default options: parameters by role, MACs and tokens of one image, counted on
    a backbone without memory. `dyn`, which needs a host, stands on LoRA."""
    rows = []
    for name in names:
        host = [METHODS["lora"](), METHODS["dyn"]()] if name == "dyn" else METHODS[name]()
        counted = cost(adapt(meta_backbone(backbone), host, num_classes=CLASSES))
        parts = counted.trainable
        tokens = " → ".join(map(str, counted.tokens))
        rows.append(
            f"| `{'lora + dyn' if name == 'dyn' else name}` | {parts['adapter']:,} | {parts['backbone']:,} |"
            f" {parts['head']:,} | {counted.macs / 1e6:,.1f} | {tokens} |"
        )
    titles = "| method | adapter | unfrozen | head | MACs (M) | tokens |"
    return "\n".join([titles, "|---|---:|---:|---:|---:|---|", *rows])
