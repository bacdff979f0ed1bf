"""How the packages are built: who may import whom, and how large a folder, file or function may be.

The tables are the plan. Each package names its rooms and root modules from the bottom up; one may
import those in lines above its own, and nothing beside or below. Imports within functions and
those for type checkers alone count as well.
"""

import ast
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Of each package, the others that it stands on.
PACKAGES = {
    "schemas": (),
    "storage": ("schemas",),
    "service": ("schemas", "storage"),
    "workers": ("schemas", "storage"),
    "retake": ("schemas", "storage"),
}
ROOMS = {
    "schemas": """
        base errors                             frozen values and the error tree
        attention webhooks                      capture and transfer specs; webhook bodies
        films                                   uploads, and how a source is made of one
        models recipes                          model cards; everything that decides a video
        capture_plan                            what an artifact holds, what an edit needs
        artifacts                               manifests of stored attention
        artifact_summary selection              an artifact as listed; transfers resolved
        resolve_capture maps                    captures resolved; which map a picture shows
        analyses                                what an analysis measures
        analysis_cost                           what it costs
        estimate jobs                           costs; job records
        requests videos                         bodies of the HTTP API
    """,
    "storage": """
        settings lua                            which Redis and which object store; Lua scripts
        films                                   uploaded films, read in a process of their own
        objects                                 bytes under keys: a folder or S3
        connect retry                           opening both stores; trying again
        keys limits webhooks outbox uploads     what Redis holds beside jobs
        resumable_uploads                       uploads of which more is to come
        jobs                                    job records, queue, claims, events
        artifact_index                          which artifacts there are, who uses them
        retention                               what expires, what crashes left behind
        embedded                                a Valkey of our own
    """,
    "service": """
        settings logs                           RETAKE_* variables; JSON lines
        catalogue key_cache                     model cards and API keys, kept for a moment
        wire                                    HTTP bodies, errors, OpenAPI
        background                              event streams, webhooks, metrics, tracing
        request                                 what a request passes before its route
        jobs                                    from a body to a queued job; deletion
        routes                                  one file a resource
        app                                     everything opened and joined
        server                                  uvicorn
        __main__
    """,
    "workers": """
        model_settings media_settings           settings of a model, of media files
        patching machine                        an attribute replaced and put back; cores, memory
        families                                what diffusers does not say of a pipeline
        attention                               hooks that capture and exchange attention
        artifacts                               tensors to objects and back
        settings                                RETAKE_* variables
        logs
        control                                 queue, claim, lease, commit; no torch
        models                                  pipelines loaded and kept in memory
        generation                              one recipe to one video
        previews analysis                       pictures of latents; pictures of maps
        engine                                  a job on a loaded model
        check                                   a model tried before it is served
        deployment                              the Ray Serve application
        local                                   a Ray of our own
        __main__
    """,
    "retake": """
        client videos                           the HTTP client; mp4 files decoded
        part_logs tables                        why a part ended; tables with whole ids
        session                                 a child process and all that it started
        stack                                   the embedded stack
        admin demo                              commands on Redis itself; the demo
        request_fields                          the command line's words as a request's fields
        commands models                         those of the HTTP API; model tools
        analyse                                 that of analyses
        cli
    """,
}
MAX_MODULES = 18  # of a folder
MANY_ALIKE = {"workers/families"}  # one short file a model family
MAX_LINES = 300  # of a file
MAX_FUNCTION_LINES = 20  # of nine functions in ten


@cache
def modules() -> dict[str, Path]:
    """Every module of the packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def imports_of(name: str) -> frozenset[str]:
    """The modules of ours that ``name`` imports, anywhere in its text."""
    found = set()
    for node in ast.walk(tree_of(modules()[name])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules() else str(node.module))
    return frozenset(found & set(modules()) - {name})


def arrows() -> Iterator[tuple[str, str]]:
    for name in modules():
        for imported in imports_of(name):
            yield name, imported


def test_packages_stand_on_those_below() -> None:
    for name, imported in arrows():
        package, other = name.split(".")[0], imported.split(".")[0]
        assert package == other or other in PACKAGES[package], f"{name} imports {imported}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " imports ".join((*way[way.index(name) :], name))
        if name not in done:
            for imported in sorted(imports_of(name)):
                visit(imported, (*way, name))
            done.add(name)

    for name in modules():
        visit(name, ())


def floors_of(package: str) -> dict[str, int]:
    """The line of ``ROOMS`` that each direct child of ``package`` stands in."""
    floors: dict[str, int] = {}
    lines = [line for line in ROOMS[package].splitlines() if line.strip()]
    for floor, line in enumerate(lines):
        names = line.strip().split("  ")[0].split()
        floors |= dict.fromkeys(names, floor)
    return floors


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_in_the_table(package: str) -> None:
    children = {name.split(".")[1] for name in modules() if name.startswith(f"{package}.")}
    assert children == set(floors_of(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_only_those_below(package: str) -> None:
    floors = floors_of(package)
    for name, imported in arrows():
        if name.startswith(f"{package}.") and imported.startswith(f"{package}."):
            room, other = name.split(".")[1], imported.split(".")[1]
            assert room == other or floors[other] < floors[room], f"{name} imports {imported}"


def tracked(*folders: str) -> list[Path]:
    """The Python files of ``folders`` (none: of the repository), those not committed yet too."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders]
    ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    paths = [ROOT / name for name in ran.stdout.splitlines() if name.endswith(".py")]
    return [path for path in paths if path.exists()]


def test_no_folder_has_many_modules() -> None:
    everywhere = tracked(*PACKAGES, "bench", "tests", "training")
    paths = [path for path in everywhere if path.name != "__init__.py"]
    counts = Counter(path.parent.relative_to(ROOT).as_posix() for path in paths)
    crowded = {folder: count for folder, count in counts.items() if count > MAX_MODULES}
    assert set(crowded) <= MANY_ALIKE, crowded


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in tracked()}
    assert not {str(path): count for path, count in lengths.items() if count > MAX_LINES}


def test_functions_are_short() -> None:
    lengths = [
        node.end_lineno - node.lineno + 1
        for path in modules().values()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]
    assert sorted(lengths)[len(lengths) * 9 // 10] <= MAX_FUNCTION_LINES


def test_tests_of_a_file_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """They share fixtures, and of Ray there is one at a time: tests/conftest.py."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("this is the only process")
    assert request.node.nodeid.endswith("@test_structure.py")
