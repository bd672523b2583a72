"""CIFAR-100 from its binary version. torchvision reads the version that must be unpickled, and we unpickle
nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision.datasets.utils import download_and_extract_archive

from ...errors import AdapterError

__all__ = ["FOLDER", "Cifar100"]

FOLDER = "cifar-100-binary"
URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
MD5 = "03b5dce01913d631647c71ecec9e9cb8"
ROW = 2 + 3 * 32 * 32  # coarse label, fine label, then the red, green and blue planes


class Cifar100:
    """`data` uint8 (N, 3, 32, 32), `labels` (N,) of the 100 fine classes, `classes` their names; `split` is
    "train" or "test".

    Raises FileNotFoundError when the files are not in `root`/cifar-100-binary, AdapterError when one is cut
    short.
    """

    def __init__(self, root: str, split: str, download: bool = False) -> None:
        folder = Path(root) / FOLDER
        if download and not (folder / f"{split}.bin").is_file():
            download_and_extract_archive(URL, root, md5=MD5)
        file = folder / f"{split}.bin"
        if not file.is_file():
            raise FileNotFoundError(
                f"no {file.name}; the Python version of CIFAR-100 is not used, it would have to be unpickled"
            )
        rows = np.fromfile(file, dtype=np.uint8)
        if rows.size == 0 or rows.size % ROW:
            raise AdapterError(
                f"{file}: {rows.size} bytes is not a whole number of {ROW}-byte images; fetch {URL} again"
            )
        rows = rows.reshape(-1, ROW)
        self.labels, self.data = rows[:, 1].astype(np.int64), rows[:, 2:].reshape(-1, 3, 32, 32)
        self.classes = (folder / "fine_label_names.txt").read_text().split()
