"""What a device can do at most, measured in the same run as what we do with it."""

import time
from dataclasses import asdict, dataclass
from typing import Self

import torch

_MIB = 1 << 20


def step_flops(layers: int, dim: int, ffn_dim: int, tokens: int) -> float:
    """Floating-point operations of one forward of Wan's blocks, text tokens left out.

    Six D·D projections (self q, k, v, out; cross q, out), two D·F of the feed-forward, and the
    two N·N·D products of the self-attention; a multiply and an add count two.
    """
    linears = 2.0 * tokens * (6 * dim * dim + 2 * dim * ffn_dim)
    attention = 4.0 * tokens * tokens * dim
    return layers * (linears + attention)


@dataclass(frozen=True)
class Ceilings:
    """bf16 matrix products in TFLOP/s, copies between pinned host and device in GB/s."""

    device: str
    bf16_tflops: float
    to_host_gb_s: float
    to_device_gb_s: float

    @classmethod
    def measure(cls, device: str) -> Self:
        cuda = device == "cuda"
        side = 8192 if cuda else 512
        a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
        seconds = _time(lambda: a @ b, cuda)
        host = torch.empty(512 * _MIB if cuda else 8 * _MIB, dtype=torch.uint8, pin_memory=cuda)
        there = torch.empty_like(host, device=device)
        down = _time(lambda: host.copy_(there, non_blocking=True), cuda)
        up = _time(lambda: there.copy_(host, non_blocking=True), cuda)
        return cls(
            device=torch.cuda.get_device_name() if cuda else "cpu",
            bf16_tflops=2 * side**3 / seconds / 1e12,
            to_host_gb_s=host.nbytes / down / 1e9,
            to_device_gb_s=host.nbytes / up / 1e9,
        )

    def figures(self) -> dict[str, object]:
        return {k: round(v, 2) if isinstance(v, float) else v for k, v in asdict(self).items()}


def _time(call: object, cuda: bool, repeats: int = 10) -> float:
    """Median seconds of one call."""
    assert callable(call)
    taken = []
    for _ in range(repeats + 3):
        if cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        if cuda:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return sorted(taken[3:])[repeats // 2]
