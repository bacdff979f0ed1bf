"""Latents of drawn films with their captions, kept on the device and renewed while training.

Owns which film seeds are in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.drawing.captions import caption
from training.drawing.films import draw_films
from training.drawing.scenes import draw_scenes
from training.stock import Network, Tokenizer
from training.text import TRAIN_TOKENS, tokenise
from training.vae import LATENT_CHANNELS, encode_films


@dataclass
class LatentCache:
    """Latents of unique films with their captions' tokens, kept on the device."""

    latents: Tensor  # (N, C, t, h, w) bf16, normalised
    tokens: Tensor  # (N, L) int64

    def save(self, path: Path) -> None:
        """Keep it, so that a training that goes on need not draw its films again."""
        save_file({"latents": self.latents, "tokens": self.tokens}, path)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> LatentCache:
        """What ``save`` kept, on a device."""
        kept = load_file(path, device=str(device))
        return cls(kept["latents"], kept["tokens"])

    @torch.no_grad()
    def fill(
        self, vae: Network, tokenizer: Tokenizer, rows: range, first_seed: int, batch: int = 128
    ) -> None:  # fmt: skip
        """Draw, encode and caption one film a row, seeds from `first_seed` on."""
        device = self.latents.device
        for low in range(rows.start, rows.stop, batch):
            high = min(low + batch, rows.stop)
            start = first_seed + low - rows.start
            scenes = draw_scenes(range(start, start + high - low))
            films = draw_films(scenes, device).pixels * 2 - 1
            films = films.to(memory_format=torch.channels_last_3d)
            self.latents[low:high] = encode_films(vae, films).to(self.latents.dtype)
            words = [caption(scenes, i) for i in range(len(scenes))]
            self.tokens[low:high] = tokenise(tokenizer, words).to(device)


def build_cache(vae: Network, tokenizer: Tokenizer, count: int, first_seed: int) -> LatentCache:
    """A cache of `count` unique films on the VAE's device."""
    device = next(vae.parameters()).device
    cache = LatentCache(
        torch.empty(count, LATENT_CHANNELS, 5, 8, 12, dtype=torch.bfloat16, device=device),
        torch.empty(count, TRAIN_TOKENS, dtype=torch.int64, device=device),
    )
    cache.fill(vae, tokenizer, range(count), first_seed)
    return cache


@dataclass
class Renewal:
    """Where new films come from: `films` of them, oldest rows first, each time it is asked."""

    vae: Network
    tokenizer: Tokenizer
    first_seed: int
    films: int

    def renew(self, cache: LatentCache, turn: int) -> None:
        """Replace the next rows; a turn's films are a function of its number."""
        rows = cache.latents.size(0)
        low = (turn * self.films) % rows
        high = min(low + self.films, rows)
        cache.fill(self.vae, self.tokenizer, range(low, high), self.first_seed + turn * self.films)
