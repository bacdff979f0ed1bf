"""diffusers' step caches over one run: blocks left out of steps that earlier ones foretell.

Steps that a run's ``StepCache`` names as full are computed whole, whatever came before: what their
hooks capture, and what an anchored edit follows there, is the model's own.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import diffusers

from schemas.recipes import Generation
from workers.models.pipelines import LoadedModel

parts: Any = diffusers  # untyped

BeforeStep = Callable[[int], None]


@contextmanager
def cached_blocks(model: LoadedModel, generation: Generation) -> Iterator[BeforeStep]:
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

    first_block = cache.method == "first_block"
    with ExitStack() as enabled:
        for transformer in transformers:
            if first_block:
                config = parts.FirstBlockCacheConfig(threshold=cache.threshold)
            else:
                config = _taylorseer(cache.refresh or 1, transformer.dtype)
            transformer.enable_cache(config)
            enabled.callback(transformer.disable_cache)
        yield before_step if first_block else lambda step: None


def _taylorseer(refresh: int, dtype: Any) -> Any:
    """It counts steps itself: it computes those below ``disable_cache_before_step``, and from the
    one behind that on every ``cache_interval``-th. With these numbers that one is ``refresh``, and
    every full step is computed. Its lite mode leaves whole blocks out, not attention alone."""
    return parts.TaylorSeerCacheConfig(
        cache_interval=refresh,
        disable_cache_before_step=refresh - 1,
        max_order=1,
        taylor_factors_dtype=dtype,
        use_lite_mode=True,
    )
