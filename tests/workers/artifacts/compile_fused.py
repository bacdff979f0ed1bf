"""Compiles every kernel of ``fused`` for an H100, which need not be here; prints its machine code's
size. A process of its own: where Triton interprets kernels it compiles none.
"""

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from workers.artifacts import fused

ROWS = {"float32": "*fp32", "bfloat16": "*bf16", "float16": "*fp16"}
TYPES = {"packed": "*u8", "heads": "*fp32", "scales": "*fp32", "levels": "*i8"}  # others: i32
TILE = {"ROWS": fused._ROWS, "COLUMNS": fused._COLUMNS}


def compiled(kernel: Any, types: dict[str, str], constants: dict[str, int]) -> int:
    """Bytes of machine code."""
    signature = {name: {**TYPES, **types}.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(
        fn=kernel,
        signature={**signature, **dict.fromkeys(constants, "constexpr")},
        constexprs={(kernel.arg_names.index(name),): value for name, value in constants.items()},
    )
    return len(triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"])


for dtype, pointer in ROWS.items():
    print(dtype, compiled(fused._pack_levels, {"rows": pointer}, TILE))
    print(dtype, compiled(fused._unpack_levels, {"out": pointer}, TILE))
for factor in (1, 16):
    print(
        compiled(fused._pack_planes, {"rows": "*i16"}, {"VALUES": fused._VALUES, "FACTOR": factor})
    )
print(compiled(fused._unpack_planes, {"out": "*i16"}, {"VALUES": fused._VALUES}))
