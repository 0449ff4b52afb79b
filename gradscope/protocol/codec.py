"""Frames: a length-prefixed JSON header plus raw buffers. Nothing is ever unpickled; every field is checked by type.

    uint32 length of the rest | uint32 length of the header | header (UTF-8 JSON) | buffers, one after the other

The header is {"type", "number", "body", "buffers": [[dtype, shape], ...]}; an array in the body is {"$": index}.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import types
import typing
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import Any, TypeVar

import numpy as np

from gradscope.protocol import messages
from gradscope.protocol.arrays import ArrayOf

MAX_FRAME_BYTES = 16 * 1024 * 1024
_T = TypeVar("_T")
_PREFIX = struct.Struct(">II")
_DTYPES = frozenset({"float64", "float32", "int64", "int32", "uint8"})

MESSAGE_TYPES: dict[str, type] = {
    cls.__name__: cls for cls in (*messages.HANDSHAKE, *messages.REQUESTS, *messages.REPLIES, *messages.EVENTS)
}


class ProtocolError(Exception):
    """The peer sent something that is no valid frame. The connection cannot be used any further."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """One decoded message with the number of the request that it belongs to (0: an event)."""

    number: int
    message: Any


def encode(message: Any, *, number: int = 0) -> bytes:
    """The frame of a message. Raises ProtocolError if it would be longer than MAX_FRAME_BYTES."""
    buffers: list[np.ndarray[Any, Any]] = []
    body = _encode_dataclass(message, buffers)
    header = json.dumps(
        {
            "type": type(message).__name__,
            "number": number,
            "body": body,
            "buffers": [[str(buffer.dtype), list(buffer.shape)] for buffer in buffers],
        },
        separators=(",", ":"),
    ).encode()
    length = 4 + len(header) + sum(buffer.nbytes for buffer in buffers)
    if length > MAX_FRAME_BYTES:
        raise ProtocolError(f"{type(message).__name__} is {length} bytes long; a frame holds {MAX_FRAME_BYTES}")
    return b"".join([_PREFIX.pack(length, len(header)), header, *(buffer.tobytes() for buffer in buffers)])


class Decoder:
    """Takes bytes as they arrive, gives whole frames. Raises ProtocolError on anything malformed."""

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._pending = bytearray()
        self._max_frame_bytes = max_frame_bytes

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._pending += data
        position = 0
        try:
            while len(self._pending) - position >= 4:
                (length,) = struct.unpack_from(">I", self._pending, position)
                if not 4 <= length <= self._max_frame_bytes:
                    raise ProtocolError(
                        f"A frame of {length} bytes was announced; 4 to {self._max_frame_bytes} are allowed"
                    )
                if len(self._pending) - position - 4 < length:
                    break
                payload = bytes(self._pending[position + 4 : position + 4 + length])
                position += 4 + length
                yield _decode(payload)
        finally:
            del self._pending[:position]


def _decode(payload: bytes) -> Frame:
    (header_length,) = struct.unpack_from(">I", payload)
    if header_length > len(payload) - 4:
        raise ProtocolError("A header longer than its frame was announced")
    try:
        header = json.loads(payload[4 : 4 + header_length])
        cls = MESSAGE_TYPES[header["type"]]
        number = header["number"]
        described = header["buffers"]
        body = header["body"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError(f"A header could not be read: {error!r}") from error
    if type(number) is not int or number < 0:
        raise ProtocolError(f"A frame's number has to be a whole number, not {number!r}")
    buffers = _decode_buffers(described, memoryview(payload)[4 + header_length :])
    return Frame(number, _decode_value(cls, body, _Source(buffers), cls.__name__))


def _decode_buffers(described: Any, data: memoryview) -> list[np.ndarray[Any, Any]]:
    buffers: list[np.ndarray[Any, Any]] = []
    offset = 0
    if not isinstance(described, list):
        raise ProtocolError("The buffers of a frame have to be a list")
    for entry in described:
        match entry:
            case [str(dtype), [*shape]] if dtype in _DTYPES and all(type(n) is int and n >= 0 for n in shape):
                size = math.prod(shape) * np.dtype(dtype).itemsize
            case _:
                raise ProtocolError(f"A buffer is described as {entry!r}; [dtype, shape] was expected")
        if size > len(data) - offset:
            raise ProtocolError("A frame is shorter than its buffers")
        try:
            buffers.append(np.frombuffer(data[offset : offset + size], dtype=dtype).reshape(shape))
        except ValueError as error:
            # Too many dimensions, or an empty array with a side that no array can have.
            raise ProtocolError(f"A buffer cannot have the shape {shape!r:.80}: {error}") from None
        offset += size
    if offset != len(data):
        raise ProtocolError("A frame is longer than its buffers")
    return buffers


# ------------------------------------------------------------------------------------------- values <-> JSON

_NOT_FINITE = ("nan", "inf", "-inf")


def to_json(value: Any, buffers: list[np.ndarray[Any, Any]]) -> Any:
    """A message, or a part of one, for a JSON file. Its arrays are appended to `buffers`; NaN and Inf become text."""
    return _finite(_encode_value(value, buffers))


def from_json(cls: type[_T], value: Any, buffers: list[np.ndarray[Any, Any]], where: str) -> _T:
    """The reverse of `to_json`, every field checked by type; raises ProtocolError, which begins with `where`.

    A field that this version does not know is passed over: a later version may have added it.
    """
    decoded: _T = _decode_value(cls, value, _Source(buffers, is_file=True), where)
    return decoded


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where values are decoded from: the wire, between two of the same version, or a file, which may be of another."""

    buffers: list[np.ndarray[Any, Any]]
    is_file: bool = False


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


