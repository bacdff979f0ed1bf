"""A source that is run beside the anchored edit of it, each a step ahead in turn.

The edit of a source that was never stored needs its outputs of every step and its hidden states of
the computed ones. Run step by step beside the edit, the source leaves those of one step at a time:
a thirtieth of a replay's memory at 50 steps, so that every layer's hidden states fit and none is
computed again.
"""

import copy
from contextlib import ExitStack
from dataclasses import replace

from torch import Tensor

from schemas.capture_plan import CapturePlan
from schemas.errors import AttentionMissed
from schemas.recipes import Recipe
from schemas.resolve_capture import last_layers
from schemas.selection import ResolvedRecipe
from workers.attention.maps import Address, MemoryMaps
from workers.attention.run import Run
from workers.attention.stored_source import transfer_from
from workers.attention.thread_coroutine import ThreadCoroutine
from workers.attention.transfer import Capture, StoredAttention
from workers.generation.denoise import Generated, OnStep, StepInfo, denoise, run_pipeline
from workers.models.pipelines import LoadedModel


class StepMaps(MemoryMaps):
    """Of the step that the source is at, and the conditions, which are the same in all."""

    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        for key in [each for each in self.tensors if self._is_over(each, address.step)]:
            del self.tensors[key]
        super().put(address, name, tensor)

    @staticmethod
    def _is_over(key: tuple[Address, str], step: int) -> bool:
        address, name = key
        return address.step < step and not name.startswith("condition")


class SteppedRun:
    """A plain generation by the stock pipeline, on a thread of its own, a step at a time.

    It has a scheduler of its own and its own state of the hooks; weights are shared. ``close`` it.
    """

    def __init__(self, model: LoadedModel, recipe: Recipe, capture: Capture) -> None:
        pipeline = copy.copy(model.pipeline)
        pipeline.scheduler = copy.deepcopy(model.pipeline.scheduler)
        self._model = replace(model, pipeline=pipeline)
        self._recipe, generation = recipe, recipe.generation
        frames, height, width = model.card.grid.tokens(
            generation.width, generation.height, generation.num_frames
        )
        self.run = Run(
            total_steps=generation.num_inference_steps,
            branches=model.family.branches(generation.guidance_scale),
            batched=model.family.batched,
            extra_calls=model.family.extra_calls,
            tokens=frames * height * width,
            capture=capture,
        )
        self._info: StepInfo | None = None
        self._thread = ThreadCoroutine("source-beside")
        self._thread.begin(self._denoise)

    def step(self) -> StepInfo:
        """Make the next step. Raises what the pipeline does."""
        with self._model.hooks.swapped_in(self.run):
            running = self._thread.resume()
        if not running or self._info is None:
            raise AttentionMissed(f"the source's pipeline ended after {self.run.step} steps")
        return self._info._replace(own=False)

    def close(self) -> None:
        """End the pipeline where it is; nothing is decoded."""
        self._thread.close()

    def _denoise(self) -> None:
        """On the thread."""

        def after_step(info: StepInfo) -> None:
            self._info = info
            self._thread.pause()

        run_pipeline(self._model, [self._recipe], self.run, after_step)


def generate_beside(
    model: LoadedModel,
    source: Recipe,
    edit: ResolvedRecipe,
    capture: Capture | None,
    on_step: OnStep | None,
) -> Generated:
    """``edit``, which is anchored, of ``source``, a plain generation. Raises what ``denoise``
    does."""
    maps, plan = StepMaps(), plan_of(model, source, edit)
    total = source.generation.num_inference_steps
    with ExitStack() as within:
        stepped = SteppedRun(model, source, Capture(plan, maps))
        within.callback(stepped.close)

        def tell(info: StepInfo) -> None:
            if on_step is not None:
                before = info.step + int(info.own)
                on_step(info._replace(steps_before=before, steps_behind=total - before))

        def after_step(info: StepInfo) -> None:
            tell(info)
            if info.step + 1 < total:
                tell(stepped.step())

        stored = StoredAttention(plan, maps)
        transfer = within.enter_context(transfer_from(stored, model.hooks, edit))
        tell(stepped.step())
        made = denoise(model, [edit.recipe], (transfer,), capture, after_step)
        return made._replace(passes=made.passes + stepped.run.passes)


def plan_of(model: LoadedModel, source: Recipe, edit: ResolvedRecipe) -> CapturePlan:
    """What of the source's run the edit needs, with as many hidden states of a step as fit."""
    transfer = edit.transfer
    assert transfer is not None
    plan = CapturePlan(
        form="latents",
        codec="raw",
        layers=transfer.needed_layers,
        steps=transfer.needed_steps,
        branches=transfer.needed_branches,
        outputs=True,
    )
    one_step = plan.model_copy(update={"steps": plan.steps[:1]})
    hidden = last_layers(one_step, model.settings.replay_bytes, model.card, source.generation)
    return plan.model_copy(update={"hidden_layers": hidden})
