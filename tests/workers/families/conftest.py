"""One tiny model of each family at a time."""

import pytest

from tests.workers.families.cases import CASES, Case, Runs


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
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
