"""The sum is that of the format, in pieces too, and other threads run meanwhile."""

import google_crc32c
import numpy as np
import pytest

from workers.artifacts.codecs.checksum import crc32c


def test_the_check_value_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_in_pieces_it_is_the_same(wrap: type) -> None:
    data = np.random.default_rng(0).bytes(100_001)
    whole = google_crc32c.value(data)
    assert crc32c(wrap(data[40_000:]), crc32c(wrap(data[:40_000]))) == whole
