"""From a request and a model's card to a recipe: every default filled in, every value checked.

Pure functions; InvalidRequest and its kin name the field, the value and what is allowed.
"""

import secrets
from typing import TypeVar

from schemas.attention import Anchor, StepCache, TransferSpec
from schemas.errors import InvalidRequest, Unsupported
from schemas.models import ModelCard
from schemas.recipes import Generation, Recipe, check_same_shot
from schemas.requests import Settings
from schemas.selection import branches_of, presets_of, resolve_recipe, resolve_transfer

T = TypeVar("T")

SEED_BITS = 32  # of a seed that we choose: exact in every JSON reader


def new_generation(asked: Settings, prompt: str, card: ModelCard, prefix: str = "") -> Generation:
    """The run that ``asked`` describes, with ``card``'s defaults for what it leaves open.

    ``prefix``: of the fields' names in messages, as in ``source.``.
    """
    width, height = parse_size(asked.size or card.default_size, card, f"{prefix}size")
    fps = card.fps.check(_or(asked.fps, card.fps.default), f"{prefix}fps")
    guidance_scale = _guidance(
        _or(asked.guidance_scale, card.guidance_scale), card, f"{prefix}guidance_scale"
    )
    return Generation(
        model=card.id,
        fingerprint=card.fingerprint,
        prompt=_prompt(prompt, card, f"{prefix}prompt"),
        negative_prompt=_negative_prompt(
            asked, card.negative_prompt, guidance_scale, card, f"{prefix}negative_prompt"
        ),
        seed=_or(asked.seed, secrets.randbits(SEED_BITS)),
        width=width,
        height=height,
        num_frames=_frames(asked, fps, card, prefix) or card.num_frames.default,
        num_inference_steps=card.num_inference_steps.check(
            _or(asked.num_inference_steps, card.num_inference_steps.default),
            f"{prefix}num_inference_steps",
        ),
        guidance_scale=guidance_scale,
        guidance_scale_2=_guidance_2(asked, None, guidance_scale, card, prefix),
        fps=fps,
        loras=_loras(asked, card, prefix),
        step_cache=_step_cache(asked, card, prefix),
        frame_rate=fps if card.told_fps else None,
    )


def edit_generation(
    asked: Settings, prompt: str, source: Generation, card: ModelCard
) -> Generation:
    """The edit's own run: what ``asked`` leaves open is the source's.

    Raises SourceMismatch where it names what an edit must share with its source otherwise.
    """
    width, height = (
        parse_size(asked.size, card, "size") if asked.size else (source.width, source.height)
    )
    fps = card.fps.check(_or(asked.fps, source.fps), "fps")
    guidance_scale = _guidance(
        _or(asked.guidance_scale, source.guidance_scale), card, "guidance_scale"
    )
    edit = Generation(
        model=card.id,
        fingerprint=card.fingerprint,
        prompt=_prompt(prompt, card, "prompt"),
        negative_prompt=_negative_prompt(
            asked, source.negative_prompt, guidance_scale, card, "negative_prompt"
        ),
        seed=_or(asked.seed, source.seed),
        width=width,
        height=height,
        num_frames=_frames(asked, fps, card, "") or source.num_frames,
        num_inference_steps=_or(asked.num_inference_steps, source.num_inference_steps),
        guidance_scale=guidance_scale,
        guidance_scale_2=_guidance_2(asked, source.guidance_scale_2, guidance_scale, card, ""),
        fps=fps,
        loras=_loras(asked, card, "") if asked.loras else source.loras,
        step_cache=asked.step_cache,
        frame_rate=source.frame_rate and fps,  # None also in a source older than the field
        picture=source.picture,
    )
    check_same_shot(edit, source)
    return edit


