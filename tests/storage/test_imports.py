"""storage imports no heavy package: the API and the workers both start with it."""

import subprocess
import sys

FOREIGN = ("torch", "ray", "fastapi", "diffusers", "service", "workers", "numpy")
IMPORT_ALL = f"""
import pkgutil, sys, storage
for module in pkgutil.walk_packages(storage.__path__, "storage."):
    __import__(module.name)
print([name for name in {FOREIGN} if name in sys.modules])
"""


def test_storage_imports_nothing_heavy() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, check=True, text=True
    )
    assert ran.stdout == "[]\n"
