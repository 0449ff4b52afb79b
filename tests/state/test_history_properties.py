"""History against a plain list of everything that was ever added."""

import math
from dataclasses import dataclass
from random import Random
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gradscope.protocol.subjects import COLUMNS, MEAN, SubjectKey, SubjectKind
from gradscope.state.records import block as block_module
from gradscope.state.records.block import Block
from gradscope.state.records.cells import FAR_MEAN, LOW_L2, LOW_STD, TOP_L2, TOP_STD, TOP_ZEROS, Origin
from gradscope.state.records.curve import Curve

NAMES = "abc"


def _key(name: str) -> SubjectKey:
    return SubjectKey(SubjectKind.GRAD, name)


@dataclass(frozen=True)
class _Numbers:
    """What one subject had in one step."""

    mean: float
    low: float
    high: float
    l2: float
    std: float
    zero: int
    nan: int
    inf: int

    def row(self) -> list[float]:
        values = vars(self) | {"min": self.low, "max": self.high}
        return [float(values.get(name, 1.0)) for name in COLUMNS]


def _made(seed: int) -> _Numbers:
    random = Random(seed)

    def one() -> float:
        return random.choice([math.nan, *range(-5, 5), *range(-50, 50)])

    bad = [random.choice([0, 0, 0, 0, 1, 5]) for _ in range(2)]
    return _Numbers(
        mean=one(),
        low=one(),
        high=one(),
        l2=one(),
        std=one(),
        zero=random.choice([0, 0, 1, 2, 3]),
        nan=bad[0],
        inf=bad[1],
    )


NUMBERS = st.integers(0, 9999).map(_made)
Step = dict[str, _Numbers]
STEP: st.SearchStrategy[Step] = st.dictionaries(st.sampled_from(NAMES), NUMBERS, min_size=1)


class _Plain:
    """Every step that was ever added, and nothing cleverer than a list."""

    def __init__(self) -> None:
        self.steps: dict[int, Step] = {}

    def of(self, name: str, first: int, last: int) -> list[tuple[int, _Numbers]]:
        return [(step, told[name]) for step, told in self.steps.items() if first <= step <= last and name in told]


def _add(block: Block, plain: _Plain, step: int, told: Step) -> None:
    rows = np.array([numbers.row() for numbers in told.values()])
    assert block.add(step, [_key(name) for name in told], rows).tolist() == [
        block.index_of(_key(name)) for name in told
    ]
    plain.steps[step] = plain.steps.get(step, {}) | told


def _check(block: Block, plain: _Plain, max_steps: int) -> None:
    steps = block.steps.tolist()
    assert len(steps) <= max_steps
    assert steps == sorted(set(steps)) and (not plain.steps or steps[-1] == max(plain.steps))
    bounds = [-1, *steps]
    for name in {name for told in plain.steps.values() for name in told}:
        for i in range(len(steps)):
            _check_cell(block, _key(name), i, plain.of(name, bounds[i] + 1, bounds[i + 1]))


def _check_cell(block: Block, key: SubjectKey, column: int, inside: list[tuple[int, _Numbers]]) -> None:
    """One cell against all that happened in its steps."""

    def newest(values: list[float]) -> float:
        return next((value for value in reversed(values) if value == value), math.nan)

    def greatest(numbers: list[tuple[int, float]]) -> tuple[float, int]:
        known = [(value, -step) for step, value in numbers if value == value]
        value, step = max(known, default=(math.nan, 1))
        return value, -step

    def same(a: float, b: float) -> bool:
        return a == b or (a != a and b != b)

    found = {name: float(block.series(key, i)[column]) for i, name in enumerate(COLUMNS)}
    assert same(found["mean"], newest([numbers.mean for _, numbers in inside]))
    assert same(found["l2"], newest([numbers.l2 for _, numbers in inside]))
    assert same(found["std"], newest([numbers.std for _, numbers in inside]))
    if not inside:
        return
    assert found["nan"] == max(numbers.nan for _, numbers in inside)
    assert found["inf"] == max(numbers.inf for _, numbers in inside)
    assert same(found["max"], greatest([(step, numbers.high) for step, numbers in inside])[0])
    assert same(found["min"], -greatest([(step, -numbers.low) for step, numbers in inside])[0])
    row = block.index_of(key)
    steps = {of: int(block.origins(of)[row, column]) for of in Origin}
    bad = [step for step, numbers in inside if numbers.nan or numbers.inf]
    assert not bad or steps[Origin.BAD] == bad[0]
    for of, plane, sign, value_of in (
        (Origin.STD, TOP_STD, 1, "std"),
        (Origin.L2, TOP_L2, 1, "l2"),
        (Origin.ZEROS, TOP_ZEROS, 100, "zero"),
        (Origin.LOW_STD, LOW_STD, -1, "std"),
        (Origin.LOW_L2, LOW_L2, -1, "l2"),
    ):
        value, step = greatest([(step, sign * getattr(numbers, value_of)) for step, numbers in inside])
        assert same(float(block.series(key, plane)[column]), -value if sign < 0 else value)
        assert value != value or steps[of] == step
    value, step = greatest([(step, abs(numbers.mean)) for step, numbers in inside])
    assert same(abs(float(block.series(key, FAR_MEAN)[column])), value)
    assert value != value or steps[Origin.FAR_MEAN] == step


