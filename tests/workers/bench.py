"""How tests run a model: its latents step by step, captures and edits."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from schemas.attention import Branch, CaptureSpec, Form, TransferSpec
from schemas.capture_plan import CapturePlan
from schemas.recipes import Recipe
from schemas.resolve_capture import resolve_capture
from schemas.selection import resolve_recipe
from tests import tiny
from workers.artifacts.read.device_cache import DeviceTensors
from workers.attention.maps import MapSink, MapSource, MemoryMaps
from workers.attention.transfer import Capture, StoredAttention
from workers.families.pixels import Frames
from workers.generation.denoise import OnStep, StepInfo
from workers.generation.generate import generate as engine_generate
from workers.models.pipelines import LoadedModel


def generate(
    model: LoadedModel,
    recipe: Recipe,
    *,
    transfer_from: MapSource | None = None,
    form: Form = "hidden",
    hidden_layers: tuple[int, ...] = (),
    tier: DeviceTensors | None = None,
    capture: Capture | None = None,
    on_step: OnStep | None = None,
) -> Frames:
    """The engine's ``generate`` of a recipe, from maps of which a test knows that they fit.

    ``tier``: keeps what is computed of form latents from one call to the next.
    """
    stored = None
    if transfer_from is not None:
        stored = stored_attention(transfer_from, form, hidden_layers)
    if stored is not None and tier is not None:
        recomputed = tier.open((), torch.device("cpu")).recomputed
        stored = replace(stored, recomputed=partial(recomputed, "artifact"))
    resolved = resolve_recipe(recipe, model.card)
    made = engine_generate(model, resolved, stored=stored, capture=capture, on_step=on_step)
    return made.frames


def stored_attention(
    maps: MapSource, form: Form = "hidden", hidden_layers: tuple[int, ...] = ()
) -> StoredAttention:
    plan = plan_of(form).model_copy(update={"hidden_layers": hidden_layers})
    return StoredAttention(plan, maps)


def plan_of(form: Form, branches: tuple[Branch, ...] = ("cond", "uncond")) -> CapturePlan:
    """All of the tiny model's three layers in three steps."""
    every = (0, 1, 2)
    return CapturePlan(
        form=form, codec="raw", layers=every, steps=every, branches=branches, outputs=True
    )


class _Seen(Exception):
    """All steps of a run are made."""


@dataclass
class Bench:
    """A model, and how tests run it: by the latents after each step, which tell more than bytes."""

    model: LoadedModel
    latents: list[Tensor] = field(default_factory=list)

    def recipe(self, prompt: str = "a car", **changes: Any) -> Recipe:
        return tiny.recipe(self.model, prompt, **changes)

    def edit(self, source: Recipe, prompt: str, **transfer: Any) -> Recipe:
        generation = source.generation.model_copy(update={"prompt": prompt})
        return Recipe(generation=generation, source=source, transfer=TransferSpec(**transfer))

    def latents_of(self, recipe: Recipe, **options: Any) -> Tensor:
        """Run it; (steps, C, F, H, W): the last row's latents after every step.

        Nothing is decoded, which takes most of a tiny model's time: the run is stopped there, but
        for one of several ranks, which would wait for the others.
        """
        kept: list[Tensor] = []
        model = self.model
        # a scheduler that calls more often than a step goes on, and the engine is to notice
        total = recipe.generation.num_inference_steps

        def can_stop() -> bool:
            return model.group is None and len(model.pipeline.scheduler.timesteps) == total

        def keep(info: StepInfo) -> None:
            if info.own:
                kept.append(info.latents[-1].clone())
                if info.step + 1 == info.total and can_stop():
                    raise _Seen

        with suppress(_Seen):
            generate(model, recipe, on_step=keep, **options)
        return torch.stack(kept)

    def captured(
        self,
        recipe: Recipe,
        form: Form,
        sink: MapSink | None = None,
        stored: StoredAttention | None = None,
        **spec: Any,
    ) -> tuple[MemoryMaps, Tensor]:
        """Run ``recipe`` and keep its attention, all of it; its maps and its latents."""
        maps = MemoryMaps()
        asked = CaptureSpec(form=form, scope="everything", **spec)
        plan = resolve_capture(asked, self.model.card, recipe)
        capture = Capture(plan, sink or maps)
        source = stored.source if stored else None
        return maps, self.latents_of(recipe, transfer_from=source, capture=capture)


def same_to_rounding(one: Tensor, other: Tensor, plain: Tensor, tolerance: float = 1e-3) -> bool:
    """Whether two ways to the same edit differ by less than ``tolerance`` of what it changes.

    Root mean square over all steps; ``plain`` is the run without transfer.
    """
    effect = (other - plain).square().mean().sqrt()
    assert effect > 0.02, "the edit changes nothing: this comparison would always pass"
    return bool((one - other).square().mean().sqrt() < tolerance * effect)
