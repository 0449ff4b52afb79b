"""Changes to what is valid, so that little or nothing of it stays so: bytes, JSON and arrays. One seed, one sequence."""

from __future__ import annotations

import copy
import json
import struct
from random import Random
from typing import Any

import numpy as np

_PREFIX = struct.Struct(">II")
INTEGERS = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 7, 1000, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**64, 10**30)
FLOATS = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-320, 1e300, -1e300, 0.5, 3)
TEXTS = (
    *("", " ", "x", "net.0", "nan", "\0", "\ud800", "\u202eabc", "ünïcode", "%s %d {0}", "<b>bold</b>", "../../etc"),
    *("a.b", "." * 50, "a." * 300, "one\ntwo\r\n\tthree", "\n" * 3000, "long " * 3000, "(32, 16)", "(1e9, -3", "True"),
)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"a": 1}, {"$": 0}, {"$": 3}, {"$": 99}, {"$": -1})


def odd_value(random: Random, like: object) -> Any:
    """Mostly of the same type: what is refused at once does not come far."""
    if random.random() < 0.25:
        return copy.deepcopy(random.choice((*INTEGERS, *FLOATS, *TEXTS, *OTHERS, [0] * 300, nested(60))))
    if isinstance(like, bool):
        return not like
    if isinstance(like, int):
        return random.choice((*INTEGERS, like + 1, like - 1, like * 2))
    if isinstance(like, float):
        return random.choice(FLOATS)
    if isinstance(like, str):
        return random.choice((*TEXTS, like * 2, like[: len(like) // 2], like.upper()))
    # A copy: it may be changed again.
    return copy.deepcopy(random.choice(OTHERS))


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(list or object, index or name) of everything in a JSON value."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        items = list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder))
        for key, item in items:
            found.append((holder, key))
            if isinstance(item, (dict, list)):
                waiting.append(item)
    return found


def change_json(random: Random, value: Any) -> None:
    """One change, in place."""
    places = _places(value)
    if not places:
        return
    holder, key = random.choice(places)
    item = holder[key]
    match random.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(item, list) and item:
            item.extend(copy.deepcopy(random.choices(item, k=random.choice((1, 2, 50)))))
        case 2 if isinstance(item, list):
            random.shuffle(item)
        case 3 if isinstance(item, dict):
            item[random.choice(TEXTS)] = random.choice((*INTEGERS, *TEXTS))
        case 4:
            other, place = random.choice(places)
            if isinstance(other, list) and place >= len(other):
                return
            # By value: a list that holds itself is no JSON.
            holder[key] = json.loads(json.dumps(other[place]))
        case _:
            holder[key] = odd_value(random, item)


def change_bytes(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        place = random.randrange(len(changed)) if changed else 0
        match random.randrange(5):
            case 0:
                del changed[place:]
            case 1:
                changed[place:place] = random.randbytes(random.choice((1, 4, 100)))
            case 2:
                del changed[place : place + random.choice((1, 4, 100))]
            case _ if changed:
                changed[place] ^= 1 << random.randrange(8)
    return bytes(changed)


def change_array(random: Random, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Other numbers, another form, or another type."""
    match random.randrange(5):
        case 0:
            return array.reshape(random.choice(((-1,), (1, -1), (-1, 1), (1, 1, -1))))
        case 1:
            return array[: random.choice((0, 1, len(array) // 2))] if array.ndim else array
        case 2:
            return np.concatenate([array, array]) if array.ndim else array.reshape(1)
        case 3 if random.random() < 0.3:
            with np.errstate(all="ignore"):
                return array.astype(random.choice(("float64", "float32", "int64", "int32", "uint8")))
        case _:
            changed = array.copy()
            flat = changed.reshape(-1)
            if flat.size:
                places = random.choice((slice(None), random.randrange(flat.size), slice(0, None, 3)))
                with np.errstate(all="ignore"):
                    flat[places] = random.choice(FLOATS if array.dtype.kind == "f" else _integers(array.dtype))
            return changed


def _integers(dtype: np.dtype[Any]) -> tuple[int, ...]:
    limits = np.iinfo(dtype)
    return (int(limits.min), max(int(limits.min), -1), 0, 1, 99, int(limits.max))


class OpenFrame:
    """A valid frame, taken apart."""

    def __init__(self, data: bytes) -> None:
        _, length = _PREFIX.unpack_from(data)
        self.header = json.loads(data[8 : 8 + length])
        self.arrays: list[np.ndarray[Any, Any]] = []
        offset = 8 + length
        for dtype, shape in self.header["buffers"]:
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            self.arrays.append(np.frombuffer(data[offset : offset + size], dtype=dtype).reshape(shape))
            offset += size

    def closed(self, *, described: bool = True) -> bytes:
        """The frame; `described`: its header says what the arrays are now."""
        if described:
            self.header["buffers"] = [[str(array.dtype), list(array.shape)] for array in self.arrays]
        text = json.dumps(self.header).encode()
        body = b"".join(array.tobytes() for array in self.arrays)
        return _PREFIX.pack(4 + len(text) + len(body), len(text)) + text + body


def change_frame(random: Random, data: bytes) -> bytes:
    """A frame with some changes: most are still frames, and many still messages."""
    kind = random.random()
    if kind < 0.1:
        return change_bytes(random, data)
    frame = OpenFrame(data)
    if kind < 0.15:
        # Header and arrays do not tell of the same.
        change_json(random, frame.header["buffers"] or frame.header)
        return frame.closed(described=False)
    for _ in range(random.choice((1, 1, 2, 3))):
        if frame.arrays and random.random() < 0.4:
            i = random.randrange(len(frame.arrays))
            frame.arrays[i] = change_array(random, frame.arrays[i])
        elif isinstance(frame.header.get("body"), (dict, list)) and frame.header["body"] and random.random() < 0.95:
            change_json(random, frame.header["body"])
        else:
            change_json(random, frame.header)
    return frame.closed(described="buffers" in frame.header)
