"""What stands behind the last step, by itself: decoding in two memory formats, and encoding.

For what the service does with either, see ``real_size``; this says what else there is to gain.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from bench.gpu_service.real_size import Plan, bare_pipeline
from workers.control import mp4
from workers.families.pixels import to_pixels
from workers.patching import replaced

THREADS = (4, 8, 16)  # of x264; their number is written into the stream
CRF = 18
Result = TypeVar("Result")


def measure_tail(plan: Plan) -> dict[str, float]:
    """Seconds, the better of two. ``channels_last``: convolutions and latents in that order.
    ``pixels``: rounding to bytes, and the way to the host.
    """
    figures = {}
    with bare_pipeline(plan) as pipeline, torch.inference_mode():
        vae = pipeline.vae
        latents = _latents(plan, vae).to(plan.device, vae.dtype)
        figures["tail_decode_s"], video = _best(lambda: vae.decode(latents).sample)
        video = (video[0].transpose(0, 1) / 2 + 0.5).clamp(0, 1)
        figures["tail_pixels_s"], frames = _best(lambda: to_pixels(video))
        for module in vae.modules():
            if isinstance(module, torch.nn.Conv3d):
                weight = module.weight.data
                module.weight.data = weight.contiguous(memory_format=torch.channels_last_3d)
        ordered = latents.contiguous(memory_format=torch.channels_last_3d)
        figures["tail_decode_channels_last_s"], _ = _best(lambda: vae.decode(ordered).sample)
    for threads in THREADS:
        with replaced(mp4, "_ENCODER_THREADS", threads):
            took, _ = _best(lambda: mp4.encode_mp4(frames, 16, CRF))
        figures[f"tail_encode_{threads}_threads_s"] = took
    return figures


def _latents(plan: Plan, vae: Any) -> Tensor:
    size, config = plan.size, vae.config
    count = (size.num_frames - 1) // 4 + 1
    shape = (1, config.z_dim, count, size.height // 8, size.width // 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _best(call: Callable[[], Result]) -> tuple[float, Result]:
    times = []
    for _ in range(2):
        began = time.perf_counter()
        result = call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times), result
