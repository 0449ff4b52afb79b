"""How much there is in a JSON text, found before anything is made of it: a few bytes of text become a hundred of objects.

A scan by numpy, 1 MiB at a time, about 10 ms each. It does not say whether the text is JSON.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

_CHUNK_BYTES = 1 << 20
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_QUOTE, _COMMA = ord('"'), ord(",")
_OPENING = {ord("["): 1, ord("{"): 4}
"""What each counts: an object takes four times the memory of a list."""
_CLOSING = (ord("]"), ord("}"))


class TooMuchJson(ValueError):
    """The text completes the sentence "FILE is damaged: ..."."""


def check_json(data: bytes | memoryview, *, max_depth: int, max_items: int) -> None:
    """Raise TooMuchJson if lists and objects are more than `max_depth` inside each other, or too many values are in them.

    An item is an entry of a list or an object; an object counts as four. So `json.loads` takes at most some 80 bytes for
    each of `max_items`, and the text once more for its strings.
    """
    depth, items, is_in_text = 0, 0, False
    start = 0
    view = memoryview(data)
    while start < len(view):
        end = min(start + _CHUNK_BYTES, len(view))
        # No backslash is parted from what it escapes.
        while end < len(view) and view[end - 1] == ord("\\"):
            end += 1
        chunk, is_in_text = _outside_of_texts(bytes(view[start:end]), is_in_text)
        levels, found = _structure(chunk)
        items += found
        if items > max_items:
            raise TooMuchJson(f"it holds more than {max_items} items")
        if len(levels) and depth + int(levels.max()) > max_depth:
            raise TooMuchJson(f"it is nested too deeply, in more than {max_depth} levels")
        depth += int(levels[-1]) if len(levels) else 0
        start = end


def _outside_of_texts(chunk: bytes, is_in_text: bool) -> tuple[npt.NDArray[np.uint8], bool]:
    """The bytes that are in no string; whether the chunk ends inside one."""
    if b"\\" in chunk:
        chunk = _ESCAPED.sub(b"  ", chunk)
    signs = np.frombuffer(chunk, dtype=np.uint8)
    # Modulo 256, of which only the parity counts.
    inside = (np.cumsum(signs == _QUOTE, dtype=np.uint8) + is_in_text) & 1
    return signs[inside == 0], bool(inside[-1])


def _structure(signs: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], int]:
    """(how deep it is after each bracket, by the depth at the beginning; how many items)."""
    opening = sum((signs == sign for sign in _OPENING), np.zeros(len(signs), dtype=bool))
    closing = np.isin(signs, _CLOSING)
    steps = opening[opening | closing].astype(np.int64) * 2 - 1
    items = int(np.count_nonzero(signs == _COMMA))
    items += sum(weight * int(np.count_nonzero(signs == sign)) for sign, weight in _OPENING.items())
    return np.cumsum(steps), items
