"""What pyproject.toml cannot say: the bundled model goes into the wheel, within `workers`.

In the repository it lies in `models/`, beside the code that makes it; an installed package needs it
in a folder of its own.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MODEL = Path("models/scenes")


class BuildWithModel(build_py):  # type: ignore[misc]  # setuptools says nothing of its types
    def run(self) -> None:
        super().run()
        # an image of the API alone is built without models, and a checkout is run where it lies
        if MODEL.is_dir() and not self.editable_mode:
            target = Path(self.build_lib, "workers", "bundled", MODEL.name)
            shutil.copytree(MODEL, target, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithModel})
