"""Frames: a length-prefixed JSON header plus raw buffers. Nothing is ever unpickled; every field is checked by type.

    uint32 length of the rest | uint32 length of the header | header (UTF-8 JSON) | buffers, one after the other

The header is {"type", "number", "body", "buffers": [[dtype, shape], ...]}; an array in the body is {"$": index}.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import struct
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import numpy as np

from gradscope.protocol import messages, values
from gradscope.protocol.json_limits import TooMuchJson, check_json
from gradscope.protocol.values import ProtocolError, Source

__all__ = [
    "MAX_FRAME_BYTES",
    "Decoder",
    "Frame",
    "ProtocolError",
    "Unreadable",
    "decode",
    "encode",
    "from_json",
    "header_bytes",
    "to_json",
]

MAX_FRAME_BYTES = 16 * 1024 * 1024
MAX_HEADER_ITEMS = 2_000_000
"""What a header may hold, as `check_json` counts it: a frame that is full of modules has fewer."""
MAX_HEADER_DEPTH = 200
_FEW_ITEMS = 20_000
MAX_BUFFERS = 64
_MAX_DIMENSIONS = 8
_T = TypeVar("_T")
_PREFIX = struct.Struct(">II")
_DTYPES = frozenset({"float64", "float32", "int64", "int32", "uint8"})

MESSAGE_TYPES: dict[str, type] = {
    cls.__name__: cls for cls in (*messages.HANDSHAKE, *messages.REQUESTS, *messages.REPLIES, *messages.EVENTS)
}


class Unreadable(ProtocolError):
    """A whole frame holds no valid message. What comes after it can still be read."""

    def __init__(self, text: str, *, number: int) -> None:
        super().__init__(text)
        self.number = number


@dataclasses.dataclass(frozen=True)
class Frame:
    """One decoded message with the number of the request that it belongs to (0: an event)."""

    number: int
    message: Any


def encode(message: Any, *, number: int = 0) -> bytes:
    """The frame of a message. Raises ProtocolError if it would be longer than MAX_FRAME_BYTES, or of too many items."""
    buffers: list[np.ndarray[Any, Any]] = []
    body = values.encode(message, buffers)
    header = json.dumps(
        {
            "type": type(message).__name__,
            "number": number,
            "body": body,
            "buffers": [[str(buffer.dtype), list(buffer.shape)] for buffer in buffers],
        },
        separators=(",", ":"),
    ).encode()
    _check_items(header, type(message).__name__)
    length = 4 + len(header) + sum(buffer.nbytes for buffer in buffers)
    if length > MAX_FRAME_BYTES:
        raise ProtocolError(f"{type(message).__name__} is {length} bytes long; a frame holds {MAX_FRAME_BYTES}")
    return b"".join([_PREFIX.pack(length, len(header)), header, *(buffer.tobytes() for buffer in buffers)])


class Decoder:
    """Takes bytes as they arrive, gives whole frames. Raises ProtocolError on anything malformed.

    After Unreadable, `feed(b"")` goes on with the frame after that one; after anything else, there is no way on.
    """

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._pending = bytearray()
        self._max_frame_bytes = max_frame_bytes

    def feed(self, data: bytes) -> Iterator[Frame]:
        with contextlib.closing(self.payloads(data)) as payloads:
            for payload in payloads:
                yield decode(payload)

    def payloads(self, data: bytes) -> Generator[bytes, None, None]:
        """The same, but what is in a frame is left for `decode`, which may be called in another thread."""
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
                yield payload
        finally:
            del self._pending[:position]


def header_bytes(payload: bytes) -> int:
    """How long the header says that it is: what decoding takes time for."""
    (length,) = struct.unpack_from(">I", payload)
    return int(length)


def decode(payload: bytes) -> Frame:
    """The message in a frame. Raises ProtocolError; Unreadable where it is only this frame that is wrong."""
    header_length = header_bytes(payload)
    if header_length > len(payload) - 4:
        raise ProtocolError("A header longer than its frame was announced")
    text = payload[4 : 4 + header_length]
    _check_items(text, "A header")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"A header could not be read: {type(error).__name__}: {error!s:.200}") from error
    number = header.get("number") if isinstance(header, dict) else None
    if type(number) is not int or not 0 <= number < 2**63:
        raise ProtocolError(f"A frame's number has to be a whole number, not {number!r:.80}")
    try:
        return Frame(number, _decode_message(header, memoryview(payload)[4 + header_length :]))
    except ProtocolError as error:
        raise Unreadable(str(error), number=number) from None


def _decode_message(header: dict[str, Any], data: memoryview) -> Any:
    try:
        cls, described, body = MESSAGE_TYPES[header["type"]], header["buffers"], header["body"]
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"A header could not be read: {type(error).__name__}: {error!s:.200}") from None
    return values.decode(cls, body, Source(_decode_buffers(described, data)), cls.__name__)


def _check_items(header: bytes, name: str) -> None:
    """Refuse what would take much memory, before any of it is read."""
    # At most: in a text, the same characters mean nothing. Most headers are done with this.
    if header.count(b",") + header.count(b"[") + header.count(b"{") > _FEW_ITEMS:
        try:
            check_json(header, max_depth=MAX_HEADER_DEPTH, max_items=MAX_HEADER_ITEMS)
        except TooMuchJson as reason:
            raise ProtocolError(f"{name} is too much for one frame: {reason}") from None


def _decode_buffers(described: Any, data: memoryview) -> list[np.ndarray[Any, Any]]:
    buffers: list[np.ndarray[Any, Any]] = []
    offset = 0
    if not isinstance(described, list) or len(described) > MAX_BUFFERS:
        raise ProtocolError(f"The buffers of a frame have to be a list of at most {MAX_BUFFERS}")
    for entry in described:
        match entry:
            case [str(dtype), [*shape]] if dtype in _DTYPES and all(type(side) is int and side >= 0 for side in shape):
                size = _size_of(shape) * np.dtype(dtype).itemsize
            case _:
                raise ProtocolError("A buffer is not described as [dtype, shape]")
        if size > len(data) - offset:
            raise ProtocolError("A frame is shorter than its buffers")
        buffers.append(np.frombuffer(data[offset : offset + size], dtype=dtype).reshape(shape))
        offset += size
    if offset != len(data):
        raise ProtocolError("A frame is longer than its buffers")
    return buffers


def _size_of(shape: list[int]) -> int:
    # Also an empty array has sides that have to be possible.
    if len(shape) > _MAX_DIMENSIONS or any(side > MAX_FRAME_BYTES for side in shape):
        raise ProtocolError(f"A buffer cannot have the shape {shape[:_MAX_DIMENSIONS]!r:.80}")
    return math.prod(shape)


# ------------------------------------------------------------------------------------------- files


def to_json(value: Any, buffers: list[np.ndarray[Any, Any]]) -> Any:
    """A message, or a part of one, for a JSON file. Its arrays are appended to `buffers`; NaN and Inf become text."""
    return _finite(values.encode(value, buffers))


def from_json(cls: type[_T], value: Any, buffers: list[np.ndarray[Any, Any]], where: str) -> _T:
    """The reverse of `to_json`, every field checked by type; raises ProtocolError, which begins with `where`.

    A field that this version does not know is passed over: a later version may have added it.
    """
    decoded: _T = values.decode(cls, value, Source(buffers, is_file=True), where)
    return decoded


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value
