"""JSON as snapshots have it: UTF-8, no NaN, no name twice. Nothing that a file can hold raises anything but Damaged."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import numpy as np

from gradscope.protocol import codec
from gradscope.protocol.json_limits import TooMuchJson, check_json
from gradscope.snapshots.format.damage import Damaged

MAX_DEPTH = 200
"""Levels of lists and objects inside each other."""
MAX_ITEMS = 3_000_000
"""Some 200 MB, if it is no snapshot at all; more than a model of 100,000 layers has."""
_T = TypeVar("_T")
_Array = np.ndarray[Any, Any]
_SURROGATE = re.compile(rb"\\ud[89a-f]", re.IGNORECASE)


def dump(value: Any) -> bytes:
    """The bytes of a JSON file. A lone surrogate (in the name of a file that is not UTF-8) becomes a question mark."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "replace")


def dump_typed(value: Any) -> bytes:
    """The same of a dataclass without arrays."""
    return dump(codec.to_json(value, []))


def load(data: bytes) -> Any:
    """What is in a JSON file. Raises Damaged."""
    try:
        check_json(data, max_depth=MAX_DEPTH, max_items=MAX_ITEMS)
    except TooMuchJson as reason:
        raise Damaged(str(reason)) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Damaged(f"byte {error.start} is not UTF-8") from None
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise Damaged("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Damaged(f"it is not JSON ({error.msg} in line {error.lineno})") from None
    except ValueError as error:
        raise Damaged(f"it is not JSON ({error})") from None
    if _SURROGATE.search(data):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Damaged("it holds half a character") from None
    return value


def load_object(data: bytes) -> dict[str, Any]:
    """The same where the file has to hold an object."""
    value = load(data)
    if not isinstance(value, dict):
        raise Damaged(f"it holds {_kind(value)} instead of an object")
    return value


def typed(cls: type[_T], value: Any, arrays: list[_Array], where: str) -> _T:
    """A dataclass of its JSON form, checked field by field. Raises Damaged."""
    try:
        return codec.from_json(cls, value, arrays, where)
    except codec.ProtocolError as error:
        raise Damaged(str(error)) from None
    except RecursionError:
        raise Damaged("it is nested too deeply") from None


def checked(value: _T, where: str) -> _T:
    """A dataclass that was not made of JSON, by the same checks. Raises Damaged."""
    arrays: list[_Array] = []
    return typed(type(value), codec.to_json(value, arrays), arrays, where)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r:.80} comes twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "nothing")
