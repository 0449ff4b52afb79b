"""What a JSON text holds is counted as json.loads would find it, in whatever pieces it is looked at."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.protocol import json_limits
from gradscope.protocol.json_limits import TooMuchJson, check_json

TEXT = st.text(st.sampled_from('ab"\\[]{},:☃\n'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def depth_of(value: Any) -> int:
    if not isinstance(value, (list, dict)):
        return 0
    return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)


def items_of(value: Any) -> int:
    if not isinstance(value, (list, dict)):
        return 0
    inside = list(value.values() if isinstance(value, dict) else value)
    own = (4 if isinstance(value, dict) else 1) + max(len(inside) - 1, 0)
    return own + sum(map(items_of, inside))


@settings(max_examples=80, deadline=None)
@given(value=VALUES, is_ascii=st.booleans(), chunk=st.integers(1, 40))
def test_depth_and_items_are_those_of_the_values(value: Any, is_ascii: bool, chunk: int) -> None:
    data = json.dumps(value, ensure_ascii=is_ascii).encode()
    depth, items = depth_of(value), items_of(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_limits, "_CHUNK_BYTES", chunk)
        check_json(data, max_depth=depth, max_items=items)
        if depth:
            with pytest.raises(TooMuchJson, match="nested too deeply"):
                check_json(data, max_depth=depth - 1, max_items=items)
            with pytest.raises(TooMuchJson, match="items"):
                check_json(data, max_depth=depth, max_items=items - 1)


def test_anything_else_is_scanned_as_well() -> None:
    for data in (b"", b"\\", b'"', b'"\\', b"]]]]", b"\xff\x00", b'{"a'):
        check_json(data, max_depth=3, max_items=10)


def test_a_large_text_takes_little_memory() -> None:
    data = b"[" + b"[]," * 2_000_000 + b"[]]"
    tracemalloc.start()
    with pytest.raises(TooMuchJson, match="more than 1000000 items"):
        check_json(data, max_depth=100, max_items=1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * 1024**2
