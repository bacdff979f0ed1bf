"""The generation, edit and captures of tests/data/01ecea2, whose keys must never change."""

from typing import Any

from schemas.artifacts import Frame, Manifest, Pack
from schemas.attention import TransferSpec
from schemas.capture_plan import CapturePlan
from schemas.jobs import Job, JobSpec, JobState
from schemas.models import IntRange, LatentGrid, ModelCard
from schemas.recipes import Generation, Recipe

GENERATION = Generation(
    model="tiny",
    fingerprint="edacc171eda7663d6a7b290f391f1483435da25fea91f93309e871cfa4825023",
    prompt="a car",
    negative_prompt="blurred",
    seed=7,
    width=32,
    height=32,
    num_frames=5,
    num_inference_steps=3,
    guidance_scale=4.0,
    fps=8,
)
SOURCE = Recipe(generation=GENERATION)
SOURCE_KEY = "d546eb9966f94642ccea777f2f431ecafea752e04609472f8e971b6ca07bbc1e"
EDIT = Recipe(
    generation=GENERATION.model_copy(update={"prompt": "a red car"}),
    source=SOURCE,
    transfer=TransferSpec(layers=(0, 2), strength=0.75),
)
EDIT_KEY = "ec1b2a6ea1df8821e5e852831d056446d592099bc586425cf5b51d70e7e507b2"
HIDDEN = CapturePlan(
    form="hidden",
    codec="zipnn",
    layers=(0, 1, 2),
    steps=(0, 1, 2),
    branches=("cond", "uncond"),
)
HIDDEN_KEY = "0657b1365ca09c856d228f35a09c99f6"
LATENTS = HIDDEN.model_copy(update={"form": "latents", "hidden_layers": (0, 1, 2)})
LATENTS_KEY = "fa5c1715f992ddf64cc1add3e4ecd1a4"
FRAME = Frame(
    name="hidden",
    step=0,
    branch="cond",
    layer=0,
    codec="zipnn",
    dtype="float32",
    shape=(1, 8, 24),
    rows=(0, 8),
    offset=0,
    size=700,
    crc32c=0,
)
MANIFEST = Manifest(
    project="default",
    source_key=SOURCE_KEY,
    capture_key=HIDDEN_KEY,
    recipe=SOURCE,
    grid=(2, 2, 2),
    stored_bytes=700,
    decoded_bytes=768,
    created_at=1_700_000_000,
    packs=(Pack(name="a-0-cond-0.pack", size=700, frames=(FRAME,)),),
    **HIDDEN.model_dump(),
)
ANY = IntRange(minimum=1, maximum=64, default=8)
CARD = ModelCard(
    id="tiny",
    family="wan",
    fingerprint=GENERATION.fingerprint,
    revision="1",
    dtype="float32",
    licence="apache-2.0",
    default_size="32x32",
    width_range=ANY,
    height_range=ANY,
    max_pixels=4096,
    num_frames=ANY,
    num_inference_steps=ANY,
    fps=ANY,
    guidance_scale=4.0,
    layers=3,
    heads=2,
    width=24,
    grid=LatentGrid(vae_stride=(4, 8, 8), patch=(1, 2, 2)),
    latent_channels=16,
)


def job(recipe: Recipe = SOURCE, state: JobState | None = None, **fields: Any) -> Job:
    values = {
        "id": "video_00000001",
        "project": "default",
        "recipe": recipe,
        "source_key": recipe.key("default"),
        "created_at": 1_700_000_000,
    }
    return Job(spec=JobSpec(**values | fields), state=state or JobState())
