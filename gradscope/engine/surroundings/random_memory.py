"""Whether Python's, numpy's and torch's random generators have moved, told from a few words of their memory.

Asking Python's and numpy's for their states takes 60 microseconds, several times in every step: each of the 1,248 words
becomes an object. All three generators are the Mersenne Twister: 624 words of 32 bits, and the place of the next one. A
number that is drawn moves the place; when all are used up, or another seed is set, every word is a new one. So the place and
the first words tell as much as all of them, and the rest need not be read: after a forward it is far away, in slow memory.
"""

from __future__ import annotations

import ctypes
import random
import struct
import sys
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

_WORDS = 16
"""How many are looked at. The first one alone is the same after every seed."""
_BYTES = 4 * _WORDS
_ALL_BYTES = 4 * 624


def python_memory() -> bytes | None:
    """Of the generator behind `random.random`, with the normal number that it has in store. None where CPython has it
    elsewhere than in the version that this was written for."""
    if _PYTHON_WORDS is None:
        return None
    memory, stored = _PYTHON_WORDS.raw, _GENERATOR.gauss_next
    return memory if stored is None else memory + repr(stored).encode()


def numpy_memory() -> bytes | None:
    """Of the generator behind `numpy.random.rand`, with the normal number that it has in store. None where somebody has put
    another kind in its place, or numpy has that number elsewhere than in the versions that this was written for."""
    generator = _bit_generator()
    if _NUMPY_STORED is None or type(generator) is not np.random.MT19937:
        return None
    words, place = _numpy_words(generator)
    return words.raw + place.raw + _NUMPY_STORED.raw


@lru_cache(maxsize=1)
def _numpy_words(generator: Any) -> tuple[ctypes.Array[ctypes.c_char], ctypes.Array[ctypes.c_char]]:
    """Where a generator of numpy's keeps the first of its words, and the place, which comes after all of them."""
    address: int = generator.ctypes.state_address
    return (ctypes.c_char * _BYTES).from_address(address), (ctypes.c_char * 4).from_address(address + _ALL_BYTES)


def torch_memory() -> bytes | None:
    """Of torch's generator for the CPU, with the normal numbers that it has in store. None where it is not known where it
    has them: then its state has to be asked for, see `memory_of`."""
    if _TORCH_PARTS is None:
        return None
    begin, end = _TORCH_PARTS
    return begin.raw + end.raw


def torch_words() -> bytes:
    """The same wherever the generator stands at the same place, also on another machine: without what is in its memory by
    chance (between its fields, or where no normal number is in store)."""
    if _TORCH_PARTS is None:
        memory = memory_of(torch.get_rng_state())
        head, tail = memory[:_TORCH_HEAD], memory[-_STATE_STORED.size :]
        words = memory[_TORCH_HEAD : _TORCH_HEAD + 8 * _WORDS]
        begin = head[:12] + head[16:20] + b"".join(words[8 * i : 8 * i + 4] for i in range(_WORDS))
        large, is_large, small, is_small = _STATE_STORED.unpack(tail)
    else:
        begin, tail = _TORCH_PARTS[0].raw, _TORCH_PARTS[1].raw
        # Without whether it was seeded, and the three bytes behind that.
        begin = begin[:12] + begin[16:]
        small, is_small, large, is_large = _STORED.unpack(tail)
    return begin + repr((small if is_small else 0.0, large if is_large else 0.0)).encode()


def memory_of(state: Tensor) -> bytes:
    """The same of what `torch.get_rng_state()` has returned: the place, the first words, and the normal numbers in store
    (aten's CPUGeneratorImpl.cpp, where each word takes eight bytes)."""
    address, size = state.data_ptr(), state.numel()
    if size != _TORCH_BYTES:
        return ctypes.string_at(address, size)
    end = _TORCH_HEAD + 8 * 624
    return ctypes.string_at(address, _TORCH_HEAD + 8 * _WORDS) + ctypes.string_at(address + end, size - end)


