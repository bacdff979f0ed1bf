"""Families whose guidance is a component of the pipeline's own."""

from collections.abc import Sequence
from typing import Any

from schemas.recipes import Generation
from workers.families.base import Family, Pictures, Pipeline


class GuiderFamily(Family):
    """Pipelines whose guidance is a component of its own, a guider, and no argument."""

    def configure(self, pipeline: Pipeline, generation: Generation) -> None:
        pipeline.guider = pipeline.guider.new(
            guidance_scale=generation.guidance_scale, enabled=generation.guidance_scale > 1
        )

    def irregular(self, pipeline: Pipeline) -> str | None:
        config = pipeline.guider.config
        start, stop = config.get("start", 0.0), config.get("stop", 1.0)
        if (start, stop) == (0.0, 1.0):
            return None
        return f"its guider guides from {start:g} to {stop:g} of the steps alone"

    def call_arguments(
        self, rows: Sequence[Generation], pictures: Pictures | None = None
    ) -> dict[str, Any]:
        arguments = super().call_arguments(rows, pictures)
        del arguments["guidance_scale"]
        return arguments
