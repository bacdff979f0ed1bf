"""Films that the model did not make: is the shot kept, is the asked change made, at what cost?

Films of the bundled model's world are drawn from seeds that no training saw, written as mp4, read
as uploads are, and edited by the engine with the model's presets. `without` is the same with no
maps transferred; of edits of the object, `masked` is kept to the mask that it was drawn with,
`auto` to the region that the run finds, and `word` to that of the film's word car.

`structure` is the correlation of edge maps with the film itself, `structure_to_vae` with what the
VAE gives back of it (so much is lost before any edit); `untouched` is the PSNR (dB) outside the
objects against the VAE's; `outside_max_difference` how far (of 255) any pixel outside the mask is
from the film's; `cost` is counted passes over a generation's, the film's own included.
Intervals are 95% bootstraps over films. Prints a table, then one JSON line; writes a contact sheet.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.report import Cell, print_figures, print_table
from schemas.attention import PresetName, TransferSpec
from schemas.films.film import Film
from schemas.films.region import EditRegion
from schemas.recipes import Generation, Recipe, pixels_hash
from schemas.selection import apply_preset, resolve_recipe
from storage.films.reader import FilmLimits, read_frames
from training.drawing.films import draw_films
from training.drawing.scenes import OBJECTS, draw_scenes
from training.edits import EDITS, SOURCE, Values, score
from training.judge import judge_films, load_judge
from training.metrics import bootstrap
from training.sheets import contact_sheet
from workers.control.mp4 import encode_mp4
from workers.engine.film_reader import latents_of
from workers.generation.generate import generate
from workers.generation.mask import grown, put_into
from workers.models.pipelines import LoadedModel, load_model
from workers.settings import BUNDLED

FIRST_SEED = 1 << 30  # training, the judge and their tests stay below
CRF = 10
NAMES = ("red", "winter", "truck")
RUNS = ("edit", "without", "masked", "auto", "word")
GROWTH, SOFTNESS = 2, 2  # pixels: the drawing's outline, and what H.264 smears
FIGURES = ("cost", "structure", "structure_to_vae", "iou", "change_made", "whole", "untouched")
SHEET_FILMS = 24
MADE = [edit for edit in EDITS if edit.name in NAMES]
Films = dict[str, list[Tensor]]
Costs = dict[str, list[float]]
MASKED = ("red", "truck")  # what is changed is the object


class Bench:
    def __init__(self, steps: int) -> None:
        self.model: LoadedModel = load_model(BUNDLED)
        self.judge = load_judge()
        card = self.model.card
        width, height = (int(side) for side in card.default_size.split("x"))
        self.generation = Generation(
            model=card.id,
            fingerprint=card.fingerprint,
            prompt=SOURCE,
            negative_prompt="",
            seed=0,
            width=width,
            height=height,
            num_frames=card.num_frames.default,
            num_inference_steps=steps,
            guidance_scale=card.guidance_scale,
            fps=card.fps.default,
        )

    def read(self, drawn: Tensor, folder: Path) -> bytes:
        """A drawn film (3, T, H, W) as an upload gives it back: RGB of all frames."""
        frames = (drawn.movedim(0, -1) * 255).round().byte().numpy()
        path = folder / "film.mp4"
        path.write_bytes(encode_mp4(frames, self.generation.fps, CRF))
        film = Film(sha256="0" * 64, fps=self.generation.fps)
        return read_frames(path, film, self._size, self.generation.num_frames, FilmLimits())

    def frames_of(self, data: bytes) -> Tensor:
        """(F, H, W, 3) uint8."""
        shape = (self.generation.num_frames, self._size[1], self._size[0], 3)
        return torch.from_numpy(np.frombuffer(bytearray(data), np.uint8).reshape(shape))

    def edit(
        self,
        frames: Tensor,
        latents: Tensor,
        prompt: str,
        transfer: TransferSpec,
        region: EditRegion | None = None,
    ) -> tuple[Tensor, float]:
        """The film's edit (3, T, H, W) in [0, 1], kept to ``region``, and its cost."""
        generation = self.generation.model_copy(update={"prompt": prompt})
        film = Film(sha256="0" * 64, fps=generation.fps)
        source = Recipe(generation=self.generation, film=film)
        recipe = Recipe(generation=generation, source=source, transfer=transfer, region=region)
        resolved = resolve_recipe(recipe, self.model.card)
        made = generate(
            self.model, resolved, film=lambda _: latents, film_frames=lambda _: frames.numpy()
        )
        shown = put_into(self.model, recipe, made.frames, made.source)
        passes = generation.num_inference_steps * 2
        return films_of(torch.from_numpy(shown)), made.passes / passes

    def region(self, mask: Tensor) -> EditRegion:
        """The region of ``mask`` (T, H, W) in [0, 1], which the model is given as a job's is."""
        grey = (mask > 0.5).byte().mul(255).flatten(0, 1).numpy()
        image = Image.fromarray(grey)
        name = pixels_hash(*image.size, image.tobytes(), "L")
        self.model.pictures[name] = image
        return EditRegion(mask=name, growth=GROWTH, softness=SOFTNESS)

    def transfer(self, preset: PresetName, run: str) -> TransferSpec:
        steps = self.generation.num_inference_steps
        spec = apply_preset(TransferSpec(preset=preset), self.model.card, steps)
        return spec.model_copy(update={"strength": 0.0}) if run == "without" else spec

    @property
    def _size(self) -> tuple[int, int]:
        return self.generation.width, self.generation.height


