"""The judge: a small network that finds a film's object and says which it is.

Owns its shape and its training on drawn films, spoiled on purpose (blur, noise, tint) so that
it reads generated films too, and on films without an object, so that it can say "none".
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.drawing.films import draw_films, draw_still
from training.drawing.scenes import OBJECTS, draw_scenes
from training.metrics import Ints, read_colour, read_season

log = logging.getLogger(__name__)

WEIGHTS = Path(__file__).with_name("judge.safetensors")
NONE = len(OBJECTS)
_FRAMES = 4  # of each film that is drawn for training
TRAIN_SEEDS, TEST_SEEDS = 1 << 27, 1 << 28


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Judge(nn.Module):
    """Frames (N, 3, 64, 96) in [0, 1] to mask logits (N, 64, 96) and object logits (N, 6)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down1, self.down2 = _block(3, width, 2), _block(width, 2 * width, 2)
        self.down3, self.deep = _block(2 * width, 4 * width, 2), _block(4 * width, 4 * width)
        self.up2, self.up1 = _block(6 * width, 2 * width), _block(3 * width, width)
        self.mask = nn.Conv2d(width + 3, 4, 3, padding=1)
        self.name = nn.Linear(8 * width, NONE + 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        x = frames * 2 - 1
        one = self.down1(x)
        two = self.down2(one)
        deep = self.deep(self.down3(two))
        pooled = torch.cat([deep.mean((2, 3)), deep.amax((2, 3))], dim=1)
        up = self.up2(torch.cat([F.interpolate(deep, scale_factor=2.0), two], dim=1))
        up = self.up1(torch.cat([F.interpolate(up, scale_factor=2.0), one], dim=1))
        coarse = F.avg_pool2d(x, 2)
        mask = F.pixel_shuffle(self.mask(torch.cat([up, coarse], dim=1)), 2).squeeze(1)
        return mask, self.name(pooled)


@dataclass(frozen=True)
class Verdict:
    """What is seen in a batch of films."""

    obj: Ints  # (B,) index into OBJECTS, len(OBJECTS) for none
    colour: Ints  # (B,) index into COLOURS, -1 for none
    season: Ints  # (B,) index into SEASONS, -1 for mixed
    mask: Tensor  # (B, T, H, W) bool

    def __len__(self) -> int:
        return len(self.obj)


@torch.no_grad()
def judge_films(judge: Judge, films: Tensor, batch: int = 32) -> Verdict:
    """Look at films (B, 3, T, H, W) in [0, 1] on the judge's device.

    The object is named by the sum of the frames' log-probabilities.
    """
    names, masks = [], []
    for part in torch.split(films, batch):
        frames = part.transpose(1, 2)  # (b, T, 3, H, W)
        mask, name = judge(frames.flatten(0, 1))
        masks.append(mask.unflatten(0, frames.shape[:2]) > 0)
        names.append(name.log_softmax(1).unflatten(0, frames.shape[:2]).sum(1).argmax(1))
    mask = torch.cat(masks)
    season = read_season(films, mask)
    return Verdict(
        obj=torch.cat(names).cpu().numpy(),
        colour=read_colour(films, mask, season),
        season=season,
        mask=mask,
    )


def load_judge(path: Path = WEIGHTS, device: str = "cpu") -> Judge:
    """The trained judge.

    Raises:
        FileNotFoundError: there are no weights at `path`.
    """
    judge = Judge()
    judge.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return judge.to(device).eval()


def _spoil(frames: Tensor, rng: torch.Generator) -> Tensor:
    """Blur, tint and noise, a different amount for each quarter of the batch."""
    out = []
    for part in frames.chunk(4):
        sigma = float(torch.rand((), generator=rng)) * 1.4 + 0.05
        reach = torch.arange(-3, 4, device=frames.device, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (reach / sigma) ** 2)
        kernel = (kernel / kernel.sum()).expand(3, 1, -1)
        soft = F.conv2d(F.pad(part, (3, 3, 0, 0), mode="replicate"), kernel.unsqueeze(2), groups=3)
        soft = F.conv2d(F.pad(soft, (0, 0, 3, 3), mode="replicate"), kernel.unsqueeze(3), groups=3)
        tint = 1 + 0.12 * (torch.rand(len(part), 3, 1, 1, generator=rng).to(part) - 0.5)
        noise = 0.05 * torch.rand((), generator=rng).item()
        out.append((soft * tint + noise * torch.randn_like(soft)).clamp(0, 1))
    return torch.cat(out)


def _smear(frames: Tensor, mask: Tensor) -> Tensor:
    """Replace the object by an unrecognisable blot: what a failed generation looks like."""
    kernel = torch.ones(3, 1, 15, 15, device=frames.device) / 225
    blot = F.conv2d(F.pad(frames, (7, 7, 7, 7), mode="replicate"), kernel, groups=3)
    wide = F.avg_pool2d(F.max_pool2d(mask.unsqueeze(1), 9, 1, 4), 5, 1, 2)
    return torch.lerp(frames, blot, wide)


def _batches(seed: int, batch: int, device: str) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless (frames (N, 3, H, W), mask (N, H, W), object (N,)); one in six has no object."""
    rng = torch.Generator().manual_seed(seed)
    count = batch * _FRAMES
    empty, blot = slice(0, count // 6), slice(count // 6, count // 3)
    while True:
        scenes = draw_scenes(range(seed, seed + batch))
        seed += batch
        films = draw_films(scenes, device)
        pick = torch.randint(0, films.mask.size(1), (batch, _FRAMES), generator=rng)
        rows = torch.arange(batch)[:, None]
        frames = films.pixels.transpose(1, 2)[rows, pick].flatten(0, 1)
        mask = films.mask[rows, pick].flatten(0, 1)
        obj = torch.as_tensor(scenes.obj, device=device).repeat_interleave(_FRAMES)
        frames[empty] = draw_still(scenes, device).repeat_interleave(_FRAMES, dim=0)[empty]
        frames[blot] = _smear(frames[blot], mask[blot])
        mask[: count // 3], obj[: count // 3] = 0.0, NONE
        yield _spoil(frames, rng), mask, obj


def train_judge(steps: int, batch: int = 24, device: str = "cpu", seed: int = 0) -> Judge:
    """A judge trained on unique drawn films."""
    torch.manual_seed(seed)
    judge = Judge().to(device)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    batches = _batches(TRAIN_SEEDS + seed * (1 << 22), batch, device)
    for step in range(1, steps + 1):
        frames, mask, obj = next(batches)
        seen, name = judge(frames)
        loss = F.cross_entropy(name, obj) + 2 * F.binary_cross_entropy_with_logits(seen, mask)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            right = (name.argmax(1) == obj).float().mean().item()
            log.info("judge step %d loss %.4f right %.3f", step, loss.item(), right)
    return judge.eval()


def validate_judge(
    judge: Judge, count: int, device: str = "cpu", batch: int = 32
) -> dict[str, float]:
    """Share right on drawn films it has not seen, and the mean IoU of its masks."""
    right: dict[str, list[float]] = {"object": [], "colour": [], "season": [], "mask_iou": []}
    for low in range(TEST_SEEDS, TEST_SEEDS + count, batch):
        scenes = draw_scenes(range(low, min(low + batch, TEST_SEEDS + count)))
        films = draw_films(scenes, device)
        seen = judge_films(judge, films.pixels)
        right["object"] += list(seen.obj == scenes.obj)
        right["colour"] += list(seen.colour == scenes.colour)
        right["season"] += list(seen.season == scenes.season)
        truth = films.mask > 0.5
        both, either = (truth & seen.mask).flatten(1).sum(1), (truth | seen.mask).flatten(1).sum(1)
        right["mask_iou"] += (both / either).tolist()
    return {key: float(np.mean(values)) for key, values in right.items()}


def main() -> None:
    """`python -m training.judge`: train, validate and write the weights beside this file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    judge = train_judge(args.steps, args.batch, args.device)
    log.info("on drawn films: %s", validate_judge(judge, 512, args.device))
    state = {
        k: v.half() if v.is_floating_point() else v for k, v in judge.cpu().state_dict().items()
    }
    save_file(state, args.out)


if __name__ == "__main__":
    main()
