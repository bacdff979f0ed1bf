"""The denoiser: a small WanTransformer3DModel and its flow-matching training on cached latents.

Owns the transformer's shape, the noise schedule of training, caption dropout and the running
average of the weights. The text encoder learns along with it.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.cache import LatentCache, Renewal
from training.clock import Clock
from training.muon import MixedOptimizer
from training.padding import restore_text, shorten_text
from training.stock import Network, WanTransformer3DModel
from training.text import EOS, PAD, TEXT_DIM, encode_tokens
from training.vae import LATENT_CHANNELS

log = logging.getLogger(__name__)

LAYERS, HEADS, HEAD_DIM, FFN = 8, 8, 32, 1024
TRAIN_SHIFT = 2.0  # more noise than a plain logit-normal: the layout is decided there
CAPTION_DROPOUT = 0.1
PEAK_RATE = 4e-3
RENEW_EVERY, SAVE_EVERY = 50, 100  # steps


def build_transformer(layers: int = LAYERS) -> Network:
    """An untrained transformer of 480 tokens at the default size, one a latent pixel."""
    model = WanTransformer3DModel(
        patch_size=(1, 1, 1),
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=TEXT_DIM,
        freq_dim=128,
        ffn_dim=FFN,
        num_layers=layers,
        cross_attn_norm=True,
        rope_max_seq_len=64,
    )
    with torch.no_grad():
        nn.init.zeros_(model.proj_out.weight)
        for block in model.blocks:
            # sharp text attention from the start: words must outweigh 500 tokens of padding
            block.attn2.norm_q.weight.fill_(1.6)
            block.attn2.norm_k.weight.fill_(1.6)
    return model


def sample_sigmas(count: int, device: torch.device) -> Tensor:
    """Noise levels of a training batch, (count,): shifted logit-normal, a tenth of it uniform."""
    sigmas = torch.sigmoid(torch.randn(count, device=device))
    sigmas = torch.where(
        torch.rand(count, device=device) < 0.1, torch.rand(count, device=device), sigmas
    )
    return TRAIN_SHIFT * sigmas / (1 + (TRAIN_SHIFT - 1) * sigmas)


def drop_captions(tokens: Tensor, share: float = CAPTION_DROPOUT) -> Tensor:
    """Replace a share of the captions by the empty prompt: (B, L) to (B, L)."""
    empty = torch.full_like(tokens[:1], PAD)
    empty[0, 0] = EOS
    drop = torch.rand(tokens.size(0), 1, device=tokens.device) < share
    return torch.where(drop, empty, tokens)


class Average:
    """Exponential running average of weights, quick at first: min(decay, (1 + n) / (10 + n))."""

    def __init__(self, live: list[Tensor], decay: float = 0.9995) -> None:
        self.decay, self.count, self._live = decay, 0, live
        self.kept = [p.detach().clone() for p in live]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights."""
        self.count += 1
        weight = 1 - min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self.kept, self._live, weight)


def _optimizer(model: Network, encoder: Network) -> MixedOptimizer:
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    weights: list[nn.Parameter] = [*model.parameters(), *encoder.parameters()]
    unique = {id(p): p for p in weights if p.requires_grad}
    return MixedOptimizer(matrices, [p for key, p in unique.items() if key not in chosen])


class Training:
    """Flow matching (Lipman et al., arXiv 2210.02747): v = noise - film at x = film + sigma v."""

    def __init__(
        self,
        model: Network,
        encoder: Network,
        cache: LatentCache,
        batch: int,
        peak: float = PEAK_RATE,
    ) -> None:
        self.model, self.encoder, self.cache = model, encoder, cache
        self.batch, self.peak = batch, peak
        self.live: list[Tensor] = [*model.parameters(), *encoder.parameters()]
        self.optimizer, self.average = _optimizer(model, encoder), Average(self.live)
        self.loss = torch.zeros((), device=cache.latents.device)  # mean of about 100 steps

    def step(self, clock: Clock) -> None:
        """One step of the optimizer."""
        device = self.cache.latents.device
        rows = torch.randint(self.cache.latents.size(0), (self.batch,), device=device)
        clean = self.cache.latents[rows].float()  # (B, C, t, h, w)
        noise = torch.randn_like(clean)
        sigmas = sample_sigmas(self.batch, device)
        noisy = torch.lerp(clean, noise, sigmas.view(-1, 1, 1, 1, 1))
        with torch.autocast(device.type, torch.bfloat16):
            text = encode_tokens(self.encoder, drop_captions(self.cache.tokens[rows]))
            guess = self.model(noisy, sigmas * 1000, text, return_dict=False)[0]
        loss = (guess.float() - (noise - clean)).square().mean()
        torch.autograd.backward(loss)
        self.optimizer.step(clock.rate(self.peak, warmup=100), adam_ratio=0.4)
        self.average.update()
        self.loss = self.loss.lerp(loss.detach(), 1 / min(self.average.count, 100))

    def save(self, path: Path, clock: Clock) -> None:
        """Keep weights and averages, so that an interrupted run goes on from here.

        The optimizer's momenta are not kept: they are back within a hundred steps.
        """
        state = {f"live.{k}": p.detach().contiguous() for k, p in enumerate(self.live)}
        state |= {f"kept.{k}": p for k, p in enumerate(self.average.kept)}
        save_file(state, path, {"step": str(clock.step), "count": str(self.average.count)})

    @torch.no_grad()
    def load(self, path: Path, clock: Clock) -> None:
        """Go on from what `save` kept."""
        state = load_file(path)
        for index, (live, kept) in enumerate(zip(self.live, self.average.kept, strict=True)):
            live.copy_(state[f"live.{index}"])
            kept.copy_(state[f"kept.{index}"])
        with safe_open(path, "pt") as file:
            meta = file.metadata()
        clock.step, self.average.count = int(meta["step"]), int(meta["count"])

    def averaged(self) -> tuple[Network, Network]:
        """Copies of transformer and encoder with the averaged weights."""
        model = build_transformer(len(self.model.blocks)).to(self.cache.latents.device)
        encoder = copy.deepcopy(self.encoder)
        targets = (*model.parameters(), *encoder.parameters())
        with torch.no_grad():
            for target, kept in zip(targets, self.average.kept, strict=True):
                target.copy_(kept)
        return model.eval(), encoder.eval()


def train_transformer(
    training: Training,
    clock: Clock,
    seed: int,
    renewal: Renewal | None = None,
    checkpoint: Path | None = None,
    compiled: bool = False,
) -> None:
    """Train until the clock is done.

    Args:
        training: what to train, in place.
        clock: how long.
        seed: of the noise and the batches.
        renewal: new films every 50 steps.
        checkpoint: file to go on from, if it is there, and to keep every 100 steps.
        compiled: whether to compile the transformer's blocks.
    """
    if checkpoint is not None and checkpoint.exists():
        training.load(checkpoint, clock)
    torch.manual_seed(seed + clock.step)
    shorten_text(training.model)
    if compiled:
        training.model.compile_repeated_blocks(fullgraph=True)
    while not clock.done:
        training.step(clock)
        clock.step += 1
        if clock.step % 100 == 0:
            loss = training.loss.item()
            log.info("transformer step %d loss %.4f %.0f s", clock.step, loss, clock.elapsed)
        if renewal is not None and clock.step % RENEW_EVERY == 0:
            renewal.renew(training.cache, clock.step // RENEW_EVERY)
        if checkpoint is not None and clock.step % SAVE_EVERY == 0:
            training.save(checkpoint, clock)
    restore_text(training.model)
