"""The records that event files are made of, with their CRC-32C checksums computed by numpy.

    uint64 length | uint32 masked checksum of the length | data | uint32 masked checksum of the data      (little-endian)

tensorboard has a writer of its own; its checksum is a Python loop over the bytes, which at 7 MB/s would take most of the
time. Format: https://www.tensorflow.org/tutorials/load_data/tfrecord; polynomial: RFC 3720, appendix B.4.
"""

from __future__ import annotations

import struct
from functools import cache

import numpy as np
import numpy.typing as npt

_POLYNOMIAL = 0x82F63B78
"""Bits reversed."""
_WIDTH = 256
"""Bytes that are looked up at once."""


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return b"".join([length, _masked(crc32c(length)), data, _masked(crc32c(data))])


def _masked(checksum: int) -> bytes:
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """The CRC-32C of at least four bytes."""
    tables = _tables()
    rows = -(-len(data) // _WIDTH)
    # Zeros in front change nothing; the start value of all ones is the same as the first four bytes inverted.
    padded = np.zeros(rows * _WIDTH, dtype=np.uint8)
    padded[len(padded) - len(data) :] = np.frombuffer(data, dtype=np.uint8)
    padded[len(padded) - len(data) :][:4] ^= 0xFF
    looked_up = tables[np.arange(_WIDTH), padded.reshape(rows, _WIDTH)]
    first, second, third, fourth = (tables[place].tolist() for place in range(4))
    state = 0
    for row in np.bitwise_xor.reduce(looked_up, axis=1).tolist():
        # What came before acts like four more bytes at the beginning of the row.
        state = row ^ first[state & 255] ^ second[state >> 8 & 255] ^ third[state >> 16 & 255] ^ fourth[state >> 24]
    return int(state ^ 0xFFFFFFFF)


@cache
def _tables() -> npt.NDArray[np.uint32]:
    """[place, byte]: what a byte at a place of a row does to the checksum at the row's end, shape (_WIDTH, 256)."""
    last = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        last = np.where(last & 1, last >> 1 ^ np.uint32(_POLYNOMIAL), last >> 1)
    tables = np.empty((_WIDTH, 256), dtype=np.uint32)
    tables[-1] = last
    for place in range(_WIDTH - 2, -1, -1):
        after = tables[place + 1]
        tables[place] = after >> 8 ^ last[after & 255]
    return tables
