"""What an anchored edit costs, over a plain run: the second half of ``bench.engine``.

50 steps, the default interval, from hidden states and from latents in memory; runs are taken in
turn, and the ratios are of medians.
"""

from collections.abc import Callable

from bench import engine_model
from bench.report import median_ratio
from schemas.attention import Anchor, CaptureSpec, Form
from schemas.resolve_capture import resolve_capture
from workers.attention.maps import MemoryMaps
from workers.attention.transfer import Capture, StoredAttention

STEPS = 50
FORMS: tuple[Form, ...] = ("hidden", "latents")


def measure(bench: engine_model.Bench, rounds: int) -> dict[str, float]:
    """Figures by name."""
    source = bench.source_of(STEPS)
    stored: dict[Form, StoredAttention] = {}
    for form in FORMS:
        maps = MemoryMaps()
        plan = resolve_capture(CaptureSpec(form=form), bench.model.card, source)
        plain = bench.timed(source, capture=Capture(plan, maps))
        stored[form] = StoredAttention(plan, maps)
    edit = engine_model.edit_of(source, "A red car is driving on the highway.", Anchor())
    own = engine_model.edit_of(source, source.generation.prompt + " ", Anchor())
    runs: dict[str, Callable[[], engine_model.Timed]] = {
        "plain": lambda: bench.timed(source),
        "hidden": lambda: bench.timed(edit, stored=stored["hidden"]),
        "latents": lambda: bench.timed(edit, stored=stored["latents"]),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in runs}
    for _ in range(rounds):
        for kind, run in runs.items():
            seconds[kind].append(run().seconds)
    again = bench.timed(own, stored=stored["hidden"])
    return {
        "anchored_over_plain": median_ratio(seconds["hidden"], seconds["plain"]),
        "anchored_from_latents_over_plain": median_ratio(seconds["latents"], seconds["plain"]),
        "anchored_self_max_diff": float((again.latents - plain.latents).abs().max()),
    }
