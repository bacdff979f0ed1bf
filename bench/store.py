"""The attention store against what it is built on, side by side on one real S3 server.

    python -m bench.store

Throughput: a capture's tensors through the writer and the reader, against the bare client moving
as many bytes in objects of the same size with as many threads; both from the same SeaweedFS over
HTTP. Edits: from the object store, from host memory and from the device tier against from memory,
whole denoising loops at N = 2,880 on random weights. All alternate within a round; ratios are
medians over the rounds' pairs. Memory: the growth of the resident set during a capture many times
larger than the pool.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.engine import model as engine_model
from bench.report import Cell, median_ratio, print_figures, print_table
from bench.s3 import s3_server
from schemas.artifacts import Manifest
from schemas.attention import CodecName, TransferSpec
from schemas.capture_plan import CapturePlan, Needed
from schemas.recipes import Generation, Recipe
from schemas.resolve_capture import form_bytes
from schemas.selection import resolve_transfer
from storage.objects.objects import ObjectStore
from workers.artifacts.settings import ArtifactSettings, MiB
from workers.artifacts.store import ArtifactStore
from workers.attention.maps import Address, MapSource
from workers.attention.transfer import Capture

CPU = torch.device("cpu")
CODECS: tuple[CodecName, ...] = ("raw", "zipnn", "int8")
Seconds = dict[str, list[float]]
# what an edit is read from: the object store, or a tier that holds all of it
TIERS: dict[str, dict[str, int]] = {
    "store": {"host_cache_bytes": 0},
    "host": {"host_cache_bytes": 1024 * MiB},
    "device": {"host_cache_bytes": 0, "device_cache_bytes": 1024 * MiB},
}


class Throughput:
    """One capture's tensors, moved by the store and by the bare client."""

    def __init__(self, objects: ObjectStore, megabytes: int) -> None:
        self.objects = objects
        self.settings = ArtifactSettings(pool_bytes=128 * MiB, host_cache_bytes=0)
        self.store = ArtifactStore(objects, self.settings)
        scale = torch.rand(1536) ** 4 * 10 + 0.01
        self.tensor: Tensor = (torch.randn(1, 2880, 1536) * scale).bfloat16()
        layers = max(1, megabytes * MiB // (self.tensor.nbytes * 4))
        self.plan = CapturePlan(
            form="hidden",
            codec="raw",
            layers=tuple(range(layers)),
            steps=(0, 1),
            branches=("cond", "uncond"),
        )
        self.total_bytes = 4 * layers * self.tensor.nbytes
        self.addresses = [
            Address(step, branch, layer)
            for step in self.plan.steps
            for branch in self.plan.branches
            for layer in self.plan.layers
        ]
        size = self.settings.pack_bytes
        noise = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
        names = range(-(-self.total_bytes // size))
        self.packs = [(f"raw/{name}", noise) for name in names]

    def write(self, codec: CodecName, seed: int) -> Manifest:
        generation = Generation(
            model="bench", fingerprint="f", prompt=codec, negative_prompt="", seed=seed, width=8,
            height=8, num_frames=1, num_inference_steps=2, guidance_scale=5.0, fps=8,
        )  # fmt: skip
        plan = self.plan.model_copy(update={"codec": codec})
        with self.store.open_writer(
            project="bench", recipe=Recipe(generation=generation), plan=plan, grid=(5, 24, 24)
        ) as writer:
            for address in self.addresses:
                writer.put(address, "hidden", self.tensor)
            return writer.commit()

    def read(self, manifest: Manifest) -> None:
        needed = Needed(
            frozenset(manifest.layers), frozenset(manifest.steps), frozenset(manifest.branches)
        )
        with self.store.open_reader(manifest, needed, CPU) as reader:
            for address in self.addresses:
                reader.get(address, "hidden")

    def write_raw(self) -> None:
        with ThreadPoolExecutor(self.settings.upload_threads) as threads:
            list(threads.map(lambda pack: self.objects.put(*pack), self.packs))

    def read_raw(self) -> None:
        """Into buffers that are used again, as a client that keeps nothing would."""
        buffers = [memoryview(bytearray(self.settings.pack_bytes)) for _ in range(4)]

        def lane(number: int) -> None:
            for key, _ in self.packs[number :: len(buffers)]:
                self.objects.read_into(key, 0, buffers[number])

        with ThreadPoolExecutor(len(buffers)) as threads:
            list(threads.map(lane, range(len(buffers))))

    def round(self, seed: int, seconds: Seconds) -> dict[CodecName, Manifest]:
        """One of everything; the bare client's bytes count as whole packs."""
        manifests: dict[CodecName, Manifest] = {}

        def write(codec: CodecName) -> None:
            manifests[codec] = self.write(codec, seed)

        def read(codec: CodecName) -> None:
            self.read(manifests[codec])

        runs: list[tuple[str, Callable[[], None]]] = [("write bare", self.write_raw)]
        runs += [(f"write {codec}", partial(write, codec)) for codec in CODECS]
        run_in_turn(runs, seed, seconds)
        runs = [("read bare", self.read_raw)]
        runs += [(f"read {codec}", partial(read, codec)) for codec in CODECS]
        run_in_turn(
            runs, seed, {}
        )  # the server's cache and the reader's memory are warm in a service
        run_in_turn(runs, seed, seconds)
        return manifests


def run_in_turn(runs: list[tuple[str, Callable[[], None]]], turn: int, seconds: Seconds) -> None:
    """Run all once, beginning with another each turn."""
    for name, run in runs[turn % len(runs) :] + runs[: turn % len(runs)]:
        started = time.monotonic()
        run()
        seconds.setdefault(name, []).append(time.monotonic() - started)


def measure_throughput(args: argparse.Namespace) -> dict[str, object]:
    """A server for each round: deleted bytes would fill its volumes."""
    seconds = Seconds()
    for turn in range(args.rounds + 1):
        with s3_server() as objects:
            bench = Throughput(objects, args.megabytes)
            manifests = bench.round(turn, seconds if turn else {})
    bare = sum(len(data) for _, data in bench.packs) / bench.total_bytes
    rows: list[list[Cell]] = []
    figures: dict[str, object] = {}
    for name, taken in seconds.items():
        way, what = name.split(" ")
        ratio = median_ratio([bare * each for each in seconds[f"{way} bare"]], taken)
        ratio = ratio if what != "bare" else 1.0
        size = bench.total_bytes if what != "bare" else bench.total_bytes * bare
        rows.append([name, size / 1e6 / sorted(taken)[len(taken) // 2], ratio])
        if what != "bare":
            figures[f"{way}_over_raw" + ("" if what == "raw" else f"_{what}")] = ratio
    print_table(("run", "MB/s", "over bare"), rows)
    figures["stored_over_decoded_synthetic"] = {
        codec: manifest.stored_bytes / manifest.decoded_bytes
        for codec, manifest in manifests.items()
    }
    return figures


class Waited:
    """A source, and how long the denoising was in its ``get``."""

    def __init__(self, source: MapSource) -> None:
        self.seconds = 0.0
        self._source = source

    def get(self, address: Address, name: str) -> Tensor:
        began = time.monotonic()
        tensor = self._source.get(address, name)
        self.seconds += time.monotonic() - began
        return tensor


def measure_edits(objects: ObjectStore, args: argparse.Namespace) -> dict[str, object]:
    """An edit from each tier over one from memory, at the engine bench's random-weight Wan."""
    model = engine_model.build(args)
    waits: dict[str, list[float]] = {tier: [] for tier in TIERS}
    with tempfile.TemporaryDirectory() as folder:
        bench = engine_model.Bench(model, Path(folder), 256 * MiB)
        stores = {
            tier: ArtifactStore(objects, ArtifactSettings(pool_bytes=256 * MiB, **TIERS[tier]))
            for tier in TIERS
        }
        bench.artifacts = stores["store"]
        capture = Capture(bench.plan, bench.memory)
        bench.timed(bench.source, capture=capture)
        _, manifest = bench.captured()
        edit, seconds = bench.edit("A red car is driving on the highway."), Seconds()
        resolved = resolve_transfer(TransferSpec(), model.card, bench.source.generation)

        def from_memory() -> None:
            bench.timed(edit, stored=bench.held(bench.memory))

        def read(tier: str) -> None:
            with stores[tier].open_reader(manifest, resolved.needed(), CPU) as reader:
                source = Waited(reader)
                taken = bench.timed(edit, stored=bench.held(source)).seconds
            waits[tier].append(source.seconds / taken)

        runs: list[tuple[str, Callable[[], None]]] = [("memory", from_memory)]
        runs += [(tier, partial(read, tier)) for tier in TIERS]
        for turn in range(args.edit_rounds + 1):  # the first fills the tiers
            run_in_turn(runs, turn, seconds if turn else {})
        ratios = {tier: median_ratio(seconds[tier], seconds["memory"]) for tier in TIERS}
        middle = args.edit_rounds // 2
        rows: list[list[Cell]] = [["memory", sorted(seconds["memory"])[middle], 1.0, None]]
        for tier, ratio in ratios.items():
            median = sorted(seconds[tier])[middle]
            rows.append([tier, median, ratio, statistics.median(waits[tier])])
        print_table(("edit from", "median s", "over memory", "of it waiting"), rows)
        dense = form_bytes("dense", bench.plan, model.card, bench.source.generation)
        return {
            **{f"edit_{tier}_over_memory": ratio for tier, ratio in ratios.items()},
            "edit_share_waiting": statistics.median(waits["store"]),
            "edit_tokens": bench.grid[0] * bench.grid[1] * bench.grid[2],
            "edit_layers": len(resolved.layers),
            "hidden_lossless_over_dense_here": manifest.stored_bytes / dense,
        }


def measure_memory(objects: ObjectStore, args: argparse.Namespace) -> dict[str, object]:
    """How much the resident set grows in a capture whose store is slower than it."""
    bench = Throughput(objects, args.megabytes)
    bench.settings = ArtifactSettings(
        pool_bytes=64 * MiB, pack_bytes=8 * MiB, frame_bytes=4 * MiB, upload_threads=1,
        host_cache_bytes=0,
    )  # fmt: skip
    bench.store = ArtifactStore(objects, bench.settings)
    before = reset_peak()
    manifest = bench.write("raw", 0)
    grown = peak_bytes() - before
    return {
        "artifact_over_pool": manifest.decoded_bytes / bench.settings.pool_bytes,
        "resident_growth_over_pool": grown / bench.settings.pool_bytes,
    }


def reset_peak() -> int:
    """The resident bytes now, from which a new peak is taken (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc/self/status")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--edit-rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--size", type=int, default=384, help="pixels of a side; 384 is N = 2880")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.threads:
        torch.set_num_threads(args.threads)
    figures = measure_throughput(args)
    with s3_server() as objects:
        figures |= measure_memory(objects, args)
    with s3_server() as objects:
        figures |= measure_edits(objects, args)
    print_figures({**figures, "rounds": args.rounds, "edit_rounds": args.edit_rounds})


if __name__ == "__main__":
    main()