def films_of(frames: Tensor) -> Tensor:
    """(F, H, W, 3) uint8 as (3, F, H, W) in [0, 1]."""
    return frames.movedim(-1, 0).float() / 255


def make(bench: Bench, count: int, runs: Sequence[str], folder: Path) -> tuple[Films, Costs]:
    """The films and what they cost, by the names of their edit and run."""
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    scenes = draw_scenes(seeds, obj="car", place="highway", season="day")
    drawn = draw_films(scenes)
    films: Films = defaultdict(list)
    costs: Costs = defaultdict(list)
    for number in range(count):
        frames = bench.frames_of(bench.read(drawn.pixels[number], folder))
        latents = latents_of(bench.model, frames)
        films["film"].append(films_of(frames))
        films["mask"].append(drawn.mask[number])
        found = EditRegion(mask=None, growth=2 * GROWTH, softness=SOFTNESS)
        word = found.model_copy(update={"word": "car"})
        regions = {"masked": bench.region(drawn.mask[number]), "auto": found, "word": word}
        same = bench.edit(frames, latents, SOURCE, bench.transfer("auto", "edit"))
        films["same"].append(same[0])
        films["vae"].append(reconstruction(bench.model, latents))
        for edit in MADE:
            for run in runs:
                region = regions.get(run)
                if region is not None and edit.name not in MASKED:
                    continue
                transfer = bench.transfer(edit.kind, run)
                made, cost = bench.edit(frames, latents, edit.prompt, transfer, region)
                films[f"{edit.name}.{run}"].append(made)
                costs[f"{edit.name}.{run}"].append(cost)
    return films, costs


def figures_of(bench: Bench, films: Films, costs: Costs) -> dict[str, Values]:
    """Every figure by `edit.run.figure`."""
    whole = {name: torch.stack(each) for name, each in films.items()}
    edge = EditRegion(mask="0" * 64, growth=GROWTH, softness=SOFTNESS)
    masks = grown((whole.pop("mask").flatten(0, 1) > 0.5).float(), edge)
    outside = (masks == 0).view_as(whole["film"][:, :1])
    seen = {name: judge_films(bench.judge, each) for name, each in whole.items()}
    figures: dict[str, Values] = {
        "film.shown": (seen["film"].obj == OBJECTS.index("car")).astype(np.float64),
        "vae_psnr": psnr(whole["vae"], whole["film"]),
        "same_prompt_psnr_to_vae": psnr(whole["same"], whole["vae"]),
    }
    for edit in MADE:
        for name in [each for each in costs if each.startswith(edit.name)]:
            to_film = score(edit, whole[name], seen[name], whole["film"], seen["film"])
            to_vae = score(edit, whole[name], seen[name], whole["vae"], seen["vae"])
            values = to_film | {
                "structure_to_vae": to_vae["structure"],
                "untouched": to_vae["untouched"],
                "cost": np.asarray(costs[name]),
            }
            figures |= {f"{name}.{key}": values[key] for key in FIGURES}
            if name.endswith(".masked"):
                far = ((whole[name] - whole["film"]).abs() * outside).flatten(1).amax(1)
                figures[f"{name}.outside_max_difference"] = (far * 255).round().numpy()
    return figures


