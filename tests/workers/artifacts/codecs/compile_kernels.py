"""Compiles every kernel of ``fused`` for an H100, which need not be here; prints its machine code's
size. A process of its own: where Triton interprets kernels it compiles none.
"""

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from workers.artifacts.codecs import triton_kernels as fused

TYPES = {"packed": "*u8", "heads": "*fp32", "scales": "*fp32", "levels": "*i8"}  # others: i32
TILE = {"ROWS": fused.ROWS, "COLUMNS": fused.COLUMNS}
RUN = {"VALUES": fused.VALUES}
ANY = {"total", "count", "frame_rows"}  # what Triton is told nothing of, even at even widths


def show(kernel: Any, types: dict[str, str], constants: dict[str, int], *, even: bool) -> None:
    """``even``: all other arguments are multiples of 16, as at a model's real width."""
    names: list[str] = kernel.arg_names
    signature = {name: {**TYPES, **types}.get(name, "i32") for name in names}
    known = [i for i, name in enumerate(names) if name not in constants and name not in ANY]
    source = ASTSource(
        fn=kernel,
        signature={**signature, **dict.fromkeys(constants, "constexpr")},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i in known} if even else {},
    )
    options = {"enable_fp_fusion": False}
    code = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["cubin"]
    print(kernel.__name__, *types.values(), "even" if even else "odd", len(code))


for even in (False, True):
    for pointer in ("*bf16",) if even else ("*bf16", "*fp16", "*fp32"):
        show(fused._pack_levels, {"rows": pointer}, TILE, even=even)
        show(fused._unpack_levels, {"out": pointer}, TILE, even=even)
    show(fused._pack_planes, {"rows": "*i16"}, {**RUN, "FACTOR": 16 if even else 1}, even=even)
    show(fused._unpack_planes, {"out": "*i16"}, RUN, even=even)
