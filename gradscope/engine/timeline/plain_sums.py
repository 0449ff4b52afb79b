"""A number that stands for the plain values in something that the user's code holds: another one where one of them is."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
from torch import Tensor

from gradscope.engine.aside.value_holders import samples_of
from gradscope.engine.aside.walk import MOST_ITEMS
from gradscope.engine.surroundings.error_parts import safely

_MOST_BYTES = 64 * 1024
"""Of an array, of which all counts."""
_DEPTH = 4
_NAMES = (bool, int, str, bytes, type(None))


def sum_of_plain(value: Any) -> int:
    """Of numbers, texts, arrays and the states of generators, in containers of Python's own; other objects do not count: they
    are looked at where they hold something themselves."""

    def work() -> int:
        digest = hashlib.blake2b(digest_size=8)
        _write(digest, value, _DEPTH)
        return int.from_bytes(digest.digest(), "little", signed=True)

    return safely(work, 0)


def _write(digest: Any, value: Any, depth: int) -> None:
    kind = type(value)
    if kind is float:
        digest.update(b"f" + struct.pack("<d", value))
    elif kind in _NAMES:
        digest.update(repr(value).encode("utf-8", "surrogatepass") + b";")
    elif kind in (list, tuple, dict) and depth and len(value) <= MOST_ITEMS:
        digest.update(f"{len(value)}[".encode())
        for item in [*value, *value.values()] if kind is dict else value:
            _write(digest, item, depth - 1)
    elif kind in (list, tuple, dict):
        digest.update(f"{len(value)}".encode())
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest.update(value.tobytes() if value.nbytes <= _MOST_BYTES else samples_of(value))
    elif isinstance(value, np.generic):
        digest.update(value.tobytes())
    elif kind is Tensor and depth == _DEPTH:
        # A generator's state: tensors that something holds are looked at for themselves.
        digest.update(value.numpy().tobytes())
    else:
        digest.update(b"?")
