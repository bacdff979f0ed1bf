"""CRC-32C (RFC 3720) of large buffers beside other threads.

The module ``google_crc32c`` holds Python's lock while it sums, which at some GB/s is most of it.
Its library, called by ctypes, does not.
"""

import ctypes
from typing import Any

import numpy as np
from google_crc32c import _crc32c

from workers.artifacts.codecs.entropy import Data

_module: Any = _crc32c  # untyped; the library is found through it
_extend = ctypes.CDLL(_module.__file__).crc32c_extend
_extend.argtypes = (ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t)
_extend.restype = ctypes.c_uint32


def crc32c(data: Data, before: int = 0) -> int:
    """``before``: the sum of what comes before ``data``."""
    view = np.frombuffer(data, np.uint8)
    return int(_extend(before, view.ctypes.data, view.nbytes))
