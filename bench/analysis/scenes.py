"""The bundled model's own analysis: what docs/analysis.md says, made again.

    scripts/analysis

All four kinds through ``workers.analysis.run``, several prompts and seeds. Pictures go to
docs/images/analysis, the tables of docs/analysis.md are written anew between their markers, and all
results lie in ``--out`` as JSON and HTML. On a GPU that takes minutes, on two CPU cores hours.
"""

import argparse
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.analysis.scenes_tables import TABLES
from schemas.analyses import AnalysisSpec
from schemas.attention import Anchor, TransferSpec
from schemas.recipes import Generation, Recipe
from training.edits import EDITS, SOURCE, change_made
from training.judge import Judge, judge_films, load_judge
from workers.analysis.interventions.edit_videos import Scorer
from workers.analysis.results import AnalysisResult
from workers.analysis.run import run_analysis
from workers.families.pixels import Frames
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel, load_model

ROOT = Path(__file__).parents[2]
SCENES = ROOT / "models" / "scenes"
PICTURES = ROOT / "docs" / "images" / "analysis"
PAGE = ROOT / "docs" / "analysis.md"
PROMPTS = (
    SOURCE,
    "A dog is running on the grass.",
    "A bus is driving on the sand in the winter.",
)
SEEDS = (0, 1)
CAUSAL = {"densities": (0.5, 0.3, 0.2, 0.1), "temperatures": (1.0, 0.8), "control": True}
# what of each kind's figures the page shows
SHOWN: dict[str, tuple[str, ...]] = {
    "structure": ("maps", "decay"),
    "sparsity": ("causal",),
    "sinks": (),
    "sweep": ("layers", "sheet_0"),
    "anchored": (),
}


class Scenes:
    """The recipes that are analysed. ``steps``: of every run."""

    def __init__(self, model: LoadedModel, steps: int, seeds: Sequence[int]) -> None:
        self.model, self.steps, self.seeds = model, steps, seeds

    def source(self, prompt: str, seed: int) -> Recipe:
        card = self.model.card
        width, height = (int(side) for side in card.default_size.split("x"))
        return Recipe(
            generation=Generation(
                model=card.id,
                fingerprint=card.fingerprint,
                prompt=prompt,
                negative_prompt="",
                seed=seed,
                width=width,
                height=height,
                num_frames=card.num_frames.default,
                num_inference_steps=self.steps,
                guidance_scale=card.guidance_scale,
                fps=card.fps.default,
            )
        )

    def sources(self) -> list[Recipe]:
        return [self.source(prompt, seed) for prompt in PROMPTS for seed in self.seeds]

    def edits(self, transfer: TransferSpec) -> list[Recipe]:
        found = []
        for seed in self.seeds:
            source = self.source(SOURCE, seed)
            for edit in EDITS:
                generation = source.generation.model_copy(update={"prompt": edit.prompt})
                found.append(Recipe(generation=generation, source=source, transfer=transfer))
        return found

    def specs(self) -> dict[str, AnalysisSpec]:
        exact = {"rows": None}
        anchor = Anchor(interval=max(1, self.steps // 4))
        fields: dict[str, dict[str, Any]] = {
            "structure": {"sources": self.sources()},
            "sparsity": {"sources": self.sources(), "causal": CAUSAL},
            "sinks": {"sources": self.sources(), "ablations": {"sinks": 3, "controls": 5}},
            "sweep": {"sources": self.edits(TransferSpec(branches=("cond",)))},
            "anchored": {"sources": self.edits(TransferSpec(anchor=anchor))},
        }
        kinds = {"sweep": "layer_sweep", "anchored": "layer_sweep"}
        return {
            name: AnalysisSpec.model_validate(
                {"kind": kinds.get(name, name), "sampling": exact, **values}
            )
            for name, values in fields.items()
        }


def judged(judge: Judge, device: str) -> Scorer:
    """Whether what the edit asks for is in its video, by the bundled model's judge."""

    def score(edit: Frames, source: Frames, plain: Frames, number: int) -> float:
        films = torch.from_numpy(edit).float().permute(3, 0, 1, 2)[None].to(device) / 255
        return float(change_made(EDITS[number % len(EDITS)], judge_films(judge, films))[0])

    text = "1 where a small network that was trained for it finds in the video what the edit asks"
    return Scorer("1 or 0", text, score)


def run(scenes: Scenes, name: str, spec: AnalysisSpec, out: Path, scorer: Scorer) -> AnalysisResult:
    began = time.monotonic()
    result = run_analysis(
        lambda _: scenes.model,
        spec,
        scorers={"judged": scorer},
        on_progress=_print_progress(name, began),
    )
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result.to_json()) + "\n")
    (folder / "report.html").write_text(result.report)
    for figure, data in result.figures.items():
        (folder / f"{figure}.png").write_bytes(data)
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return result


def _print_progress(name: str, began: float) -> Callable[[int, int], None]:
    def heard(done: int, total: int) -> None:
        if done % 200 == 0:
            print(f"{name}: step {done} of {total}, {time.monotonic() - began:.0f} s", flush=True)

    return heard


def write_page(out: Path) -> None:
    """The pictures and tables of docs/analysis.md, from the results in ``out``."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page = PAGE.read_text()
    for name, figures in SHOWN.items():
        result = json.loads((out / name / "result.json").read_text())
        for figure in figures:
            data = (out / name / f"{figure}.png").read_bytes()
            (PICTURES / f"{name}-{figure.replace('_', '-')}.png").write_bytes(data)
        for table, text in TABLES[name](result).items():
            page = between_markers(page, f"{name} {table}", text)
    PAGE.write_text(page)


def between_markers(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` between ``<!-- name -->`` and ``<!-- end -->``."""
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"docs/analysis.md has no place for {name!r}")
    return pattern.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/analysis", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "analysis")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--kinds", nargs="+", choices=SHOWN, default=list(SHOWN))
    parser.add_argument("--no-page", action="store_true", help="leave docs/ as it is")
    parser.add_argument("--only-page", action="store_true", help="from the results in --out")
    args = parser.parse_args()
    if not args.only_page:
        settings = ModelSettings(
            id="scenes", path=str(SCENES), dtype="float32", device=args.device, replay_rows=8
        )
        model = load_model(settings)
        device = str(model.pipeline.device)
        scorer = judged(load_judge(device=device), device)
        scenes = Scenes(model, args.steps, args.seeds)
        for name, spec in scenes.specs().items():
            if name in args.kinds:
                run(scenes, name, spec, args.out, scorer)
    if not args.no_page:
        write_page(args.out)


if __name__ == "__main__":
    main()
