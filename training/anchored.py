"""Anchored edits for many seeds at once: the loop over the bare transformer and scheduler.

Owns the loop and the choice of tokens; the source's outputs and states are `training.exchange`'s.
The source's velocity v_s is known at every step, so an edit computes only what differs, in the
cond branch alone:

    every k-th step:  d = v_e(x_e, t) - v_s(x_s, t)   the edit's maps being the source's
    every step:       v = v_s guided + scale * d      x_e moves by the scheduler on v

The difference of velocities is FlowEdit's idea (arXiv 2412.08629).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training.exchange import Anchor, Choice, Exchange, Group
from training.sampling import Settings, decode, draw_noise, encode
from training.stock import Pipeline


def otsu_threshold(values: Tensor) -> Tensor:
    """The value that best parts each row in two: (B, N) to (B, 1).

    Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979, over the values
    themselves in place of a histogram.
    """
    ordered = values.double().sort(dim=1).values
    count = ordered.size(1)
    below = torch.arange(1, count, device=values.device).double()
    sums = ordered.cumsum(1)
    low = sums[:, :-1] / below
    high = (sums[:, -1:] - sums[:, :-1]) / (count - below)
    cut = (below * (count - below) * (high - low).square()).argmax(1, keepdim=True)
    return ((ordered.gather(1, cut) + ordered.gather(1, cut + 1)) / 2).to(values.dtype)


def active_tokens(difference: Tensor, anchor: Anchor) -> Tensor:
    """The tokens that an edit changes, grown within their frame: (B, C, t, h, w) to (B, N) bool.

    A token is one latent pixel, as in the bundled model.
    """
    size = difference.norm(dim=1)  # (B, t, h, w)
    threshold = anchor.region_threshold * otsu_threshold(size.flatten(1))
    active = (size > threshold.view(-1, 1, 1, 1)).float()
    reach = anchor.region_growth
    grown = F.max_pool2d(active, 2 * reach + 1, stride=1, padding=reach)
    return grown.flatten(1) > 0


class _Edit:
    """One choice of a run: its anchor, its last difference, and the tokens it computes."""

    def __init__(self, index: int, choice: Choice, noise: Tensor) -> None:
        if choice.anchor is None:
            raise ValueError("a choice without an anchor is a whole generation")
        self.index, self.choice, self.anchor = index, choice, choice.anchor
        self.latents = noise  # (B, C, t, h, w) float32
        self.difference = torch.zeros_like(noise)
        self.active: Tensor | None = None
        self.whole = torch.zeros(len(noise), 1, dtype=torch.bool, device=noise.device)

    @property
    def group(self) -> Group:
        return Group(self.index, self.choice, self.active)

    def take(self, difference: Tensor) -> None:
        """Hold a computed difference (B, C, t, h, w) and choose the tokens of the next one."""
        computed = self.active
        if self.anchor.region == "renewed" or (self.anchor.region == "first" and computed is None):
            chosen = active_tokens(self._masked(difference, computed), self.anchor)
            share = chosen.float().mean(1, keepdim=True)
            self.whole = self.whole | (share > self.anchor.region_max_share)
            self.active = chosen | self.whole
        # the first is computed whole, and only its chosen tokens are used
        self.difference = self._masked(difference, self.active if computed is None else computed)

    @staticmethod
    def _masked(difference: Tensor, active: Tensor | None) -> Tensor:
        if active is None:
            return difference
        return difference * active.view(-1, 1, *difference.shape[2:])


class _Loop:
    """The source and everything that its edits share."""

    def __init__(
        self, pipeline: Pipeline, exchange: Exchange, seeds: Sequence[int], settings: Settings
    ) -> None:
        self.transformer, self.exchange = pipeline.transformer, exchange
        self.guidance_scale = settings.guidance_scale
        self.noise = draw_noise(pipeline, seeds, settings)
        self.scheduler: Any = copy.deepcopy(pipeline.scheduler)
        self.scheduler.set_timesteps(settings.num_inference_steps, device=self.noise.device)
        self.scheduler.set_begin_index(0)

    def compute(self, step: int, edits: Sequence[_Edit], text: Tensor) -> None:
        """New differences of the edits that compute this step; text (G, L, D), one an edit."""
        if not edits:
            return
        latents = torch.cat([edit.latents for edit in edits]).to(self.transformer.dtype)
        with self.exchange.computing(step, [edit.group for edit in edits]):
            out = self.transformer(
                hidden_states=latents,
                timestep=self.scheduler.timesteps[step].expand(len(latents)),
                encoder_hidden_states=text.repeat_interleave(len(self.noise), dim=0),
                return_dict=False,
            )[0]
        source = self.exchange.output(step, "cond").float()
        for edit, part in zip(edits, out.float().chunk(len(edits)), strict=True):
            edit.take(part - source)

    def move(self, step: int, edits: Sequence[_Edit]) -> None:
        """All edits to the next noise level, in one call of the scheduler."""
        cond, uncond = (self.exchange.output(step, name) for name in ("cond", "uncond"))
        guided = []
        for edit in edits:
            # both branches move by the same difference, as the engine answers the pipeline's calls
            shift = edit.anchor.scale * edit.difference
            c, u = ((x.float() + shift).to(x.dtype) for x in (cond, uncond))
            guided.append(u + self.guidance_scale * (c - u))
        latents = torch.cat([edit.latents for edit in edits])
        time = self.scheduler.timesteps[step]
        moved = self.scheduler.step(torch.cat(guided), time, latents, return_dict=False)[0]
        for edit, part in zip(edits, moved.chunk(len(edits)), strict=True):
            edit.latents = part


@torch.no_grad()
def generate_anchored(
    pipeline: Pipeline,
    exchange: Exchange,
    prompts: Sequence[str],
    choices: Sequence[Choice],
    seeds: Sequence[int],
    settings: Settings,
    batch: int = 32,
) -> Tensor:
    """Edits of the source that `exchange` keeps, each prompt with its own choice.

    Args:
        prompts, choices: one an edit.
        seeds: the source's.
        settings: the source's.
        batch: films that are decoded together.

    Returns:
        (len(prompts) * len(seeds), 3, T, H, W) in [0, 1] on the CPU, edit by edit.

    Raises:
        ValueError: prompts and choices of different lengths, or a choice without an anchor.
    """
    loop = _Loop(pipeline, exchange, seeds, settings)
    text = encode(pipeline, prompts)
    edits = [
        _Edit(index, choice, loop.noise)
        for index, (_, choice) in enumerate(zip(prompts, choices, strict=True))
    ]
    exchange.passes = [0.0] * len(edits)
    for step in range(settings.num_inference_steps):
        due = [edit for edit in edits if edit.anchor.computes(step)]
        loop.compute(step, due, text[[edit.index for edit in due]])
        loop.move(step, edits)
    return decode(pipeline, torch.cat([edit.latents for edit in edits]), batch)
