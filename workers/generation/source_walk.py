"""The frames of a source whose run was kept: its answers, walked again by the stock pipeline.

No layer is computed: every call is answered with what the run's transformer gave, so the pipeline
comes to the source's latents and decodes them.
"""

from schemas.attention import Anchor
from schemas.recipes import Recipe
from schemas.selection import ResolvedTransfer
from workers.attention.maps import MapSource
from workers.attention.transfer import Transfer
from workers.families.pixels import Frames
from workers.generation.denoise import denoise
from workers.models.pipelines import LoadedModel

# what such a walk takes of the source's run: its outputs, and of no layer anything
OUTPUTS_ALONE = ResolvedTransfer(
    anchor=Anchor(),
    layers=(),
    steps=(),
    branches=("cond",),
    heads=None,
    source_branch="own",
    strength=1.0,
    strength_end=None,
)


def walk_source(model: LoadedModel, source: Recipe, outputs: MapSource) -> Frames:
    """What the pipeline decodes of ``source``, whose run left ``outputs``: of an edit with a region
    what it changed, not yet put into its own source. Raises what ``denoise`` does."""
    transfer = Transfer(OUTPUTS_ALONE, outputs=outputs)
    return denoise(model, [source], (transfer,), None, None).frames
