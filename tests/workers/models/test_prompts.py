"""What a model reads of a prompt."""

from pathlib import Path

import pytest

from tests.workers.bench import Bench
from tests.workers.families.cases import CASES, Case
from workers.models.prompts import read_prompt

LIMITS = {
    "wan": 511,
    "hunyuan-video": 256,
    "cogvideox": 225,
    "mochi": 255,
    "ltx": 127,
    "kandinsky-5": 512,
    "latte": 119,
    "hunyuan-video-1.5": 200,  # of 1000: the tiny one's
}


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name in LIMITS], ids=lambda case: case.name
)
def test_words_behind_the_limit_are_not_read(case: Case, tmp_path: Path) -> None:
    model = case.load(tmp_path)
    limit = LIMITS[case.name]
    assert model.card.max_prompt_tokens == limit
    pipeline, family = model.pipeline, model.family
    long = "a car " * limit
    first, other = (read_prompt(pipeline, family, long + word) for word in ("red", "dog"))
    assert first == other
    assert first.truncated
    short = [read_prompt(pipeline, family, f"a {word}") for word in ("car", "dog")]
    assert short[0] != short[1]
    assert not short[0].truncated


def test_the_pipeline_cuts_there_too(bench: Bench) -> None:
    """What counts is the text encoder's input: equal readings encode equally."""
    pipeline = bench.model.pipeline
    limit = bench.model.card.max_prompt_tokens
    assert limit is not None
    for length, same in ((limit - 1, True), (limit - 2, False)):
        texts = ["a" * length + word for word in ("b", "c")]
        one, other = (
            pipeline.encode_prompt(
                text, do_classifier_free_guidance=False, max_sequence_length=512
            )[0]
            for text in texts
        )
        reads = [read_prompt(pipeline, bench.model.family, text) for text in texts]
        assert (reads[0].tokens == reads[1].tokens) is same
        assert bool((one == other).all()) is same
