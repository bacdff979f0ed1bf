"""diffusers' first-block cache over one run: blocks left out where little changes between steps.

Steps that a run's ``StepCache`` names as full are computed whole, whatever the first block gives:
what their hooks capture, and what an anchored edit follows there, is the model's own.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import diffusers

from schemas.recipes import Generation
from workers.models.pipelines import LoadedModel

parts: Any = diffusers  # untyped


@contextmanager
def cached_blocks(model: LoadedModel, generation: Generation) -> Iterator[Callable[[int], None]]:
    """Let the blocks of ``generation``'s run be left out within the block.

    Yields what is to be called before each step with its number, but for step 0. Does nothing for
    a run without a step cache.
    """
    cache = generation.step_cache
    if cache is None:
        yield lambda step: None
        return
    transformers: list[Any] = list(model.hooks.transformers)
    full = set(cache.full_steps(generation.num_inference_steps))

    def before_step(step: int) -> None:
        if step in full:  # without a state, the first block finds nothing to compare with
            for transformer in transformers:
                transformer._reset_stateful_cache()

    with ExitStack() as enabled:
        for transformer in transformers:
            transformer.enable_cache(parts.FirstBlockCacheConfig(threshold=cache.threshold))
            enabled.callback(transformer.disable_cache)
        yield before_step