@cache
def _fields(cls: Any) -> tuple[tuple[str, Any, bool], ...]:
    """(name, type, required) of each field of a dataclass."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return tuple(
        (
            field.name,
            hints[field.name],
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(cls)
    )


def _encode_dataclass(value: Any, buffers: list[np.ndarray[Any, Any]]) -> dict[str, Any]:
    return {name: _encode_value(getattr(value, name), buffers) for name, _, _ in _fields(typing.cast(Any, type(value)))}


def _encode_value(value: Any, buffers: list[np.ndarray[Any, Any]]) -> Any:
    if value is None or isinstance(value, (str, bool, int, float)):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, np.ndarray):
        buffers.append(np.ascontiguousarray(value))
        return {"$": len(buffers) - 1}
    if isinstance(value, tuple):
        return [_encode_value(item, buffers) for item in value]
    if isinstance(value, dict):
        return {key: _encode_value(item, buffers) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return _encode_dataclass(value, buffers)
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _decode_value(expected: Any, value: Any, source: _Source, where: str) -> Any:
    origin = typing.get_origin(expected)
    if origin in (typing.Union, types.UnionType):
        return _decode_optional(expected, value, source, where)
    if origin is typing.Annotated:
        return _decode_array(expected, value, source, where)
    if origin is tuple:
        return _decode_tuple(expected, value, source, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise _mismatch(where, "an object", value)
        _, item = typing.get_args(expected)
        return {key: _decode_value(item, entry, source, f"{where}.{key}") for key, entry in value.items()}
    if dataclasses.is_dataclass(expected):
        return _decode_dataclass(typing.cast(type, expected), value, source, where)
    if isinstance(expected, type) and issubclass(expected, Enum):
        try:
            return expected(value)
        except ValueError:
            raise _mismatch(where, f"one of {[member.value for member in expected]}", value) from None
    if expected is float and source.is_file and value in _NOT_FINITE:
        return float(value)
    if expected is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise _mismatch(where, "float", value) from None
    if type(value) is not expected:
        raise _mismatch(where, getattr(expected, "__name__", str(expected)), value)
    if expected is int and abs(value) >= 2**64:
        raise _mismatch(where, "a 64-bit number", value)
    return value


def _decode_dataclass(cls: Any, value: Any, source: _Source, where: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(where, "an object", value)
    fields = _fields(cls)
    unknown = value.keys() - {name for name, _, _ in fields}
    if unknown and not source.is_file:
        raise ProtocolError(f"{where} has no field {sorted(unknown)[0]!r}")
    arguments = {}
    for name, hint, required in fields:
        if name in value:
            arguments[name] = _decode_value(hint, value[name], source, f"{where}.{name}")
        elif required:
            raise ProtocolError(f"{where}.{name} is missing")
    return cls(**arguments)


def _decode_optional(expected: Any, value: Any, source: _Source, where: str) -> Any:
    if value is None:
        return None
    (inner,) = (option for option in typing.get_args(expected) if option is not type(None))
    return _decode_value(inner, value, source, where)


def _decode_tuple(expected: Any, value: Any, source: _Source, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _mismatch(where, "a list", value)
    arguments = typing.get_args(expected)
    items = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    if len(items) != len(value):
        raise _mismatch(where, f"{len(items)} items", value)
    return tuple(
        _decode_value(item, entry, source, f"{where}[{i}]")
        for i, (item, entry) in enumerate(zip(items, value, strict=True))
    )


def _decode_array(expected: Any, value: Any, source: _Source, where: str) -> np.ndarray[Any, Any]:
    match value:
        case {"$": int(index)} if type(index) is int and 0 <= index < len(source.buffers) and len(value) == 1:
            array = source.buffers[index]
        case _:
            raise _mismatch(where, "an array", value)
    (wanted,) = (extra for extra in expected.__metadata__ if isinstance(extra, ArrayOf))
    if array.dtype != wanted.dtype:
        raise _mismatch(where, f"an array of {wanted.dtype}", array.dtype)
    return array


def _mismatch(where: str, wanted: str, value: Any) -> ProtocolError:
    return ProtocolError(f"{where} has to be {wanted}, not {value!r:.80}")