def edit_recipe(
    edit: Generation,
    source: Recipe,
    transfer: TransferSpec | None,
    card: ModelCard,
    max_chain: int,
) -> Recipe:
    """``edit`` with the attention of ``source``; the whole chain of sources comes with it."""
    if len(source.chain()) >= max_chain:
        raise InvalidRequest(
            f"source: it is itself {len(source.chain()) - 1} edits deep; allowed are sources that "
            f"are up to {max_chain - 2} deep",
            param="source",
        )
    recipe = Recipe(
        generation=edit,
        source=source,
        transfer=plain_transfer(anchored(transfer, card, edit), card, edit),
    )
    resolve_recipe(recipe, card)  # refused here, not by a worker
    return recipe


def anchored(asked: TransferSpec | None, card: ModelCard, edit: Generation) -> TransferSpec:
    """``asked``, with the anchor of preset ``auto`` where it names neither one nor a preset."""
    if asked is None:
        return TransferSpec(preset="auto")
    if asked.preset is not None or "anchor" in asked.model_fields_set:
        return asked
    anchor = presets_of(card)["auto"].anchor_of(edit.num_inference_steps)
    return TransferSpec.model_validate({**asked.model_dump(exclude_unset=True), "anchor": anchor})


def plain_transfer(spec: TransferSpec, card: ModelCard, generation: Generation) -> TransferSpec:
    """``spec`` checked against the card, its preset and ranges written out, and "all" as None.

    Equal transfers so become equal specs, and recipes that hold them get equal keys.
    """
    parts = resolve_transfer(spec, card, generation)
    every_step = parts.computed_steps or tuple(range(generation.num_inference_steps))
    whole_run = ("cond",) if parts.anchor else branches_of(card, generation)
    return TransferSpec(
        anchor=parts.anchor,
        layers=None if len(parts.layers) == card.layers else parts.layers,
        steps=None if parts.steps == every_step else parts.steps,
        heads=parts.heads,
        branches=None if parts.branches == whole_run else parts.branches,
        source_branch=parts.source_branch,
        strength=parts.strength,
        strength_end=None if parts.strength_end == parts.strength else parts.strength_end,
    )


def preview_steps(asked: int | None, card: ModelCard) -> int | None:
    """The steps from one preview to the next; raises Unsupported where the model has none."""
    if asked is not None and not card.supports_preview:
        raise Unsupported(
            f"preview_every: {asked} is not allowed: model {card.id!r} makes no previews; leave "
            "it out",
            param="preview_every",
        )
    return asked


def parse_size(size: str, card: ModelCard, param: str) -> tuple[int, int]:
    """``"832x480"`` as (width, height) in pixels."""
    width, height = (int(side) for side in size.split("x"))
    nearest = _nearest_size(width, height, card)
    if (width, height) != nearest:
        raise InvalidRequest(
            f"{param}: {size!r} is not allowed; allowed are widths {card.width_range.describe()} "
            f"and heights {card.height_range.describe()}, with at most {card.max_pixels} pixels in "
            f"all; nearest is {nearest[0]}x{nearest[1]}",
            param=param,
        )
    return width, height


def _nearest_size(width: int, height: int, card: ModelCard) -> tuple[int, int]:
    """An allowed size near the one asked for: that itself, if it is allowed."""
    near_width, near_height = card.width_range.nearest(width), card.height_range.nearest(height)
    while near_width * near_height > card.max_pixels:
        narrower = card.width_range.nearest(near_width - card.width_range.step)
        lower = card.height_range.nearest(near_height - card.height_range.step)
        if (narrower, lower) == (near_width, near_height):
            break  # the smallest there is
        if narrower < near_width and (near_width >= near_height or lower == near_height):
            near_width = narrower
        else:
            near_height = lower
    return near_width, near_height


