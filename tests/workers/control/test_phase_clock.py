"""Phases of a job add up to the time that passed."""

import time

import pytest

from workers.control.phase_clock import PhaseClock


def test_phases_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = PhaseClock()
    now = 110.0
    clock.add({"text": 1.0, "denoising": 6.0})
    now = 112.5
    clock.end("encoding")
    now = 113.0
    clock.end("encoding")
    assert clock.seconds == {"rest": 3.0, "text": 1.0, "denoising": 6.0, "encoding": 3.0}
    assert str(clock) == "rest=3.000 text=1.000 denoising=6.000 encoding=3.000"
