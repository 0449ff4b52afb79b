"""Every scale, axis, colour map and format with any doubles whatever: finite, bounded, and nothing raises or warns."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pytestqt.qtbot import QtBot

from gradscope.protocol import numbers
from gradscope.ui.look.colours import LIGHT
from gradscope.ui.plots.charts.histogram_chart import PowerAxis
from gradscope.ui.plots.charts.scale_chart import PowerOfTwoAxis
from gradscope.ui.plots.parts import palette
from gradscope.ui.plots.parts.axes import ChartAxis, LogAxis, NameAxis, StepAxis
from gradscope.ui.plots.parts.color_strip import ColorStrip
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.reach import REACH, within_reach
from gradscope.ui.plots.parts.sampling import Smoother, apart, decimate
from gradscope.ui.plots.parts.scales import GrowingScale, LinearScale, nice_above, nice_range
from gradscope.ui.plots.words import formats
from gradscope.ui.words import text
from gradscope.ui.words.quantities import Scale
from tests.ui.doubles import ANY, DOUBLES, FINITE, LEAST, MOST

quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
few = settings(quick, max_examples=25)
SIZES = st.sampled_from([0.0, 1.0, 30.0, 400.0, 3000.0])
MAX_TICKS = 1000

# ---------------------------------------------------------------------------------------------------------- scales


@given(st.floats(min_value=LEAST, max_value=MOST))
@example(LEAST)
@example(MOST)
def test_nice_above_is_a_little_above(value: float) -> None:
    nice = nice_above(value)
    assert math.isfinite(nice) and value <= nice * (1 + 1e-9)
    assert nice / 10 <= value * (1 + 1e-9) or value < 1e-320


@given(FINITE, FINITE)
@example(MOST, MOST)
@example(-MOST, MOST)
@example(LEAST, LEAST)
@example(0.0, LEAST)
@example(2.7e307, 1.19e308)
def test_a_nice_range_has_a_width_and_holds_what_it_is_of(one: float, other: float) -> None:
    low, high = sorted((one, other))
    nice_low, nice_high = nice_range(low, high)
    assert math.isfinite(nice_low) and math.isfinite(nice_high) and nice_low < nice_high
    slack = 1e-9 * max(abs(low), abs(high))
    assert nice_low - slack <= low and high <= nice_high + slack


@quick
@given(ANY)
def test_a_linear_scale_is_one_that_can_be_drawn(values: list[float]) -> None:
    array = np.array(values, dtype=np.float64)
    scale = LinearScale.around(array)
    assert math.isfinite(scale.low) and math.isfinite(scale.high) and scale.low < scale.high
    assert within_reach((scale.low, scale.high)) == (scale.low, scale.high)
    assert max(abs(scale.low), abs(scale.high)) <= 1e14
    placed = scale.place(array)
    np.testing.assert_array_equal(np.isfinite(placed), np.isfinite(array))
    finite = placed[np.isfinite(placed)]
    slack = 1e-9 * max(abs(scale.low), abs(scale.high))
    assert (finite >= scale.low - slack).all() and (finite <= scale.high + slack).all()


@quick
@given(st.sampled_from(list(Scale)), st.lists(ANY, max_size=4), st.sampled_from([np.float32, np.float64]))
def test_a_growing_scale_is_one_that_can_be_drawn(scale_of: Scale, frames: list[list[float]], dtype: type) -> None:
    scale = GrowingScale(scale_of)
    for values in frames:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=np.float64).astype(dtype)
        scale.widen(array)
        assert math.isfinite(scale.low) and math.isfinite(scale.high) and scale.low < scale.high
        assert within_reach((scale.low, scale.high)) == (scale.low, scale.high)
        placed = scale.place(array)
        if scale_of is Scale.PERCENT:
            continue
        known = placed[np.isfinite(array) & ((array > 0) | (scale_of is Scale.SIGNED))]
        slack = 1e-5 * max(abs(scale.low), abs(scale.high), 1e-30)
        assert (known >= scale.low - slack).all() and (known <= scale.high + slack).all()


@given(DOUBLES, DOUBLES)
def test_what_is_within_reach_can_be_divided_by(one: float, other: float) -> None:
    low, high = within_reach((one, other))
    assert -REACH <= low < high <= REACH
    assert within_reach((low, high)) == (low, high)


# ------------------------------------------------------------------------------------------------------------ axes


def _names() -> NameAxis:
    axis = NameAxis()
    axis.set_names([f"layers.{i}.weight" for i in range(3000)])
    return axis


def _plain_log(orientation: str = "left") -> LogAxis:
    axis = LogAxis(orientation)
    axis.is_log = False
    return axis


AXES: list[Callable[[], ChartAxis]] = [
    lambda: ChartAxis("left"),
    lambda: StepAxis("bottom"),
    lambda: LogAxis("left"),
    lambda: LogAxis("bottom"),
    _plain_log,
    lambda: PowerAxis("bottom"),
    lambda: PowerOfTwoAxis("left"),
    _names,
]


@pytest.mark.parametrize("number", range(len(AXES)))
@quick
@given(one=DOUBLES, other=DOUBLES, size=SIZES, exponent=st.sampled_from([0, 307, 308, -324, 39]))
@example(one=MOST, other=-MOST, size=400.0, exponent=0)
@example(one=2.0**53, other=2.0**53 + 2, size=400.0, exponent=0)
@example(one=1.0, other=1.0, size=400.0, exponent=308)
@example(one=307.0, other=309.0, size=3000.0, exponent=0)
@example(one=-325.0, other=-323.0, size=3000.0, exponent=0)
def test_ticks_rise_are_few_and_have_short_names(
    qapp: object, number: int, one: float, other: float, size: float, exponent: int
) -> None:
    axis = AXES[number]()
    axis.show_exponent(exponent)
    low, high = within_reach((one, other))
    for spacing, ticks in axis.tickValues(one, other, size):
        assert len(ticks) <= MAX_TICKS and np.isfinite(ticks).all()
        assert len(set(ticks)) == len(ticks)
        slack = 1e-5 * max(1.0, high - low)
        assert all(low - slack <= tick <= high + slack for tick in ticks)
        strings = axis.tickStrings(ticks, 1.0, spacing)
        assert len(strings) == len(ticks) and all(0 < len(string) <= 24 for string in strings)


def test_an_axis_in_powers_of_ten_names_what_no_float_holds(qapp: object) -> None:
    axis = ChartAxis("left")
    axis.show_exponent(308)
    assert axis.tickStrings([0.0, 0.5, 1.0, 2.0, -1.5], 1.0, 0.5) == ["0", "5e307", "1e308", "2e308", "-1.5e308"]
    axis.show_exponent(0)
    assert axis.tickStrings([0.0, 0.5, 20000.0], 1.0, 0.5) == ["0", "0.5", "20000"]
    assert LogAxis("left").tickStrings([308 + math.log10(2), -323.7], 1.0, 1.0) == ["2e308", "2e-324"]


@few
@given(st.tuples(DOUBLES, DOUBLES), st.tuples(DOUBLES, DOUBLES))
@example((-MOST, MOST), (math.nan, 0.0))
@example((1.0, 1.0), (LEAST, LEAST))
@example((2.0**53 - 1, 2.0**53), (0.0, 0.0))
def test_a_plot_shows_any_range(qtbot: QtBot, x: tuple[float, float], y: tuple[float, float]) -> None:
    view = PlotView(axes={"left": ChartAxis("left"), "bottom": StepAxis("bottom")}, zoom_x=True, zoom_y=True)
    qtbot.addWidget(view)
    view.resize(300, 200)
    view.show_range(x, y)
    view.grab()
    assert all(np.isfinite(ends).all() for ends in view.box.viewRange())
    # What a person does with the wheel, and far too much of it.
    for factor in (1e-9, 1e30, 1e-30):
        for _ in range(12):
            view.box.scaleBy((factor, factor))
        view.grab()
        assert all(np.isfinite(ends).all() and ends[0] < ends[1] for ends in view.box.viewRange())
    view.fit()
    assert view.is_following


# ---------------------------------------------------------------------------------------------------------- colours


@quick
@given(ANY, st.sampled_from(list(Scale)), st.sampled_from([np.float32, np.float64]))
def test_every_number_has_a_colour(values: list[float], scale_of: Scale, dtype: type) -> None:
    with np.errstate(over="ignore"):
        array = np.array(values, dtype=np.float64).astype(dtype)[None]
    scale = GrowingScale(scale_of)
    scale.widen(array)
    index = palette.index_of(scale.place(array), scale.low, scale.high)
    is_number = ~np.isnan(array) & ~((array < 0) & (scale_of is Scale.LOG))
    assert (index[is_number] <= palette.BEYOND).all() and (index >= 0).all()
    assert (index[np.isnan(array)] == palette.UNMEASURED).all()
    assert (index[np.isposinf(array)] == palette.BEYOND).all()
    if scale_of is Scale.SIGNED:
        assert (index[array > 0] >= 127).all() and (index[array < 0] <= 128).all()
    assert palette.coloured(index, palette.table(scale_of, LIGHT)).shape == (*index.shape, 4)


@few
@given(ANY, st.sampled_from(list(Scale)))
def test_the_colour_bar_of_any_scale(qtbot: QtBot, values: list[float], scale_of: Scale) -> None:
    strip = ColorStrip()
    qtbot.addWidget(strip)
    strip.resize(500, 40)
    scale = GrowingScale(scale_of)
    scale.widen(np.array(values, dtype=np.float64))
    table = palette.table(scale_of, LIGHT)
    strip.show_scale(table, scale_of, scale.low, scale.high, {palette.BEYOND}, exponent=scale.exponent)
    strip.grab()
    assert "nan" not in strip.accessibleName().lower() and len(strip.accessibleName()) < 60


# ---------------------------------------------------------------------------------------------------------- formats

FORMATS: list[Callable[[float], str]] = [
    formats.short,
    formats.exact,
    formats.kept,
    formats.percent,
    formats.two_digits,
    text.number,
    text.duration,
    text.byte_size,
    lambda value: formats.scaled(value, 308),
    lambda value: formats.scaled(value, -324),
]


@given(DOUBLES)
def test_every_format_is_short(value: float) -> None:
    for write in FORMATS:
        written = write(value)
        assert len(written) <= 24 and "inf" not in written


@given(st.floats(min_value=-1e307, max_value=1e307))
def test_formats_say_the_number(value: float) -> None:
    for write, digits in ((formats.short, 4), (formats.exact, 9), (text.number, 3)):
        if write is text.number and not 1e-99 < abs(value) < 1e100:
            digits = 2
        read = float(write(value))
        assert math.isclose(read, value, rel_tol=0.5 * 10 ** (1 - digits) * 1.0001) or abs(value) < 1e-300


@given(st.floats(min_value=1e-3, max_value=1e3), st.integers(-270, 270))
def test_scaled_is_the_product(value: float, exponent: int) -> None:
    assert math.isclose(float(formats.scaled(value, exponent)), value * 10.0**exponent, rel_tol=1e-3)


def test_a_number_of_the_history_is_not_called_infinite() -> None:
    assert [formats.kept(value) for value in (math.inf, -math.inf, math.nan, 1e-45, -1e-45, 0.5, 0.0)] == [
        *(">3.4e38", "<-3.4e38", "–", "<1e-44", ">-1e-44", "0.5", "0"),
    ]
    assert formats.kept_cell(2.5) == 2.5 and formats.kept_cell(math.inf) == ">3.4e38"


@given(st.integers(0, 400), st.integers(0, 9))
def test_numbers_in_a_text_are_shortened_or_left(exponent: int, digit: int) -> None:
    written = f"lr={digit}.123456789012e{exponent}, betas=({digit}e-{exponent}, 0.9)"
    assert "inf" not in numbers.shortened_numbers(written)


# --------------------------------------------------------------------------------------------------------- sampling


@quick
@given(ANY, st.integers(0, 2**53), st.integers(4, 8))
def test_lines_of_any_doubles_are_thinned_and_smoothed(values: list[float], first: int, max_points: int) -> None:
    y = np.array(values, dtype=np.float64)
    steps = first + np.arange(len(y), dtype=np.int64)
    x, thin = decimate(steps.astype(np.float64), y, max_points=max_points)
    assert len(x) == len(thin) <= max(len(y), max_points)
    smooth = Smoother().smooth(steps, y)
    finite = y[np.isfinite(y)]
    known = smooth[~np.isnan(smooth)]
    assert np.isfinite(known).all()
    if len(finite):
        # By halves, so that the test does not overflow either.
        known, finite = known / 2, finite / 2
        slack = 1e-9 * np.abs(finite).max()
        assert (known >= finite.min() - slack).all() and (known <= finite.max() + slack).all()
    assert len(apart(x, at_least=0.0)) == len(x)
