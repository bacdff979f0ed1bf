"""Videos made several at a time, each with changes and a transfer of its own.

``workers.generation`` makes one video a run, of which a batch holds the sources too. Here a batch
is of videos that all are wanted: as many as the model's family and settings allow.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from schemas.recipes import Generation, Recipe
from schemas.selection import resolve_recipe
from workers.analysis.interventions.changes import Change
from workers.analysis.interventions.intervene import changed_attention
from workers.attention.transfer import Capture, Transfer
from workers.families.pixels import Frames
from workers.generation.anchored_calls import anchored_calls
from workers.generation.denoise import activate_loras, check_finite, every_step
from workers.generation.generate import check_fits
from workers.generation.seeded_noise import seeded_noise
from workers.models.pipelines import LoadedModel
from workers.patching import replaced

OnProgress = Callable[[int, int], None]
OWN = ("prompt", "negative_prompt", "seed")  # what videos of one batch may differ in


@dataclass(frozen=True)
class Wish:
    """One video that is to be made: ``generation`` with ``changes``, and out of ``transfer``.

    Anchored edits and others are not made together, nor those of two intervals.
    """

    generation: Generation
    changes: tuple[Change, ...] = ()
    transfer: Transfer | None = None


class Progress:
    """Counts the steps of several runs. ``on_progress`` may raise (JobCancelled) to stop."""

    def __init__(self, total: int, on_progress: OnProgress | None) -> None:
        self.done, self.total = 0, total
        self._on_progress = on_progress

    def step(self) -> None:
        self.at(self.done + 1)

    def at(self, done: int) -> None:
        self.done = done
        if self._on_progress is not None:
            self._on_progress(self.done, self.total)


def most_in_a_batch(model: LoadedModel) -> int:
    return min(model.family.max_batch, model.settings.replay_rows)


def batch_sizes(count: int, most: int) -> list[int]:
    """``count`` videos in as few batches as can be, all but the last of one size."""
    if not count:
        return []
    size = -(-count // -(-count // most))
    return [min(size, count - start) for start in range(0, count, size)]


def steps_of(generations: Sequence[Generation], most: int) -> int:
    """How many steps of the pipeline ``make_videos`` takes for these."""
    return sum(
        generations[numbers[0]].num_inference_steps for numbers in _batches(generations, most)
    )


def _batches(generations: Sequence[Generation], most: int) -> list[list[int]]:
    """Which of ``generations`` are made together: those of one shot, ``most`` at most."""
    shots: dict[str, list[int]] = {}
    for number, each in enumerate(generations):
        shots.setdefault(each.model_dump_json(exclude=set(OWN)), []).append(number)
    batches = []
    for numbers in shots.values():
        start = 0
        for size in batch_sizes(len(numbers), most):
            batches.append(numbers[start : start + size])
            start += size
    return batches


def make_videos(
    model: LoadedModel, wishes: Sequence[Wish], progress: Progress
) -> Iterator[tuple[int, Frames]]:
    """(number of the wish, its frames), batch by batch: what is not kept is not held.

    Raises as ``generate`` does.
    """
    generations = [each.generation for each in wishes]
    for numbers in _batches(generations, most_in_a_batch(model)):
        batch = [wishes[number] for number in numbers]
        yield from zip(numbers, denoise_batch(model, batch, progress), strict=True)


def denoise_batch(
    model: LoadedModel,
    wishes: Sequence[Wish],
    progress: Progress,
    capture: Capture | None = None,
) -> list[Frames]:
    """One run of the stock pipeline; ``capture`` keeps the attention of the last video."""
    generations = [each.generation for each in wishes]
    for each in generations:
        check_fits(model, resolve_recipe(Recipe(generation=each), model.card), capture)
    first = generations[0]
    frames, height, width = model.card.grid.tokens(first.width, first.height, first.num_frames)
    model.family.configure(model.pipeline, first)
    activate_loras(model, first)
    with ExitStack() as within:
        run = within.enter_context(
            model.hooks.run(
                total_steps=first.num_inference_steps,
                branches=model.family.branches(first.guidance_scale),
                tokens=frames * height * width,
                capture=capture,
                transfers=tuple(each.transfer for each in wishes),
            )
        )
        if any(each.changes for each in wishes):
            within.enter_context(changed_attention(model, [each.changes for each in wishes]))

        def after_step(latents: Tensor) -> None:
            run.end_step()
            check_finite(latents, f"after step {run.step}")
            progress.step()

        within.callback(model.pipeline.maybe_free_model_hooks)
        arguments = model.call | model.family.call_arguments(generations, model.pictures)
        noise = seeded_noise(model.pipeline.scheduler, arguments["generator"])
        within.enter_context(noise)
        within.enter_context(decoding_one_by_one(model))
        within.enter_context(anchored_calls(model.hooks, run))
        callback = within.enter_context(every_step(model, after_step))
        output = model.pipeline(**arguments, **callback)
    return frames_of(model, output, len(wishes))


@contextmanager
def decoding_one_by_one(model: LoadedModel) -> Iterator[None]:
    """Within the block the VAE decodes a batch's videos in turn.

    Together they would take more memory than the denoising, and not every VAE can: HunyuanVideo
    1.5's refuses two, and EasyAnimate's own slicing mixes them.
    """
    vae = model.pipeline.vae
    stock = vae.decode

    def decode(*args: Any, **options: Any) -> Any:
        count = len(args[0] if args else options["z"])

        def part(value: Any, row: int) -> Any:
            is_batch = isinstance(value, Tensor) and value.ndim > 0 and len(value) == count
            return value[row : row + 1] if is_batch else value

        made = [
            stock(
                *(part(value, row) for value in args),
                **{name: part(value, row) for name, value in options.items()},
            )
            for row in range(count)
        ]
        if isinstance(made[0], tuple):
            return (torch.cat([each[0] for each in made]),)
        return type(made[0])(sample=torch.cat([each.sample for each in made]))

    with replaced(vae, "decode", decode):
        yield


def frames_of(model: LoadedModel, output: object, count: int) -> list[Frames]:
    """Each video's frames (F, H, W, 3) uint8 of what the pipeline returned."""
    videos = output.frames  # type: ignore[attr-defined]  # pipelines are untyped
    return [
        model.family.frames(SimpleNamespace(frames=videos[row : row + 1])) for row in range(count)
    ]
