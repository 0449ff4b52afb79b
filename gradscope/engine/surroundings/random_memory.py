"""Whether Python's and numpy's random generators have moved, told from their memory in a microsecond.

Asking for the states takes 60 microseconds, four times in every step: each of the 1,248 words becomes an object. Both
generators are the Mersenne Twister: 624 words of 32 bits, and the place of the next one.
"""

from __future__ import annotations

import ctypes
import random
from typing import Any

import numpy as np

_BYTES = 4 * 625


def python_memory() -> bytes | None:
    """The state of the generator behind `random.random`, and the normal number that it has in store. None where CPython has
    it elsewhere than in the version that this was written for."""
    if _PYTHON_WORDS is None:
        return None
    memory, stored = _PYTHON_WORDS.raw, _GENERATOR.gauss_next
    return memory if stored is None else memory + repr(stored).encode()


def numpy_memory() -> bytes | None:
    """The state of the generator behind `numpy.random.rand`. None where somebody has put another kind in its place.

    A normal number that is in store is not in it: `RandomStates` asks again where there was one.
    """
    generator = _bit_generator()
    if type(generator) is not np.random.MT19937:
        return None
    return ctypes.string_at(generator.ctypes.state_address, _BYTES)


def _python_words() -> ctypes.Array[ctypes.c_char] | None:
    """Where `random`'s generator keeps its words: behind the object's head, the place first (_randommodule.c)."""
    address = id(_GENERATOR) + object.__basicsize__
    if type(_GENERATOR).__basicsize__ < object.__basicsize__ + _BYTES:
        return None
    words = (ctypes.c_uint32 * 625).from_address(address)
    state = _GENERATOR.getstate()[1]
    return (ctypes.c_char * _BYTES).from_address(address) if (*words[1:], words[0]) == state else None


_GENERATOR: Any = random.random.__self__  # type: ignore[attr-defined]
_PYTHON_WORDS = _python_words()
_bit_generator: Any = np.random.get_bit_generator  # type: ignore[attr-defined]
