"""One command from nothing to the model folder: `python -m training --out models/scenes --seed 0`.

Owns the order of the stages (autoencoder, then transformer with text encoder) and where they
resume. What is done is kept under `--work`; the same command run again goes on from there.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path

import torch

from training.cache import LatentCache, Renewal, build_cache
from training.clock import Clock
from training.folder import assemble, save
from training.stock import AutoencoderKLWan, Network, UMT5EncoderModel, WanTransformer3DModel
from training.text import build_text_encoder, build_tokenizer
from training.transformer import PEAK_RATE, Training, build_transformer, train_transformer
from training.vae import (
    VAE_PEAK_RATE,
    build_vae,
    channels_last,
    measure_latents,
    train_vae,
)

log = logging.getLogger("training")

# disjoint ranges of film seeds, so that no stage is measured on what it has learnt
VAE_SEEDS, MEASURE_SEEDS, CACHE_SEEDS, FRESH_SEEDS = 0, 1 << 24, 1 << 25, 1 << 26


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--work", type=Path, default=Path("runs/training"), help="finished stages")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--init", type=Path, help="model folder to go on from")
    parser.add_argument("--vae-steps", type=int, help="default 3000, or 0 with --init")
    parser.add_argument("--steps", type=int, default=12000, help="transformer steps")
    parser.add_argument("--vae-minutes", type=float, help="stop the autoencoder after this long")
    parser.add_argument("--minutes", type=float, help="stop the transformer after this long")
    parser.add_argument("--vae-batch", type=int, default=32)
    parser.add_argument("--vae-peak", type=float, default=VAE_PEAK_RATE, help="its learning rate")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--peak", type=float, default=PEAK_RATE, help="transformer's learning rate")
    parser.add_argument("--compile", action="store_true", help="compile the transformer's blocks")
    parser.add_argument("--films", type=int, default=100_000, help="unique films in the cache")
    parser.add_argument("--fresh", type=int, default=512, help="new films every 50 steps")
    args = parser.parse_args()
    if args.vae_steps is None:
        args.vae_steps = 3000 if args.init is None else 0
    return args


def _clock(steps: int, minutes: float | None) -> Clock:
    return Clock(steps=steps, seconds=None if minutes is None else 60 * minutes)


def _autoencoder(args: argparse.Namespace, report: dict[str, float]) -> Network:
    """The trained VAE: from a finished stage, or trained now, from --init or from nothing."""
    kept = args.work / "vae"
    if (kept / "config.json").exists():
        return channels_last(AutoencoderKLWan.from_pretrained(kept).to(args.device)).eval()
    vae = (
        build_vae()
        if args.init is None
        else AutoencoderKLWan.from_pretrained(args.init / "vae").float()
    )
    vae = channels_last(vae.to(args.device)).eval()
    if args.vae_steps == 0:
        return vae
    clock = _clock(args.vae_steps, args.vae_minutes)
    train_vae(vae, clock, args.seed + VAE_SEEDS, batch=args.vae_batch, peak=args.vae_peak)
    report["vae_steps"], report["vae_seconds"] = clock.step, clock.elapsed
    report["vae_psnr_db"] = measure_latents(vae, MEASURE_SEEDS, 32 * args.vae_batch, args.vae_batch)
    log.info("vae done: %.2f dB", report["vae_psnr_db"])
    vae.save_pretrained(kept)
    return vae


def _denoiser(
    args: argparse.Namespace, vae: Network, report: dict[str, float]
) -> tuple[Network, Network]:
    """The trained transformer and text encoder, averaged weights."""
    tokenizer = build_tokenizer()
    if args.init is not None:
        model = WanTransformer3DModel.from_pretrained(args.init / "transformer").float()
        encoder = UMT5EncoderModel.from_pretrained(args.init / "text_encoder").float()
    else:
        model, encoder = build_transformer(), build_text_encoder(len(tokenizer))
    model, encoder = model.to(args.device).train(), encoder.to(args.device).train()
    began = time.perf_counter()
    kept = args.work / "films.safetensors"
    if kept.exists():
        cache = LatentCache.load(kept, torch.device(args.device))
    else:
        cache = build_cache(vae, tokenizer, args.films, CACHE_SEEDS + args.seed * args.films)
        cache.save(kept)
        log.info("cached %d films in %.0f s", args.films, time.perf_counter() - began)
    clock = _clock(args.steps, args.minutes)
    training = Training(model, encoder, cache, args.batch, args.peak)
    fresh = FRESH_SEEDS + args.seed * (1 << 24)
    train_transformer(
        training,
        clock,
        args.seed,
        renewal=Renewal(vae, tokenizer, fresh, args.fresh) if args.fresh else None,
        checkpoint=args.work / "transformer.safetensors",
        compiled=args.compile,
    )
    report |= {"steps": clock.step, "seconds": clock.elapsed, "loss": training.loss.item()}
    return training.averaged()


def main() -> None:
    """Train what is not yet trained and write the folder and a report of the run."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    args = _arguments()
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True  # the default choice for 3D convolutions is slow
    args.work.mkdir(parents=True, exist_ok=True)
    report: dict[str, float] = {}
    vae = _autoencoder(args, report)
    model, encoder = _denoiser(args, vae, report)
    save(assemble(vae, model, encoder, build_tokenizer()), args.out)
    text = json.dumps(report, indent=1)
    (args.work / "report.json").write_text(text + "\n")
    log.info("wrote %s: %s", args.out, text)


if __name__ == "__main__":
    main()
