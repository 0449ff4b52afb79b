"""Parts of a deflated file are those of what was deflated, in whatever order they are asked for."""

from __future__ import annotations

import random
import zlib

import pytest

from gradscope.snapshots.format import inflating
from gradscope.snapshots.format.damage import Damaged
from gradscope.snapshots.format.inflating import Inflater


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def test_any_part_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflating, "POINT_BYTES", 5000)
    monkeypatch.setattr(inflating, "_IN_BYTES", 100)
    monkeypatch.setattr(inflating, "_OUT_BYTES", 700)
    chosen = random.Random(0)
    data = b"".join(bytes([chosen.randrange(4)]) * chosen.randrange(60) for _ in range(3000))
    packed, inflater, asked = deflated(data), Inflater(), []

    def read_at(offset: int, count: int) -> bytes:
        asked.append(count)
        return packed[offset : offset + count]

    for _ in range(200):
        start, end = sorted(chosen.choices(range(len(data) + 1), k=2))
        assert inflater.read(read_at, start, end, lambda: None) == data[start:end]
    assert inflater.read(read_at, len(data) // 2, len(data) // 2, lambda: None) == b""
    inflater.read(read_at, 0, 1, lambda: None)
    assert inflater.read(read_at, 9000, 9000, lambda: None) == b""
    asked.clear()
    start = len(data) - 10
    assert inflater.read(read_at, start, len(data), lambda: None) == data[start:]
    assert sum(asked) < len(packed) / 5


def test_an_end_that_comes_too_early() -> None:
    packed = deflated(bytes(10_000))
    for data in (packed, packed[:10]):
        with pytest.raises(Damaged, match="ends after"):
            Inflater().read(lambda offset, count, data=data: data[offset : offset + count], 0, 10_001, lambda: None)


def test_it_can_be_broken_off_and_goes_on_afterwards() -> None:
    data = random.Random(0).randbytes(100_000)
    packed, inflater = deflated(data), Inflater()

    def give_up() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        inflater.read(lambda offset, count: packed[offset : offset + count], 0, len(data), give_up)
    assert inflater.read(lambda offset, count: packed[offset : offset + count], 5, 2000, lambda: None) == data[5:2000]
