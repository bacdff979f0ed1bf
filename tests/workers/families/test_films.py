"""Uploaded films on every family that takes them: the path ends at the film, edits follow it."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from schemas.attention import Anchor, CaptureSpec, Form
from schemas.capture_plan import INPUTS, VELOCITY
from schemas.films.film import Film
from schemas.recipes import Recipe
from schemas.resolve_capture import resolve_capture
from schemas.selection import resolve_recipe
from tests.workers.families.cases import CASES, Runs
from workers.attention.maps import Address, MemoryMaps
from workers.attention.transfer import Capture, StoredAttention
from workers.families.registry import FAMILIES
from workers.generation.denoise import StepInfo, denoise_only
from workers.generation.generate import generate
from workers.models.vae_space import encode_video, film_latents, pipeline_latents, vae_shape
from workers.previews.latents import vae_latents

STEPS = 4
EVERY_OTHER = Anchor(interval=2)  # steps 0 and 2
OFFERED = (
    "wan", "wan-a14b", "hunyuan-video", "ltx", "mochi", "skyreels-v2", "easyanimate",
)  # fmt: skip


class Films:
    """A tiny model, a film of noise in its latents, and runs of both."""

    def __init__(self, runs: Runs) -> None:
        self.model = runs.model
        generation = runs.recipe("a car", num_inference_steps=STEPS).generation
        film = Film(sha256="0" * 64, fps=generation.fps)
        self.source = Recipe(generation=generation, film=film)
        size = (generation.num_frames, generation.height, generation.width)
        pixels = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(5)) * 2 - 1
        vae = self.model.pipeline.vae
        coded = self.coded = encode_video(vae, pixels.to(vae.dtype))
        self.latents = pipeline_latents(
            self.model.family, self.model.pipeline, coded, self.model.card.grid.patch
        )

    def edit(self, prompt: str, source: Recipe | None = None, **transfer: object) -> Recipe:
        source = source or self.source
        values = {"anchor": EVERY_OTHER, **transfer}
        generation = source.generation.model_copy(update={"prompt": prompt})
        return Recipe.model_validate(
            {"generation": generation, "source": source, "transfer": values}
        )

    def captured(self, form: Form) -> tuple[StoredAttention, Tensor]:
        """What a run of the film leaves, and its latents behind each step."""
        maps = MemoryMaps()
        asked = CaptureSpec(form=form, steps=(0, 2))
        plan = resolve_capture(asked, self.model.card, self.source)
        seen: list[Tensor] = []
        denoise_only(
            self.model, self.source, None, Capture(plan, maps), partial(note, seen), self.latents
        )
        return StoredAttention(plan, maps), torch.stack(seen)

    def made(self, recipe: Recipe, stored: StoredAttention | None = None) -> Tensor:
        """The latents behind the last step of ``recipe``."""
        seen: list[Tensor] = []
        resolved = resolve_recipe(recipe, self.model.card)
        generate(
            self.model,
            resolved,
            stored=stored,
            on_step=partial(note, seen),
            film=lambda _: self.latents,
        )
        return seen[-1]


def note(seen: list[Tensor], info: StepInfo) -> None:
    seen.append(info.latents[-1].clone())


@pytest.fixture(params=OFFERED)
def films(request: pytest.FixtureRequest, tmp_path: Path) -> Films:
    case = next(case for case in CASES if case.name == request.param)
    return Films(Runs(case.load(tmp_path), case=case))


def test_every_family_that_says_so_is_tried_here() -> None:
    cases = {name.rpartition("-")[0] or name for name in OFFERED} | set(OFFERED)
    saying = {family.name for family in FAMILIES.values() if family.takes_films}
    assert saying <= cases


def test_the_latents_are_those_that_the_vae_decodes_again(films: Films) -> None:
    model, generation = films.model, films.source.generation
    shape = vae_shape(model.card.grid, generation)
    film = film_latents(model.family, films.latents, model.card.grid.patch, shape)
    for number in range(shape[0]):
        decoded = vae_latents(model.pipeline, film[:, number], number)
        assert torch.allclose(decoded, films.coded[0, :, number], atol=1e-5)


def test_the_path_ends_at_the_film(films: Films) -> None:
    _, seen = films.captured("hidden")
    assert torch.allclose(seen[-1], films.latents[0], atol=1e-4)


@pytest.mark.parametrize("form", ["hidden", "qk", "latents"])
def test_the_sources_own_prompt_gives_the_film_back(films: Films, form: Form) -> None:
    stored, _ = films.captured(form)
    made = films.made(films.edit("a car"), stored)
    assert torch.allclose(made, films.latents[0], atol=1e-4)


def test_another_prompt_changes_it_and_a_replay_is_the_same(films: Films) -> None:
    edit = films.edit("some dog")
    by_store = {form: films.made(edit, films.captured(form)[0]) for form in ("hidden", "latents")}
    assert (by_store["hidden"] - films.latents[0]).abs().max() > 1e-3
    assert torch.equal(by_store["hidden"], by_store["latents"])
    assert torch.equal(films.made(edit), by_store["hidden"])


def test_an_edit_of_an_edit_of_a_film(films: Films) -> None:
    first = films.edit("some dog")
    again = films.made(films.edit("some dog", first))
    assert torch.equal(again, films.made(first))
    assert not torch.equal(films.made(films.edit("a red dog", first)), again)


def test_the_velocity_is_kept_once(films: Films) -> None:
    stored, _ = films.captured("hidden")
    assert isinstance(stored.source, MemoryMaps)
    at_inputs = {(at, name) for at, name in stored.source.tensors if at.layer == INPUTS}
    assert (Address(0, "cond", INPUTS), VELOCITY) in at_inputs
    assert {(at.step, name) for at, name in at_inputs} == {
        (0, VELOCITY), (0, "computed"), (2, "computed"),
    }  # fmt: skip
