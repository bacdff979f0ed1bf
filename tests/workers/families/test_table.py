"""docs/models.md is what the registry and the suite's cases say."""

from tests.workers.families.table import PAGE, page


def test_the_table_is_current() -> None:
    assert PAGE.read_text() == page(), "run scripts/models_table"