_TORCH_HEAD = 24
"""The seed, how many words are left, whether it was seeded, and the place."""
_TORCH_BYTES = _TORCH_HEAD + 8 * 624 + 40
_TORCH_BEFORE = 20
"""What stands before the words in the generator itself: the seed (8 bytes), how many words are left, whether it was seeded,
and the place (4 each; aten's MT19937RNGEngine.h)."""
_TORCH_AFTER = 28
"""What stands behind them: 4 bytes that are nothing, and the normal numbers in store (CPUGeneratorImpl.h)."""
_STATE_STORED = struct.Struct("=8xd8xi4xf?3x")
"""The same at the end of a state: (double precision, whether there is one, single precision, whether there is one)."""
_STORED = struct.Struct("=4xf?3xd?7x")
"""Those: (single precision, whether there is one, double precision, whether there is one)."""


def _python_words() -> ctypes.Array[ctypes.c_char] | None:
    """Where `random`'s generator keeps its words: behind the object's head, the place first (_randommodule.c)."""
    address = id(_GENERATOR) + object.__basicsize__
    if type(_GENERATOR).__basicsize__ < object.__basicsize__ + 4 + _ALL_BYTES:
        return None
    words = (ctypes.c_uint32 * 625).from_address(address)
    state = _GENERATOR.getstate()[1]
    return (ctypes.c_char * (4 + _BYTES)).from_address(address) if (*words[1:], words[0]) == state else None


def _numpy_stored() -> ctypes.Array[ctypes.c_char] | None:
    """Where numpy keeps whether a normal number is in store, and it: in the object around the bit generator, which stays when
    that is replaced. Looked for in another such object, which has a number in store that is nowhere else in it."""
    around = _get_state.__self__
    probe, number = np.random.RandomState(0), 0.123456789
    begun: Any = probe.get_state()
    name, words, place, *_ = begun
    if type(around) is not type(probe):
        return None

    def memory(is_stored: int) -> bytes:
        probe.set_state((name, words, place, is_stored, number))
        return ctypes.string_at(id(probe), type(probe).__basicsize__)

    with_it, without = memory(1), memory(0)
    at = with_it.find(struct.pack("d", number)) - struct.calcsize("d")
    flags = [struct.unpack_from("i", memory, at)[0] for memory in (with_it, without)] if at >= 0 else []
    return (ctypes.c_char * 16).from_address(id(around) + at) if flags == [1, 0] else None


def _torch_parts() -> tuple[ctypes.Array[ctypes.c_char], ctypes.Array[ctypes.c_char]] | None:
    """Where torch's generator has what comes before its words, the first of them, and what comes after all of them. Looked
    for by its words in the memory that was asked for to hold it, which only glibc tells the size of."""
    if sys.platform != "linux" or not hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        return None
    library.malloc_usable_size.restype = ctypes.c_size_t
    library.malloc_usable_size.argtypes = [ctypes.c_void_p]
    found = set()
    generators: tuple[Any, ...] = (torch.Generator(), torch.default_generator)
    for generator in generators:
        address: int = generator._cdata
        memory = ctypes.string_at(address, library.malloc_usable_size(address))
        state = generator.get_state()
        words = state[_TORCH_HEAD : _TORCH_HEAD + 8 * 624].view(torch.int64).to(torch.int32).numpy().tobytes()
        found.add(at := memory.find(words))
        if state.numel() != _TORCH_BYTES or at < _TORCH_BEFORE or at + len(words) + _TORCH_AFTER > len(memory):
            return None
    if len(found) != 1:
        return None
    begin = address + found.pop() - _TORCH_BEFORE
    head = (ctypes.c_char * (_TORCH_BEFORE + _BYTES)).from_address(begin)
    return head, (ctypes.c_char * _TORCH_AFTER).from_address(begin + _TORCH_BEFORE + _ALL_BYTES)


_GENERATOR: Any = random.random.__self__  # type: ignore[attr-defined]
_PYTHON_WORDS = _python_words()
_bit_generator: Any = np.random.get_bit_generator  # type: ignore[attr-defined]
_get_state: Any = np.random.get_state
_NUMPY_STORED = _numpy_stored()
_TORCH_PARTS = _torch_parts()
