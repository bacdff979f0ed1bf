"""Examples of uploads, and of what names one, for the OpenAPI file."""

from typing import Any

SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
UPLOAD_ID = f"upload_{SHA256[:40]}"

UPLOAD: dict[str, Any] = {
    "id": UPLOAD_ID,
    "object": "upload",
    "filename": "mine.mp4",
    "bytes": 1048576,
    "sha256": SHA256,
    "film": {
        "container": "mp4",
        "codec": "h264",
        "width": 1920,
        "height": 1080,
        "rotation": 0,
        "fps": 29.97,
        "seconds": 12.4,
        "audio": True,
    },
    "picture": None,
    "created_at": 1795453690,
    "expires_at": 1796058490,
}
ANALYSED_FILM: dict[str, Any] = {
    "video": {"id": UPLOAD_ID},
    "source_prompt": "A car is driving on the highway.",
}
UPLOADS: dict[str, Any] = {
    "Upload": UPLOAD,
    "UploadList": {
        "object": "list",
        "data": [UPLOAD],
        "first_id": UPLOAD_ID,
        "last_id": UPLOAD_ID,
        "has_more": False,
    },
    "UploadDeleted": {"id": UPLOAD_ID, "deleted": True, "object": "upload.deleted"},
}
