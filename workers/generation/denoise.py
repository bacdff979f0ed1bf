"""The stock pipeline over one batch, with its steps counted and its attention hooked.

A run that keeps and takes no attention is served whatever its steps are: some schedulers call the
transformer twice a step, and some guiders stop early.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from schemas.errors import AttentionMissed, NumericOverflow
from schemas.recipes import Generation, Recipe
from workers.attention.run import Run
from workers.attention.transfer import Capture, Transfer
from workers.control.phase_clock import PhaseClock
from workers.families.pixels import Frames
from workers.generation.anchored_calls import anchored_calls
from workers.generation.film_calls import film_calls
from workers.generation.mask import latent_mask, region_mask
from workers.generation.seeded_noise import seeded_noise
from workers.generation.step_cache import cached_blocks
from workers.models.loras import experts_of, lora_scales
from workers.models.pipelines import LoadedModel
from workers.patching import replaced


class Generated(NamedTuple):
    """A video (F, H, W, 3) uint8, and what it took: passes of the transformer over one video and
    branch. A plain generation takes steps times branches.

    ``seconds``: of the phases text, denoising and decoding of the run that is decoded.
    ``source``: the frames of an edit's source, where they were made on the way.
    ``tokens_computed``: share of the tokens that went through the blocks at the computed steps.
    """

    frames: Frames
    passes: float
    seconds: dict[str, float]
    source: Frames | None = None
    tokens_computed: float = 1.0


class StepInfo(NamedTuple):
    """After step ``step`` (from 0) of ``total``; ``latents`` of all rows, not to be written to.

    ``own`` is False while a source runs before its edit. ``steps_before``, ``steps_behind``: those
    of the job's other runs.
    """

    step: int
    total: int
    latents: Tensor
    own: bool = True
    steps_before: int = 0
    steps_behind: int = 0


OnStep = Callable[[StepInfo], None]


def denoise(
    model: LoadedModel,
    chain: list[Recipe],
    transfers: tuple[Transfer | None, ...],
    capture: Capture | None,
    on_step: OnStep | None,
) -> Generated:
    """The stock pipeline over ``chain`` in one batch; only the last row is decoded."""
    clock = PhaseClock()
    with _opened(model, chain, transfers, capture) as run, _first_call(model, clock):
        output = run_pipeline(model, chain, run, _timed(on_step, clock))
    frames = model.family.frames(output)
    clock.end("decoding")
    return Generated(frames, run.passes, clock.seconds, None, _tokens_computed(transfers, run))


def _tokens_computed(transfers: tuple[Transfer | None, ...], run: Run) -> float:
    """Of a lone anchored edit, whose passes are counted by their tokens; of others all are."""
    (*others, last) = transfers
    computed = len(last.resolved.computed_steps) if last is not None else 0
    return 1.0 if others or not computed else min(1.0, run.passes / computed)


def denoise_only(
    model: LoadedModel,
    recipe: Recipe,
    transfer: Transfer | None,
    capture: Capture,
    on_step: OnStep | None,
    film: Tensor | None = None,
) -> float:
    """As ``denoise``, for what is captured alone: nothing is decoded. The passes that it took.

    ``film``: latents (1, …) of an uploaded film, which the run then follows; the steps that it
    computes are those of ``capture``.
    """

    def after_step(info: StepInfo) -> None:
        if on_step is not None:
            on_step(info)
        if info.step + 1 == info.total:
            raise _Denoised

    with _opened(model, [recipe], (transfer,), capture) as run, suppress(_Denoised):
        run_pipeline(model, [recipe], run, after_step, film)
    return run.passes


def denoise_to(model: LoadedModel, recipe: Recipe, transfer: Transfer, last_step: int) -> float:
    """As ``denoise_only``, with nothing captured, up to ``last_step`` and with it."""

    def after_step(info: StepInfo) -> None:
        if info.step >= last_step:
            raise _Denoised

    with _opened(model, [recipe], (transfer,), None) as run, suppress(_Denoised):
        run_pipeline(model, [recipe], run, after_step)
    return run.passes


@contextmanager
def _first_call(model: LoadedModel, clock: PhaseClock) -> Iterator[None]:
    """The phase text ends where a transformer is called first."""

    def end_text(_: nn.Module, __: tuple[Any, ...]) -> None:
        if "text" not in clock.seconds:
            clock.end("text")

    handles = [
        transformer.register_forward_pre_hook(end_text) for transformer in model.hooks.transformers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _timed(on_step: OnStep | None, clock: PhaseClock) -> OnStep:
    """``on_step``, and the end of the phase denoising: the device has done the last step."""

    def after_step(info: StepInfo) -> None:
        if info.step + 1 == info.total:
            if info.latents.is_cuda:
                torch.cuda.current_stream(info.latents.device).synchronize()
            clock.end("denoising")
        if on_step is not None:
            on_step(info)

    return after_step


class _Denoised(Exception):
    """Ends a pipeline behind its last step: not all take an argument that leaves decoding out."""


def _opened(
    model: LoadedModel,
    chain: list[Recipe],
    transfers: tuple[Transfer | None, ...],
    capture: Capture | None,
) -> AbstractContextManager[Run]:
    """The hooks, open for one run of ``chain``."""
    generation = chain[-1].generation
    frames, height, width = model.card.grid.tokens(
        generation.width, generation.height, generation.num_frames
    )
    tokens = frames * height * width
    total = generation.num_inference_steps
    cache = generation.step_cache
    if model.group is not None:
        model.group.begin(tokens)
    return model.hooks.run(
        total_steps=total,
        branches=model.family.branches(generation.guidance_scale),
        tokens=tokens,
        partial_steps=frozenset(range(total)).difference(cache.full_steps(total)) if cache else (),
        capture=capture,
        transfers=transfers,
    )


def run_pipeline(
    model: LoadedModel,
    chain: list[Recipe],
    run: Run,
    on_step: OnStep | None,
    film: Tensor | None = None,
) -> Any:
    """What the stock pipeline returned; ``run`` has the hooks."""
    generation = chain[-1].generation
    total = generation.num_inference_steps
    rows = [each.generation for each in chain]
    arguments = model.call | model.family.call_arguments(rows, model.pictures)
    model.family.configure(model.pipeline, generation)
    activate_loras(model, generation)

    def after_step(latents: Tensor) -> Tensor | None:
        run.end_step()
        check_finite(latents, f"after step {run.step} of {total}")
        before_step(run.step)
        if on_step is not None:
            steps = total if run.checked else max(total, len(model.pipeline.scheduler.timesteps))
            on_step(StepInfo(min(run.step, steps) - 1, steps, latents))
        drop = run.step == total and len(chain) > 1 and model.family.drops_rows
        return latents[-1:] if drop else None

    try:
        with (
            cached_blocks(model, generation) as before_step,
            model.prompts.used_by(model.pipeline, generation.loras),
            anchored_calls(model.hooks, run, [_latent_mask(model, each) for each in chain]),
            seeded_noise(model.pipeline.scheduler, arguments["generator"]),
            film_calls(model, run, film),
            every_step(model, after_step) as callback,
        ):
            output = model.pipeline(**arguments, **callback)
    finally:
        model.pipeline.maybe_free_model_hooks()
    if run.checked and run.step != total:
        raise AttentionMissed(f"the pipeline made {run.step} of {total} steps")
    return output


def _latent_mask(model: LoadedModel, recipe: Recipe) -> Tensor | None:
    mask = region_mask(model, recipe)
    return None if mask is None else latent_mask(model, mask, recipe.generation)


def check_finite(latents: Tensor, when: str) -> None:
    """Raise NumericOverflow for infinite values, which would become a black video."""
    if not latents.isfinite().all():
        raise NumericOverflow(
            f"the model's numbers are infinite or not numbers {when}: a dtype of too small a range "
            "(float16), a guidance_scale that is too large, or a LoRA that does not fit"
        )


def activate_loras(model: LoadedModel, generation: Generation) -> None:
    """Switch on the LoRAs that the request names, at its scales, and no others."""
    if generation.loras:
        experts = experts_of(model.pipeline, model.family)
        weights = [
            lora_scales(model.settings.loras[name], experts, scale)
            for name, scale in generation.loras
        ]
        model.pipeline.enable_lora()
        model.pipeline.set_adapters([name for name, _ in generation.loras], weights)
    elif model.settings.loras:
        model.pipeline.disable_lora()


@contextmanager
def every_step(
    model: LoadedModel, after_step: Callable[[Tensor], Tensor | None]
) -> Iterator[dict[str, Any]]:
    """Call ``after_step`` with the latents behind each step, by the pipeline's own callback (the
    arguments for it are yielded), or behind the scheduler's step where it has none.

    What ``after_step`` returns takes the latents' place.
    """
    if model.family.takes(model.pipeline, "callback_on_step_end"):

        def callback(_: Any, __: int, ___: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            latents = after_step(tensors["latents"])
            return {} if latents is None else {"latents": latents}

        yield {"callback_on_step_end": callback}
        return
    scheduler = model.pipeline.scheduler
    stock = scheduler.step

    def step(*args: Any, **kwargs: Any) -> Any:
        out = stock(*args, **kwargs)
        latents = after_step(out[0])
        return out if latents is None else (latents, *out[1:])

    with replaced(scheduler, "step", step):
        yield {}
