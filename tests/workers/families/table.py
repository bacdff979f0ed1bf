"""docs/models.md: every family, and what of it the conformance suite passes.

The suite runs each check on each case that does not say why it cannot, so what this table ticks
is what a green suite has passed.
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

Each row is one tiny random configuration on its real pipeline class and a text encoder of the real
kind, on the CPU, end to end through the engine. `maps` stands for: own maps give the run back with
difference 0.0 in forms hidden, qk and latents; hidden equals the written-out softmax map; layers,
steps, branches, heads and strength touch only what they name; another prompt's maps change the
video; save, load and edit from the store; replay in place of stored maps; another shot refused.
Real weights of these families have not been run here.

"""
COLUMNS = (
    *("family", "pipeline", "guidance", "maps", "fused", "compiled", "group offload"),
    *("size", "frames", "fps", "steps", "licence"),
)
NOTES = """
Guidance: `two calls` a step, `one batch` a step, or `embedded` (one branch). fused: projections
fused before loading ends; where it is missing, diffusers has none or does not compute with them.

Not served, and why: pipelines that need a picture or a film to start from (Wan I2V, VACE and
Animate, ChronoEdit, ConsisID, FramePack, Cosmos video-to-world, SkyReels-V2 diffusion forcing's
extension); MiniMax-H3 (a modular pipeline only); Kandinsky 6 and AnyFlow-FAR (not tried).
Helios is served one chunk (33 frames) long. LTX-2 is served without its sound, and its further
guidance calls run with their own attention. Licences are of the published weights, `unknown` where
they were not looked up. Frame rates pace the output only: the pipelines that
condition on one (LTX, LTX-2, Cosmos) get their default.
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
