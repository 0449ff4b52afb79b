"""The summary of a float32 tensor on the CPU in one pass, by a small C library; `load` gives None where it was not built.

Nothing depends on it: `moments` and `exponents` give the same numbers, several times slower.
"""

from __future__ import annotations

import ctypes
import math
from pathlib import Path

import numpy as np

from gradscope.engine.quantities.exponents import bin_of_bits
from gradscope.engine.quantities.kernel.building import wanted_library
from gradscope.protocol.subjects import HISTOGRAM_BINS

VERSION = 2
"""Of the functions' form: `gradscope_kernel_version`."""


class Kernel:
    """The functions of the library."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        if library.gradscope_kernel_version() != VERSION:
            raise OSError(f"{path} is of another version")
        self._bins = bin_of_bits().astype(np.uint8)
        self._constants = (
            ctypes.c_double(math.nan),
            ctypes.c_void_p(self._bins.ctypes.data),
            ctypes.c_int32(HISTOGRAM_BINS),
        )
        self._describe = library.gradscope_describe
        pointer, size = ctypes.c_void_p, ctypes.c_int64
        self._describe.argtypes = [pointer, pointer, size, pointer, pointer, ctypes.c_double, pointer, ctypes.c_int32]
        self._describe.restype = None

    def describe(self, address: int, before: int | None, count: int, row: int, histogram: int) -> None:
        """Summarise `count` > 0 neighbouring float32 at an address, or with `before` their difference to what is there.

        `row` and `histogram` are the addresses of len(COLUMNS) float64 and HISTOGRAM_BINS int32 that are filled; the
        histogram is complete. All addresses have to be right: nothing is checked.
        """
        self._describe(address, before, count, row, histogram, *self._constants)


def load() -> Kernel | None:
    """The library that belongs to this installation; None where there is none, or it is not wanted."""
    path = wanted_library(Path(__file__).parent)
    if path is None:
        return None
    try:
        return Kernel(path)
    except (OSError, AttributeError):
        return None
