"""Jobs that a model cannot make as asked: what they end in, and what lives on."""

import logging
from typing import Any

import pytest
import torch

from schemas.attention import CaptureSpec
from schemas.base import canonical_hash
from schemas.errors import AttentionMissed, NumericOverflow, PromptUnchanged
from schemas.jobs import Job
from schemas.recipes import Recipe
from storage.objects.objects import ObjectStore
from tests.workers.engine.test_engine import (
    OutOfMemory,
    job_of,
    keep,
    unheard_step,
)
from workers.control.failure_policy import failure_policy
from workers.engine.engine import PipelineEngine

CAPTURE = CaptureSpec(scope="everything")
LONG = "a " * 600  # of 511 tokens that the model reads


def named(engine: PipelineEngine, prompt: str, source: Recipe | None = None, **more: Any) -> Job:
    """A job whose id is not its prompt, which is too long here."""
    job = job_of(engine, prompt, source, **more)
    id = f"video_{canonical_hash(prompt)[:16]}"
    return job.model_copy(update={"spec": job.spec.model_copy(update={"id": id})})


def test_a_cut_prompt_is_told(engine: PipelineEngine) -> None:
    assert engine.model("tiny").card.max_prompt_tokens == 511
    assert not engine.render(named(engine, "a car"), unheard_step).prompt_truncated
    assert engine.render(named(engine, LONG + "car"), unheard_step).prompt_truncated


def test_an_edit_by_words_that_are_not_read_is_refused(engine: PipelineEngine) -> None:
    source = named(engine, LONG + "car")
    edit = named(engine, LONG + "dog", source.spec.recipe)
    with pytest.raises(PromptUnchanged, match=r"reads the same of it .*first 511 tokens") as caught:
        engine.render(edit, unheard_step)
    policy = failure_policy(caught.value)
    assert (policy.action, policy.error and policy.error.code) == ("fail", "prompt_unchanged")
    same = named(engine, LONG + "car", source.spec.recipe)
    assert engine.render(same, unheard_step).attention == "replayed"


def test_numbers_that_overflow_fail_the_job_and_keep_nothing(
    engine: PipelineEngine, objects: ObjectStore
) -> None:
    def broken(module: Any, inputs: Any, output: Any) -> Any:
        return tuple(torch.full_like(each, float("nan")) for each in output)

    hook = engine.model("tiny").pipeline.transformer.register_forward_hook(broken)
    with pytest.raises(NumericOverflow) as caught:
        engine.render(named(engine, "a car", capture=CAPTURE), unheard_step)
    hook.remove()
    policy = failure_policy(caught.value)
    assert (policy.action, policy.error and policy.error.code) == ("fail", "numeric_overflow")
    assert not [*objects.list("manifests"), *objects.list("artifacts")]


def test_a_device_too_full_for_the_capture_still_makes_the_video(
    engine: PipelineEngine, caplog: pytest.LogCaptureFixture
) -> None:
    job = named(engine, "a car", capture=CAPTURE)
    plain = engine.render(named(engine, "a car"), unheard_step)
    with caplog.at_level(logging.ERROR, logger="retake.worker"):
        video = engine.render(job, OutOfMemory(times=1))
    assert "once more, without its capture" in caplog.text
    assert video.captured is None
    assert (video.frames == plain.frames).all()
    with pytest.raises(torch.OutOfMemoryError):
        engine.render(named(engine, "a car"), OutOfMemory(times=1))


def test_a_tensor_that_finds_no_room_costs_the_capture_alone(
    engine: PipelineEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.artifacts.write.staging import Staging

    stock = Staging.take
    calls: list[int] = []

    def take(self: Staging, *args: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise torch.OutOfMemoryError("no room for a copy")
        return stock(self, *args)

    monkeypatch.setattr(Staging, "take", take)
    steps: list[int] = []
    video = engine.render(
        named(engine, "a car", capture=CAPTURE), lambda step, total: steps.append(step)
    )
    assert steps == [1, 2, 3, 4, 5, 6], "the video was made once"
    assert video.captured is not None
    assert video.captured.publish() is None


def test_a_layer_that_is_missed_costs_a_plain_job_its_capture_alone(
    engine: PipelineEngine,
) -> None:
    source = named(engine, "a car", capture=CAPTURE)
    keep(engine.render(source, unheard_step))
    block = engine.model("tiny").pipeline.transformer.blocks[1]
    block.forward = lambda hidden_states, *_: hidden_states
    video = engine.render(named(engine, "a cat", capture=CAPTURE), unheard_step)
    assert video.captured is None
    edit = named(engine, "a red car", source.spec.recipe)
    with pytest.raises(AttentionMissed, match="layer 1"):
        engine.render(edit, unheard_step)
