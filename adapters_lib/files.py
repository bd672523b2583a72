"""Files that are whole or not there: written under a name of their own, brought to the disk, then put in
place in one step.

The temporary name is new in every call and is created exclusively (O_EXCL), so that no other process writes
into it and a symbolic link that somebody laid there is not followed. What a killed process left behind is
removed by the next save of the same file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors

from .errors import AdapterError

__all__ = [
    "atomic_write",
    "is_alive",
    "load_json",
    "output_folder",
    "save_json",
    "this_host",
    "workbook_files",
]

FORGOTTEN = 24 * 3600.0
"""Seconds after which a temporary file of another host was left by a process that died; on this host we
ask for the process itself."""


def atomic_write(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write(temporary)` fill a file in the same folder, then put it in the place of `path` in one step.

    Whatever happens on the way (full disk, killed process, power cut), `path` holds either the old content or
    the new one. Two processes that write the same file do not disturb each other: the later one wins.

    Raises:
        AdapterError: the file could not be written; the old one is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{this_host()}-{os.getpid()}-{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(
            os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o666)
        )
        write(temporary)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
        with contextlib.suppress(OSError):
            _remove_forgotten(path)
    except (OSError, safetensors.SafetensorError) as error:
        state = "the file that was there before is unchanged" if path.exists() else "nothing was left behind"
        raise AdapterError(
            f"could not write {path}: {error}; {state}; free some space or choose another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()  # in its place by now, unless something went wrong


def _sync(path: Path) -> None:
    """Wait until the file or folder is on the disk (a rename may otherwise reach it before the content
    does)."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_forgotten(path: Path) -> None:
    """Unlink the temporary files of `path` whose writers are dead: `.name.tmp` of earlier versions,
    `.name.host-pid-token.tmp`."""
    pattern = re.compile(rf"\.{re.escape(path.name)}(\.(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]+)?\.tmp")
    for entry in os.scandir(path.parent):
        if (match := pattern.fullmatch(entry.name)) is None:
            continue
        with contextlib.suppress(OSError):
            ours = match["host"] == this_host()
            old = time.time() - entry.stat(follow_symlinks=False).st_mtime > FORGOTTEN
            if match["pid"] is None or (ours and not is_alive(int(match["pid"]))) or old:
                os.unlink(entry.path)


def this_host() -> str:
    """The machine's name in letters, digits and hyphens, for file names."""
    return re.sub(r"[^\w-]", "-", socket.gethostname()) or "host"


def is_alive(process: int) -> bool:
    """Whether a process of this machine is running; True where that cannot be asked (Windows)."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def save_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, atomically."""
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def load_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        AdapterError: there is no such file, or it is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"cannot read {path}: {error}; check the path, or restore the file") from error


def output_folder(name: str) -> Path:
    """The folder `name` ("figures", "data/results") of the workbook: under $ADAPTERS_OUT if that is set,
    beside `notebooks/` when the current folder is that one, else under the current folder. It is not
    created here."""
    if chosen := os.environ.get("ADAPTERS_OUT"):
        return Path(chosen) / name
    base = Path.cwd()
    return (base.parent if base.name == "notebooks" else base) / name


def workbook_files() -> Path:
    """The folder that holds `notebooks/` and `data/` as they came with this library: the repository, or,
    installed from a wheel, a folder inside the package."""
    package = Path(__file__).parent
    packed = package / "workbook" / "files"
    return packed if packed.is_dir() else package.parent
