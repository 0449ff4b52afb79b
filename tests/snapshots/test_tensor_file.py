"""The safetensors format without its library: what is read and written, and headers that no library writes."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest

from gradscope.snapshots.format import tensor_file
from gradscope.snapshots.format.damage import Damaged
from gradscope.snapshots.format.tensor_file import DTYPES, numbers_of, read_header


def test_a_bool_of_any_byte_is_true_or_false() -> None:
    values = numbers_of(bytes([0, 1, 7]), DTYPES["BOOL"])
    assert values.dtype == np.bool_ and values.view(np.uint8).tolist() == [0, 1, 1]


def test_arrays_come_back() -> None:
    given = {
        "f": np.array([[1.5, np.nan]]),
        "i": np.arange(3),
        "b": np.array([True, False]),
        "none": np.zeros((0, 4), dtype=np.int32),
        "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    }
    read = tensor_file.decode(tensor_file.encode(given))
    assert set(read) == set(given)
    for name, array in given.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


# ---------------------------------------------------------------------------------------------- damaged


def file_of(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def one_tensor(dtype: str, shape: list[object], size: int, start: object = 0, end: object = None) -> bytes:
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [start, size if end is None else end]}
    return file_of({"a": entry}, bytes(size))


def pair(first: tuple[int, int], second: tuple[int, int], size: int) -> bytes:
    def entry(extent: tuple[int, int]) -> object:
        return {"dtype": "U8", "shape": [extent[1] - extent[0]], "data_offsets": list(extent)}

    return file_of({"a": entry(first), "b": entry(second)}, bytes(size))


HOSTILE = {
    "nothing": (b"", "ends after 0 bytes"),
    "half a length": (b"\0\0\0", "ends after 3 bytes"),
    "no header": (struct.pack("<Q", 10), "announces a header of 10 bytes and has 8"),
    "a header without end": (struct.pack("<Q", 2**63), "at most"),
    "no JSON": (file_of(b"{nonsense"), "not JSON"),
    "no object": (file_of([1]), "a list instead of an object"),
    "not UTF-8": (file_of(b'{"\xff": 1}'), "byte 2 is not UTF-8"),
    "a name twice": (file_of(b'{"a": 1, "a": 2}'), "'a' comes twice"),
    "deep": (file_of(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested too deeply"),
    "an entry that is none": (file_of({"a": 1}), "says 1 of the tensor 'a'"),
    "a text as a shape": (file_of({"a": {"dtype": "U8", "shape": "3", "data_offsets": [0, 3]}}, b"abc"), "says"),
    "an unknown type": (one_tensor("F7", [1], 1), "unknown type 'F7'"),
    "a negative side": (one_tensor("U8", [-1], 1), "cannot have the shape"),
    "a side that is no number": (one_tensor("U8", [1.0], 1), "cannot have the shape"),
    "a huge side": (one_tensor("U8", [2**70], 1), "cannot have the shape"),
    "a huge shape": (one_tensor("F32", [2**40, 2**40], 4), "cannot have the shape"),
    "a huge empty shape": (one_tensor("F32", [0, 2**40, 2**40], 0), "cannot have the shape"),
    "too many sides": (one_tensor("U8", [1] * 33, 1), "cannot have the shape"),
    "too long for its shape": (one_tensor("F32", [1], 8), "cannot lie at 0 to 8"),
    "too short for its shape": (one_tensor("F32", [1000000], 4), "cannot lie at 0 to 4"),
    "backwards": (one_tensor("U8", [0], 1, 1, 0), "cannot lie"),
    "before the beginning": (one_tensor("U8", [1], 1, -1, 0), "cannot lie"),
    "beyond the end": (one_tensor("U8", [9], 1, 0, 9), "end at byte"),
    "cut off": (one_tensor("U8", [4], 4)[:-1], "end at byte"),
    "bytes of nobody": (one_tensor("U8", [4], 4) + b"x", "end at byte"),
    "overlapping": (pair((0, 4), (2, 6), 6), "'b' overlaps"),
    "a gap": (pair((0, 2), (4, 6), 6), "'b' leaves a gap"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_file_is_said_to_be_so(name: str) -> None:
    data, reason = HOSTILE[name]
    with pytest.raises(Damaged, match=reason):
        read_header(io.BytesIO(data), len(data))
