"""docs/models.md: every family, and which checks of the conformance suite it passes.

The suite runs every check on every case, unless the case says why it cannot. So what this table
marks as working is what a green suite has passed.
"""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import diffusers

from tests.workers.families.cases import CASES, Case
from workers.families.base import Family
from workers.families.checkpoints import CHECKPOINTS
from workers.families.registry import FAMILIES, NOT_SERVED

PAGE = Path(__file__).parents[3] / "docs" / "models.md"
HEAD = """# Models

Written by `scripts/models_table` from `workers/families/` and the cases of
`tests/workers/families/`; a test keeps it current. diffusers {version}.

Each row is one tiny random configuration of the real pipeline class with a text encoder of the real
kind, run on the CPU through the whole engine. A `yes` under `maps` means that all of these hold: a
run with its own maps put back differs by 0.0, in forms hidden, qk and latents; hidden equals the
softmax map written out; layers, steps, branches, heads and strength change only what they name;
another prompt's maps change the video; an edit from a saved and loaded artifact works; so does a
replay, with guidance and without; another shot is refused. **Real weights of these families have
not been run here**: run `retake models check MODEL` first ([below](#a-model-of-your-own)).

"""
# of the published models, where the tiny ones read less
PROMPTS = {"hunyuan-video-1.5": "1000", "easyanimate": "256, its template among them"}
COLUMNS = (
    *("family", "pipeline", "inputs", "guidance", "maps", "fused", "compiled", "group offload"),
    *("step cache", "uploads", "size", "frames", "fps", "steps", "prompt", "float32", "licence"),
)
INPUTS = {"none": "text", "optional": "text, image or none", "required": "text, image"}
NOTES = """
Inputs: what a video is made from; an image is its first frame. `prompt`: the tokens that the model
reads of one; what is behind them is cut, and `prompt_truncated` in the video says so. `float32`:
components that stay in float32 whatever `dtype` is, as their authors run them. Guidance: `two
calls` a step, `one batch` a step, or `embedded` (one branch). Fused: projections are fused while
loading; where that is not possible, diffusers has no fused projections or does not compute with
them. Step cache: requests may name a `step_cache`; not where the model is compiled, in groups on
the host or spread over ranks. Uploads: edits may take an uploaded video as their source; not where
the model is spread over ranks.

Not served, and refused when the model is loaded, with the reason:

{not_served}
- HunyuanVideo-I2V-33ch (it makes four frames more than a video has, and cuts them off) and
  `LTXImageToVideoPipeline` from 0.9.1 on (its VAE is given noise that no seed decides; set
  `pipeline: LTXConditionPipeline`).

Not tried: MiniMax-H3, which is a modular pipeline only, Kandinsky 6 and Sana's world models. Not
offered: the picture that a video may end with (`last_image` of Wan and others), pictures behind the
first frame (LTX), and the picture that Helios may start from.

Helios is served one chunk (33 frames) long. SkyReels-V2's diffusion forcing is served with all
frames in step, in one pass: not staggered, not piece by piece. LTX-2 is served without its sound,
and its further guidance calls run with their own attention. Licences are those of the published
weights, `unknown` where they were not looked up. LTX, LTX-2, Cosmos and SkyReels-V2's diffusion
forcing are told the frame rate, which is then part of the shot and of the key; for all others it
only paces the output. Cosmos loads only where the package `cosmos_guardrail` is installed: its
licence asks for the guardrail, diffusers makes no pipeline without it, and the error names it.

## Defaults of checkpoints

The size, steps and guidance of the table are the family's: those of the pipeline's signature or
example in diffusers. Where a checkpoint is known to want others, it is recognised by its
configuration, or by its hub id, and these are used. The folder's `retake.json` wins over them, the
model's settings over that, and a request over all. `GET /v1/models` shows what came of it. What is
not by diffusers is as published with the model, and could not be looked up again here.

{checkpoints}
A `negative_prompt` that a request leaves out, or gives as null, is the model's; `""` is none.

## A model of your own

`retake models check MODEL` loads a folder or a hub id on this machine and prints its card and where
its defaults are from, its weights and memory, the time of a step, a four-step video, whether its
own maps put back give the same video (largest difference 0), an anchored edit, and what each form
of its attention would take and cost. It ends with one line of JSON (`ok`, `own_maps_difference`,
`step_s`, `peak_bytes`, `wrong`, `odd`, ...) and exits 1 if anything is wrong. `--smallest` makes
the smallest video, `--settings '{{"dtype": "float16"}}'` gives [settings](settings.md) of the
model.

A worker does a part of it when it starts. Each model makes its smallest video in four steps, and
what a job would stop at is in the log then:

| what is found | what becomes of it |
|---|---|
| no video can be made, or its numbers are infinite | the model is not served |
| noise that no seed decides (its scheduler takes no generator) | the model is not served |
| irregular steps (Heun schedulers, guiders that stop early) | served without capture and edits |

Schedulers that draw noise (`stochastic_sampling`, SDE solvers, LCM) are seeded by the request's
seed, row by row. What was really run here: the bundled model whole, and of every family the tiny
configuration above, each through the checks of the first table.

`retake models sweep MODEL --prompts FILE` finds which layers, steps and scale carry the shot on a
model. FILE has one edit a line, `recolour | a car | a red car`. First every layer is tried alone,
left out, and with those before it, in eight steps; then the best sets of layers in the model's own
steps, with parts of the steps and scales. Measured are the structure that is kept, the share of the
change that the new prompt's own video makes, and the change of luminance where the edit changes
most and elsewhere (Otsu's threshold, no text): no classifier. It writes `sweep.md`, a contact sheet
an edit, and a `retake.json` whose presets are to be looked at, with the sheets, before they are put
beside the model. On the bundled model, with one edit (a red car, a blue car), seed 1 and 8 steps in
both stages, it took 36 settings and ended with layers 1, 3 and 6 (structure 0.909, change 0.714;
all layers: 0.795 and 0.653); the presets that it has, from more edits, are 2, 3 and 6.

`python -m bench.five --data DATA --results DIR` measures edits by the protocol of FiVE-Bench (arXiv
2503.13684), beside Wan-Edit's published figures: PSNR, MSE and SSIM outside the masks, and with a
DINO and a CLIP in transformers' format (`--dino`, `--clip`) structure distance and similarity to
the prompt. `python -m bench.five.make` makes a small folder of that layout with the bundled model.

**A transformer in one file** (`transformer_file` beside `path`) is read for Wan, SkyReels-V2,
HunyuanVideo, Mochi, LTX, LTX-2, Cosmos and Motif-Video, where diffusers has a table of names: by
the names of the authors' code, with ComfyUI's prefix or without, in fp32, fp16, bf16 and plain fp8;
tried here on made Wan files. Scaled fp8 is refused, because diffusers would leave the scales out.
GGUF needs the package `gguf`; a made Wan file, partly in 8 bits, gives the videos of its unpacked
weights, and its own maps put back differ by 0.0. diffusers unpacks in float16, whatever `dtype` is.

**A card of 24 GB.** What it costs in time to keep weights elsewhere or in fewer bits, in CPU time
over the plain run's (`python -m bench.engine.weights --gguf FILE`: the bundled model in bfloat16 on
a CPU, four steps, medians of four pairs): `offload: group` 1.08, `quantization: fp8` 1.22, a GGUF
with its matrices in Q8_0 1.16. On a CPU nothing is moved; on a GPU `offload` also waits for the
bus, which was not measured.

**LoRAs** are identified by their file's content, wherever it lies. Keys that match nothing of the
model fail when it is loaded. A model of two experts (Wan2.2 A14B) has a file in both, or
`low_noise` names another for the second. Read, in Wan models and tried: diffusers' names,
diffusion-pipe's and ComfyUI's (`diffusion_model.`, with and without alpha, with biases), and
musubi-tuner's, which are kohya's (`lora_unet_`, with and without alpha, whole or of some modules).

**Versions.** An artifact names the torch, diffusers and transformers that made it. What was
computed (hidden states, queries and keys) is used after an upgrade, with a warning: it is the
attention of the video that the user saw. Form latents, which is computed again by the code of the
day, is left alone, and the source is replayed, so that source and edit come of one code. Artifacts
from before versions were named are used. The versions are in no source key: an upgrade does not
lose what was stored.
"""


