"""What it costs in time to keep a model's weights elsewhere or in fewer bits.

    python -m bench.engine.weights --rounds 4

The bundled model's denoising as it is, with its weights in groups on the host (`offload`), and in 8
bits (`quantization` fp8); with ``--gguf FILE`` also a transformer in one (`transformer_file`).
CPU time of all threads over the plain run's, the median over pairs of one round. On the CPU nothing
is moved: what is seen is the hooks' work and the unpacking, not a bus between a host and a GPU.
"""

import argparse
import time
from typing import Any

from bench.engine.model import SCENES
from bench.engine.step_cache import make, recipe_of
from bench.report import median_ratio, print_figures, print_table
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel, load_model

FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "offload_group": {"offload": "group"},
    "fp8": {"quantization": "fp8"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--gguf", help="a transformer of the bundled model's shape")
    args = parser.parse_args()
    forms = FORMS | ({"gguf": {"transformer_file": args.gguf}} if args.gguf else {})
    models = {
        name: load_model(ModelSettings(id="scenes", path=str(SCENES), **more))
        for name, more in forms.items()
    }
    seconds = measure(models, args.rounds, args.steps)
    figures = {
        f"{name}.over_plain": median_ratio(seconds[name], seconds["plain"]) for name in forms
    }
    print_table(("figure", "value"), list(figures.items()))
    print_figures(figures | {"rounds": args.rounds, "steps": args.steps})


def measure(models: dict[str, LoadedModel], rounds: int, steps: int) -> dict[str, list[float]]:
    """CPU seconds of each round's video, by form; a first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            began = time.process_time()
            make(model, recipe_of(model, 0, steps, None))
            if turn:
                seconds[name].append(time.process_time() - began)
    return seconds


if __name__ == "__main__":
    main()
