"""What an engine tells of a video's frames while it decodes them."""

import numpy as np

from schemas.attention import CaptureSpec
from tests.workers.engine.test_engine import job_of, keep, unheard_step
from tests.workers.families.test_pixels import Told
from workers.engine.engine import PipelineEngine


def test_the_frames_that_are_told_of_last_are_the_videos(engine: PipelineEngine) -> None:
    """Of a generation, an edit from stored attention, and one whose source runs beside it."""
    told = Told()
    source = job_of(engine, "a car", capture=CaptureSpec(scope="everything"))
    made = engine.render(source, unheard_step, None, told)
    assert np.array_equal(np.concatenate(told.pieces), made.frames)
    edit = job_of(engine, "a red car", source.spec.recipe)
    for attention in ("replayed", "stored"):
        made = engine.render(edit, unheard_step, None, told)
        assert made.attention == attention
        assert np.array_equal(np.concatenate(told.pieces), made.frames)
        if attention == "replayed":
            keep(engine.render(source, unheard_step))
