"""Fixtures of the bundled model: loaded once, one thread so that runs compare bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.folder import assemble
from training.judge import Judge, load_judge
from training.sampling import load_pipeline
from training.stock import Pipeline
from training.text import build_text_encoder, build_tokenizer
from training.transformer import build_transformer
from training.vae import build_vae

FOLDER = Path(__file__).parents[2] / "models" / "scenes"


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    """The bundled model as the ordinary loader gives it."""
    return load_pipeline(FOLDER, dtype=torch.float32)


@pytest.fixture(scope="session")
def judge() -> Judge:
    """The trained judge."""
    return load_judge()


@pytest.fixture(scope="module")
def tiny() -> Pipeline:
    """An untrained pipeline of two layers whose output depends on its prompt."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = build_transformer(layers=2)
    torch.nn.init.normal_(model.proj_out.weight, std=0.3)
    encoder = build_text_encoder(len(tokenizer))
    pipeline = assemble(build_vae().eval(), model.eval(), encoder.eval(), tokenizer)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