def _frames(asked: Settings, fps: int, card: ModelCard, prefix: str) -> int | None:
    """Frames from ``num_frames``, or the nearest possible to ``seconds``; None: neither given."""
    allowed = card.num_frames
    if asked.num_frames is not None:
        return allowed.check(asked.num_frames, f"{prefix}num_frames")
    if asked.seconds is None:
        return None
    wanted = float(asked.seconds) * fps
    if not allowed.minimum - allowed.step < wanted < allowed.maximum + allowed.step:
        raise InvalidRequest(
            f"{prefix}seconds: {asked.seconds!r} is not allowed at {fps} frames a second; allowed "
            f"is {allowed.minimum / fps:.3g} to {allowed.maximum / fps:.3g}",
            param=f"{prefix}seconds",
        )
    nearest = round((wanted - allowed.offset) / allowed.step) * allowed.step + allowed.offset
    return min(max(nearest, allowed.minimum), allowed.maximum)


def _prompt(text: str, card: ModelCard, param: str) -> str:
    if len(text) > card.max_prompt_chars:
        raise InvalidRequest(
            f"{param}: {len(text)} characters are not allowed; model {card.id!r} takes "
            f"{card.max_prompt_chars}",
            param=param,
        )
    return text


def _negative_prompt(
    asked: Settings, default: str, guidance_scale: float, card: ModelCard, param: str
) -> str:
    """What stands in the recipe: nothing where the run has no branch that it would go into.

    Else two keys would name one video. Raises Unsupported where the model never has that branch.
    """
    if "uncond" not in card.branches:
        if asked.negative_prompt:
            raise Unsupported(
                f"{param}: is not allowed: model {card.id!r} takes none (its guidance is "
                "embedded); leave it out",
                param=param,
            )
        return ""
    text = _prompt(_or(asked.negative_prompt, default), card, param)
    return text if guidance_scale > 1 or card.always_guided else ""


def _guidance(value: float, card: ModelCard, param: str) -> float:
    if not 0 <= value <= card.max_guidance_scale:
        raise InvalidRequest(
            f"{param}: {value:g} is not allowed; allowed is 0 to {card.max_guidance_scale:g}",
            param=param,
        )
    return value


def _guidance_2(
    asked: Settings, default: float | None, guidance_scale: float, card: ModelCard, prefix: str
) -> float | None:
    """What stands in the recipe: None where it says what would be done without it.

    Raises Unsupported where the model has one expert alone.
    """
    param, value = f"{prefix}guidance_scale_2", asked.guidance_scale_2
    if value is not None and not card.supports_guidance_scale_2:
        raise Unsupported(
            f"{param}: {value:g} is not allowed: model {card.id!r} has no second expert; leave it "
            "out",
            param=param,
        )
    own = guidance_scale if card.guidance_scale_2 is None else card.guidance_scale_2
    value = default if value is None else _guidance(value, card, param)
    return None if value == own or guidance_scale <= 1 else value


def _loras(asked: Settings, card: ModelCard, prefix: str) -> tuple[tuple[str, float], ...]:
    """In the order of their names, so that equal choices get equal keys."""
    param, chosen = f"{prefix}loras", asked.loras or ()
    if chosen and not card.loras:
        raise Unsupported(f"{param}: model {card.id!r} offers none", param=param)
    names = [name for name, _ in chosen]
    for name in names:
        if name not in card.loras:
            raise InvalidRequest(
                f"{param}: {name[:64]!r} is not allowed; allowed are {', '.join(card.loras)}",
                param=param,
            )
    if len(set(names)) < len(names):
        raise InvalidRequest(f"{param}: {names} has a name twice", param=param)
    return tuple(sorted(chosen))


def _step_cache(asked: Settings, card: ModelCard, prefix: str) -> StepCache | None:
    """As asked for; where it leaves ``refresh`` open, default edits can follow the run."""
    cache = asked.step_cache
    if cache is None:
        return None
    card.check_step_cache(cache, f"{prefix}step_cache")
    if cache.refresh is not None:
        return cache
    steps = _or(asked.num_inference_steps, card.num_inference_steps.default)
    anchor = presets_of(card)["auto"].anchor_of(steps) or Anchor()
    return cache.model_copy(update={"refresh": anchor.interval})


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
