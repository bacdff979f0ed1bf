"""Codecs on real activations: the bundled model's, in float32 and bfloat16.

    python -m bench.codecs

For each dtype a source is generated and its hidden states are kept. Then, codec by codec:
bytes against plain ones; MB/s of one core, encoding and decoding, rounds of all codecs after one
another; the error of the tensor (relative, Frobenius); of the attention map that it gives (total
variation of its rows, ½ Σ|a - b|, mean and 99th percentile over all layers, steps and heads); and
of videos made with it (PSNR in dB against the same edit from exact states: of the source itself,
and recoloured). ``zipnn package`` is the peer whose method codec zipnn is, where it is installed.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.report import Cell, print_figures, print_table
from schemas.artifacts import Frame
from schemas.attention import CaptureSpec, CodecName, TransferSpec
from schemas.recipes import Generation, Recipe
from schemas.resolve_capture import resolve_capture
from schemas.selection import resolve_recipe
from workers.artifacts.codecs.codec import CODECS, Encoded, decode, encode
from workers.artifacts.codecs.tensors import as_array, as_rows, dtype_name
from workers.attention.maps import Address, MapSource, MemoryMaps
from workers.attention.transfer import Capture, StoredAttention
from workers.families.pixels import Frames
from workers.generation.generate import generate
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel, load_model
from workers.settings import BUNDLED

NAMES: tuple[CodecName, ...] = ("raw", "zstd", "zipnn", "int8")
SOURCE, EDIT = "A car is driving on the highway.", "A red car is driving on the highway."


class Rows(NamedTuple):
    """One tensor as codecs take it."""

    frame: Frame
    array: NDArray[Any]


class Errors(NamedTuple):
    """Of one codec against exact states; PSNR None: not a bit differs."""

    relative: float
    map_mean: float
    map_p99: float
    psnr_source: float | None
    psnr_edit: float | None


class Bench:
    """One model in one dtype, its source's hidden states, and edits made from them."""

    def __init__(self, dtype: Literal["float32", "bfloat16"], steps: int) -> None:
        settings = {**BUNDLED.model_dump(), "dtype": dtype}
        self.model: LoadedModel = load_model(ModelSettings(**settings))
        card = self.model.card
        width, height = (int(side) for side in card.default_size.split("x"))
        self.source = Recipe(
            generation=Generation(
                model=card.id,
                fingerprint=card.fingerprint,
                prompt=SOURCE,
                negative_prompt=card.negative_prompt,
                seed=0,
                width=width,
                height=height,
                num_frames=card.num_frames.default,
                num_inference_steps=steps,
                guidance_scale=card.guidance_scale,
                fps=card.fps.default,
            )
        )
        self.plan = resolve_capture(CaptureSpec(scope="everything"), card, self.source)
        self.hidden = MemoryMaps()
        resolved = resolve_recipe(self.source, card)
        generate(self.model, resolved, capture=Capture(self.plan, self.hidden))

    def edit(self, prompt: str, source: MapSource, maps: MemoryMaps | None = None) -> Frames:
        """``prompt`` with ``source``'s attention; the maps that it then had go into ``maps``."""
        generation = self.source.generation.model_copy(update={"prompt": prompt})
        recipe = Recipe(generation=generation, source=self.source, transfer=TransferSpec())
        dense = self.plan.model_copy(update={"form": "dense"})
        capture = Capture(dense, maps) if maps is not None else None
        made = generate(
            self.model,
            resolve_recipe(recipe, self.model.card),
            stored=StoredAttention(self.plan, source),
            capture=capture,
        )
        return made.frames

    def rows(self) -> Iterator[tuple[Address, Rows]]:
        for (address, name), tensor in self.hidden.tensors.items():
            yield address, describe(address, name, tensor)


def describe(address: Address, name: str, tensor: Tensor) -> Rows:
    rows, dtype = as_rows(tensor), dtype_name(tensor)
    array = as_array(rows.contiguous().view(-1).view(torch.uint8), dtype, rows.shape[1])
    frame = Frame(
        name=name,
        step=address.step,
        branch=address.branch,
        layer=address.layer,
        codec="raw",
        dtype=dtype,
        shape=tuple(rows.shape),
        rows=(0, len(rows)),
        offset=0,
        size=1,
        crc32c=0,
    )
    return Rows(frame, array)


def pack(rows: Rows, codec: CodecName) -> tuple[Frame, bytes]:
    encoded: Encoded = encode(codec, rows.array, rows.frame.dtype)
    update = {
        "codec": encoded.codec,
        "codec_version": encoded.version,
        "size": encoded.size,
        "crc32c": encoded.crc32c,
    }
    return rows.frame.model_copy(update=update), b"".join(encoded.pieces)


def through(bench: Bench, codec: CodecName) -> MemoryMaps:
    """All hidden states as they come back from ``codec``."""
    back = MemoryMaps()
    for address, rows in bench.rows():
        frame, data = pack(rows, codec)
        tensor = bench.hidden.tensors[address, "hidden"].clone()
        out = as_array(tensor.view(-1).view(torch.uint8), frame.dtype, frame.width)
        decode(frame, memoryview(data), out)
        back.tensors[address, "hidden"] = tensor
    return back


