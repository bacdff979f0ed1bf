"""Rows that share a batch come out as they would alone; where they would not, they run in turn."""

from pathlib import Path

from schemas.recipes import Recipe
from tests.workers.bench import same_to_rounding
from tests.workers.families.cases import CASES, Runs


def test_mochi_zeroes_empty_negative_prompts_row_by_row(tmp_path: Path) -> None:
    """Its pipeline looks at the last row's alone, and zeroes the prompts of all."""
    case = next(case for case in CASES if case.name == "mochi")
    model = case.load(tmp_path)
    model.pipeline.register_to_config(force_zeros_for_empty_prompt=True)
    runs = Runs(model, case=case)
    source = runs.recipe("a car", negative_prompt="blurred")
    maps, _ = runs.captured(source, "hidden")
    edit = runs.edit(source, "some dog")
    words = edit.generation.model_copy(update={"negative_prompt": ""})
    edit = Recipe(generation=words, source=source, transfer=edit.transfer)
    stored = runs.latents_of(edit, transfer_from=maps)
    plain = runs.latents_of(Recipe(generation=words))
    replayed = runs.latents_of(edit)[-len(stored) :]
    assert same_to_rounding(replayed, stored, plain)