@torch.no_grad()
def reconstruction(model: LoadedModel, latents: Tensor) -> Tensor:
    """What the VAE gives back of the film, as the pipeline decodes it: (3, F, H, W) in [0, 1]."""
    vae = model.pipeline.vae
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    frames: Tensor = vae.decode(latents * std + mean, return_dict=False)[0][0]
    return ((frames / 2 + 0.5).clamp(0, 1) * 255).round() / 255


def psnr(films: Tensor, other: Tensor) -> Values:
    error = (films - other).double().square().flatten(1).mean(1)
    decibels: Values = (-10 * error.clamp(min=1e-10).log10()).numpy()
    return decibels


def summarise(figures: dict[str, Values]) -> dict[str, object]:
    """Print the table; returns the figures with their intervals."""
    summary: dict[str, object] = {}
    rows: list[list[Cell]] = []
    for name in NAMES:
        for run in RUNS:
            if f"{name}.{run}.cost" not in figures:
                continue
            row: list[Cell] = [name, run]
            for key in FIGURES:
                mean, low, high = bootstrap(figures[f"{name}.{run}.{key}"])
                row.append(f"{mean:.3f} [{low:.3f}, {high:.3f}]")
                label = f"{name}.{key}" if run == "edit" else f"{name}.{run}.{key}"
                summary[label] = round(mean, 4)
                summary[f"{label}.interval"] = [round(low, 4), round(high, 4)]
            rows.append(row)
    print_table(("edit", "run", *FIGURES), rows)
    far = [each.max() for name, each in figures.items() if name.endswith("max_difference")]
    if far:
        summary["outside_max_difference"] = float(max(far))
    for key in ("film.shown", "vae_psnr", "same_prompt_psnr_to_vae"):
        summary[key] = round(float(figures[key].mean()), 3)
    summary["same_prompt_psnr_to_vae.least"] = round(
        float(figures["same_prompt_psnr_to_vae"].min()), 2
    )
    return summary


def sheet(films: Films, path: Path) -> None:
    """A row for each film: itself, then its edits; first, middle and last frame of each."""
    ways = [f"{name}.{way}" for name in MASKED for way in ("masked", "auto", "word")]
    masked = [way for way in ways if way in films]
    edits = [f"{name}.edit" for name in NAMES if f"{name}.edit" in films]
    names = ("film", *edits, *masked)
    count = min(SHEET_FILMS, len(films["film"]))
    cells = [(films[name][number], f"{number} {name}") for number in range(count) for name in names]
    contact_sheet(
        torch.stack([film for film, _ in cells]),
        path,
        labels=[label for _, label in cells],
        columns=len(names),
    )


def main() -> None:
    """Run the bench; see `--help`."""
    parser = argparse.ArgumentParser(prog="python -m bench.own_videos", description=__doc__)
    parser.add_argument("--films", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=RUNS)
    parser.add_argument("--sheet", type=Path, default=Path("runs/own_videos.png"))
    args = parser.parse_args()
    began = time.monotonic()
    bench = Bench(args.steps)
    with tempfile.TemporaryDirectory() as folder:
        films, costs = make(bench, args.films, args.runs, Path(folder))
    summary = summarise(figures_of(bench, films, costs))
    sheet(films, args.sheet)
    setting = {"films": args.films, "steps": args.steps, "seconds": round(time.monotonic() - began)}
    print_figures(summary | setting)


if __name__ == "__main__":
    main()
