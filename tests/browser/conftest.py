"""JupyterLab on a copy of the notebooks, and a Chromium that looks at it. Run by `make browser`, not by `make
test`.

Nothing here skips: whoever asks for these tests and lacks Playwright or a browser is told what to install.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from lab import Notebook

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# JupyterLab drops cells outside the window from the page unless told not to; and nobody wants a tour here.
SETTINGS = {
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
    "docmanager-extension/plugin": '{"autosave": false}',
}


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workbook to play with: notebooks without outputs, and the stored tables."""
    folder = tmp_path_factory.mktemp("workbook")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        (folder / "notebooks").mkdir(exist_ok=True)
        nbformat.write(notebook, folder / "notebooks" / path.name)
    shutil.copytree(ROOT / "data", folder / "data", ignore=shutil.ignore_patterns("*.lock", "real", "cache"))
    return folder


@pytest.fixture(scope="session")
def address(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running JupyterLab: its address with the token, `{}` where a notebook's name belongs."""
    home = tmp_path_factory.mktemp("jupyter")
    for name, text in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    environment = {
        **os.environ,
        "ADAPTERS_QUICK": "1",
        "ADAPTERS_OUT": str(copy),
        "JUPYTER_TOKEN": token,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
    ]
    command += [
        f"--ServerApp.root_dir={copy}",
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    ]
    log = home / "log"
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, log)
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/{{}}.ipynb?token={token}&reset"
    finally:
        server.terminate()
        server.wait(30)


def _wait_for(url: str, server: subprocess.Popen, log: Path, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"JupyterLab did not start\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        pytest.fail('Playwright is missing: pip install -e ".[browser]"')
    executable = os.environ.get("ADAPTERS_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        except Error as error:
            pytest.fail(
                f"no Chromium ({error}); install the system's (apt install chromium), or name one in"
                " ADAPTERS_CHROMIUM"
            )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def opened(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    """The notebook that the test names, opened and run to its end, once for all tests of it."""
    yield from _run(browser, address, request.param, height=1000)


@pytest.fixture(scope="module")
def notebook(browser: Any, address: str, copy: Path, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    """A new notebook NAME with the cells CELLS of the test's module, opened and run to its end, once for
    all tests of it."""
    name, cells = request.module.NAME, [nbformat.v4.new_code_cell(text) for text in request.module.CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata=kernel), copy / "notebooks" / f"{name}.ipynb"
    )
    yield from _run(browser, address, name, height=1400)


def _run(browser: Any, address: str, name: str, height: int) -> Iterator[Notebook]:
    notebook = Notebook(browser.new_page(viewport={"width": 1280, "height": height}), name, SCREENSHOTS)
    notebook.open(address.format(name))
    notebook.run_all()
    yield notebook
    notebook.close()
