"""One tiny model of each family at a time."""

import pytest

from tests.workers.families.cases import CASES, Case, Runs

# one of each kind: two calls a step, and one batch with text in the map
FAST = ("wan", "cogvideox")
PARAMS = [
    pytest.param(case, id=case.name, marks=() if case.name in FAST else pytest.mark.slow)
    for case in CASES
]


@pytest.fixture(scope="module", params=PARAMS)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Every pipeline of the suite, loaded once for all checks of a module."""
    case: Case = request.param
    return Runs(case.load(tmp_path_factory.mktemp(case.name)), case=case)


@pytest.fixture
def case(runs: Runs) -> Case:
    assert runs.case is not None
    return runs.case


@pytest.fixture
def transfers(runs: Runs, case: Case) -> Runs:
    """``runs``, of the families that have maps to transfer."""
    if "transfer" in case.without:
        pytest.skip(case.without["transfer"])
    return runs
