"""The error tree. Domain code raises these; each boundary maps them once.

RetakeError
├── InvalidRequest            400  a field's value is not allowed
│   ├── Unsupported           400  the request is understood, this server or model cannot do it
│   ├── SourceMismatch        400  an edit's settings differ from its source's
│   ├── SourceNotReady        409  the named source has not completed (the SDK retries 409)
│   ├── OffsetMismatch        409  a piece of an upload begins elsewhere than the last one ended
│   └── VersionUnsupported    412  the client speaks another version of a protocol
├── Unauthorized              401
├── Forbidden                 403
├── NotFound                  404
├── RequestTimeout            408  the body did not arrive in time
├── TooLarge                  413
├── UnsupportedMediaType      415
├── IdempotencyMismatch       422  same key, other body (409 would be retried by the SDK)
├── RateLimited               429
├── Unavailable               503  not ready: retry later
└── JobFailed                 a job's own end: its code and message are shown in ``video.error``
    ├── ArtifactCorrupt       bytes do not match their manifest
    ├── ArtifactTooNew        a manifest of a later version than this server reads
    ├── ArtifactWriteFailed   the attention could not be stored
    ├── PictureMissing        the picture that the video starts from is not stored as it was
    ├── ArtifactMissing       no artifact covers the transfer (the worker then replays)
    ├── AttentionMissed       a layer or a call of the transformer did not come as expected
    ├── PromptUnchanged       an edit's words differ from its source's where the model reads none
    ├── NumericOverflow       the model's numbers are infinite or not numbers
    ├── FilmUnreadable        an uploaded film cannot be decoded within the limits
    ├── WordUnread            a region's word that the model does not read
    ├── UploadMissing         the uploaded film was deleted before the job ran
    └── JobCancelled
"""

from typing import ClassVar


class RetakeError(Exception):
    """Base of all our errors.

    ``message`` is shown to the client: it names field, value and what is allowed, and never a
    path, a host or another project's data. ``param`` is the field's dotted name.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or type(self).code
        self.headers: dict[str, str] = {}  # of the answer, beside those of its status

    def __reduce__(self) -> tuple[object, ...]:
        # crosses process boundaries (Ray): keyword arguments do not survive the default reduce
        return _rebuild, (type(self), self.message, self.param, self.code)


def _rebuild(cls: type[RetakeError], message: str, param: str | None, code: str) -> RetakeError:
    return cls(message, param=param, code=code)


class InvalidRequest(RetakeError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class Unsupported(InvalidRequest):
    code = "unsupported"


class SourceMismatch(InvalidRequest):
    code = "source_mismatch"


class SourceNotReady(InvalidRequest):
    status = 409
    code = "source_not_ready"


class OffsetMismatch(InvalidRequest):
    status = 409
    code = "offset_mismatch"


class VersionUnsupported(InvalidRequest):
    status = 412
    code = "version_unsupported"


class Unauthorized(RetakeError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(RetakeError):
    status = 403
    type = "permission_error"
    code = "insufficient_scope"


class NotFound(RetakeError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class RequestTimeout(RetakeError):
    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class TooLarge(RetakeError):
    status = 413
    type = "invalid_request_error"
    code = "body_too_large"


class UnsupportedMediaType(RetakeError):
    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class IdempotencyMismatch(RetakeError):
    status = 422
    type = "invalid_request_error"
    code = "idempotency_key_reused"


class RateLimited(RetakeError):
    """``retry_after_s``: seconds until the request may succeed."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limited"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float = 1.0,
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.retry_after_s = retry_after_s


class Unavailable(RetakeError):
    status = 503
    code = "unavailable"


class JobFailed(RetakeError):
    """A job ended without a video. ``retryable``: another attempt may succeed."""

    code = "generation_failed"
    retryable: ClassVar[bool] = False


class ArtifactCorrupt(JobFailed):
    code = "artifact_corrupt"
    retryable = True


class ArtifactTooNew(JobFailed):
    code = "artifact_too_new"


class ArtifactWriteFailed(JobFailed):
    code = "artifact_write_failed"
    retryable = True


class ArtifactMissing(JobFailed):
    code = "artifact_missing"


class AttentionMissed(JobFailed):
    """A layer was skipped or never reached its hooks: the video would be silently wrong."""

    code = "attention_missed"


class PromptUnchanged(JobFailed):
    """An edit's words differ from its source's, but the model reads the same of both."""

    code = "prompt_unchanged"


class WordUnread(JobFailed):
    """A region's word that the model does not read: its tokenizer cuts it off."""

    code = "word_unread"


class NumericOverflow(JobFailed):
    code = "numeric_overflow"


class FilmUnreadable(JobFailed):
    code = "video_unreadable"


class UploadMissing(JobFailed):
    code = "upload_missing"


class PictureMissing(JobFailed):
    code = "picture_missing"


class JobCancelled(JobFailed):
    code = "cancelled"
