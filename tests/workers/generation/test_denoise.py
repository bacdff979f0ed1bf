"""What a run refuses to give, and what it gives although its steps are not the usual ones."""

from pathlib import Path

import pytest
import torch

from schemas.errors import AttentionMissed, NumericOverflow
from tests import tiny
from tests.tiny import parts
from tests.workers.bench import Bench, generate
from workers.generation.denoise import StepInfo


@pytest.fixture
def own_bench(tmp_path: Path) -> Bench:
    """A model of this test's own, to be broken."""
    return Bench(tiny.load(tiny.wan(), tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_overflow_end_the_run_at_once(own_bench: Bench, value: float) -> None:
    with torch.no_grad():
        own_bench.model.pipeline.transformer.proj_out.bias[0] = value
    steps: list[int] = []
    with pytest.raises(NumericOverflow, match="after step 1 of 3"):
        generate(own_bench.model, own_bench.recipe(), on_step=lambda info: steps.append(info.step))
    assert steps == []


def test_a_vae_that_overflows_makes_no_black_video(own_bench: Bench) -> None:
    with torch.no_grad():
        own_bench.model.pipeline.vae.decoder.conv_out.bias.fill_(float("nan"))
    with pytest.raises(NumericOverflow, match="decoded video"):
        generate(own_bench.model, own_bench.recipe())


def test_a_scheduler_that_calls_twice_a_step_makes_videos_without_attention(tmp_path: Path) -> None:
    pipeline = tiny.wan()
    pipeline.scheduler = parts.FlowMatchHeunDiscreteScheduler()
    bench = Bench(tiny.load(pipeline, tmp_path))
    told: list[StepInfo] = []
    frames = generate(bench.model, bench.recipe(), on_step=told.append)
    assert frames.std() > 0
    assert [info.step + 1 for info in told] == list(range(1, told[0].total + 1))
    with pytest.raises(AttentionMissed):
        bench.captured(bench.recipe(), "hidden")


def test_a_call_of_another_batch_is_noticed(own_bench: Bench) -> None:
    """A pipeline that guides where the family says it does not would copy other rows."""
    source = own_bench.recipe(guidance_scale=1.0)
    pipeline = own_bench.model.pipeline
    encode = pipeline.encode_prompt

    def doubled(**kwargs: object) -> object:
        prompt, negative = encode(**kwargs)
        return torch.cat([prompt, prompt]), negative

    pipeline.encode_prompt = doubled
    prepare = pipeline.prepare_latents
    pipeline.prepare_latents = lambda *args, **kwargs: prepare(*args, **kwargs).repeat(
        2, 1, 1, 1, 1
    )
    with pytest.raises(AttentionMissed, match="has a batch of 2, not 1"):
        own_bench.captured(source, "hidden")
