"""docs/api.md: its code runs, and it leaves out no route and no error code."""

import contextlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from schemas import errors
from tests.service.conftest import Api
from tests.service.wire.test_pictures import file_of, halves
from tests.service.worker import film

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
SERVICE = Path(__file__).parents[3] / "service"


def test_its_python_runs(picture_api: Api, tmp_path: Path) -> None:
    (tmp_path / "car.jpg").write_bytes(file_of(halves(), "JPEG"))
    namespace: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "mine.mp4").write_bytes(film())
    with contextlib.chdir(tmp_path):
        for block in blocks:
            code = block.replace("http://127.0.0.1:8000", picture_api.url)
            exec(compile(code, "docs/api.md", "exec"), namespace)  # our own page
        assert (tmp_path / "red.mp4").stat().st_size > 0
    assert namespace["by_id"].remixed_from_video_id == namespace["video"].id
    assert namespace["driving"].input_reference["fit"] == "pad"
    assert namespace["by_recipe"].seed == 7


def test_its_curl_runs(api: Api) -> None:
    blocks = [b for b in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) if "curl" in b]
    assert len(blocks) == 2
    for block in blocks:
        done = subprocess.run(
            block.replace("http://127.0.0.1:8000", api.url),
            shell=True, capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
        assert '"status":"queued"' in done.stdout


def test_every_route_is_named(api: Api) -> None:
    paths = re.findall(r"`(?:[A-Z, `]+ )?(/[^`?\s]*)", PAGE)
    named = {re.sub(r"\{\w+\}", "{id}", path) for path in paths}
    for path in api.http.get(f"{api.url}/openapi.json").json()["paths"]:
        short = re.sub(r"\{\w+\}", "{id}", path)
        last = short.rpartition("/artifacts")[2] or short
        assert short in named or last in named, path


def codes() -> list[str]:
    """Every error code that the API's own code can give."""
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    own = {
        c.code
        for c in classes
        if issubclass(c, errors.RetakeError) and not issubclass(c, errors.JobFailed)
    }
    text = "".join(path.read_text() for path in SERVICE.rglob("*.py"))
    return sorted(own | set(re.findall(r'\bcode ?= ?"(\w+)"', text)))


@pytest.mark.parametrize("code", codes())
def test_every_error_code_is_named(code: str) -> None:
    assert f"`{code}`" in PAGE