# What happens to a history: the next step (after a gap), the newest one again, several at once, some forgotten.
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 3), STEP),
        st.tuples(st.just("again"), STEP),
        st.tuples(
            st.just("several"), st.sets(st.sampled_from(NAMES), min_size=1), st.integers(0, 60), st.integers(0, 9999)
        ),
        st.tuples(st.just("undo")),
        st.tuples(st.just("cut"), st.integers(1, 12)),
    ),
    max_size=20,
)


@given(EVENTS, st.integers(2, 9))
def test_a_block_is_a_summary_of_all_that_was_added(events: list[tuple[Any, ...]], max_steps: int) -> None:
    _play(events, max_steps)


@given(EVENTS, st.integers(300, 1800))
def test_also_where_its_columns_become_fewer_as_subjects_come(events: list[tuple[Any, ...]], max_bytes: int) -> None:
    with mock.patch.multiple(block_module, MAX_BYTES=max_bytes, _LEAST_COLUMNS=2):
        _play(events, max_steps=9)


def test_of_very_many_subjects_only_so_many_steps_are_kept_apart() -> None:
    keys, row = tuple(_key(str(number)) for number in range(40)), np.ones((40, 9))
    with mock.patch.object(block_module, "MAX_BYTES", 100_000):
        block = Block()
        for step in range(1000):
            block.add(step, keys, row)
    assert block.nbytes <= 100_000
    assert len(block.steps) >= 10 and block.steps[-1] == 999 and block.first_step(0) == 0


def _play(events: list[tuple[Any, ...]], max_steps: int) -> None:
    block, plain, step = Block(max_steps=max_steps), _Plain(), -1
    may_repeat = False
    """After an undo the step before stays as it is: a session goes on with the one that was undone."""
    for event in events:
        match event:
            case ("add", gap, told):
                step += gap
                _add(block, plain, step, told)
            case ("again", told) if may_repeat:
                _add(block, plain, max(plain.steps), told)
            case ("several", names, count, seed) if count:
                several = {step + 1 + i: {name: _made(seed + i + ord(name)) for name in names} for i in range(count)}
                rows = np.array([[told[name].row() for name in names] for told in several.values()])
                block.add_all(np.array(list(several)), [_key(name) for name in names], rows)
                plain.steps |= several
                step += count
            case ("undo",) if plain.steps:
                # The newest step is always taken out alone, however many share its column; a second one only with them.
                newest, shared = max(plain.steps), block.steps.tolist()
                block.cut(newest)
                kept = -1 if len(block.steps) == 0 else int(block.steps[-1])
                del plain.steps[newest]
                assert kept == max(plain.steps, default=-1) or len(block.steps) == len(shared) - 1
                plain.steps = {at: told for at, told in plain.steps.items() if at <= kept}
            case ("cut", back) if plain.steps:
                at = max(0, max(plain.steps) - back)
                block.cut(at)
                kept = -1 if len(block.steps) == 0 else int(block.steps[-1])
                assert kept < at
                plain.steps = {at: told for at, told in plain.steps.items() if at <= kept}
        may_repeat = event[0] in ("add", "several") or (may_repeat and event[0] == "again")
        may_repeat &= bool(plain.steps) and max(plain.steps) == step
    _check(block, plain, max_steps)


@given(st.lists(STEP, min_size=1, max_size=40), st.integers(2, 9))
def test_the_newest_step_is_undone_alone(steps: list[Step], max_steps: int) -> None:
    block, before = Block(max_steps=max_steps), Block(max_steps=max_steps)
    for step, told in enumerate(steps):
        _add(block, _Plain(), step, told)
        if step < len(steps) - 1:
            _add(before, _Plain(), step, told)
    block.cut(len(steps) - 1)
    # Where it opened a column the others may have been merged for it.
    plain = _Plain()
    plain.steps = dict(enumerate(steps[:-1]))
    _check(block, plain, max_steps)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=30), st.integers(2, 6))
def test_parts_of_a_step_are_joined(steps: list[tuple[_Numbers, _Numbers]], max_steps: int) -> None:
    block = Block(max_steps=max_steps)
    for step, parts in enumerate(steps):
        for part, numbers in enumerate(parts):
            block.add(step, [_key("a")], np.array([numbers.row()]), is_part=part > 0)
    bounds = [-1, *block.steps.tolist()]
    for i in range(len(block.steps)):
        inside = [(step, part) for step in range(bounds[i] + 1, bounds[i + 1] + 1) for part in steps[step]]
        _check_cell(block, _key("a"), i, inside)


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, -7.0, math.nan, math.inf]), max_size=300), st.sampled_from([4, 8, 16]))
def test_a_curve_keeps_its_length_its_order_and_its_end(values: list[float], max_points: int) -> None:
    curve = Curve(max_points=max_points)
    for step, value in enumerate(values):
        curve.add(step, (value,))
        curve.add(step, (value,))
    assert len(curve) <= max_points + 1
    assert (np.diff(curve.steps) > 0).all()
    np.testing.assert_array_equal(curve.values[:, 0], np.array(values)[curve.steps])
    if len(values) <= max_points:
        assert curve.steps.tolist() == list(range(len(values)))
    if any(not math.isfinite(value) for value in values):
        assert not np.isfinite(curve.values).all(), "a point that is not finite is dropped last"
    else:
        assert not values or {min(values), max(values)} <= set(curve.values[:, 0].tolist()), "no peak is dropped"
    if values:
        assert len(curve) >= min(len(values), max_points) // 2 - 1
        assert curve.steps[-1] == len(values) - 1


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


@given(st.lists(st.sampled_from([1.0, 2.0, math.nan, math.inf]), max_size=120), st.sampled_from([4, 8, 16]))
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
