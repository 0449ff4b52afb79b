"""Fewer numbers for as many pixels, and nothing that went wrong is lost."""

import numpy as np

from gradscope.ui.plots.parts.sampling import LEAST_STEPS, Smoother, StepGrid, apart, decimate, step_range


def test_every_step_has_its_column_where_there_is_room() -> None:
    grid = StepGrid.of(np.arange(5, 25), max_columns=100)
    assert grid.is_identity and (grid.first, grid.stride, grid.columns) == (5, 1, 20)
    assert grid.column_at(5) == 0 and grid.column_at(24.4) == 19
    assert grid.column_at(4.4) is None and grid.column_at(24.6) is None


def test_many_steps_share_columns_and_show_the_last_of_them() -> None:
    grid = StepGrid.of(np.arange(1500), max_columns=400)
    assert grid.stride == 4 and grid.columns == 375
    assert grid.ends[:3].tolist() == [3, 7, 11]
    assert grid.column_at(6) == 1


def test_columns_are_equally_wide_where_old_steps_were_merged() -> None:
    # What History leaves when it halves: every second step, then all of the new ones.
    steps = np.array([1, 3, 5, 7, 8, 9])
    grid = StepGrid.of(steps, max_columns=100)
    assert grid.columns == 9
    assert steps[grid.ends].tolist() == [1, 3, 3, 5, 5, 7, 7, 8, 9]


def test_a_flag_survives_any_reduction() -> None:
    flags = np.zeros((2, 1500), dtype=bool)
    flags[1, 701] = True
    for columns in (7, 100, 399, 5000):
        grid = StepGrid.of(np.arange(1500), max_columns=columns)
        reduced = grid.any(flags)
        assert reduced.shape == (2, grid.columns)
        assert reduced.sum() == 1 and reduced[1, grid.column_at(701)]


def test_a_long_line_keeps_its_extremes_and_its_ends() -> None:
    x = np.arange(10_001, dtype=float)
    y = np.sin(x / 100)
    y[4321], y[77] = 9.0, -9.0
    fewer_x, fewer_y = decimate(x, y, max_points=500)
    assert len(fewer_x) <= 600 and (np.diff(fewer_x) > 0).sum() >= len(fewer_x) // 2
    assert fewer_y.max() == 9.0 and fewer_y.min() == -9.0
    assert fewer_x[np.argmax(fewer_y)] == 4321
    assert fewer_x[-1] == 10_000


def test_a_short_line_stays_as_it_is() -> None:
    x, y = np.arange(5.0), np.array([1, np.nan, 3, 4, 5.0])
    assert decimate(x, y, max_points=10) == (x, y)


def test_a_line_of_nan_only_can_be_made_shorter() -> None:
    x = np.arange(1000.0)
    assert len(decimate(x, np.full(1000, np.nan), max_points=100)[0]) <= 120


def test_marks_lie_apart() -> None:
    chosen = np.arange(100.0)[apart(np.arange(100.0), at_least=10)]
    assert chosen.tolist() == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert not apart(np.zeros(0), at_least=10).size


def test_smoothing_in_pieces_is_smoothing_at_once() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=200)
    values[50] = np.nan
    steps = np.arange(200)
    at_once = Smoother().smooth(steps, values)
    in_pieces = Smoother()
    for end in (1, 2, 70, 70, 199, 200):
        result = in_pieces.smooth(steps[:end], values[:end])
    np.testing.assert_array_equal(result, at_once)
    assert np.isfinite(at_once).all() and at_once[0] == values[0]


def test_smoothing_takes_in_a_newest_value_that_changed() -> None:
    smoother = Smoother()
    smoother.smooth(np.arange(3), np.array([1.0, 1.0, 1.0]))
    changed = smoother.smooth(np.arange(3), np.array([1.0, 1.0, 9.0]))
    assert changed[-1] > 2


def test_smoothing_starts_anew_when_points_were_dropped() -> None:
    smoother = Smoother()
    smoother.smooth(np.arange(10), np.ones(10))
    halved = smoother.smooth(np.arange(1, 10, 2), np.full(5, 7.0))
    np.testing.assert_allclose(halved, 7.0)


def test_the_first_steps_do_not_fill_the_plot() -> None:
    low, high = step_range(0, 0)
    assert low < 0 and high > LEAST_STEPS
    low, high = step_range(100, 900)
    assert 90 < low < 100 and 900 < high < 910
