"""float64 summaries in a history of float32: beyond it they are infinite, and nothing vanishes."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gradscope.protocol.subjects import COLUMNS, COUNT, INF, L2, MAX, NAN, SubjectKey, SubjectKind
from gradscope.state.records.block import Block
from gradscope.state.records.kept_numbers import LEAST, MOST, as_kept


@given(st.lists(st.floats(), max_size=20))
def test_any_double_has_a_float32_of_its_sign(values: list[float]) -> None:
    for value, kept in zip(values, as_kept(np.array(values)).tolist(), strict=True):
        assert math.isnan(kept) == math.isnan(value)
        if math.isnan(value):
            continue
        assert (kept > 0, kept < 0) == (value > 0, value < 0)
        if LEAST < abs(value) < MOST:
            assert math.isclose(kept, value, rel_tol=1e-7, abs_tol=LEAST)
        assert math.isinf(kept) == (abs(value) >= MOST * (1 + 2**-25))


def test_a_block_takes_in_what_float32_does_not_hold_and_says_nothing_of_inf() -> None:
    key = SubjectKey(SubjectKind.PARAMETER, "weight")
    row = np.zeros((1, len(COLUMNS)))
    row[0, [COUNT, MAX, L2]] = 2, 1e200, 1e-200
    for max_steps in (2, 100):
        block = Block(max_steps=max_steps)
        for step in range(6):
            block.add(step, [key], row)
        assert np.isposinf(block.series(key, MAX)).all()
        assert (block.series(key, L2) == np.float32(LEAST)).all()
        assert not block.series(key, INF).any() and not block.series(key, NAN).any()
