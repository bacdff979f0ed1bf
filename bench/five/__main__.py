"""FiVE-Bench of a method's edits, beside Wan-Edit's published figures.

    python -m bench.five --data FiVE_Bench/data --results runs/five

Frames of edits lie in RESULTS/VIDEO/SAVE_DIR, as the benchmark reads them. `--dino` and `--clip`
name folders of a ViT and a CLIP in transformers' format, for the measures that need them; the
benchmark's own are DINO ViT-B/8 and CLIP ViT-L/14. Prints a table, then one JSON line.
"""

import argparse
from pathlib import Path

import numpy as np

from bench.five.layout import Item, read_films, read_items
from bench.five.measures import Wanted, clip_similarities, plain_measures, structure_distance
from bench.report import print_figures, print_table

# of the published results, averaged over the six kinds: Wan2.1-T2V-1.3B, every 8th frame
WAN_EDIT = {
    "structure_distance": 12.5987,
    "psnr_unedit_part": 25.5080,
    "mse_unedit_part": 42.0091,
    "ssim_unedit_part": 82.3145,
    "clip_similarity_target_image": 26.7140,
    "clip_similarity_target_image_edit_part": 21.3669,
}


def measure_all(
    data: Path, results: Path, wanted: list[Wanted], stride: int
) -> tuple[dict[int, dict[str, float]], list[Item]]:
    """Of each kind of edit the mean of every measure; and the edits that were not made."""
    found: dict[int, list[list[float]]] = {}
    missing = []
    for item in read_items(data):
        films = read_films(data, results, item, stride)
        if films is None:
            missing.append(item)
            continue
        found.setdefault(item.kind, []).append(
            [each.unit * each.measure(films, item) for each in wanted]
        )
    return {
        kind: {
            each.name: float(np.nanmean(column))
            for each, column in zip(wanted, np.array(rows).T, strict=True)
        }
        for kind, rows in sorted(found.items())
    }, missing


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--stride", type=int, default=8)
    parser.add_argument("--dino", type=Path)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args(argv)
    wanted = plain_measures()
    if asked.dino:
        wanted = [structure_distance(asked.dino, asked.device), *wanted]
    if asked.clip:
        wanted += clip_similarities(asked.clip, asked.device)
    try:
        kinds, missing = measure_all(asked.data, asked.results, wanted, asked.stride)
    except ValueError as error:
        parser.error(str(error))
    if not kinds:
        parser.error(f"--results: none of {len(missing)} edits is in {asked.results}")
    names = [each.name for each in wanted]
    mean = {name: float(np.nanmean([kind[name] for kind in kinds.values()])) for name in names}
    rows: list[list[str | float]] = [
        [f"edit {kind}", *(values[name] for name in names)] for kind, values in kinds.items()
    ]
    rows += [["mean", *mean.values()], ["Wan-Edit", *(WAN_EDIT[name] for name in names)]]
    print_table(["kind", *names], rows)
    print_figures({"kinds": kinds, "mean": mean, "wan_edit": WAN_EDIT, "missing": len(missing)})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
