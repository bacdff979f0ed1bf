"""The versions of the libraries that compute videos, as manifests name them.

They are no part of a source's key: what was computed under older ones, hidden states or queries and
keys, is still the attention of the video that the user saw, and is used, with a line in the log.
Only latents are computed again, by the code of the day: those of other versions are left alone, and
the source is replayed whole, so that source and edit come of one code.
"""

import logging
from functools import cache
from importlib.metadata import version

from schemas.artifacts import Manifest
from schemas.capture_plan import Needed

log = logging.getLogger("retake.artifacts")
LIBRARIES = ("torch", "diffusers", "transformers")


@cache
def made_by() -> str:
    """Name and release of each library, without what a build adds behind it."""
    return " ".join(f"{name} {version(name).partition('+')[0]}" for name in LIBRARIES)


def usable_here(manifest: Manifest, needed: Needed) -> bool:
    """Whether an edit may be made from it. One that names no versions is older than their names."""
    if manifest.made_by in ("", made_by()):
        return True
    recomputed = bool(manifest.recomputed_layers(needed))
    log.warning(
        "artifact=%s was made by %s, not %s: %s",
        manifest.key, manifest.made_by, made_by(), "left alone" if recomputed else "used",
    )  # fmt: skip
    return not recomputed
