"""docs/models.md is what the registry and the suite's cases say."""

from schemas.attention import REGION_FAMILIES
from tests.workers.families.table import PAGE, page
from workers.families.registry import FAMILIES


def test_the_table_is_current() -> None:
    assert PAGE.read_text() == page(), "run scripts/models_table"


def test_the_api_names_the_families_that_can_compute_some_of_the_tokens() -> None:
    able = sorted(family.name for family in FAMILIES.values() if family.supports_region)
    assert able == sorted(REGION_FAMILIES)
