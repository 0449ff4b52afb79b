"""Differences of arrays with known differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradscope.protocol.messages import Difference
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots import pieces
from gradscope.snapshots.comparing import compare, strongest_difference
from gradscope.snapshots.pieces import of_array, of_plane

KEY = SubjectKey(SubjectKind.PARAMETER, "w")
NAN, INF = math.nan, math.inf


def difference(a: Any, b: Any) -> Difference:
    a, b = np.asarray(a), np.asarray(b)
    return compare(KEY, a.shape, of_array(a), of_array(b))


def test_what_differs_is_found_with_its_place() -> None:
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    b = a.copy()
    b[1, 2] += 0.5
    b[0, 1] += 0.25
    found = difference(a, b)
    assert (found.count, found.differing, found.absolute) == (12, 2, 0.5)
    assert (found.at, found.ours, found.theirs) == ((1, 2), 6.0, 6.5)
    assert found.relative == 0.25 / 1.25


def test_identical() -> None:
    a = np.array([1.0, NAN, INF, -INF, 0.0])
    found = difference(a, a.copy())
    assert (found.differing, found.absolute, found.relative, found.at) == (0, 0, 0, ())
    assert difference([0.0], [-0.0]).differing == 0


@pytest.mark.parametrize("other", [1.0, INF, -INF])
def test_nan_on_one_side_is_infinite(other: float) -> None:
    found = difference([1.0, NAN], [1.5, other])
    assert (found.differing, found.absolute, found.relative, found.at) == (2, INF, INF, (1,))
    assert difference([other], [NAN]).absolute == INF


def test_infinities() -> None:
    assert difference([INF], [-INF]).absolute == INF
    assert difference([INF], [1e300]).relative == INF
    assert difference([1e308], [-1e308]).absolute == INF


def test_relative_is_at_most_two_and_says_nothing_of_zeros() -> None:
    found = difference([0.0, 1.0, 5e-324], [0.0, -1.0, 0.0])
    assert (found.relative, found.differing) == (2, 2)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int8, np.uint8])
def test_whole_numbers_are_exact(dtype: type) -> None:
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    found = difference(np.array([high - 1, low], dtype), np.array([high, high], dtype))
    assert (found.differing, found.absolute) == (2, float(high - low))
    assert difference(np.array([high - 1], dtype), np.array([high], dtype)).absolute == 1


def test_other_types() -> None:
    assert difference([True, False], [True, True]).absolute == 1
    half = difference(np.array([0.1], np.float32), np.array([0.1], np.float64))
    assert half.absolute == pytest.approx(abs(float(np.float32(0.1)) - 0.1))
    turned = difference(np.array([3 + 4j], np.complex64), np.array([3 - 4j], np.complex64))
    assert (turned.absolute, turned.ours, turned.theirs) == (8, 5, 5)
    assert difference(np.zeros((0, 3)), np.zeros((0, 3))).count == 0
    assert difference(np.float32(2), np.float32(3)).at == ()


def test_over_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 5)
    random = np.random.default_rng(0)
    a, b = random.normal(size=(6, 7)), random.normal(size=(6, 7))
    b[:2] = a[:2]
    found = difference(a, b)
    gap = np.abs(a - b)
    assert found.differing == 28
    assert found.absolute == gap.max()
    assert found.at == np.unravel_index(gap.argmax(), gap.shape)
    assert found.relative == (gap / np.maximum(np.abs(a), np.abs(b))).max()


@given(st.lists(st.tuples(st.floats(width=32), st.floats(width=32)), min_size=1))
def test_any_floats(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array(side, dtype=np.float32) for side in zip(*pairs, strict=True))
    found, turned = difference(a, b), difference(b, a)
    same = [x == y or (x != x and y != y) for x, y in pairs]
    assert found.differing == same.count(False)
    assert (found.absolute, found.relative) == (turned.absolute, turned.relative)
    assert not math.isnan(found.absolute) and not math.isnan(found.relative)
    assert (found.absolute > 0) == (found.differing > 0)


def test_the_picture_is_ours_minus_theirs() -> None:
    a = np.array([[1.0, NAN, INF], [2.0, NAN, -INF]])
    b = np.array([[3.0, NAN, INF], [2.0, 1.0, INF]])
    picture, unit = strongest_difference(a.shape, (1, 1), of_plane(a), of_plane(b))
    np.testing.assert_array_equal(picture, np.array([[-2, 0, 0], [0, NAN, -INF]], dtype=np.float32))
    counted, _ = strongest_difference((1, 2), (1, 2), *map(of_plane, (np.uint8([[1, 2]]), np.uint8([[2, 2]]))))
    assert unit == 1
    assert counted.tolist() == [[-1]]
