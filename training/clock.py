"""How far a training stage is, in steps or in minutes, and the learning rate at that point.

Owns the schedule. Steps make a run reproducible; minutes fit it into a lent machine, and the
log says how many steps that came to.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Progress of a stage: at most `steps` steps, and at most `seconds` seconds if given."""

    steps: int
    seconds: float | None = None
    step: int = 0
    began: float = field(default_factory=time.perf_counter)

    @property
    def elapsed(self) -> float:
        """Seconds since the stage began."""
        return time.perf_counter() - self.began

    @property
    def progress(self) -> float:
        """0 at the start, 1 when the stage is over."""
        share = self.step / self.steps
        if self.seconds is not None:
            share = max(share, self.elapsed / self.seconds)
        return min(share, 1.0)

    @property
    def done(self) -> bool:
        """Whether no further step should be taken."""
        return self.progress >= 1.0

    def rate(self, peak: float, warmup: int, cooldown: float = 0.6) -> float:
        """Learning rate now: linear warm-up, flat, then linear to 1% over the last share."""
        warm = min(1.0, (self.step + 1) / warmup)
        cool = min(1.0, (1.0 - self.progress) / cooldown)
        return peak * warm * max(cool, 0.01)
