"""The checks of a model, one after the other; what one of them finds wrong does not end the next.

Exactness is shown on the smallest video in form hidden, which holds every layer, and at the size
asked for in form latents, which holds little and computes the rest again.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import torch

from schemas.attention import Anchor, CaptureSpec, Form, TransferSpec
from schemas.errors import RetakeError
from schemas.estimate import Estimate, estimate
from schemas.recipes import Generation, Recipe
from workers.check.measure import kept_of, measure, own_maps_difference
from workers.engine.dry_run import dry_run, generation_of
from workers.model_settings import ModelSettings
from workers.models.model_cache import weight_bytes
from workers.models.pipelines import FAULTS, LoadedModel, ModelLoadError, load_model

Say = Callable[[str], None]
MIB = 1 << 20


@dataclass
class Findings:
    """``facts``: what was measured, by name; ``wrong``: what must not be; ``odd``: what a user
    should know."""

    facts: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Whatever stops within the block is wrong, and what follows is done all the same."""
        try:
            yield
        except (*FAULTS, RetakeError, ModelLoadError) as error:
            self.wrong.append(f"{name}: {error}")


@dataclass(frozen=True)
class Asked:
    """``smallest``: a video of the fewest pixels and frames, not of the model's defaults."""

    prompt: str = "a car"
    edit_prompt: str = "a red car"
    steps: int = 4
    smallest: bool = False


def check_model(settings: ModelSettings, asked: Asked, say: Say) -> Findings:
    """Load and try the model; ``say`` is told of each stage in words."""
    found = Findings(facts={"model": settings.id, **libraries()})
    model: LoadedModel | None = None
    with found.stage("load"):
        model = _load(settings, found, say)
    if model is None:
        return found
    generation = generation_of(model, smallest=asked.smallest, steps=asked.steps)
    generation = generation.model_copy(update={"prompt": asked.prompt, "seed": 1})
    with found.stage("generation"):
        _generate(model, generation, found, say)
    if model.card.supports_transfer:
        with found.stage("own maps"):
            _own_maps(model, generation, found, say)
        with found.stage("edit"):
            _edit(model, generation, asked, found, say)
        with found.stage("forms"):
            _forms(model, generation_of(model, steps=1 << 20), found, say)
    _look_for_oddities(model, found)
    return found


def libraries() -> dict[str, Any]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"device": device} | {
        f"{name}_version": version(name) for name in ("torch", "diffusers", "transformers")
    }


def _load(settings: ModelSettings, found: Findings, say: Say) -> LoadedModel:
    began = time.monotonic()
    model = load_model(settings)
    card = model.card
    found.facts |= {
        "family": card.family,
        "checkpoint": card.checkpoint,
        "fingerprint": card.fingerprint,
        "load_s": round(time.monotonic() - began, 2),
        "weight_bytes": weight_bytes(model),
    }
    say(f"loaded in {found.facts['load_s']} s: {found.facts['weight_bytes'] // MIB} MiB of weights")
    found.facts["component_bytes"] = component_bytes(model)
    for name, size in found.facts["component_bytes"].items():
        say(f"  {name}: {size / MIB:.4g} MiB")
    say(
        f"{card.family}: {card.layers} layers, {card.heads} heads, width {card.width}; "
        f"{card.default_size}, {card.num_frames.default} frames at {card.fps.default} a second, "
        f"{card.num_inference_steps.default} steps, guidance {card.guidance_scale:g}; "
        f"{card.max_prompt_tokens} tokens of a prompt"
    )
    say(f"defaults of {card.checkpoint}: {card.defaults_source}")
    refusal = dry_run(model)
    if refusal is not None:
        found.odd.append(f"videos are made, but attention is not kept: {refusal}")
        changes = {"supports_transfer": False, "no_transfer_reason": refusal}
        return replace(model, card=card.model_copy(update=changes))
    return model


def component_bytes(model: LoadedModel) -> dict[str, int]:
    """Of each part's weights and buffers: what offloading, fp8 or a GGUF would act on."""
    return {
        name: sum(tensor.nbytes for tensor in (*part.parameters(), *part.buffers()))
        for name, part in model.pipeline.components.items()
        if isinstance(part, torch.nn.Module)
    }


