"""The video autoencoder: a small AutoencoderKLWan and its training on drawn films.

Owns the VAE's shape, its loss and the scale of its latents. 17x64x96 pixels become a latent of
24x5x8x12: time by 4, space by 8 (of which 2 are a pixel shuffle, as in Wan2.2's VAE).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders import autoencoder_kl_wan
from torch import Tensor

from training.clock import Clock
from training.drawing.films import draw_films
from training.drawing.scenes import FRAMES, draw_scenes
from training.muon import MixedOptimizer
from training.stock import AutoencoderKLWan, Network

log = logging.getLogger(__name__)

_stock: Any = autoencoder_kl_wan

LATENT_CHANNELS = 24
CLIP_FRAMES = 9
WHOLE_FILMS = 1 << 22  # the offset of whole films' seeds from those of clips
VAE_PEAK_RATE = 3e-3
_KL_WEIGHT = 2e-5
_EDGE_WEIGHT = 0.5


def build_vae() -> Network:
    """An untrained VAE; latents_mean and latents_std are set by `measure_latents`."""
    return AutoencoderKLWan(
        base_dim=32,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        is_residual=True,  # pixels reach the latents at once: 1.2 dB better after 80 steps
        attn_scales=[],
        temperal_downsample=[True, True],
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=4,
        scale_factor_spatial=8,
    )


def channels_last(vae: Network) -> Network:
    """Lay convolution weights out channels last, as tensor cores read them; same results."""
    for weight in vae.parameters():
        if weight.dim() == 5:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)
        elif weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return vae


def encode_moments(vae: Network, films: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of the latents: (B, 3, 17, H, W) in [-1, 1] to 2 of (B, C, 5, h, w).

    The same result as `vae.encode`, which walks four frames at a time to save memory; the first
    frame and all the others at once is several times fewer kernels.
    """
    vae.clear_cache()
    x = _stock.patchify(films, patch_size=2)
    parts = []
    for chunk in (x[:, :, :1], x[:, :, 1:]):
        vae._enc_conv_idx = [0]
        parts.append(vae.encoder(chunk, feat_cache=vae._enc_feat_map, feat_idx=vae._enc_conv_idx))
    mean, log_variance = vae.quant_conv(torch.cat(parts, dim=2)).chunk(2, dim=1)
    vae.clear_cache()
    return mean, log_variance.clamp(-30.0, 20.0)


def decode_latents(vae: Network, z: Tensor) -> Tensor:
    """Films from unnormalised latents, not clamped: (B, C, 5, h, w) to (B, 3, 17, H, W)."""
    vae.clear_cache()
    x = vae.post_quant_conv(z)
    parts = []
    for index, chunk in enumerate((x[:, :, :1], x[:, :, 1:])):
        vae._conv_idx = [0]
        parts.append(
            vae.decoder(
                chunk, feat_cache=vae._feat_map, feat_idx=vae._conv_idx, first_chunk=index == 0
            )
        )
    vae.clear_cache()
    films: Tensor = _stock.unpatchify(torch.cat(parts, dim=2), patch_size=2)
    return films


def film_batches(
    first_seed: int, batch: int, device: torch.device, frames: int = FRAMES, ahead: int = 1
) -> Iterator[Tensor]:
    """Endless unique films in [-1, 1], (batch, 3, frames, H, W), ``ahead`` batches drawn at once.

    With 9 frames each drawn film gives two clips, its first and its second half.
    """
    seed = first_seed
    clips = (
        [slice(0, frames)]
        if frames == FRAMES
        else [slice(0, frames), slice(FRAMES - frames, FRAMES)]
    )
    while True:
        seeds = range(seed, seed + ahead * batch)
        seed = seeds.stop
        whole = draw_films(draw_scenes(seeds), device).pixels * 2 - 1
        for drawn in torch.split(whole, batch):
            for clip in clips:
                yield drawn[:, :, clip].contiguous(memory_format=torch.channels_last_3d)


def edge_loss(drawn: Tensor, films: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels' differences, across plus down."""
    difference = drawn - films
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


def vae_loss(vae: Network, films: Tensor) -> tuple[Tensor, Tensor]:
    """(loss, mean squared error in [0, 1] units) of one batch (B, 3, T, H, W) in [-1, 1]."""
    mean, log_variance = encode_moments(vae, films)
    mean, log_variance = mean.float(), log_variance.float()
    z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    drawn = decode_latents(vae, z).float()
    difference = drawn - films
    edges = edge_loss(drawn, films)
    kl = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).mean()
    error = difference.square().mean()
    loss = difference.abs().mean() + error + _EDGE_WEIGHT * edges + _KL_WEIGHT * kl
    return loss, error.detach() / 4


def vae_gradients(vae: Network, films: Tensor) -> tuple[Tensor, Tensor]:
    """`vae_loss` in bf16 autocast, and the gradients of the loss in the weights."""
    with torch.autocast(films.device.type, torch.bfloat16, cache_enabled=False):
        loss, error = vae_loss(vae, films)
    torch.autograd.backward(loss)
    return loss.detach(), error


