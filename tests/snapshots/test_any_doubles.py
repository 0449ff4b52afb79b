"""What is drawn of tensors and curves, with any doubles whatever: finite, inside, and nothing raises or warns."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradscope.protocol.subjects import COLUMNS, COUNT, HISTOGRAM_BINS, L2, MAX, MEAN, MIN
from gradscope.snapshots import slices, tensorboard
from gradscope.snapshots.comparing import strongest_difference
from gradscope.snapshots.page.numbers import number
from gradscope.snapshots.page.svg import curves, scale_of
from gradscope.snapshots.pieces import of_plane

MOST, LEAST = float(np.finfo(np.float64).max), 5e-324
EXTREMES = st.sampled_from(
    [0.0, -0.0, MOST, -MOST, LEAST, -LEAST, 2.2e-308, 1e300, -1e300, 3.4e38, 1e-45, math.nan, math.inf, -math.inf]
)
DOUBLES = st.one_of(st.floats(), EXTREMES)
ANY = st.lists(DOUBLES, max_size=20)


@given(ANY, st.booleans())
@example([LEAST, 1e-300], False)
@example([1e-320, 1e-310], False)
@example([2.0**53, 2.0**53 + 2], True)
@example([2.0**62], True)
@example([0.0, LEAST], True)
def test_a_scale_is_finite_and_its_ticks_rise(values: list[float], whole: bool) -> None:
    array = np.array(values)
    scale = scale_of(array, whole=whole)
    placed = scale.place(array[np.isfinite(array)])
    assert np.isfinite(placed).all() and (placed >= -1e-9).all() and (placed <= 1 + 1e-9).all()
    assert len(scale.ticks) <= 8 and np.isfinite(scale.ticks).all() and (np.diff(scale.ticks) > 0).all()


@given(ANY, st.integers(0, 2**53))
def test_curves_over_any_steps(values: list[float], first: int) -> None:
    steps = first + np.arange(len(values))
    picture = str(curves([(steps, np.array(values))], title="Loss", boundaries=steps[:1]))
    assert "nan" not in picture and "inf" not in picture


@given(ANY, st.integers(0, 600))
@example([MOST, -MOST], 64)
@example([MOST, -MOST], 27)
@example([MOST, math.nextafter(MOST, 0)], 27)
@example([MOST], 64)
@example([LEAST], 64)
@example([LEAST, 2 * LEAST], 64)
@example([1.0, math.nextafter(1.0, 2)], 64)
def test_a_histogram_counts_every_finite_double(values: list[float], bins: int) -> None:
    edges, counts, nan, inf = slices.histogram(np.array(values), bins)
    finite = [value for value in values if math.isfinite(value)]
    assert (int(counts.sum()), nan + inf) == (len(finite), len(values) - len(finite))
    assert len(edges) == (len(counts) + 1 if finite else 0)
    assert np.isfinite(edges).all() and (edges[1:] > edges[:-1]).all()
    if finite:
        assert edges[0] <= min(finite) and max(finite) <= edges[-1]


@pytest.mark.parametrize("values", [[2**60, 2**60 + 3], [2**63 - 1, -(2**63)], [2**62] * 2])
def test_a_histogram_of_whole_numbers_that_no_double_tells_apart(values: list[int]) -> None:
    edges, counts, _, _ = slices.histogram(np.array(values, dtype=np.int64), 16)
    assert counts.sum() == len(values) and (np.diff(edges) > 0).all()


@given(st.lists(DOUBLES, min_size=1, max_size=30), st.integers(1, 4))
def test_a_picture_claims_no_infinity_that_is_not_there(values: list[float], side: int) -> None:
    plane = np.array(values).reshape(-1, 1)
    drawn, unit = slices.in_float32(plane)
    assert drawn.dtype == np.float32 and 0 < unit < math.inf
    np.testing.assert_array_equal(np.isfinite(drawn), np.isfinite(plane))
    np.testing.assert_array_equal(np.isnan(drawn), np.isnan(plane))
    largest = np.max(np.abs(plane), where=np.isfinite(plane), initial=0)
    assert (np.max(np.abs(drawn), where=np.isfinite(drawn), initial=0) > 0) == (largest > 0)
    block = slices.block_of(plane.shape, side)
    strongest = slices.strongest(drawn, block)
    assert np.isfinite(strongest).all() or not np.isfinite(plane).all()


def test_a_picture_of_float64_keeps_what_float32_holds() -> None:
    values = np.array([[1.5, -2.25, 3e38, 1e-300]])
    drawn, unit = slices.in_float32(values)
    assert unit == 1
    np.testing.assert_array_equal(drawn, values.astype(np.float32))


def test_a_picture_of_what_is_beyond_float32() -> None:
    drawn, unit = slices.in_float32(np.array([[1e200, -5e199, 0.0]]))
    np.testing.assert_allclose(drawn.astype(np.float64) * unit, [[1e200, -5e199, 0.0]], rtol=1e-6)


@given(st.lists(st.tuples(DOUBLES, DOUBLES), min_size=1, max_size=10))
def test_a_difference_of_finite_numbers_is_finite(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array(side).reshape(1, -1) for side in zip(*pairs, strict=True))
    picture, unit = strongest_difference(a.shape, (1, 1), of_plane(a), of_plane(b))
    assert 0 < unit < math.inf
    is_known = np.isfinite(a) & np.isfinite(b)
    assert np.isfinite(picture[is_known]).all()
    assert picture[is_known].any() == (a[is_known] != b[is_known]).any()


@given(DOUBLES)
def test_a_number_is_short(value: float) -> None:
    text = number(value)
    assert 0 < len(text) <= 12
    if math.isfinite(value) and abs(value) > 1e-300:
        assert math.isclose(float(text), value, rel_tol=1e-3) or abs(value) > 1.7e308


@settings(deadline=None)
@given(st.tuples(DOUBLES, DOUBLES, DOUBLES, DOUBLES))
def test_event_files_take_any_double(numbers: tuple[float, float, float, float]) -> None:
    pytest.importorskip("tensorboard")
    tensorboard.scalar("loss", numbers[0])
    summary = np.zeros(len(COLUMNS))
    summary[COUNT] = 3
    summary[[MIN, MAX, MEAN, L2]] = numbers
    counts = np.zeros(HISTOGRAM_BINS, dtype=np.int32)
    counts[-1] = 3
    assert tensorboard.histogram("weight", counts, summary, 3) is not None
