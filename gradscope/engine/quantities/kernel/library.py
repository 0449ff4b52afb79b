"""The summary of a float32 tensor on the CPU in one pass, by a small C library; `load` gives None where it was not built.

Nothing depends on it: `moments` and `exponents` give the same numbers, several times slower.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gradscope.engine.quantities.exponents import bin_of_bits
from gradscope.engine.quantities.kernel.building import wanted_library
from gradscope.protocol.subjects import HISTOGRAM_BINS

VERSION = 1
"""Of the functions' form: `gradscope_kernel_version`."""

Described = tuple[float, float, float, float, int, int, int]
"""low, high, sum, sum of squares, NaN, Inf, zeros. The first four mean nothing where there are NaN or Inf."""


class Kernel:
    """The functions of the library. One set of result buffers: not for several threads at a time."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        if library.gradscope_kernel_version() != VERSION:
            raise OSError(f"{path} is of another version")
        self.path = path
        self.uses_avx2 = bool(library.gradscope_uses_avx2())
        self._numbers = np.zeros(4)
        self._counts = np.zeros(3, dtype=np.int64)
        self._sums = np.zeros(2)
        self._bins = bin_of_bits().astype(np.uint8)
        self._results = (self._numbers.ctypes.data, self._counts.ctypes.data, self._bins.ctypes.data, HISTOGRAM_BINS)
        self._describe = library.gradscope_describe
        self._describe.argtypes = [
            ctypes.c_void_p,
            ctypes.c_int64,
            *[ctypes.c_void_p] * 3,
            ctypes.c_int32,
            ctypes.c_void_p,
        ]
        self._change = library.gradscope_describe_change
        self._change.argtypes = [ctypes.c_void_p, *self._describe.argtypes]
        self._deviation = library.gradscope_deviation
        self._deviation.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_void_p]
        for function in (self._describe, self._change, self._deviation):
            function.restype = None

    def describe(self, address: int, before: int | None, count: int) -> tuple[Described, npt.NDArray[np.int32]]:
        """What is at `address`, `count` > 0 neighbouring float32, or with `before` the difference to what is there.

        The histogram is complete, of shape (HISTOGRAM_BINS,).
        """
        histogram = np.empty(HISTOGRAM_BINS, dtype=np.int32)
        if before is None:
            self._describe(address, count, *self._results, histogram.ctypes.data)
        else:
            self._change(address, before, count, *self._results, histogram.ctypes.data)
        low, high, total, square = self._numbers.tolist()
        nan, inf, zeros = self._counts.tolist()
        return (low, high, total, square, nan, inf, zeros), histogram

    def variance(self, address: int, before: int | None, count: int, mean: float) -> tuple[float, float]:
        """(mean, variance) in float64, of what `describe` looks at, from a mean that is nearly right."""
        self._deviation(address, before, count, mean, self._sums.ctypes.data)
        error, square = self._sums.tolist()
        # The correction takes out what the rounding of the mean has put in (Chan, Golub, LeVeque 1983).
        return mean + error / count, max((square - error * error / count) / count, 0.0)


def load() -> Kernel | None:
    """The library that belongs to this installation; None where there is none, or it is not wanted."""
    path = wanted_library(Path(__file__).parent)
    if path is None:
        return None
    try:
        return Kernel(path)
    except (OSError, AttributeError):
        return None