class GraphedGradients:
    """`vae_gradients` recorded as a CUDA graph for films of one shape.

    A step launches some 3,000 small kernels, which takes several times as long as they run.
    """

    def __init__(self, vae: Network, films: Tensor) -> None:
        self._weights = [p for p in vae.parameters() if p.requires_grad]
        self._films = films.clone()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):  # algorithms are chosen and memory is laid out before recording
                vae_gradients(vae, self._films)
                vae.zero_grad(set_to_none=True)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = vae_gradients(vae, self._films)
        self._gradients = [weight.grad for weight in self._weights]

    def __call__(self, films: Tensor) -> tuple[Tensor, Tensor]:
        self._films.copy_(films)
        self._graph.replay()
        for weight, gradient in zip(self._weights, self._gradients, strict=True):
            weight.grad = gradient
        return self._result


def train_vae(
    vae: Network,
    clock: Clock,
    seed: int,
    batch: int = 16,
    peak: float = VAE_PEAK_RATE,
) -> None:
    """Train in place, on unique films whose seeds start at `seed`.

    Four fifths of the time on clips of 9 frames, where a step costs half, then on whole films:
    without those the last frames come out 1.5 dB worse than the first.
    """
    device = next(vae.parameters()).device
    weights = [p for p in vae.parameters() if p.requires_grad]
    # the first and last convolutions meet pixels, where AdamW does better than Muon
    ends = {id(p) for m in (vae.encoder.conv_in, vae.decoder.conv_out) for p in m.parameters()}
    matrices = [p for p in weights if p.dim() >= 4 and p[0].numel() > 1 and id(p) not in ends]
    chosen = {id(p) for p in matrices}
    optimizer = MixedOptimizer(matrices, [p for p in weights if id(p) not in chosen])
    ahead = 8 if device.type == "cuda" else 1  # drawing, too, is mostly the launching of kernels
    clips = film_batches(seed, batch, device, CLIP_FRAMES, ahead)
    films = film_batches(seed + WHOLE_FILMS, batch, device, FRAMES, ahead)
    steppers: dict[int, Callable[[Tensor], tuple[Tensor, Tensor]]] = {}
    vae.train()
    torch.manual_seed(seed)
    while not clock.done:
        batch_films = next(clips if clock.progress < 0.8 else films)
        frames = batch_films.size(2)
        if frames not in steppers:
            steppers[frames] = (
                GraphedGradients(vae, batch_films)
                if device.type == "cuda"
                else partial(vae_gradients, vae)
            )
        loss, error = steppers[frames](batch_films)
        optimizer.step(clock.rate(peak, warmup=50, cooldown=0.7), adam_ratio=0.5)
        clock.step += 1
        if clock.step % 100 == 0:
            psnr = -10 * torch.log10(error).item()
            log.info(
                "vae step %d loss %.4f psnr %.2f dB %.0f s",
                clock.step,
                loss.item(),
                psnr,
                clock.elapsed,
            )
    vae.eval()


@torch.no_grad()
def encode_films(vae: Network, films: Tensor) -> Tensor:
    """Latents normalised as WanPipeline's are: (B, 3, T, H, W) in [-1, 1] to (B, C, t, h, w)."""
    with torch.autocast(films.device.type, torch.bfloat16):
        mean, _ = encode_moments(vae, films)
    shift = torch.tensor(vae.config.latents_mean, device=films.device).view(1, -1, 1, 1, 1)
    scale = torch.tensor(vae.config.latents_std, device=films.device).view(1, -1, 1, 1, 1)
    return (mean.float() - shift) / scale


@torch.no_grad()
def decode_films(vae: Network, latents: Tensor) -> Tensor:
    """Films in [0, 1] from normalised latents: (B, C, t, h, w) to (B, 3, T, H, W)."""
    shift = torch.tensor(vae.config.latents_mean, device=latents.device).view(1, -1, 1, 1, 1)
    scale = torch.tensor(vae.config.latents_std, device=latents.device).view(1, -1, 1, 1, 1)
    with torch.autocast(latents.device.type, torch.bfloat16):
        films = decode_latents(vae, latents.float() * scale + shift)
    return (films.float() / 2 + 0.5).clamp(0, 1)


def measure_latents(vae: Network, seed: int, count: int, batch: int = 64) -> float:
    """Set latents_mean and latents_std from `count` films; returns the PSNR on them in dB."""
    device = next(vae.parameters()).device
    vae.register_to_config(
        latents_mean=[0.0] * LATENT_CHANNELS, latents_std=[1.0] * LATENT_CHANNELS
    )
    batches = film_batches(seed, batch, device)
    kept, errors = [], []
    for _ in range(max(count // batch, 1)):
        films = next(batches)
        kept.append(encode_films(vae, films))
        errors.append(F.mse_loss(decode_films(vae, kept[-1]), films / 2 + 0.5).item())
    latents = torch.cat(kept)
    vae.register_to_config(
        latents_mean=[round(v, 5) for v in latents.mean(dim=(0, 2, 3, 4)).tolist()],
        latents_std=[round(v, 5) for v in latents.std(dim=(0, 2, 3, 4)).tolist()],
    )
    return float(-10 * torch.tensor(errors).mean().log10())
