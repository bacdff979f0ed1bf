"""A video's frames piece by piece, while its VAE still decodes what comes behind them.

AutoencoderKLWan's decoder is called once a latent frame. What the VAE and the pipeline do with all
that it gave (clamping, from [-1, 1] to [0, 1], rounding) is done here with each piece by itself.
The other VAEs decode a video at once, or in pieces that are blended.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers.models.autoencoders import autoencoder_kl_wan
from torch import Tensor, nn

from workers.control.engine_protocol import OnFrames
from workers.families.base import Pipeline
from workers.families.pixels import Frames, round_to_pixels
from workers.models.pipelines import LoadedModel

wan: Any = autoencoder_kl_wan  # untyped


@contextmanager
def pieces_as_decoded(model: LoadedModel, on_frames: OnFrames | None) -> Iterator[None]:
    """Tell ``on_frames`` of the last row's pieces within the block, where the model's VAE gives
    some. Nothing waits for them; see ``workers.control.engine_protocol.Engine.render``."""
    vae: Any = getattr(model.pipeline, "vae", None)
    if on_frames is None or not isinstance(vae, wan.AutoencoderKLWan) or vae.use_tiling:
        yield
        return

    def after_piece(_: nn.Module, __: Any, arguments: dict[str, Any], piece: Tensor) -> None:
        pixels = round_to_pixels(_shown(model.pipeline, piece[-1:]))
        ready = torch.cuda.current_stream(pixels.device).record_event() if pixels.is_cuda else None
        on_frames(partial(_on_host, pixels, ready), bool(arguments.get("first_chunk")))

    handle = vae.decoder.register_forward_hook(after_piece, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _shown(pipeline: Pipeline, piece: Tensor) -> Tensor:
    """(F, 3, H, W) from 0 to 1 of what the decoder gave, (1, C, F, h, w)."""
    patch_size = pipeline.vae.config.patch_size
    if patch_size is not None:
        piece = wan.unpatchify(piece, patch_size=patch_size)
    video = piece[0].clamp(-1, 1).transpose(0, 1)
    shown: Tensor = pipeline.video_processor.postprocess(video, output_type="pt")
    return shown


def _on_host(pixels: Tensor, ready: torch.cuda.Event | None) -> Frames:
    """Waits for ``ready``, and for nothing that was asked of the device after it."""
    if ready is None:
        return pixels.numpy()
    side = torch.cuda.Stream(pixels.device)  # type: ignore[no-untyped-call]  # torch's
    with torch.cuda.stream(side):
        side.wait_event(ready)
        return pixels.cpu().numpy()