def _generate(model: LoadedModel, generation: Generation, found: Findings, say: Say) -> None:
    made = measure(model, Recipe(generation=generation))
    found.facts |= {
        "size": generation.size,
        "num_frames": generation.num_frames,
        "step_s": round(made.step_s, 4),
        "encode_decode_s": round(made.rest_s, 3),
        "peak_bytes": made.peak_bytes,
    }
    say(
        f"{generation.size}, {generation.num_frames} frames: {made.step_s:.3g} s a step, "
        f"{made.rest_s:.3g} s to encode and decode, {made.peak_bytes // MIB} MiB at most"
    )
    if made.frames.std() < 1:
        found.wrong.append("generation: the video has one colour")


def _own_maps(model: LoadedModel, generation: Generation, found: Findings, say: Say) -> None:
    smallest = generation_of(model, smallest=True).model_copy(update={"prompt": generation.prompt})
    runs: tuple[tuple[Form, Generation], ...] = (("hidden", smallest), ("latents", generation))
    worst = 0.0
    for form, each in runs:
        difference = own_maps_difference(model, each, form)
        say(f"own maps put back in form {form}, {each.size}: largest difference {difference:g}")
        worst = max(worst, difference)
    found.facts["own_maps_difference"] = worst
    if worst != 0:
        found.wrong.append(f"own maps: a run's own maps change it by {worst:g}, not 0")


def _edit(
    model: LoadedModel, generation: Generation, asked: Asked, found: Findings, say: Say
) -> None:
    source = Recipe(generation=generation)
    stored, plain = kept_of(model, source, "latents")
    words = generation.model_copy(update={"prompt": asked.edit_prompt})
    anchor = Anchor(interval=max(1, generation.num_inference_steps // 2))
    edit = Recipe(generation=words, source=source, transfer=TransferSpec(anchor=anchor))
    made = measure(model, edit, stored=stored)
    changed = float(abs(made.frames.astype(int) - plain.frames).mean())
    cost = made.passes / plain.passes
    found.facts |= {"edit_cost": round(cost, 4), "edit_change": round(changed, 4)}
    say(f"anchored edit: {cost:.2f} of a generation, pixels change by {changed:.3g} of 255")
    if changed == 0:
        found.wrong.append("edit: another prompt changes nothing")


def _forms(model: LoadedModel, generation: Generation, found: Findings, say: Say) -> None:
    """What keeping a generation at the defaults takes, in each form; at the default steps."""
    steps = {"num_inference_steps": model.card.num_inference_steps.default}
    recipe = Recipe(generation=generation.model_copy(update=steps))
    edits: Estimate = estimate(CaptureSpec(), TransferSpec(preset="auto"), model.card, recipe)
    found.facts["forms"] = {
        each.form: {"bytes": each.bytes, "edit_cost": round(each.edit_cost, 3)}
        for each in edits.forms
        if each.available
    }
    found.facts["replay_cost"] = round(edits.replay_cost, 3)
    for each in edits.forms:
        if each.available:
            say(
                f"kept as {each.form} for edits by preset auto: {each.bytes / MIB:.4g} MiB, an "
                f"edit costs {each.edit_cost:.2f} of a generation"
            )
    say(f"not kept: an edit costs {edits.replay_cost:.2f} of a generation")


def _look_for_oddities(model: LoadedModel, found: Findings) -> None:
    card, settings = model.card, model.settings
    if not card.supports_transfer:
        found.odd.append(f"no capture and no edits: {card.no_transfer_reason}")
    if not card.supports_preview:
        found.odd.append("no previews: how its latents lie is not known")
    if settings.dtype == "float16":
        found.odd.append("float16 overflows in many video models; bfloat16 does not")
    if card.licence == "unknown":
        found.odd.append("its licence is not known: set defaults.licence")
    if settings.ranks > 1:
        found.odd.append("only one rank of it was tried here")
