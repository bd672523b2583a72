"""What pyproject.toml cannot say: the wheel holds the notebooks and the tables that they read, inside the
package, from where `adapters-lib workbook --copy` lays them out. In the repository they stay where readers
look for them.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
INSIDE = Path("adapters_lib", "workbook", "files")
HELD = ("notebooks/*.ipynb", "data/*.csv", "data/results/*.csv", "data/results/*_logits/*")


class WithWorkbook(build_py):
    """The package's modules and data, and the workbook's files."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # the repository itself is at hand
        for pattern in HELD:
            for path in sorted(ROOT.glob(pattern)):
                target = Path(self.build_lib) / INSIDE / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


setup(cmdclass={"build_py": WithWorkbook})
