"""Job records: read back as written, by versions that know fewer fields too."""

import pytest
from pydantic import ValidationError

from schemas.jobs import PRIORITIES, Event, JobSpec, JobState
from schemas.maps import Look, MapView
from tests.schemas.records import EDIT, SOURCE_KEY, job


def test_a_spec_without_what_it_leaves_open_is_the_same_spec() -> None:
    spec = job(EDIT, edit_source_key=SOURCE_KEY).spec
    text = spec.model_dump_json(exclude_defaults=True)
    assert "webhook_url" not in text
    assert JobSpec.model_validate_json(text) == spec


def test_objects_of_a_job_lie_in_its_own_folder() -> None:
    assert job().spec.folder == "videos/default/video_00000001"
    look = Look(artifact_id="attn_x", view=MapView())
    assert job(id="map_1", look=look).spec.folder == "maps/default/attn_x/map_1"


def test_a_new_job_is_queued() -> None:
    state = JobState()
    assert (state.status, state.attempts, state.result, state.error) == ("queued", 0, None, None)


def test_an_unknown_field_is_refused_rather_than_dropped() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        JobSpec.model_validate(job().spec.model_dump() | {"watermark": True})


def test_previews_come_every_so_many_steps() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        job(preview_every=0)


def test_priorities_are_named_from_the_first_served() -> None:
    assert PRIORITIES == ("high", "normal", "low")


def test_an_events_time_is_in_its_id() -> None:
    assert Event(id="1763913600000-2", type="queued", data={}).at_ms == 1_763_913_600_000
