"""Small jobs to put into the store."""

from typing import Any

from schemas.jobs import JobResult, JobSpec
from schemas.recipes import Generation, Recipe

RESULT = JobResult(
    video_key="videos/p/v/1/video.mp4",
    thumbnail_key="videos/p/v/1/thumbnail.webp",
    spritesheet_key="videos/p/v/1/spritesheet.webp",
    size_bytes=1000,
)


def make_spec(video_id: str, project: str = "p", **fields: Any) -> JobSpec:
    generation = Generation(
        model="tiny",
        fingerprint="f" * 64,
        prompt="A car is driving on the highway.",
        negative_prompt="",
        seed=7,
        width=64,
        height=64,
        num_frames=5,
        num_inference_steps=4,
        guidance_scale=1.0,
        fps=8,
    )
    recipe = Recipe(generation=generation)
    return JobSpec(
        **{
            "id": video_id,
            "project": project,
            "recipe": recipe,
            "source_key": recipe.key(project),
            "created_at": 1_700_000_000,
            **fields,
        }
    )
