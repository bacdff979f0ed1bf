"""Muon: momentum whose update is orthogonalised, for the matrices of a network.

Owns the optimizer step only. Source: Jordan et al., "Muon: An optimizer for hidden layers in
neural networks" (2024); the update's size follows Liu et al., arXiv 2502.16982, so that one
learning rate serves Muon and AdamW alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration towards U Vᵀ of each matrix: (K, m, n) to (K, m, n) in bf16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16()
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    out: Tensor = x.mT if tall else x
    return out


class Muon:
    """Muon over weights of two or more dimensions (a convolution counts as out by rest)."""

    def __init__(self, weights: Iterable[nn.Parameter], momentum: float = 0.95, decay: float = 0.0):
        self.momentum, self.decay = momentum, decay
        self._groups: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
        for weight in weights:
            self._groups[(weight.size(0), weight[0].numel())].append(weight)
        self._velocity = {
            shape: torch.zeros(len(group), *shape, device=group[0].device)
            for shape, group in self._groups.items()
        }

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update every weight from its gradient at this learning rate."""
        for (rows, columns), group in self._groups.items():
            grads = [weight.grad for weight in group if weight.grad is not None]
            assert len(grads) == len(group), "every weight given to Muon must get a gradient"
            grad = torch.stack([g.float().reshape(rows, columns) for g in grads])
            velocity = self._velocity[(rows, columns)]
            velocity.lerp_(grad, 1 - self.momentum)
            update = orthogonalise(grad.lerp(velocity, self.momentum)).to(velocity.dtype)
            size = -0.2 * max(rows, columns) ** 0.5 * lr
            for weight, change in zip(group, update.unbind(0), strict=True):
                weight.mul_(1 - lr * self.decay).add_(change.reshape(weight.shape), alpha=size)


class MixedOptimizer:
    """Muon on the named matrices, AdamW on everything else, one learning rate for both."""

    def __init__(self, matrices: Iterable[nn.Parameter], rest: Iterable[nn.Parameter]):
        self.matrices, self.rest = list(matrices), list(rest)
        self._muon = Muon(self.matrices)
        self._adam = torch.optim.AdamW(self.rest, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, lr: float, adam_ratio: float = 1.0) -> None:
        """One step, then clear the gradients; AdamW's learning rate is lr times adam_ratio."""
        torch.nn.utils.clip_grad_norm_(self.rest, 1.0)
        for group in self._adam.param_groups:
            group["lr"] = lr * adam_ratio
        self._adam.step()
        self._muon.step(lr)
        for weight in (*self.matrices, *self.rest):
            weight.grad = None
