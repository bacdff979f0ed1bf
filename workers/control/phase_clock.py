"""Where a job's time goes, phase by phase."""

import time
from collections.abc import Mapping


class PhaseClock:
    """Seconds of each phase of one job, by name, in the order in which they ended first."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self.seconds: dict[str, float] = {}

    def end(self, phase: str) -> None:
        """``phase`` took what passed since the last one ended."""
        now = time.monotonic()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._at
        self._at = now

    def add(self, seconds: Mapping[str, float]) -> None:
        """Phases that were timed elsewhere and ended just now; what they leave is ``rest``."""
        self.end("rest")
        for phase, took in seconds.items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + took
            self.seconds["rest"] -= took

    def __str__(self) -> str:
        return " ".join(f"{phase}={took:.3f}" for phase, took in self.seconds.items())
