"""Messages as JSON values and arrays, and back: every field is checked by its type, its limits and its neighbours.

A dataclass may have a method `check`, which raises Unfit where its fields do not belong together.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any

import numpy as np

from gradscope.protocol.arrays import ArrayOf, Dims
from gradscope.protocol.limits import MAX_TEXT, CutAt, Limit, Unfit

_Array = np.ndarray[Any, Any]
_NOT_FINITE = ("nan", "inf", "-inf")
_SHOWN = 80
_LONGEST_SENTENCE = 500
_TEXT = CutAt(MAX_TEXT)


class ProtocolError(Exception):
    """What was sent is no valid frame, or no valid message, or cannot be sent."""

    def __init__(self, text: str) -> None:
        # Names and values in it are the sender's, and as long as it likes.
        super().__init__(text if len(text) <= _LONGEST_SENTENCE else f"{text[:_LONGEST_SENTENCE]} ...")


@dataclasses.dataclass(frozen=True)
class Source:
    """Where values are decoded from: the wire, between two of the same version, or a file, which may be of another."""

    buffers: list[_Array]
    is_file: bool = False


# ------------------------------------------------------------------------------------------- to JSON


def encode(value: Any, buffers: list[_Array]) -> Any:
    """The JSON form of a message or a part of one; its arrays are appended to `buffers`."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, np.ndarray):
        buffers.append(np.ascontiguousarray(value))
        return {"$": len(buffers) - 1}
    if isinstance(value, tuple):
        return [encode(item, buffers) for item in value]
    if isinstance(value, dict):
        return {key: encode(item, buffers) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return {name: encode(getattr(value, name), buffers) for name in _names(typing.cast(Any, type(value)))}
    raise TypeError(f"{type(value).__name__} cannot be sent")


@cache
def _names(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


# ------------------------------------------------------------------------------------------- from JSON

_Decode = Callable[[Any, Source], Any]


class _Wrong(Exception):
    """Raised at a value, and told on its way up where that value is."""

    def __init__(self, text: str, where: str = "") -> None:
        super().__init__(text)
        self.text, self.where = text, where


def decode(expected: Any, value: Any, source: Source, where: str) -> Any:
    """What `encode` was given, of the type `expected`. Raises ProtocolError, which begins with `where`."""
    try:
        return _decoder(expected)(value, source)
    except _Wrong as wrong:
        raise ProtocolError(f"{where}{wrong.where} {wrong.text}") from None


@cache
def _decoder(expected: Any) -> _Decode:
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (option for option in arguments if option is not types.NoneType)
        return _optional(_decoder(inner))
    if origin is typing.Annotated:
        return _annotated(arguments[0], arguments[1:])
    if origin is tuple:
        return _list(arguments[0]) if arguments[-1] is Ellipsis else _items(arguments)
    if origin is dict:
        return _dict(arguments[1])
    if dataclasses.is_dataclass(expected):
        return _dataclass(expected)
    if isinstance(expected, type) and issubclass(expected, Enum):
        return _enum(expected)
    return {float: _float, int: _int, str: _limited(_plain(str), (_TEXT,))}.get(expected) or _plain(expected)


def _plain(expected: type) -> _Decode:
    def decode(value: Any, source: Source) -> Any:
        if type(value) is not expected:
            raise _mismatch(expected.__name__, value)
        return value

    return decode


def _int(value: Any, source: Source) -> int:
    if type(value) is not int:
        raise _mismatch("int", value)
    if abs(value) >= 2**64:
        raise _mismatch("a 64-bit number", value)
    return value


def _float(value: Any, source: Source) -> float:
    if type(value) is float:
        return value
    if source.is_file and value in _NOT_FINITE:
        return float(value)
    if type(value) is not int:
        raise _mismatch("float", value)
    try:
        return float(value)
    except OverflowError:
        raise _mismatch("float", value) from None


def _enum(expected: type[Enum]) -> _Decode:
    members = {member.value: member for member in expected}

    def decode(value: Any, source: Source) -> Enum:
        member = members.get(value) if isinstance(value, str) else None
        if member is None:
            raise _mismatch(f"one of {list(members)}", value)
        return member

    return decode


def _optional(inner: _Decode) -> _Decode:
    def decode(value: Any, source: Source) -> Any:
        return None if value is None else inner(value, source)

    return decode


def _list(item: Any) -> _Decode:
    inner = _decoder(item)

    def decode(value: Any, source: Source) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _mismatch("a list", value)
        items: list[Any] = []
        try:
            for entry in value:
                items.append(inner(entry, source))
        except _Wrong as wrong:
            wrong.where = f"[{len(items)}]{wrong.where}"
            raise
        return tuple(items)

    return decode


def _items(expected: tuple[Any, ...]) -> _Decode:
    inner = [_decoder(item) for item in expected]

    def decode(value: Any, source: Source) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _mismatch("a list", value)
        if len(value) != len(inner):
            raise _mismatch(f"{len(inner)} items", value)
        return tuple(
            _placed(decode, entry, source, f"[{i}]") for i, (decode, entry) in enumerate(zip(inner, value, strict=True))
        )

    return decode


def _dict(item: Any) -> _Decode:
    inner = _decoder(item)

    def decode(value: Any, source: Source) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _mismatch("an object", value)
        return {_TEXT.applied(key): _placed(inner, entry, source, f".{key}") for key, entry in value.items()}

    return decode


def _placed(decode: _Decode, value: Any, source: Source, where: str) -> Any:
    try:
        return decode(value, source)
    except _Wrong as wrong:
        wrong.where = f"{where}{wrong.where}"
        raise


def _annotated(inner: Any, extras: tuple[Any, ...]) -> _Decode:
    for extra in extras:
        if isinstance(extra, ArrayOf):
            return _array(extra.dtype)
    # A limit of its own takes the place of that for every text.
    decode = _plain(str) if inner is str else _decoder(inner)
    return _limited(decode, tuple(extra for extra in extras if isinstance(extra, Limit)))


def _limited(inner: _Decode, limits: tuple[Limit, ...]) -> _Decode:
    def decode(value: Any, source: Source) -> Any:
        decoded = inner(value, source)
        try:
            for limit in limits:
                decoded = limit.applied(decoded)
        except Unfit as unfit:
            raise _Wrong(str(unfit)) from None
        return decoded

    return decode


def _array(dtype: np.dtype[Any]) -> _Decode:
    def decode(value: Any, source: Source) -> _Array:
        index = value.get("$") if isinstance(value, dict) and len(value) == 1 else None
        if type(index) is not int or not 0 <= index < len(source.buffers):
            raise _mismatch("an array", value)
        array = source.buffers[index]
        if array.dtype != dtype:
            raise _Wrong(f"has to be an array of {dtype}, not {array.dtype}")
        return array

    return decode


def _dataclass(cls: Any) -> _Decode:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = [(field.name, _decoder(hints[field.name])) for field in dataclasses.fields(cls)]
    required = {
        field.name
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    known = frozenset(hints)
    dims = [(name, dims.sides) for name in _names(cls) if (dims := _dims_of(hints[name])) is not None]
    check = getattr(cls, "check", None)

    def decode(value: Any, source: Source) -> Any:
        if not isinstance(value, dict):
            raise _mismatch("an object", value)
        if not source.is_file and not value.keys() <= known:
            raise _Wrong(f"has no field {min(value.keys() - known)!r}")
        arguments: dict[str, Any] = {}
        name = ""
        try:
            for name, inner in fields:
                if name in value:
                    arguments[name] = inner(value[name], source)
                elif name in required:
                    raise _Wrong("is missing")
        except _Wrong as wrong:
            wrong.where = f".{name}{wrong.where}"
            raise
        decoded = cls(**arguments)
        _check_dims(decoded, dims)
        if check is not None:
            try:
                check(decoded)
            except Unfit as unfit:
                raise _Wrong(str(unfit)) from None
        return decoded

    return decode


def _dims_of(hint: Any) -> Dims | None:
    return next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Dims)), None)


def _check_dims(message: Any, dims: list[tuple[str, tuple[str | int, ...]]]) -> None:
    found: dict[str | int, int] = {}
    for name, sides in dims:
        shape = getattr(message, name).shape
        fits = len(shape) == len(sides)
        for side, size in zip(sides, shape, strict=False):
            fits = fits and size == (side if isinstance(side, int) else found.setdefault(side, size))
        if not fits:
            expected = ", ".join(str(found.get(side, side)) for side in sides)
            raise _Wrong(f"has to be an array of the shape ({expected}), not {shape}", f".{name}")


def _mismatch(wanted: str, value: Any) -> _Wrong:
    return _Wrong(f"has to be {wanted}, not {_shown(value)}")


def _shown(value: Any) -> str:
    """A value of JSON in a few words, whatever its size: a list may hold millions, and lists in lists in lists."""
    if isinstance(value, (list, dict)) and value:
        kind = "a list" if isinstance(value, list) else "an object"
        return f"{kind} of {len(value)}"
    return f"{value[:_SHOWN]!r:.{_SHOWN}}" if isinstance(value, str) else f"{value!r:.{_SHOWN}}"
