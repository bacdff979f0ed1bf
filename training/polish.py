"""Polish of a finished model: its VAE's decoder alone, on whole films.

Owns `python -m training.polish`. The encoder and with it every latent stays as it is, so the
transformer need not know.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from training.clock import Clock
from training.muon import MixedOptimizer
from training.stock import AutoencoderKLWan, Network
from training.vae import decode_latents, edge_loss, encode_moments, film_batches

log = logging.getLogger(__name__)

POLISH_SEEDS = 1 << 29


def polish(vae: Network, clock: Clock, batch: int, peak: float) -> None:
    """Train the decoder in place until the clock is done."""
    device = next(vae.parameters()).device
    weights = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    vae.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
    optimizer = MixedOptimizer([], weights)
    batches = film_batches(POLISH_SEEDS, batch, device)
    running = 0.0
    while not clock.done:
        films = next(batches)
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                latents, _ = encode_moments(vae, films)
            drawn = decode_latents(vae, latents).float()
        error = (drawn - films).square().mean()
        loss = (drawn - films).abs().mean() + error + 0.5 * edge_loss(drawn, films)
        torch.autograd.backward(loss)
        optimizer.step(clock.rate(peak, warmup=10))
        running += (error.item() / 4 - running) / min(clock.step + 1, 20)
        clock.step += 1
        if clock.step % 10 == 0:
            psnr = float(-10 * torch.tensor(running).log10())
            log.info("polish step %d psnr %.2f dB %.0f s", clock.step, psnr, clock.elapsed)


@torch.no_grad()
def frame_psnr(vae: Network, first_seed: int, count: int) -> list[float]:
    """PSNR in dB of each of the 17 frames over `count` drawn films."""
    device = next(vae.parameters()).device
    films = next(film_batches(first_seed, count, device))
    drawn = decode_latents(vae, encode_moments(vae, films)[0]).clamp(-1, 1)
    error = ((drawn - films) / 2).square().mean((0, 1, 3, 4))
    return [round(value, 2) for value in (-10 * error.log10()).tolist()]


def main() -> None:
    """Polish a folder's decoder; see `--help`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(prog="python -m training.polish", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/scenes"))
    parser.add_argument("--out", type=Path, required=True, help="folder for the polished vae")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--peak", type=float, default=4e-4)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    vae = AutoencoderKLWan.from_pretrained(args.model / "vae").float().to(args.device)
    log.info("before: %s", frame_psnr(vae, 1 << 30, 12))
    clock = Clock(args.steps, None if args.minutes is None else 60 * args.minutes)
    polish(vae, clock, args.batch, args.peak)
    log.info("after %d steps: %s", clock.step, frame_psnr(vae, 1 << 30, 12))
    vae.to(torch.bfloat16).save_pretrained(args.out)


if __name__ == "__main__":
    main()
