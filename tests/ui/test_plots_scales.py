"""Scales that stay, colours of numbers, names and numbers as text."""

import math

import numpy as np
import pytest

from gradscope.ui.look.colours import DARK, LIGHT
from gradscope.ui.plots.parts import palette
from gradscope.ui.plots.parts.scales import GrowingScale, nice_above, nice_range
from gradscope.ui.plots.words.formats import exact, percent, power_of_ten, short
from gradscope.ui.plots.words.names import shortened
from gradscope.ui.words.quantities import Scale


def test_a_log_scale_widens_by_whole_powers_and_never_shrinks() -> None:
    scale = GrowingScale(Scale.LOG)
    assert (scale.low, scale.high) == (0.0, 1.0)
    scale.widen(np.array([0.02, 0.5, 0.0, np.nan, np.inf]))
    assert (scale.low, scale.high) == (-2, 0)
    scale.widen(np.array([0.3]))
    assert (scale.low, scale.high) == (-2, 0)
    scale.widen(np.array([1e-5, 200.0]))
    assert (scale.low, scale.high) == (-5, 3)


def test_zeros_lie_at_the_low_end_of_a_log_scale() -> None:
    scale = GrowingScale(Scale.LOG)
    scale.widen(np.array([0.01, 1.0]))
    placed = scale.place(np.array([0.0, 0.01, 1.0, np.nan], dtype=np.float32))
    np.testing.assert_allclose(placed, [-2, -2, 0, np.nan], atol=1e-6)


def test_one_value_alone_makes_a_range() -> None:
    scale = GrowingScale(Scale.LOG)
    scale.widen(np.array([1.0]))
    assert scale.high > scale.low


def test_one_absurd_value_does_not_flatten_everything() -> None:
    scale = GrowingScale(Scale.LOG)
    scale.widen(np.array([1e-38, 1.0]))
    assert scale.high - scale.low == 16


def test_a_band_is_seen_with_its_surroundings() -> None:
    scale = GrowingScale(Scale.LOG, band=(1e-4, 1e-1))
    assert (scale.low, scale.high) == (-5, 0)


def test_a_signed_scale_is_the_same_on_both_sides() -> None:
    scale = GrowingScale(Scale.SIGNED)
    scale.widen(np.array([-3.2, 1.0, np.nan, np.inf]))
    assert (scale.low, scale.high) == (-5, 5)


def test_percent_stays_percent() -> None:
    scale = GrowingScale(Scale.PERCENT)
    scale.widen(np.array([3.0]))
    assert (scale.low, scale.high) == (0, 100)


@pytest.mark.parametrize(("value", "nice"), [(1, 1), (1.01, 2), (3, 5), (7, 10), (0.013, 0.02), (5e-9, 5e-9)])
def test_nice_numbers(value: float, nice: float) -> None:
    assert math.isclose(nice_above(value), nice)


@pytest.mark.parametrize(
    ("low", "high"), [(0.3, 2.4), (5.0, 5.0), (0.0, 0.0), (-1.0, 1e-9), (1e9, 1e9 + 1), (2.0, 2.0000001)]
)
def test_nice_ranges_hold_what_they_are_of(low: float, high: float) -> None:
    nice_low, nice_high = nice_range(low, high)
    assert nice_low < nice_high and nice_low <= low and high <= nice_high + 1e-12


def test_a_range_of_nothing() -> None:
    assert nice_range(math.inf, -math.inf) == (0.0, 1.0)


def test_numbers_find_their_colours() -> None:
    numbers = np.array([[-1.0, 0.0, 1.0, 5.0, np.nan]], dtype=np.float32)
    index = palette.index_of(numbers, -1, 1)
    assert index.tolist() == [[0, 127, 255, 255, palette.UNMEASURED]]
    image = palette.coloured(index, palette.table(Scale.LOG, LIGHT))
    assert image.shape == (1, 5, 4)
    np.testing.assert_array_equal(image[0, 0], palette.sequential()[0])
    assert image[0, 4, 3] == 0


def test_zero_is_the_background_of_the_signed_map() -> None:
    for theme in (LIGHT, DARK):
        middle = palette.diverging(theme)[127]
        background = [int(theme.surface[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(middle[:3].astype(int) - background).max() <= 2


def test_exact_tells_every_float32_apart() -> None:
    value = np.float32(0.1)
    assert np.float32(exact(float(value))) == value
    assert np.float32(exact(float(np.nextafter(value, np.float32(1))))) != value
    assert (exact(math.nan), exact(math.inf), exact(-math.inf)) == ("NaN", "Inf", "-Inf")
    assert short(0.123456) == "0.1235"


def test_a_few_zeros_are_not_none() -> None:
    assert [percent(x) for x in (0, 0.01, 50, 53.14, 99.99, 100)] == [
        "0 %",
        "<0.1 %",
        "50 %",
        "53.1 %",
        ">99.9 %",
        "100 %",
    ]


def test_powers() -> None:
    assert [power_of_ten(e) for e in (-9, -4, -3, 0, 2, 3, 4)] == ["1e-9", "1e-4", "0.001", "1", "100", "1000", "10000"]


def test_what_all_names_share_is_left_out() -> None:
    assert shortened(["layers.0.proj.weight", "layers.1.proj.weight"]) == ["…0…", "…1…"]
    assert shortened(["a.b.weight", "a.b.bias"]) == ["…weight", "…bias"]
    assert shortened(["a.b", "c.d"]) == ["a.b", "c.d"]
    assert shortened(["alone.here"]) == ["alone.here"]
    assert shortened([]) == []
    assert shortened(["a", "a.b"]) == ["a", "a.b"]
    assert all(name.strip("…") for name in shortened(["a.a.a", "a.a"]))
