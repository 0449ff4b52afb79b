"""The safetensors format against the safetensors library, both ways, and headers that no library writes."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from gradscope.engine.export.plan import PlannedFile
from gradscope.engine.export.tensors import plan_tensors
from gradscope.protocol.parts import Part
from gradscope.snapshots import tensor_file
from gradscope.snapshots.damage import Damaged
from gradscope.snapshots.tensor_file import DTYPES, numbers_of, read_header

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
EIGHT_BITS = (
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
)
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8)


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 7, generator=generator)
    x[0, :4] = torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0])
    found = {str(dtype): x.to(dtype) for dtype in (*FLOATS, *EIGHT_BITS[:4], torch.complex64)}
    found |= {str(dtype): torch.arange(250).to(dtype) for dtype in WHOLE}
    return found | {
        "bool": x > 0,
        "scalar": x.sum(),
        "scalar bool": (x > 0).all(),
        "scalar half": x[1, 1].bfloat16(),
        "empty": x[:0],
        "empty with sides": torch.zeros(3, 0, 2, dtype=torch.int16),
        "transposed": x.T,
        "expanded": x[:1].expand(4, -1),
        "strided": x[::2, ::3],
        "conjugated": x.to(torch.complex64).conj(),
        "negative view": torch._neg_view(x),
        "Umläute ☃": x[0],
    }


def written(plan: PlannedFile) -> bytes:
    return b"".join(bytes(chunk) for chunk in plan.chunks())


def test_what_is_written_is_what_the_library_reads() -> None:
    given, left_out = tensors(), []
    plan = plan_tensors("x.safetensors", Part.BATCH, [(k, v.detach) for k, v in given.items()], left_out)
    data = written(plan)
    assert left_out == [] and len(data) == plan.size_bytes
    read = safetensors.torch.load(data)
    assert set(read) == set(given)
    for name, tensor in given.items():
        expected = tensor.resolve_conj().resolve_neg().contiguous()
        assert read[name].dtype == tensor.dtype and read[name].shape == tensor.shape, name
        assert torch.equal(read[name].reshape(-1).view(torch.uint8), expected.reshape(-1).view(torch.uint8)), name


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    given = {
        name: tensor.resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors().items()
    }
    safetensors.torch.save_file(given, tmp_path / "x.safetensors", metadata={"anything": "at all"})
    data = (tmp_path / "x.safetensors").read_bytes()
    header = read_header(io.BytesIO(data), len(data))
    assert set(header) == set(given)
    for name, tensor in given.items():
        info = header[name]
        values = numbers_of(data[info.start : info.end], info.dtype).reshape(info.shape)
        assert f"torch.{info.dtype.label}" == str(tensor.dtype) and info.shape == tuple(tensor.shape)
        small = tensor.dtype.is_floating_point and tensor.element_size() < 4
        expected = (tensor.float() if small else tensor).numpy()
        assert values.dtype == expected.dtype and values.shape == expected.shape, name
        np.testing.assert_array_equal(values, expected, err_msg=name)


@pytest.mark.parametrize("dtype", EIGHT_BITS, ids=str)
def test_every_eight_bit_float(dtype: torch.dtype) -> None:
    every = torch.arange(256, dtype=torch.uint8)
    kind = tensor_file.DTYPE_OF_LABEL[str(dtype).removeprefix("torch.")]
    np.testing.assert_array_equal(kind.decode(every.numpy()), every.view(dtype).float().numpy())


def test_every_bfloat16() -> None:
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16)
    expected = every.view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(DTYPES["BF16"].decode(every.numpy()), expected)


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
