"""Parameter-efficient adapters for frozen vision transformers: a small library under a workbook.

    import adapters_lib as al

The packages, from the ground up; each uses only those that stand lower:

    cli                                          one door: python -m adapters_lib
    widgets · workbook                           sliders; running the notebooks and making the site
    figures                                      functions that return a Matplotlib figure
    experiments                                  grids of runs, their tables, what the tables say
    benchmarks                                   measured time and memory
    exits · analysis · pretraining               early exits after training; looking inside; our own weights
    training                                     recipes, the loop, evaluation
    saving                                       adapters as files, the hub, peft's format
    backbones · methods · datasets · costs       what is adapted, how, on what, at which cost
    vit                                          a timm ViT with sites: layout, sites, method, model
    cores · errors · files · options · text      the ground

Public names, imported on first use:

"""

import re
from pathlib import Path

import lazy_loader

from ._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _listing() -> str:
    """Every public name on a line of its own, with the module in which it lives, from the stub beside this
    file."""
    stub = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    lines = []
    for module, group, single in re.findall(
        r"^from \.([\w.]+) import (?:\(([^)]*)\)|(\w+) as)", stub, re.MULTILINE
    ):
        names = re.findall(r"(\w+) as", group) or [single]
        lines += [f"    {name:<26}{module}" for name in names]
    return "\n".join(sorted(lines, key=str.lower))


__doc__ = (__doc__ or "") + _listing() + "\n"
