"""What step caches save on the bundled model, and what they cost in the picture.

    python -m bench.engine.step_cache --seeds 8 [--caches taylorseer_2 taylorseer_3]

Each video is made plain and with every cache in turn: the time of its denoising and the passes
of the transformer over the plain run's, the PSNR of its frames to the plain video's, and how far an
anchored edit with the video's own prompt is from it (``self_max_diff``, 0.0 if it is exact).
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.engine.model import SCENES, edit_of
from bench.report import median_ratio, print_figures, print_table
from schemas.attention import Anchor, CaptureSpec, StepCache
from schemas.recipes import Generation, Recipe
from schemas.resolve_capture import resolve_capture
from schemas.selection import resolve_recipe
from workers.attention.maps import MemoryMaps
from workers.attention.transfer import Capture, StoredAttention
from workers.families.pixels import Frames
from workers.generation.denoise import StepInfo
from workers.generation.generate import generate
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel, load_model

PROMPT = "A blue car is driving on the highway."
REFRESH = 5
CACHES = {
    f"first_block_{threshold:g}": StepCache(threshold=threshold, refresh=REFRESH)
    for threshold in (0.02, 0.05, 0.1, 0.2, 0.4)
} | {
    f"taylorseer_{refresh}": StepCache(method="taylorseer", refresh=refresh)
    for refresh in (2, 3, REFRESH)
}


class Made(NamedTuple):
    frames: Frames
    latents: Tensor
    seconds: float
    passes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--caches", choices=CACHES, nargs="+", default=list(CACHES))
    args = parser.parse_args()
    model = load_model(ModelSettings(id="scenes", path=str(SCENES)))
    figures: dict[str, float] = {}
    for cache, found in measure(model, args.caches, args.seeds, args.steps).items():
        for name, value in found.items():
            figures[f"{cache}.{name}"] = value
    print_table(("figure", "value"), list(figures.items()))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print_figures(figures | {"device": device, "seeds": args.seeds, "steps": args.steps})


def measure(
    model: LoadedModel, caches: Sequence[str], seeds: int, steps: int
) -> dict[str, dict[str, float]]:
    """Figures by name, of each cache."""
    plain: list[Made] = []
    runs: dict[str, list[Made]] = defaultdict(list)
    selves: dict[str, list[float]] = defaultdict(list)
    make(model, recipe_of(model, 0, steps, None))  # warm
    for seed in range(seeds):
        plain.append(make(model, recipe_of(model, seed, steps, None)))
        for name in caches:
            cached = recipe_of(model, seed, steps, CACHES[name])
            runs[name].append(make(model, cached))
            selves[name].append(self_difference(model, cached, runs[name][-1]))
    return {
        name: {
            "over_plain": median_ratio(
                [made.seconds for made in runs[name]], [made.seconds for made in plain]
            ),
            "passes": statistics.mean(
                made.passes / one.passes for made, one in zip(runs[name], plain, strict=True)
            ),
            "psnr_db": statistics.mean(
                psnr(made.frames, one.frames) for made, one in zip(runs[name], plain, strict=True)
            ),
            "self_max_diff": max(selves[name]),
        }
        for name in caches
    }


def recipe_of(model: LoadedModel, seed: int, steps: int, cache: StepCache | None) -> Recipe:
    card = model.card
    width, height = (int(side) for side in card.default_size.split("x"))
    return Recipe(
        generation=Generation(
            model=card.id,
            fingerprint=card.fingerprint,
            prompt=PROMPT,
            negative_prompt=card.negative_prompt,
            seed=seed,
            width=width,
            height=height,
            num_frames=card.num_frames.default,
            num_inference_steps=steps,
            guidance_scale=card.guidance_scale,
            fps=card.fps.default,
            step_cache=cache,
        )
    )


def make(
    model: LoadedModel,
    recipe: Recipe,
    *,
    stored: StoredAttention | None = None,
    capture: Capture | None = None,
) -> Made:
    """One video; ``seconds`` to the end of its last step."""
    last: list[tuple[float, Tensor]] = []

    def after_step(info: StepInfo) -> None:
        if info.step + 1 == info.total:
            if info.latents.is_cuda:
                torch.cuda.synchronize()
            last.append((time.monotonic(), info.latents[-1].clone()))

    began = time.monotonic()
    resolved = resolve_recipe(recipe, model.card)
    made = generate(model, resolved, stored=stored, capture=capture, on_step=after_step)
    ((ended, latents),) = last
    return Made(made.frames, latents, ended - began, made.passes)


def self_difference(model: LoadedModel, cached: Recipe, made: Made) -> float:
    """Largest difference of the latents of an edit that follows ``cached`` with its own prompt.

    A space behind it keeps the engine from knowing that: both velocities are computed.
    """
    plan = resolve_capture(CaptureSpec(form="hidden", scope="everything"), model.card, cached)
    maps = MemoryMaps()
    make(model, cached, capture=Capture(plan, maps))
    cache = cached.generation.step_cache
    assert cache is not None
    assert cache.refresh is not None
    edit = edit_of(cached, PROMPT + " ", Anchor(interval=cache.refresh))
    generation = edit.generation.model_copy(update={"step_cache": None})
    edit = edit.model_copy(update={"generation": generation})
    again = make(model, edit, stored=StoredAttention(plan, maps))
    return float((again.latents - made.latents).abs().max())


def psnr(frames: Frames, plain: Frames) -> float:
    """Of uint8 frames, in dB; 99 where they are equal."""
    error = float(np.square(frames.astype(np.float64) - plain).mean())
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


if __name__ == "__main__":
    main()