def checkpoints() -> str:
    table = (
        line(("checkpoint", "families", "known by", "defaults", "from")) + "|" + "---|" * 5 + "\n"
    )
    for known in CHECKPOINTS:
        values = {**known.defaults, **known.call, **known.scheduler}
        shown = ", ".join(
            name if name == "negative_prompt" else f"{name} {value}"
            for name, value in values.items()
        )
        by = f"`{known.pattern}` in its name" if known.pattern else "its configuration"
        table += line((known.name, ", ".join(known.families), by, shown, known.source))
    return table


def not_served() -> str:
    lines = (f"- `{name}`: {why};" for name, why in NOT_SERVED.items())
    return "\n".join("\n  ".join(textwrap.wrap(each, 98)) for each in lines)


def row(case: Case) -> str:
    built = case.build()
    pipeline = type(built).__name__
    family, without = FAMILIES[pipeline], case.without
    maps = "transfer" not in without
    cells = [
        case.name,
        f"`{pipeline}`",
        INPUTS[family.picture],
        guidance(family),
        "yes" if maps else f"no: {without['transfer']}",
        "yes" if maps and family.supports_fused_qkv else "-",
        compiled(without) if maps else "-",
        "yes" if maps else "-",
        "yes" if family.supports_step_cache else "-",
        "yes" if family.takes_films else "-",
        f"{family.defaults.width}x{family.defaults.height}",
        str(family.defaults.num_frames),
        str(family.defaults.fps),
        str(family.defaults.num_inference_steps),
        PROMPTS.get(case.name) or str(family.prompt_limit(built) or "-"),
        ", ".join(family.float32_components) or "-",
        family.defaults.licence,
    ]
    return line(cells)


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def guidance(family: Family) -> str:
    if family.batched:
        return "one batch"
    return "two calls" if len(family.branch_order) > 1 else "embedded"


def compiled(without: dict[str, str]) -> str:
    if "compiled" in without:
        return f"not in the suite: {without['compiled']}"
    return f"yes, in parts: {without['one graph']}" if "one graph" in without else "yes"


def page() -> str:
    table = line(COLUMNS) + "|" + "---|" * len(COLUMNS) + "\n"
    table += "".join(row(case) for case in CASES)
    notes = NOTES.format(checkpoints=checkpoints(), not_served=not_served())
    return HEAD.format(version=diffusers.__version__) + table + notes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is current")
    if not parser.parse_args().check:
        PAGE.write_text(page())
    elif PAGE.read_text() != page():
        print(f"{PAGE.name} is not current: run scripts/models_table", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
