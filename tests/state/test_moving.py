"""A long history moves to where there is room a part at a time: nobody sees that, but that no step takes long."""

import math

import numpy as np
import pytest

from gradscope.protocol.subjects import COLUMNS, SubjectKey, SubjectKind
from gradscope.state import moving
from gradscope.state.records.block import Block

KEYS = [SubjectKey(SubjectKind.PARAMETER, f"{i}.weight") for i in range(40)]


@pytest.fixture(autouse=True)
def no_subjects_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradscope.state.records.block._FEW_SUBJECTS", 0)


class AtOnce(Block):
    """Nothing is prepared."""

    def _prepare(self) -> None:
        pass


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("max_steps", [33, 64, 200])
def test_it_is_as_if_all_were_moved_at_once(seed: int, max_steps: int) -> None:
    random = np.random.default_rng(seed)
    blocks, step, known = [Block(max_steps=max_steps), AtOnce(max_steps=max_steps)], 0, 8
    for _ in range(700):
        numbers = random.normal(size=(known, len(COLUMNS)))
        match random.choice(["add"] * 30 + ["again", "part", "all", "cut", "new subject"]):
            case "add":
                step += int(random.integers(1, 3))
                for block in blocks:
                    block.add(step, KEYS[:known], numbers)
            case ("again" | "part") as how:
                for block in blocks:
                    block.add(step, KEYS[:known], numbers, is_part=how == "part")
            case "all":
                steps = step + np.arange(1, int(random.integers(2, 60)))
                many = random.normal(size=(len(steps), known, len(COLUMNS)))
                step = int(steps[-1])
                for block in blocks:
                    block.add_all(steps, KEYS[:known], many)
            case "cut":
                step = max(0, step - int(random.integers(0, 50)))
                for block in blocks:
                    block.cut(step + 1)
            case "new subject":
                known = min(known + 1, len(KEYS))
    saved, expected = (block.saved() for block in blocks)
    assert (saved.keys, saved.stride, saved.in_last) == (expected.keys, expected.stride, expected.in_last)
    np.testing.assert_array_equal(saved.steps, expected.steps)
    np.testing.assert_array_equal(saved.values, expected.values)
    for ours, theirs in ((saved.tops, expected.tops), (saved.origins, expected.origins)):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            np.testing.assert_array_equal(ours, theirs)


def test_no_step_moves_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers that a step moves, in a run of steps through seven moves, and those that the first step makes room for."""
    moved: list[int] = []
    numbers_moved: list[int] = []
    go_on = moving.Move.go_on

    def counting(move: moving.Move, part: float) -> None:
        before = move._moved
        go_on(move, part)
        moved[-1] += move._moved - before
        numbers_moved.append((move._moved - before) * move.capacity)

    monkeypatch.setattr(moving.Move, "go_on", counting)
    block = Block(max_steps=500)
    numbers = np.ones((len(KEYS), len(COLUMNS)))
    for step in range(1200):
        moved.append(0)
        block.add(step, KEYS, numbers)
        if step == 0:
            assert block._cells.columns == 16
    assert sum(moved) == 7 * len(KEYS)
    assert max(moved) <= math.ceil(len(KEYS) / 8)
    assert max(numbers_moved) <= math.ceil(len(KEYS) / 16) * 500