def errors_of(bench: Bench, codec: CodecName, exact: MemoryMaps, video: Frames) -> Errors:
    """``exact``, ``video``: the maps and the film of the same run from exact states."""
    back = through(bench, codec)
    off = on = 0.0
    for key, tensor in bench.hidden.tensors.items():
        off += float((tensor.double() - back.tensors[key].double()).square().sum())
        on += float(tensor.double().square().sum())
    maps = MemoryMaps()
    again = bench.edit(SOURCE, back, maps)
    apart = torch.cat(
        [
            (maps.tensors[key] - weights).abs().sum(-1).flatten() / 2
            for key, weights in exact.tensors.items()
        ]
    ).numpy()
    return Errors(
        relative=(off / on) ** 0.5,
        map_mean=float(apart.mean()),
        map_p99=float(np.quantile(apart, 0.99)),
        psnr_source=psnr(again, video),
        psnr_edit=psnr(bench.edit(EDIT, back), bench.edit(EDIT, bench.hidden)),
    )


def psnr(one: Frames, other: Frames) -> float | None:
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return None if error == 0 else 10 * float(np.log10(255**2 / error))


def speeds(sample: list[Rows], rounds: int) -> dict[str, tuple[float, float, float]]:
    """(stored share, encoding MB/s, decoding MB/s) of one core, by codec."""
    coders = coders_of(sample[0].frame.dtype)
    total = sum(rows.array.nbytes for rows in sample)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in coders}
    share: dict[str, float] = {}
    for turn in range(rounds + 1):
        for name, (encoder, decoder) in coders.items():
            started = time.perf_counter()
            packs = [encoder(rows) for rows in sample]
            between = time.perf_counter()
            for pack in packs:
                decoder(pack)
            ended = time.perf_counter()
            share[name] = sum(len(data) for _, data in packs) / total
            if turn:
                taken[name].append((between - started, ended - between))
    return {
        name: (
            share[name],
            total / 1e6 / statistics.median(each[0] for each in taken[name]),
            total / 1e6 / statistics.median(each[1] for each in taken[name]),
        )
        for name in coders
    }


Coder = tuple[Callable[[Rows], tuple[Any, bytes]], Callable[[tuple[Any, bytes]], object]]


def coders_of(dtype: str) -> dict[str, Coder]:
    def ours(name: CodecName) -> Coder:
        def unpack(pack: tuple[Frame, bytes]) -> object:
            frame, data = pack
            out = np.empty((frame.rows[1], frame.width), f"<u{2 if dtype == 'bfloat16' else 4}")
            decode(frame, memoryview(data), out)
            return out

        return lambda rows: pack(rows, name), unpack

    coders: dict[str, Coder] = {name: ours(name) for name in NAMES}
    if importlib.util.find_spec("zipnn") is not None:
        from zipnn import ZipNN

        package = ZipNN(method="huffman", bytearray_dtype=dtype, threads=1)
        # it changes what it is given: the copy is part of its price
        coders["zipnn package"] = (
            lambda rows: (None, bytes(package.compress(bytearray(rows.array.tobytes())))),
            lambda pack: package.decompress(pack[1]),
        )
    return coders


def join_rows(rows: list[Rows], megabytes: int) -> list[Rows]:
    """The tensors of the bundled model are small: as many on one another as a frame holds."""
    each = 8 << 20
    count = max(1, each // rows[0].array.nbytes)
    made = []
    for start in range(0, len(rows), count):
        array = np.concatenate([one.array for one in rows[start : start + count]])
        frame = rows[start].frame.model_copy(update={"shape": array.shape, "rows": (0, len(array))})
        made.append(Rows(frame, array))
    return made[: max(1, megabytes * (1 << 20) // each)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=64, help="of activations for the speeds")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, object] = {"steps": args.steps, "codec_versions": versions()}
    table: list[list[Cell]] = []
    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
    for dtype in dtypes:
        bench = Bench(dtype, args.steps)
        exact = MemoryMaps()
        video = bench.edit(SOURCE, bench.hidden, exact)
        found = speeds(join_rows([rows for _, rows in bench.rows()], args.megabytes), args.rounds)
        for name, (share, encoding, decoding) in found.items():
            row: list[Cell] = [dtype, name, share, round(encoding), round(decoding)]
            figures[f"{dtype}_{name.replace(' ', '_')}_share"] = share
            if name in NAMES:
                errors = errors_of(bench, name, exact, video)
                row += [errors.relative, errors.map_mean, errors.map_p99]
                row += [errors.psnr_source, errors.psnr_edit]
                figures |= {f"{dtype}_{name}_{k}": v for k, v in errors._asdict().items()}
            table.append(row + [None] * (10 - len(row)))
    header = ("dtype", "codec", "bytes", "enc MB/s", "dec MB/s", "rel. error")
    print_table((*header, "map TV mean", "map TV p99", "PSNR source", "PSNR edit"), table)
    print_figures(figures)


def versions() -> dict[str, int]:
    return {name: codec.version for name, codec in CODECS.items()}


if __name__ == "__main__":
    main()
