"""docs/models.md: every family, and which checks of the conformance suite it passes.

The suite runs every check on every case, unless the case says why it cannot. So what this table
marks as working is what a green suite has passed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import diffusers

from tests.workers.families.cases import CASES, Case
from workers.families.base import Family
from workers.families.registry import FAMILIES

PAGE = Path(__file__).parents[3] / "docs" / "models.md"
HEAD = """# Models

Written by `scripts/models_table` from `workers/families/` and the cases of
`tests/workers/families/`; a test keeps it current. diffusers {version}.

Each row is one tiny random configuration of the real pipeline class with a text encoder of the real
kind, run on the CPU through the whole engine. A `yes` under `maps` means that all of these hold: a
run with its own maps put back differs by 0.0, in forms hidden, qk and latents; hidden equals the
softmax map written out; layers, steps, branches, heads and strength change only what they name;
another prompt's maps change the video; an edit from a saved and loaded artifact works; so does a
replay; another shot is refused. Real weights of these families have not been run here.

"""
COLUMNS = (
    *("family", "pipeline", "guidance", "maps", "fused", "compiled", "group offload", "step cache"),
    *("size", "frames", "fps", "steps", "licence"),
)
NOTES = """
Guidance: `two calls` a step, `one batch` a step, or `embedded` (one branch). Fused: projections are
fused while loading; where that is not possible, diffusers has no fused projections or does not
compute with them. Step cache: requests may name a `step_cache`; not where the model is compiled, in
groups on the host or spread over ranks.

Not served:

- pipelines that start from a picture or a video (Wan I2V, VACE and Animate, ChronoEdit, ConsisID,
  FramePack, Cosmos video-to-world, the extension of SkyReels-V2 diffusion forcing);
- MiniMax-H3, which is a modular pipeline only;
- Kandinsky 6 and AnyFlow-FAR, which were not tried.

Helios is served one chunk (33 frames) long. LTX-2 is served without its sound, and its further
guidance calls run with their own attention. Licences are those of the published weights, `unknown`
where they were not looked up. Frame rates only pace the output: the pipelines that condition on one
(LTX, LTX-2, Cosmos) get their default.
"""


def row(case: Case) -> str:
    pipeline = type(case.build()).__name__
    family, without = FAMILIES[pipeline], case.without
    maps = "transfer" not in without
    cells = [
        case.name,
        f"`{pipeline}`",
        guidance(family),
        "yes" if maps else f"no: {without['transfer']}",
        "yes" if maps and family.supports_fused_qkv else "-",
        compiled(without) if maps else "-",
        "yes" if maps else "-",
        "yes" if family.supports_step_cache else "-",
        f"{family.defaults.width}x{family.defaults.height}",
        str(family.defaults.num_frames),
        str(family.defaults.fps),
        str(family.defaults.num_inference_steps),
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
    return HEAD.format(version=diffusers.__version__) + table + NOTES


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
