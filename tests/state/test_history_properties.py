"""History against a plain list of everything that was ever added."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gradscope.protocol.subjects import COLUMNS, INF, MEAN, NAN, SubjectKey, SubjectKind
from gradscope.state.curve import Curve
from gradscope.state.history import Block

NAMES = "abc"
Steps = list[tuple[dict[str, float], dict[str, int], bool]]


def _key(name: str) -> SubjectKey:
    return SubjectKey(SubjectKind.GRAD, name)


STEPS: st.SearchStrategy[Steps] = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(NAMES), st.integers(-99, 99).map(float), min_size=1),
        st.dictionaries(st.sampled_from(NAMES), st.integers(1, 5)),
        st.booleans(),
    ),
    max_size=60,
)


@given(STEPS, st.integers(2, 9))
def test_a_block_is_a_summary_of_all_that_was_added(steps: Steps, max_steps: int) -> None:
    block = Block(max_steps=max_steps)
    for step, (means, bad, _) in enumerate(steps):
        rows = np.zeros((len(means), len(COLUMNS)))
        rows[:, MEAN] = list(means.values())
        rows[:, NAN] = [bad.get(name, 0) for name in means]
        rows[:, INF] = [bad.get(name, 0) * 2 for name in means]
        block.add(step, [_key(name) for name in means], rows)
        assert len(block.steps) <= max_steps
        assert block.steps[-1] == step
    assert (np.diff(block.steps) > 0).all()
    # Column i stands for all steps after column i - 1, up to and with its own.
    bounds = [-1, *block.steps.tolist()]
    for name in {name for means, _, _ in steps for name in means}:
        for i in range(len(block.steps)):
            inside = [
                (means[name], bad.get(name, 0))
                for means, bad, _ in steps[bounds[i] + 1 : bounds[i + 1] + 1]
                if name in means
            ]
            mean, nan, inf = (block.series(_key(name), column)[i] for column in (MEAN, NAN, INF))
            if inside:
                assert mean == inside[-1][0]
                assert nan == max(count for _, count in inside)
                assert inf == 2 * nan
            else:
                assert math.isnan(mean)


@given(st.lists(st.sampled_from([1.0, 2.0, math.nan, math.inf]), max_size=200), st.sampled_from([2, 4, 6, 10]))
def test_a_curve_keeps_its_length_its_order_and_its_end(values: list[float], max_points: int) -> None:
    curve = Curve(max_points=max_points)
    for step, value in enumerate(values):
        curve.add(step, (value,))
        curve.add(step, (value,))
    assert len(curve) <= max_points
    assert (np.diff(curve.steps) > 0).all()
    np.testing.assert_array_equal(curve.values[:, 0], np.array(values)[curve.steps])
    if len(values) <= max_points:
        assert curve.steps.tolist() == list(range(len(values)))
    if any(not math.isfinite(value) for value in values):
        assert not np.isfinite(curve.values).all(), "a point that is not finite is dropped last"
    if values:
        assert len(curve) >= min(len(values), max_points) // 2
        assert len(values) - 1 - curve.steps[-1] <= 2 * len(values) / max_points + 1


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_a_step_that_comes_again_replaces_its_point(steps: list[int]) -> None:
    curve, block, newest = Curve(), Block(), dict[int, float]()
    for i, step in enumerate(sorted(steps)):
        row = np.zeros((1, len(COLUMNS)))
        row[0, MEAN] = i
        curve.add(step, (float(i),))
        block.add(step, [_key("a")], row)
        newest[step] = float(i)
    assert dict(zip(curve.steps.tolist(), curve.values[:, 0].tolist(), strict=True)) == newest
    assert dict(zip(block.steps.tolist(), block.series(_key("a"), MEAN).tolist(), strict=True)) == newest


@given(st.lists(st.sampled_from([1.0, 2.0, math.nan, math.inf]), max_size=60), st.sampled_from([2, 4, 8, 16]))
def test_a_curve_made_at_once_is_the_one_made_step_by_step(values: list[float], max_points: int) -> None:
    grown = Curve(max_points=max_points)
    for step, value in enumerate(values):
        grown.add(step, (value,))
    made = Curve.of(np.arange(len(values)), np.reshape(np.array(values, dtype=float), (-1, 1)), max_points=max_points)
    for more in range(3):
        one, other = grown.saved(), made.saved()
        assert one.steps.tolist() == other.steps.tolist() and one.stride == other.stride
        np.testing.assert_array_equal(one.values, other.values)
        for curve in (grown, made):
            curve.add(len(values) + more, (1.0,))
