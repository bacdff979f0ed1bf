"""The room that a project has in the stores."""

from schemas.errors import RateLimited
from service.request.auth import Call

QUOTA_RETRY_S = 300  # longer than the SDK waits: only a deletion helps


async def check_room(call: Call, size_bytes: int) -> None:
    """Raise RateLimited unless so many bytes more may be stored for the project."""
    if not call.state.settings.needs_keys:
        return
    allowed = (await call.state.limits.of(call.project)).max_stored_bytes
    stored = await call.state.limits.stored_bytes(call.project)
    if allowed and stored + size_bytes > allowed:
        raise RateLimited(
            f"{stored} bytes are stored for this project, and the file has {size_bytes}; allowed "
            f"are {allowed}: delete videos, artifacts or uploads",
            code="storage_quota_exceeded",
            retry_after_s=QUOTA_RETRY_S,
        )
