"""The safetensors format: the length of the header in 8 bytes, the header as JSON, the data of all tensors without a gap.

https://github.com/huggingface/safetensors#format. Written and read here without a tensor library, because the format has
types that numpy lacks and the app has no torch.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from gradscope.snapshots.format import json_files
from gradscope.snapshots.format.damage import Damaged

MAX_HEADER_BYTES = 32 * 1024 * 1024
_MAX_DIMENSIONS = 32
_MAX_SIDE = 2**62
RESERVED = "__metadata__"
_LENGTH = struct.Struct("<Q")
_Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class DType:
    """A type of numbers: its name in the format, its name in torch, and how its bytes become a numpy array."""

    name: str
    label: str
    raw: np.dtype[Any]
    """Little-endian, as the bytes lie in the file."""
    decode: Callable[[_Array], _Array]
    """From `raw` to a type that numpy computes with; exact. Half and smaller floats become float32."""


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """What the header says of one tensor; `start` and `end` are positions in the file."""

    dtype: DType
    shape: Shape
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.start


def nbytes_of(dtype: DType, shape: Shape) -> int:
    return math.prod(shape) * dtype.raw.itemsize


# ------------------------------------------------------------------------------------------------- writing


def layout(tensors: Mapping[str, tuple[DType, Shape]]) -> tuple[bytes, list[str]]:
    """(what the file begins with, the names in the order in which the data of the tensors has to follow).

    The widest types come first, as the safetensors library does it, so that every tensor lies aligned.
    """
    if RESERVED in tensors:
        raise ValueError(f"A tensor cannot be called {RESERVED}")
    order = sorted(tensors, key=lambda name: (-tensors[name][0].raw.itemsize, name))
    header: dict[str, Any] = {RESERVED: {"format": "pt"}}
    offset = 0
    for name in order:
        dtype, shape = tensors[name]
        end = offset + nbytes_of(dtype, shape)
        header[name] = {"dtype": dtype.name, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    text += b" " * (-len(text) % 8)
    return _LENGTH.pack(len(text)) + text, order


def encode(arrays: Mapping[str, _Array]) -> bytes:
    """A whole file of numpy arrays."""
    types = {name: DTYPE_OF_LABEL[array.dtype.name] for name, array in arrays.items()}
    start, order = layout({name: (types[name], array.shape) for name, array in arrays.items()})
    return start + b"".join(arrays[name].astype(types[name].raw).tobytes() for name in order)


# ------------------------------------------------------------------------------------------------- reading


def read_header(file: BinaryIO, size: int) -> dict[str, TensorInfo]:
    """The tensors of a file of `size` bytes, which stands at its beginning. Raises Damaged."""
    start = file.read(_LENGTH.size)
    if len(start) < _LENGTH.size:
        raise Damaged(f"it ends after {len(start)} bytes")
    (length,) = _LENGTH.unpack(start)
    if length > MAX_HEADER_BYTES:
        raise Damaged(f"it announces a header of {length} bytes; at most {MAX_HEADER_BYTES} are read")
    if length > size - _LENGTH.size:
        raise Damaged(f"it announces a header of {length} bytes and has {size} bytes in all")
    data = file.read(length)
    if len(data) < length:
        raise Damaged("it ends inside its header")
    header = json_files.load_object(data)
    header.pop(RESERVED, None)
    first = _LENGTH.size + length
    found = {name: _tensor(name, entry, first) for name, entry in header.items()}
    _check_extents(found, first, size)
    return found


def _tensor(name: str, entry: Any, first: int) -> TensorInfo:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(end)]}:
            pass
        case _:
            raise Damaged(f"its header says {entry!r:.80} of the tensor {name!r:.80}")
    if dtype not in DTYPES:
        raise Damaged(f"the tensor {name!r:.80} has the unknown type {dtype!r:.40}")
    if not all(type(side) is int and 0 <= side < _MAX_SIDE for side in shape) or len(shape) > _MAX_DIMENSIONS:
        raise Damaged(f"the tensor {name!r:.80} cannot have the shape {shape!r:.80}")
    # An empty tensor may have any other sides, as long as numpy can count that far.
    if math.prod(side for side in shape if side) >= _MAX_SIDE:
        raise Damaged(f"the tensor {name!r:.80} cannot have the shape {shape!r:.80}")
    found = TensorInfo(dtype=DTYPES[dtype], shape=tuple(shape), start=first + start, end=first + end)
    if start < 0 or found.nbytes != nbytes_of(found.dtype, found.shape):
        raise Damaged(f"the tensor {name!r:.80} of shape {shape!r:.80} cannot lie at {start} to {end}")
    return found


def _check_extents(tensors: Mapping[str, TensorInfo], first: int, size: int) -> None:
    """Every byte belongs to exactly one tensor."""
    position = first
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start != position:
            how = "overlaps" if info.start < position else "leaves a gap behind"
            raise Damaged(f"the tensor {name!r:.80} {how} what comes before it")
        position = info.end
    if position != size:
        raise Damaged(f"its tensors end at byte {position} and the file at byte {size}")


def decode(data: bytes) -> dict[str, _Array]:
    """All arrays of a whole file. Raises Damaged."""
    header = read_header(io.BytesIO(data), len(data))
    view = memoryview(data)
    return {
        name: numbers_of(view[info.start : info.end], info.dtype).reshape(info.shape) for name, info in header.items()
    }


def numbers_of(data: bytes | memoryview, dtype: DType) -> _Array:
    """The numbers that the bytes stand for, shape (n,)."""
    return np.asarray(dtype.decode(np.frombuffer(data, dtype=dtype.raw)))


# --------------------------------------------------------------------------------------------------- types


def _same(array: _Array) -> _Array:
    return array


def _as_bool(array: _Array) -> _Array:
    # Not as numpy's bool: a byte that is neither 0 nor 1 must not become one.
    return np.not_equal(array, 0)


def _as_float32(array: _Array) -> _Array:
    return array.astype(np.float32)


def _bfloat16(array: _Array) -> _Array:
    return np.asarray(array.astype(np.uint32) << 16).view(np.float32)


def _from_table(kind: str) -> Callable[[_Array], _Array]:
    return lambda array: np.asarray(_eight_bit_floats(kind)[array])


@cache
def _eight_bit_floats(kind: str) -> npt.NDArray[np.float32]:
    """The 256 numbers of an eight-bit type (Micikevicius et al., FP8 Formats for Deep Learning, 2022; OCP MX, 2023)."""
    return np.array([_eight_bit_float(kind, byte) for byte in range(256)], dtype=np.float32)


def _eight_bit_float(kind: str, byte: int) -> float:
    if kind == "F8_E8M0":
        return math.nan if byte == 255 else 2.0 ** (byte - 127)
    mantissa_bits, bias = {"F8_E4M3": (3, 7), "F8_E5M2": (2, 15), "F8_E4M3FNUZ": (3, 8), "F8_E5M2FNUZ": (2, 16)}[kind]
    sign, rest = (-1.0 if byte & 0x80 else 1.0), byte & 0x7F
    if kind == "F8_E4M3" and rest == 0x7F:
        return math.nan
    if kind == "F8_E5M2" and rest >= 0x7C:
        return sign * math.inf if rest == 0x7C else math.nan
    if kind.endswith("FNUZ") and byte == 0x80:
        return math.nan
    exponent, mantissa = rest >> mantissa_bits, (rest & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    return sign * (mantissa * 2.0 ** (1 - bias) if exponent == 0 else (1 + mantissa) * 2.0 ** (exponent - bias))


def _types(*rows: tuple[str, str, str, Callable[[_Array], _Array]]) -> dict[str, DType]:
    return {name: DType(name=name, label=label, raw=np.dtype(raw), decode=decode) for name, label, raw, decode in rows}


DTYPES: dict[str, DType] = _types(
    ("F64", "float64", "<f8", _same),
    ("F32", "float32", "<f4", _same),
    ("F16", "float16", "<f2", _as_float32),
    ("BF16", "bfloat16", "<u2", _bfloat16),
    ("F8_E4M3", "float8_e4m3fn", "u1", _from_table("F8_E4M3")),
    ("F8_E5M2", "float8_e5m2", "u1", _from_table("F8_E5M2")),
    ("F8_E4M3FNUZ", "float8_e4m3fnuz", "u1", _from_table("F8_E4M3FNUZ")),
    ("F8_E5M2FNUZ", "float8_e5m2fnuz", "u1", _from_table("F8_E5M2FNUZ")),
    ("F8_E8M0", "float8_e8m0fnu", "u1", _from_table("F8_E8M0")),
    ("C64", "complex64", "<c8", _same),
    ("I64", "int64", "<i8", _same),
    ("I32", "int32", "<i4", _same),
    ("I16", "int16", "<i2", _same),
    ("I8", "int8", "i1", _same),
    ("U64", "uint64", "<u8", _same),
    ("U32", "uint32", "<u4", _same),
    ("U16", "uint16", "<u2", _same),
    ("U8", "uint8", "u1", _same),
    ("BOOL", "bool", "u1", _as_bool),
)

DTYPE_OF_LABEL: dict[str, DType] = {dtype.label: dtype for dtype in DTYPES.values()}
"""By the name that torch has for it."""
