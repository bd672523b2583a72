"""The site to read: mkdocs with the Material theme makes HTML of what `sources` gives.

Nothing is fetched from a network, neither when it is built nor when it is read: no web fonts, no scripts from
elsewhere, equations as MathML, and a search that is made of files beside the pages.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..errors import AdapterError
from .sources import PAGES, Sources, make_sources

__all__ = ["NEEDED", "build_reference", "missing", "settings"]

NEEDED = ("mkdocs", "material", "mkdocstrings", "latex2mathml")
"""Modules of the extra `site`."""

_PACKAGE = Path(__file__).parents[1]
_NAME = "Adapting frozen vision transformers"
_SHIM = "assets/iframe-worker.js"
"""In the place of the script of this name that the plugin `offline` would fetch from a network."""
_STYLE = "assets/site.css"


def missing() -> list[str]:
    """Modules of the extra `site` that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def settings(sources: Sources, docs: Path, out: Path) -> dict[str, Any]:
    """mkdocs.yml as a dict."""
    python = {
        "docstring_style": "google",
        "docstring_options": {"warnings": False},
        "members_order": "source",
        "filters": "public",
        "heading_level": 2,
        "show_root_heading": True,
        "show_root_full_path": True,
        "show_source": False,
        "separate_signature": True,
        "show_signature_annotations": True,
        "show_if_no_docstring": False,
    }
    return {
        "site_name": _NAME,
        "docs_dir": str(docs),
        "site_dir": str(out),
        "use_directory_urls": False,
        "theme": {
            "name": "material",
            "font": False,
            "palette": [
                {
                    "media": "(prefers-color-scheme: light)",
                    "scheme": "default",
                    "toggle": {"icon": "material/weather-night", "name": "Dark"},
                },
                {
                    "media": "(prefers-color-scheme: dark)",
                    "scheme": "slate",
                    "toggle": {"icon": "material/weather-sunny", "name": "Light"},
                },
            ],
            "features": ["navigation.indexes", "navigation.tabs", "navigation.top", "toc.follow"],
        },
        "plugins": [
            "search",
            "offline",  # the search's index as a script too, for pages that are opened as files
            {"mkdocstrings": {"handlers": {"python": {"paths": [str(_PACKAGE.parent)], "options": python}}}},
        ],
        "extra": {"generator": False, "polyfills": [_SHIM]},
        "extra_css": [_STYLE],
        "hooks": [str(Path(__file__).with_name("mathml.py"))],
        "markdown_extensions": [
            "tables",
            "admonition",
            "md_in_html",
            "sane_lists",
            {"toc": {"permalink": True}},
            {"pymdownx.arithmatex": {"generic": True}},
            {"pymdownx.highlight": {"use_pygments": True}},
            "pymdownx.superfences",
        ],
        "validation": {"links": {"unrecognized_links": "warn", "not_found": "warn"}},
        "nav": sources.nav,
    }


def build_reference(root: str | Path, out: str | Path) -> Sources:
    """Build the site of the repository `root` into the folder `out`, which is replaced as a whole; return
    what it was made from.

    Raises:
        AdapterError: what `make_sources` refuses, the extra `site` is not installed, or mkdocs found a fault.
    """
    sources = make_sources(root)
    if absent := missing():
        raise AdapterError(
            f"the site is made by packages that are not installed ({', '.join(absent)}): pip install -e"
            ' ".[site]", or build the notebooks alone with --notebooks-only'
        )
    target = Path(out).resolve()
    with tempfile.TemporaryDirectory() as temporary:
        docs, made = Path(temporary, "docs"), Path(temporary, "site")
        for place, text in sources.pages.items():
            _write(docs / place, text.encode())
        for place, content in sources.files.items():
            _write(docs / place, content)
        _write(docs / _SHIM, (PAGES / "search_from_files.js").read_bytes())
        _write(docs / _STYLE, (PAGES / "site.css").read_bytes())
        config = Path(temporary, "mkdocs.yml")
        config.write_text(json.dumps(settings(sources, docs, made)), encoding="utf-8")  # JSON is YAML
        _run(config)
        if target.exists():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, target)
    return sources


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _run(config: Path) -> None:
    path = os.pathsep.join(filter(None, [str(_PACKAGE.parent), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"}
    )
    if done.returncode:
        messages = [
            line for line in done.stderr.splitlines() if line.startswith(("WARNING", "ERROR", "Aborted"))
        ]
        messages = messages or done.stderr.splitlines()
        raise AdapterError(f"mkdocs built no site: {' '.join(messages[-12:])}")
