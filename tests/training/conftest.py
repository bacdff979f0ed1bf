"""Fixtures of the bundled model: loaded once, one thread so that runs compare bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.judge import Judge, load_judge
from training.sampling import load_pipeline
from training.stock import Pipeline

FOLDER = Path(__file__).parents[2] / "models" / "scenes"


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    """The bundled model as the ordinary loader gives it."""
    return load_pipeline(FOLDER, dtype=torch.float32)


@pytest.fixture(scope="session")
def judge() -> Judge:
    """The trained judge."""
    return load_judge()
