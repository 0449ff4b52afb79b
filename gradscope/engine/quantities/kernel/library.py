"""The summaries of float32 tensors on the CPU in one pass each, by a small C library; `load` gives None where there is none.

Nothing depends on it: `moments` and `exponents` give the same numbers, several times slower.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gradscope.engine.quantities.exponents import FLOAT32_BIAS
from gradscope.engine.quantities.kernel.building import KERNEL_VERSION, wanted_library
from gradscope.protocol.subjects import EXPONENT_BINS, EXPONENT_LOW

Jobs = list[tuple[int, int, int]]
"""(address of the numbers, address of the numbers to be taken off them or 0, how many there are: at least one)"""
Copies = list[tuple[int, int, int]]
"""(address to copy from, address to copy to, bytes)"""


class Output:
    """The arrays that summaries are written to; row i of each belongs to position i."""

    def __init__(self, *arrays: npt.NDArray[Any]) -> None:
        self._addresses = np.array([array.ctypes.data for array in arrays], dtype=np.int64)
        # Asking numpy for an address takes longer than summarising a small tensor.
        self.address: int = self._addresses.ctypes.data


class Kernel:
    """The functions of the library. All addresses have to be right: nothing is checked."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        if library.gradscope_kernel_version() != KERNEL_VERSION:
            raise OSError(f"{path} is of another version")
        pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
        set_up = library.gradscope_set_up
        set_up.argtypes, set_up.restype = [ctypes.c_double, number, number], None
        set_up(math.nan, FLOAT32_BIAS + EXPONENT_LOW, EXPONENT_BINS)
        self.summarise = library.gradscope_summarise
        """(address of an Output, of the numbers, of what is taken off or None, how many, position): fills the position."""
        self.measure = library.gradscope_measure
        """The same: counts and L2 norm only, the other columns NaN and the histogram empty."""
        for function in (self.summarise, self.measure):
            function.argtypes, function.restype = [pointer, pointer, pointer, size, size], None
        self.one_address = _address(self.summarise), _address(self.measure)
        """Of those two, for who calls them from C."""
        self._all = library.gradscope_summarise_all
        self.all_address = _address(self._all)
        self._all.argtypes, self._all.restype = [pointer, pointer, size, size, ctypes.c_int], None
        self._copy = library.gradscope_copy_all
        self.copy_address = _address(self._copy)
        self._copy.argtypes, self._copy.restype = [pointer, size], None
        self._sum = library.gradscope_sum_all
        self._sum.argtypes, self._sum.restype = [pointer, size, pointer, pointer], None
        self._set_team = library.gradscope_set_team
        self._set_team.argtypes, self._set_team.restype = [pointer, number], None
        self.team = _team_of_torch()
        """What shares work among torch's threads; None: there is one thread whatever torch has."""
        self.threads = 1
        if self.team is not None:
            os.register_at_fork(after_in_child=self._leave_team)

    def follow_threads(self) -> None:
        """From now on as many threads as torch has: its own, which wait for their next work in a loop on their cores."""
        threads = torch.get_num_threads()
        if threads != self.threads:
            self._set_team(self.team, threads)
            self.threads = threads

    def _leave_team(self) -> None:
        """In a forked process (a worker of a DataLoader) the threads are not there, and libgomp would wait for them."""
        self.team = None
        self._set_team(None, 1)
        self.threads = 1

    def summarise_all(self, output: Output, jobs: Jobs, position: int, *, norms: bool) -> None:
        """Job after job, from `position` on: a position for the numbers and, where something is taken off, the next one for
        the differences; both in one pass. `norms`: as `measure` does."""
        table = _table(jobs)
        self._all(output.address, table.ctypes.data, len(jobs), position, norms)

    def copy_all(self, copies: Copies) -> None:
        """One after the other; many bytes go past the caches, where training has better things."""
        table = _table(copies)
        self._copy(table.ctypes.data, len(copies))

    def sum_all(self, jobs: npt.NDArray[np.int64], factors: int) -> npt.NDArray[np.int64]:
        """The sums of the bits of each, as `timeline.sums` has them. `jobs`: (address, bytes, of the whole blocks one in so
        many counts, from this one on) in each row; `factors`: their address."""
        sums = np.empty(len(jobs), dtype=np.int64)
        self._sum(jobs.ctypes.data, len(jobs), factors, sums.ctypes.data)
        return sums


def _table(rows: list[tuple[int, int, int]]) -> npt.NDArray[np.int64]:
    """The rows, one after the other; np.array would look at each of them first."""
    return np.fromiter(itertools.chain.from_iterable(rows), np.int64, 3 * len(rows))


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _team_of_torch() -> int | None:
    """The address of the function that runs another on each of the threads of torch's libgomp; None where torch has none."""
    if not hasattr(os, "RTLD_NOLOAD"):
        return None
    try:
        # The one that is loaded, or none: another one would have threads of its own.
        library = ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        return ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None


def load() -> Kernel | None:
    """The library that belongs to this installation; None where there is none, or it is not wanted."""
    path = wanted_library(Path(__file__).parent)
    if path is None:
        return None
    try:
        return Kernel(path)
    except (OSError, AttributeError):
        return None
